"""Words, plots, the shape of the log, sample users and the terminal."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rectory.files import write_parquet
from rectory.reporting import plots, words
from rectory.reporting.inputs import read_inputs
from rectory.reporting.page import standalone
from rectory.reporting.pareto import Point, pareto_front, staircase
from rectory.reporting.samples import choose_users
from rectory.reporting.shape import log_shape
from rectory.reporting.summary import (
    CandidateSummary,
    ChampionSummary,
    DecisionSummary,
    Interval,
    RuleSummary,
    Summary,
    build_summary,
)
from rectory.reporting.terminal import print_summary
from rectory.reporting.views import forest, metric_tables, slice_groups
from tests.unit.reporting.fake_run import make_run


def table(path: Path, users: list[str], items: list[str], times: list[str]) -> Path:
    frame = pd.DataFrame({"user_id": users, "item_id": items, "timestamp": pd.to_datetime(times, utc=True)})
    write_parquet(frame, path)
    return path


def test_shape_counts_rows_users_and_items(tmp_path: Path) -> None:
    times = ["2020-01-01", "2020-01-01", "2020-01-03", "2020-01-12"]
    shape = log_shape(table(tmp_path / "t.parquet", ["a", "a", "a", "b"], ["x", "x", "x", "y"], times))
    assert shape is not None
    assert (shape.n_rows, shape.n_users, shape.n_items) == (4, 2, 2)
    assert shape.bin_days == 1
    assert shape.rows.tolist() == [2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert shape.activity_users.tolist() == [1, 1]  # one user with 1 row, one with 2 or 3
    assert np.interp(0.5, shape.item_share, shape.row_share) == 0.75


@pytest.mark.parametrize(
    "times", [["2020-01-01"], ["2020-01-01 10:00", "2020-01-01 11:00"], ["2000-01-01", "2020-01-01"]]
)
def test_shape_of_any_length_of_log_keeps_all_rows(tmp_path: Path, times: list[str]) -> None:
    shape = log_shape(table(tmp_path / "t.parquet", ["a"] * len(times), ["x"] * len(times), times))
    assert shape is not None
    assert shape.rows.sum() == len(times)
    assert len(shape.rows) <= 150
    assert plots.events_over_time(shape, []).startswith("<svg")
    assert plots.activity(shape).startswith("<svg")


def test_shape_of_nothing_is_nothing(tmp_path: Path) -> None:
    assert log_shape(table(tmp_path / "t.parquet", [], [], [])) is None


def test_plots_are_equal_for_equal_inputs_and_bring_no_colours_of_their_own() -> None:
    curve = [{"epoch": epoch, "score": epoch / 10, "half_life_days": half} for half in (7, None) for epoch in (1, 2)]
    first, again = (plots.learning_curves("a.b", curve, "ndcg@10") for _ in range(2))
    assert first == again
    assert "var(--s1)" in first
    assert "half life 7 days" in first
    assert "#0102" not in first
    assert "<style" not in first


def test_names_are_escaped_in_plots() -> None:
    drawn = plots.accuracy_against_coverage([Point("<script>", 0.2, 0.1, winner=True)], "ndcg@10")
    assert "<script>" not in drawn
    assert "&lt;script&gt;" in drawn


def test_nobody_on_the_front_is_beaten_in_both() -> None:
    points = {"wide": (0.1, 0.9), "best": (0.4, 0.2), "beaten": (0.3, 0.1), "between": (0.3, 0.5), "tie": (0.4, 0.1)}
    assert pareto_front(points) == ["best", "between", "wide"]
    assert pareto_front({}) == []


def test_equals_stand_on_the_front_together() -> None:
    assert pareto_front({"b": (0.4, 0.2), "a": (0.4, 0.2), "c": (0.3, 0.2)}) == ["a", "b"]


@given(st.dictionaries(st.text(max_size=3), st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=12))
def test_the_front_is_what_its_definition_says(points: dict[str, tuple[float, float]]) -> None:
    def beaten(one: tuple[float, float]) -> bool:
        return any(other != one and other[0] >= one[0] and other[1] >= one[1] for other in points.values())

    assert set(pareto_front(points)) == {name for name, one in points.items() if not beaten(one)}


def test_the_stairs_go_down_as_coverage_grows() -> None:
    drawn = [Point("a", 0.4, 0.1, front=True), Point("b", 0.2, 0.5, front=True), Point("c", 0.1, 0.1)]
    assert staircase(drawn) == ([0.0, 0.1, 0.1, 0.5], [0.4, 0.4, 0.2, 0.2])


@pytest.mark.parametrize("number", [1, 2, 12, 40])
def test_names_in_the_figure_keep_their_distance(number: int) -> None:
    """Candidates that are alike to four digits would be written over one another."""
    alike = [Point(f"candidate {one:02d}", 0.3 + one * 1e-5, 0.2, 0.25, 0.35, front=one == 39) for one in range(number)]
    drawn = plots.accuracy_against_coverage(alike, "ndcg@10")
    places = re.findall(r'transform="translate\(([0-9.]+) ([0-9.]+)\)">candidate', drawn) or re.findall(
        r'x="([0-9.]+)" y="([0-9.]+)"[^>]*>candidate', drawn
    )
    heights = sorted(float(height) for _, height in places)
    assert len(heights) == number
    assert all(above - below > 14 for below, above in itertools.pairwise(heights))


def test_the_figure_stands_alone_as_a_file() -> None:
    drawn = standalone(plots.accuracy_against_coverage([Point("a", 0.2, 0.1, 0.1, 0.3, front=True)], "ndcg@10"))
    root = ElementTree.fromstring(drawn)  # noqa: S314 - our own
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(" not in drawn
    assert "#0072b2" in drawn


def test_no_value_is_the_best_where_all_are_alike_or_nothing() -> None:
    def summary(*values: float) -> Summary:
        candidates = {
            str(place): CandidateSummary(slices={"items=tail": {"ndcg@10": Interval(value=value, users=30)}})
            for place, value in enumerate(values)
        }
        return Summary(dataset="d", candidates=candidates)

    def best(*values: float) -> list[bool]:
        return [cell["best"] for cell in slice_groups(summary(*values))[1]["rows"][0]["cells"]]

    assert best(0.2, 0.3) == [False, True]
    assert best(0.0, 0.0) == [False, False]
    assert best(0.2, 0.2) == [False, False]


def test_slices_stand_in_their_natural_order() -> None:
    labels = ["activity=high", "user.city=Rome", "users=warm", "activity=low", "users=cold", "users=lukewarm"]
    one = CandidateSummary(slices={label: {"ndcg@10": Interval(value=0.1)} for label in labels})
    groups = slice_groups(Summary(dataset="d", candidates={"a": one}))
    shown = [(group["title"], [row["label"] for row in group["rows"]]) for group in groups[1:]]
    assert shown == [("users", ["cold", "lukewarm", "warm"]), ("activity", ["low", "high"]), ("city", ["Rome"])]
    assert [group["declared"] for group in groups] == [False, False, False, True]


def test_metrics_are_split_by_length_and_by_side_of_quality() -> None:
    names = ("ndcg@10", "coverage@10", "recall@10", "ndcg@20")
    one = CandidateSummary(metrics={name: Interval(value=0.1) for name in names})
    tables = metric_tables(Summary(dataset="d", candidates={"a": one, "b": one}))
    assert [table["metrics"] for table in tables] == [["ndcg@10", "recall@10"], ["coverage@10"], ["ndcg@20"]]
    assert [row["name"] for row in tables[0]["rows"]] == ["a", "b"]


def test_the_forest_keeps_proportions() -> None:
    made = {name: CandidateSummary(metrics={"ndcg@10": Interval(value=v, low=v - 0.1, high=v + 0.1, users=9)})
            for name, v in (("a", 0.2), ("b", 0.4))}  # fmt: skip
    drawn = forest(Summary(dataset="d", candidates=made))
    assert [row["name"] for row in drawn.rows] == ["b", "a"]
    best, other = drawn.rows
    assert best["point"] == pytest.approx(2 * other["point"], abs=0.1)
    assert best["left"] < best["point"] < best["left"] + best["width"] < 100
    assert drawn.ticks[0] == (0.0, "0")


@pytest.mark.parametrize("value", [None, 0.0])
def test_the_forest_stands_without_values(value: float | None) -> None:
    made = {"a": CandidateSummary(metrics={"ndcg@10": Interval(value=value)}), "b": CandidateSummary()}
    assert len(forest(Summary(dataset="d", candidates=made)).rows) == 2


def test_sample_users_are_spread_over_activity_and_never_twice() -> None:
    activity = pd.Series({f"{n:02d}": n for n in range(1, 41)})
    chosen = choose_users(activity, [*activity.index, "new"], 6)
    assert [kind for _, kind in chosen[:4]] == ["heavy", "typical", "light", "new"]
    assert len({user for user, _ in chosen}) == 6
    assert chosen == choose_users(activity.sample(frac=1, random_state=1), ["new", *activity.index], 6)


def test_fewer_users_than_asked_are_all_shown() -> None:
    assert choose_users(pd.Series({"a": 3}), ["a"], 5) == [("a", "heavy")]
    assert choose_users(pd.Series(dtype=int), [], 5) == []


def test_an_empty_seat_that_was_filled_is_said_so() -> None:
    text = "popularity takes the empty seat: no challenger passed every rule"
    decision = DecisionSummary(
        promoted=True,
        champion=ChampionSummary(name="popularity", version="1"),
        challenger="popularity",
        rules=[RuleSummary(rule="empty_seat", passed=True, text=text)],
    )
    assert (
        words.headline(Summary(dataset="d", candidates={"popularity": CandidateSummary()}, decision=decision))
        == f"{text}."
    )


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.424, "0.42 s"), (59.94, "59.9 s"), (252, "4 min 12 s"), (3780, "1 h 03 min"), (None, words.DASH)],
)
def test_durations_read_well(seconds: float | None, shown: str) -> None:
    assert words.duration(seconds) == shown


def test_the_terminal_summary_fits_80_columns_without_colour(tmp_path: Path) -> None:
    summary = build_summary(read_inputs(*make_run(tmp_path, models=False)))
    out = io.StringIO()
    print_summary(summary, Console(file=out, width=80, no_color=True))
    text = out.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    for shown in (
        "lightfm_hybrid (champion)",
        "popularity_recent (baseline)",
        "0.4086 0.4634",
        "was promoted",
        "6,061 rows = 6,000 kept + 19 quarantined + 42 filtered",
        "warn: hour",
        "reports/latest/index.html",
        "nobody beats lightfm_hybrid",
        "beyond chance for lightfm_hybrid: city",
        "failed personal_frequency: gone items",
        "lightfm_hybrid: content is off: the card declares no <text>",
        "rectory recommend USER",
        "rectory status",
        "prefect server start",
        "mlflow ui --backend-store-uri sqlite:///.rectory/mlflow.db",
    ):
        assert shown in text


def test_the_terminal_says_when_all_was_reused() -> None:
    out = io.StringIO()
    print_summary(Summary(dataset="[bold]d", reused=True), Console(file=out, width=80))
    assert "nothing was trained" in out.getvalue()
    assert "[bold]d" in out.getvalue()
