"""The page of a backtest from a summary that is made up."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rectory.evaluation.backtest import FALSE_ALARM, GAINED, MISSED, PREVENTED
from rectory.reporting.backtest_page import render_backtest, state
from rectory.reporting.backtest_summary import beside, headline, percent, shade
from rectory.reporting.backtest_terminal import print_backtest, summary_rows

DATES = {"2017-10-01": "2017-10-01T00:00:00+00:00", "2017-10-08": "2017-10-08T00:00:00+00:00"}
HOSTILE = "<script>alert(1)</script>"


def interval(value: float, width: float = 0.01) -> dict[str, Any]:
    return {"value": value, "low": value - width, "high": value + width, "users": 900}


def gain(value: float, width: float = 0.01) -> dict[str, Any]:
    return {"absolute": interval(value / 3, width / 3), "relative": interval(value, width)}


def turn(date: str, **changed: Any) -> dict[str, Any]:
    seat = {"candidate": HOSTILE, "date": "2017-10-01"}
    quiet = {"status": "ok", "moved": [], "calibrated": True}
    facts = {
        "date": date, "retrained": True, "promoted": False, "before": seat, "seat": seat, "model": "m",
        "challenger": seat,
        "verdict": None, "later": None, "drift": quiet, "alarm_verdict": None, "newest_later": None,
        "reasons": [{"rule": "gain", "passed": False, "text": f"{HOSTILE} gains nothing"}],
    }  # fmt: skip
    return {**facts, **changed}


def policy(value: float, gains: dict[str, Any], *, refit: bool = False, base: str = "gate") -> dict[str, Any]:
    first, second = DATES
    alarm = {"status": "drift", "moved": ["price"], "calibrated": True}
    turns = [
        turn(first, before=None, drift=None),
        turn(
            second, verdict=MISSED, later=gain(0.05), drift=alarm, alarm_verdict=FALSE_ALARM, newest_later=gain(-0.02)
        ),
    ]
    return {
        "meaning": "decides", "base": base, "refit": refit, "quality": interval(value), "gains": gains,
        "by_date": {date: interval(value) for date in DATES}, "gain_by_date": {date: gain(0.02) for date in DATES},
        "promotions": 3, "refusals": 2, "decisions": {GAINED: 2, PREVENTED: 1, MISSED: 1}, "alarms": {FALSE_ALARM: 1},
        "spent": {"fits": 6, "fit_seconds": 61.0, "refits": 0, "refit_seconds": 0.0, "seconds": 61.0}, "turns": turns,
    }  # fmt: skip


@pytest.fixture
def summary() -> dict[str, Any]:
    policies = {
        "never": policy(0.3, {"gate": gain(-0.05), "gate+refit": gain(-0.06)}, base="never"),
        "gate": policy(0.32, {"never": gain(0.05), "gate+refit": gain(0.0, 0.0)}),
        "gate+refit": policy(0.32, {"never": gain(0.06), "gate": gain(0.0, 0.0)}, refit=True),
    }
    facts = {
        "id": "shop-1", "dataset": HOSTILE, "every": "7d", "dates": DATES, "until": DATES, "candidates": ["popularity"],
        "metric": "ndcg@10", "users": dict.fromkeys(DATES, 450), "distinct_users": 500, "reference": "never",
        "policies": policies, "fit_seconds": {date: {"popularity": 2.5} for date in DATES},
    }  # fmt: skip
    return {**facts, "headline": headline(facts)}


def test_page_is_self_contained_and_escapes_what_is_not_ours(summary: dict[str, Any]) -> None:
    page = render_backtest(summary)
    assert HOSTILE not in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert page.count("<svg") == 1 + 2 + 1 + 2 + 1, "quality, gains, seats, decisions without refits, computing"
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert page == render_backtest(summary), "equal facts, equal bytes"


def test_page_names_what_was_decided_and_what_became_of_it(summary: dict[str, Any]) -> None:
    page = render_backtest(summary)
    for words in ("gain missed", "false alarm", "price", "The loop pays", "first champion", "gains nothing"):
        assert words in page, words


def test_headline_is_the_gate_beside_never(summary: dict[str, Any]) -> None:
    assert summary["headline"] == (
        "Over 2 dates policy gate reaches ndcg@10 0.3200, +5.0% [+4.0%, +6.0%] over never: better"
    )
    assert beside(gain(0.0, 0.0), "always") == "the same as always"
    assert beside(gain(0.001), "always") == "+0.1% [-0.9%, +1.1%] over always: no difference told"


def test_shades_follow_the_interval(summary: dict[str, Any]) -> None:
    assert [shade(one) for one in (gain(0.05), gain(-0.05), gain(0.001), None)] == ["better", "worse", "", ""]
    assert percent({"absolute": interval(0.1), "relative": None}) == "+0.1000 [+0.0900, +0.1100]"
    summary["policies"]["gate"]["gains"]["never"] = gain(-0.05)
    assert state(summary) == "refused"


def test_terminal_table_fits_eighty_columns(summary: dict[str, Any]) -> None:
    rows = summary_rows(summary)
    assert [row["policy"] for row in rows] == ["gate", "gate+refit", "never"], "best first"
    assert rows[0]["promoted"] == "3 (2, 0)"
    # As twelve weeks of groceries have it, and a year of them.
    for policy, seconds in zip(summary["policies"].values(), (2950.0, 5000.0, 360_000.0), strict=True):
        policy["spent"]["seconds"] = seconds
        policy["gains"] = {"never": gain(0.19)}
        policy["promotions"] = 11
    summary["policies"]["gate_strict+refit"] = summary["policies"]["gate+refit"]
    out = io.StringIO()
    print_backtest(summary, Console(file=out, width=80), Path("reports/backtest-shop-1"))
    text = out.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "reports/backtest-shop-1/index.html" in text
