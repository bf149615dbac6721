"""The accounts of a backtest: what each policy was worth, judged by what then happened. Pure: numbers in, numbers out.

A frame of served lists has a row for each (policy, date, user) of the users who took something in the window that
followed the date. Every policy is asked about the same users on the same dates, so policies are compared in pairs, user
by user and date by date; intervals draw whole users with all of their dates.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from rectory.errors import DataError, UsageError
from rectory.evaluation.gaps import SEED
from rectory.metrics.bootstrap import Gain, Interval, mean_interval, paired_gain
from rectory.metrics.clustered import clustered_gain, clustered_mean

# What a decision or an alarm turned out to be.
PREVENTED = "regression prevented"
CAUSED = "regression caused"
GAINED = "gain taken"
MISSED = "gain missed"
LEVEL = "no difference seen"
TRUE_ALARM = "alarm, and the champion lost"
FALSE_ALARM = "false alarm"
SILENT = "silent, and nothing was lost"
UNHEARD = "silent, but the champion lost"


@dataclass(frozen=True)
class Step:
    """One date of a backtest; what happened in (since, until] is what its decisions are judged by."""

    date: str
    since: pd.Timestamp
    until: pd.Timestamp


def steps_between(start: datetime, end: datetime, every: str) -> list[Step]:
    """Dates from `start` on, `every` apart, whose windows end by `end`; a rest shorter than a window is left out.

    Args:
        start, end: without a zone: UTC. every: a length of time as pandas writes it: 7d, 12h.
    Raises:
        UsageError: not one whole window fits, or `every` is no length of time.
    """
    try:
        length = pd.Timedelta(every)
    except ValueError:
        raise UsageError(f"--every {every!r} is no length of time: write 7d, 1d or 12h.") from None
    first, last = (_utc(moment) for moment in (start, end))
    if not length >= pd.Timedelta(minutes=1):
        raise UsageError(f"--every {every!r} is too short: a window needs at least a minute.")
    if first + length > last:
        raise UsageError(
            f"from {first.isoformat()} to {last.isoformat()} there is no window of {every}: choose a later --to, an "
            "earlier --from or a shorter --every."
        )
    count = int((last - first) / length)
    moments = [first + number * length for number in range(count + 1)]
    return [Step(_label(since), since, until) for since, until in itertools.pairwise(moments)]


def _utc(moment: datetime) -> pd.Timestamp:
    stamp = pd.Timestamp(moment)
    return stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")


def _label(moment: pd.Timestamp) -> str:
    """2017-10-01, with the time where it is not midnight; sorts by time and can be a file name."""
    return f"{moment:%Y-%m-%d}" if moment == moment.normalize() else f"{moment:%Y-%m-%dT%H-%M-%S}"


@dataclass(frozen=True)
class Quality:
    """dates: date -> mean over the users of the window that followed. pooled: over all users of all dates."""

    dates: dict[str, Interval]
    pooled: Interval


@dataclass(frozen=True)
class Spent:
    """What a policy paid for: number of fits and the seconds of computing that they took."""

    fits: int
    fit_seconds: float
    refits: int
    refit_seconds: float

    @property
    def seconds(self) -> float:
        return self.fit_seconds + self.refit_seconds


def quality(served: pd.DataFrame, policy: str, metric: str, samples: int) -> Quality:
    """Of one policy.

    Args:
        served: columns policy, date, user_id and the metric.
    Raises:
        DataError: nobody took anything on any date.
    """
    own = served[served["policy"] == policy]
    if own.empty:
        raise DataError("nobody took anything that counts in any window of the backtest: choose other dates.")
    dates = {
        str(date): mean_interval(rows[metric].to_numpy(), samples, SEED)
        for date, rows in own.groupby("date", sort=True)
    }
    users = pd.factorize(own["user_id"], sort=True)[0]
    return Quality(dates, clustered_mean(own[metric].to_numpy(), users, samples, SEED))


def policy_gain(served: pd.DataFrame, policy: str, other: str, metric: str, samples: int) -> Gain:
    """Gain of one policy over another on the same users and dates."""
    of_policy, of_other = (
        served[served["policy"] == name].sort_values(["date", "user_id"], kind="stable") for name in (policy, other)
    )
    same = all(np.array_equal(of_policy[name].to_numpy(), of_other[name].to_numpy()) for name in ("date", "user_id"))
    if not same:
        raise ValueError(f"{policy} and {other} were not asked about the same users")
    users = pd.factorize(of_policy["user_id"], sort=True)[0]
    return clustered_gain(of_policy[metric].to_numpy(), of_other[metric].to_numpy(), users, samples, SEED)


def over_time(served: pd.DataFrame, policy: str, other: str, metric: str) -> dict[str, float]:
    """Date -> relative gain of the mean, without interval; dates on which the other is at zero are left out."""
    means = served.groupby(["policy", "date"], sort=True)[metric].mean()
    own, base = means[policy], means[other]
    return {str(date): float(own[date] / base[date] - 1) for date in base.index if base[date] > 0}


def decision_verdict(promoted: bool, later: Gain) -> str:
    """What a decision turned out to be.

    Args:
        later: of the challenger over the champion that it met, in the window that followed.
    """
    gain = later.absolute
    if gain.low > 0:
        return GAINED if promoted else MISSED
    if gain.high < 0:
        return CAUSED if promoted else PREVENTED
    return LEVEL


def alarm_verdict(alarm: bool, later: Gain) -> str:
    """What a drift alarm, or its absence, turned out to be.

    Args:
        later: of the day's newest challenger over what was served until then, in the window that followed. The champion
            lost when a model that could have been had that day does better with confidence.
    """
    lost = later.absolute.low > 0
    if alarm:
        return TRUE_ALARM if lost else FALSE_ALARM
    return UNHEARD if lost else SILENT


def tally(verdicts: Iterable[str]) -> dict[str, int]:
    """How often each verdict was given."""
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[verdict] = counts.get(verdict, 0) + 1
    return counts


def spent(fits: dict[str, dict[str, float]], paid: Iterable[str], refits: Iterable[float]) -> Spent:
    """What a policy would have paid.

    Args:
        fits: date -> candidate -> seconds of its fit.
        paid: dates on which the policy trained; all candidates are then trained, since each may turn out best.
        refits: seconds of each refit that the policy served with.
    """
    seconds = [one for date in paid for one in fits[date].values()]
    again = list(refits)
    return Spent(len(seconds), float(sum(seconds)), len(again), float(sum(again)))


def interval_dict(one: Interval) -> dict[str, Any]:
    """JSON-able: an end that is not finite becomes null."""
    return {name: None if _is_nan(value) else value for name, value in one.to_dict().items()}


def gain_dict(gain: Gain) -> dict[str, Any]:
    """JSON-able."""
    relative = None if gain.relative is None else interval_dict(gain.relative)
    return {"absolute": interval_dict(gain.absolute), "relative": relative}


def _is_nan(value: float) -> bool:
    return value != value  # noqa: PLR0124


def paired(challenger: pd.DataFrame, champion: pd.DataFrame, metric: str, samples: int) -> Gain:
    """Gain on one date, of two frames of the same users in the same order."""
    return paired_gain(challenger[metric].to_numpy(), champion[metric].to_numpy(), samples, SEED)
