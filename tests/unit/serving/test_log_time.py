"""A log that has ended goes on when it is served: what fades is as old as it was at the log's end."""

from __future__ import annotations

import pytest

from rectory.features.training_set import SECONDS_PER_DAY
from rectory.serving.clock import LogTime
from rectory.serving.mixing import Mix
from rectory.serving.types import Request
from tests.conformance.synthetic import END
from tests.unit.serving.small import bought, ids, small_engine

YEARS = 9 * 365 * SECONDS_PER_DAY
TODAY = END + YEARS


def test_an_ended_log_goes_on_from_its_end_at_the_clocks_pace() -> None:
    time = LogTime(END, ended=True)
    assert time.now() == time.of(TODAY) == END, "before anything happens"
    assert time.learned(TODAY) == END
    assert time.learned(TODAY + 60) == END + 60
    assert time.of(TODAY + 90) == END + 90
    assert time.back(END + 60) == TODAY + 60
    assert time.of(END - 5) == END - 5, "moments within the log stay"
    assert time.back(END - 5) == TODAY - 5, "its last days lie just before today"
    assert time.back(END - YEARS) == END - YEARS
    assert time.now() == END + 60


def test_it_stands_still_again_after_another_long_pause_and_not_over_a_weekend() -> None:
    time = LogTime(END, ended=True)
    time.learned(TODAY)
    assert time.learned(TODAY + 3 * SECONDS_PER_DAY) == END + 3 * SECONDS_PER_DAY
    later = TODAY + YEARS
    assert time.of(later) == END + 3 * SECONDS_PER_DAY
    assert time.learned(later) == END + 3 * SECONDS_PER_DAY
    assert time.learned(later + 60) == END + 3 * SECONDS_PER_DAY + 60


def test_what_comes_out_of_order_moves_nothing_else() -> None:
    time = LogTime(END, ended=True)
    assert time.learned(TODAY) == END
    assert time.learned(TODAY - 10) == END - 10
    assert time.learned(TODAY - 365 * SECONDS_PER_DAY) == END, "years after the log and long before the first"
    assert time.learned(TODAY + 60) == END + 60
    assert time.of(TODAY + 90) == END + 90


def test_what_follows_the_log_at_once_needs_no_moving() -> None:
    time = LogTime(END, ended=True)
    assert time.learned(END + 60) == time.of(END + 60) == time.back(END + 60) == END + 60


def test_a_log_that_grows_has_the_clocks_time() -> None:
    time = LogTime(END, ended=False)
    assert time.of(TODAY) == time.learned(TODAY) == time.back(TODAY) == TODAY
    assert time.now() >= TODAY


@pytest.mark.parametrize("historic", [True, False])
def test_answers_from_an_ended_log_are_those_of_its_last_day(historic: bool) -> None:
    weights = {"day": 1.0, "own_recent": 2.0, "month": 0.1}
    then, now = (small_engine(Mix(weights), repeats=True, historic=historic) for _ in range(2))
    end = then.known_until
    at_the_end = then.examine(Request("u0003", n=10, now=end))[1]
    today = now.examine(Request("u0003", n=10, now=end + YEARS))[1]
    assert (at_the_end == today).all() == historic
    then.learn([bought("u0003", "i0001", end)])
    now.learn([bought("u0003", "i0001", end + YEARS)])
    at_the_end = then.recommend(Request("u0003", n=10, now=end + 60))
    today = now.recommend(Request("u0003", n=10, now=end + YEARS + 60))
    same = [one.score for one in at_the_end.items] == pytest.approx([one.score for one in today.items])
    assert (ids(at_the_end) == ids(today) and same) == historic
    assert now.last_taken("u0003")["i0001"] == pytest.approx(end + YEARS)
