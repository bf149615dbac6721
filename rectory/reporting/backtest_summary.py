"""What a backtest found, as one JSON-able summary and one frame of user metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from rectory.errors import DataError
from rectory.evaluation import backtest as accounts
from rectory.files import read_json, read_parquet
from rectory.metrics.bootstrap import Gain
from rectory.params import Params
from rectory.registry.policies import Kept, Turn, policy_of
from rectory.registry.served import Served, as_trained
from rectory.reporting.words import DASH
from rectory.workspace import Backtest, Workspace

Facts = dict[str, Any]
SUBJECT = "gate"


@dataclass(frozen=True)
class Played:
    """A finished backtest, before anything is counted.

    plan: plan.json. turns, served: policy -> what it did, what it served with on each date.
    """

    params: Params
    backtest: Backtest
    plan: Facts
    turns: Mapping[str, Sequence[Turn]]
    served: Mapping[str, Mapping[str, Served]]

    @property
    def metric(self) -> str:
        return self.params.gate.metric

    @property
    def samples(self) -> int:
        return self.params.evaluate.bootstrap_samples


def read_played(
    params: Params, backtest: Backtest, plan: Workspace, served: Mapping[str, Mapping[str, Served]]
) -> Played:
    """The turns that the step replay wrote, beside what was served."""
    turns = {policy: [Turn.from_dict(turn) for turn in read_json(plan.turns(policy))] for policy in served}
    return Played(params, backtest, read_json(plan.plan), turns, served)


def user_metrics(played: Played) -> pd.DataFrame:
    """policy, date, until, model, candidate, user_id and each ranking metric: a row for each user of each window.

    Raises:
        DataError: nobody took anything in any window.
    """
    parts = []
    for policy, by_date in played.served.items():
        for date, model in by_date.items():
            frame = read_parquet(played.backtest.date(date).hindsight(model.name))
            if len(frame):
                about = {"policy": policy, "date": date, "until": played.plan["until"][date]}
                parts.append(frame.assign(**about, model=model.name, candidate=model.candidate))
    if not parts:
        raise DataError("nobody took anything that counts in any window of the backtest: choose other dates.")
    frame = pd.concat(parts, ignore_index=True)
    first = ["policy", "date", "until", "model", "candidate", "user_id"]
    return frame[[*first, *(name for name in frame.columns if name not in first)]]


def summarise(played: Played, users: pd.DataFrame, backtest_id: str) -> Facts:
    """Everything that the page and summary.json say."""
    policies = list(played.served)
    reference = "never" if "never" in policies else policies[0]
    later = _Later(played)
    found = {policy: _policy(played, users, policy, reference, later) for policy in policies}
    summary = {
        "id": backtest_id,
        **{name: played.plan[name] for name in ("dataset", "every", "dates", "until", "candidates")},
        "metric": played.metric,
        "users": {str(date): int(count) for date, count in users.groupby("date")["user_id"].nunique().items()},
        "distinct_users": int(users["user_id"].nunique()),
        "reference": reference,
        "policies": found,
        "fit_seconds": _fit_seconds(played),
    }
    return {**summary, "headline": headline(summary)}


class _Later:
    """Gains of one model over another in the window that followed a date."""

    def __init__(self, played: Played) -> None:
        self._played = played
        self._read = lru_cache(maxsize=32)(self._frame)

    def gain(self, date: str, model: Served, other: Served) -> Gain | None:
        """None: nobody took anything."""
        frames = [self._read(date, one.name) for one in (model, other)]
        if not len(frames[0]):
            return None
        return accounts.paired(frames[0], frames[1], self._played.metric, self._played.samples)

    def _frame(self, date: str, model: str) -> pd.DataFrame:
        return read_parquet(self._played.backtest.date(date).hindsight(model))


def _policy(played: Played, users: pd.DataFrame, policy: str, reference: str, later: _Later) -> Facts:
    metric, samples, asked = played.metric, played.samples, policy_of(policy)
    quality = accounts.quality(users, policy, metric, samples)
    turns = _turns(played, policy, later)
    decided = [turn["verdict"] for turn in turns if turn["verdict"]]
    alarms = [turn["alarm_verdict"] for turn in turns if turn["alarm_verdict"]]
    gains = {
        other: accounts.gain_dict(accounts.policy_gain(users, policy, other, metric, samples))
        for other in played.served
        if other != policy
    }
    spent = _spent(played, policy)
    return {
        "meaning": asked.meaning,
        "base": asked.base,
        "refit": asked.refit,
        "quality": accounts.interval_dict(quality.pooled),
        "by_date": {date: accounts.interval_dict(one) for date, one in quality.dates.items()},
        "gain_by_date": _by_date(users, policy, reference, played),
        "gains": gains,
        "promotions": sum(turn["promoted"] for turn in turns),
        "refusals": sum(turn["challenger"] is not None and not turn["promoted"] for turn in turns[1:]),
        "decisions": accounts.tally(decided),
        "alarms": accounts.tally(alarms),
        "spent": {**vars(spent), "seconds": spent.seconds},
        "turns": turns,
    }


def _by_date(users: pd.DataFrame, policy: str, reference: str, played: Played) -> dict[str, Any]:
    """Date -> gain over the reference on that date alone."""
    pair = users[users["policy"].isin([policy, reference])]
    return {
        str(date): accounts.gain_dict(accounts.policy_gain(rows, policy, reference, played.metric, played.samples))
        for date, rows in pair.groupby("date", sort=True)
    }


def _turns(played: Played, policy: str, later: _Later) -> list[Facts]:
    """What the policy did on each date and what became of it."""
    found: list[Facts] = []
    until_then: Served | None = None
    for turn in played.turns[policy]:
        now = played.served[policy][turn.date]
        decided = met = None
        if turn.before is not None and turn.challenger is not None and turn.challenger != turn.before:
            met = later.gain(turn.date, as_trained(turn.challenger), as_trained(turn.before))
            decided = None if met is None else accounts.decision_verdict(turn.promoted, met)
        lost = None if until_then is None else later.gain(turn.date, as_trained(turn.newest), until_then)
        found.append(
            {
                "date": turn.date,
                "retrained": turn.retrained,
                "promoted": turn.promoted,
                "before": _name(turn.before),
                "seat": _name(turn.seat),
                "model": now.name,
                "challenger": _name(turn.challenger),
                "verdict": decided,
                "later": None if met is None else accounts.gain_dict(met),
                "drift": turn.drift,
                "alarm_verdict": None if lost is None else accounts.alarm_verdict(turn.alarm, lost),
                "newest_later": None if lost is None else accounts.gain_dict(lost),
                "reasons": list(turn.reasons),
            }
        )
        until_then = now
    return found


def _name(kept: Kept | None) -> Facts | None:
    return None if kept is None else {"candidate": kept.candidate, "date": kept.version}


def _fit_seconds(played: Played) -> dict[str, dict[str, float]]:
    """Date -> candidate -> seconds of computing that its fit took."""
    return {
        date: {name: _seconds(played.backtest, Served(date, name)) for name in played.plan["candidates"]}
        for date in played.plan["dates"]
    }


def _spent(played: Played, policy: str) -> accounts.Spent:
    paid = [turn.date for turn in played.turns[policy] if turn.retrained]
    refits = [model for model in played.served[policy].values() if model.recipe is not None]
    return accounts.spent(_fit_seconds(played), paid, [_seconds(played.backtest, model) for model in refits])


def _seconds(backtest: Backtest, model: Served) -> float:
    """Of computing, not of the clock: other work beside it does not count."""
    return float(read_json(backtest.date(model.date).timing(model.piece))["cpu_seconds"])


def headline(summary: Facts) -> str:
    """What the gate (or the first policy) was worth beside the reference, in a sentence."""
    name, policies = subject(summary), summary["policies"]
    value, count = policies[name]["quality"]["value"], len(summary["dates"])
    text = f"Over {count} dates policy {name} reaches {summary['metric']} {value:.4f}"
    gain = policies[name]["gains"].get(summary["reference"])
    return f"{text}, {beside(gain, summary['reference'])}" if gain else text


def subject(summary: Facts) -> str:
    """The policy that the backtest is about: the gate, or the first."""
    return SUBJECT if SUBJECT in summary["policies"] else str(next(iter(summary["policies"])))


def lead(summary: Facts) -> list[str]:
    """The subject beside each other policy, a sentence each."""
    name = subject(summary)
    gains = summary["policies"][name]["gains"]
    return [f"{name}: {beside(gain, other)}" for other, gain in gains.items() if other != summary["reference"]]


def beside(gain: Facts, other: str) -> str:
    """`+1.2% [+0.3%, +2.0%] over never: better`, or that no difference can be told."""
    one = gain["relative"] or gain["absolute"]
    if one["low"] == one["value"] == one["high"] == 0:
        return f"the same as {other}"
    return f"{percent(gain)} over {other}: {shade(gain) or 'no difference told'}"


def shade(gain: Facts | None) -> str:
    """better, worse or nothing: where the interval lies."""
    one = None if gain is None else gain["relative"] or gain["absolute"]
    if one is None or one["low"] is None or one["high"] is None:
        return ""
    return "better" if one["low"] > 0 else "worse" if one["high"] < 0 else ""


def percent(gain: Facts | None) -> str:
    """`+1.2% [+0.3%, +2.0%]`; the absolute gain where there is no relative one."""
    if gain is None:
        return DASH
    if gain["relative"] is None:
        one = gain["absolute"]
        return f"{one['value']:+.4f} [{one['low']:+.4f}, {one['high']:+.4f}]"
    one = gain["relative"]
    return f"{one['value']:+.1%} [{one['low']:+.1%}, {one['high']:+.1%}]"
