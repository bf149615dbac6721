"""What a date of a backtest measures once for all policies, and what it must not share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rectory.params.sections import GateParams
from rectory.registry.days import BacktestDay
from rectory.registry.gate import Try
from rectory.registry.judging import NotComparable

RULES = GateParams()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was measured: seat, metric and challengers, as the rules choose them."""
    measured: list[Any] = []

    def judging(_day: BacktestDay, seat: Any, rules: GateParams) -> Any:
        tries = [Try("blend"), Try("hybrid", 0.975)][: rules.challengers]
        tries += [] if rules.max_refresh_loss is None else [Try("own")]

        def cases() -> list[Any]:
            measured.append((seat and seat.lineage_key, rules.metric, tuple(tries)))
            if seat is not None and seat.lineage_key == "knows it all":
                raise NotComparable
            return [measured[-1]]

        return SimpleNamespace(challengers=tries, cases=cases)

    monkeypatch.setattr(BacktestDay, "_judging", judging)
    return measured


def day() -> BacktestDay:
    class Places:
        def date(self, name: str) -> str:
            return name

    def drift(until: str) -> dict[str, Any]:
        return {"status": until}

    return BacktestDay(None, None, Places(), date="d1", moment="m1", drift_since=drift)  # type: ignore[arg-type]


def seat(key: str) -> Any:
    return SimpleNamespace(lineage_key=key)


def test_rules_that_only_judge_otherwise_share_what_was_measured(asked: list[Any]) -> None:
    one = day()
    first = one.cases(seat("a"), RULES)
    assert one.cases(seat("a"), RULES.model_copy(update={"min_gain": 0.5, "max_slice_loss": None})) is first
    assert len(asked) == 1


@pytest.mark.parametrize("change", [{"max_refresh_loss": None}, {"challengers": 1}, {"metric": "recall@10"}])
def test_other_challengers_and_another_metric_are_measured_anew(asked: list[Any], change: dict[str, Any]) -> None:
    one = day()
    first, other = one.cases(seat("a"), RULES), one.cases(seat("a"), RULES.model_copy(update=change))
    assert len(asked) == 2
    assert first != other


def test_each_seat_is_measured_for_itself_and_one_that_cannot_be_compared_with_once(asked: list[Any]) -> None:
    one = day()
    assert one.cases(seat("a"), RULES) != one.cases(seat("b"), RULES) != one.cases(None, RULES)
    assert one.cases(seat("knows it all"), RULES) == one.cases(seat("knows it all"), RULES) == []
    assert len(asked) == 4
