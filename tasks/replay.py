"""Step replay: every policy of a backtest walks through the dates and decides on each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from rectory.data.card import load_card
from rectory.files import read_json, write_json
from rectory.monitoring.check import Watched
from rectory.params import Params
from rectory.registry.days import BacktestDay
from rectory.registry.policies import policy_of, replay
from rectory.workspace import Backtest, Workspace
from tasks import main


@dataclass(frozen=True)
class Replayed:
    """promotions: after the first champion."""

    policies: tuple[str, ...]
    dates: int
    promotions: int
    alarms: int


def run(params: Params, workspace: Workspace) -> Replayed:
    """Write policies/<policy>.json for each policy of the plan. What several of them ask of a date is measured once."""
    backtest, card = Backtest.of(workspace), load_card(workspace.card(params.dataset))
    plan = read_json(workspace.plan)

    @lru_cache(maxsize=1)  # Logs are large, and policies go through the dates in order.
    def watched(date: str) -> Watched:
        return Watched(params, backtest.date(date))

    def drift(date: str, until: str) -> dict[str, Any]:
        return watched(date).since(until)

    days = [
        BacktestDay(params, card, backtest, date=date, moment=moment, drift_since=partial(drift, date))
        for date, moment in plan["dates"].items()
    ]
    policies = [policy_of(name) for name in plan["policies"]]
    promotions = alarms = 0
    for policy in policies:
        turns = replay(policy, days, params.gate)
        write_json(workspace.turns(policy.name), [turn.to_dict() for turn in turns])
        promotions += sum(turn.promoted for turn in turns)
        alarms += sum(turn.alarm for turn in turns)
    return Replayed(tuple(policy.name for policy in policies), len(days), promotions, alarms)


if __name__ == "__main__":
    main("replay", run)
