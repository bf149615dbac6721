"""What was recommended, what then happened: lists of two models, kept at each scoring, against what users then took.

A source of evidence gives one value a user for each model, as a table that `weigh` takes. There are two: kept lists
(here, `batch`) and what followed the answers of the live service (`rectory.serving.live_metrics`, `live`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.arrays import Array, Float64Array
from rectory.files import read_parquet, write_parquet
from rectory.metrics.bootstrap import Interval, mean_interval
from rectory.metrics.hits import hit_matrix
from rectory.metrics.ranking import RANKING
from rectory.metrics.sequential import always_valid_mean

_SAMPLES = 2000
_SEED = 20
LISTS = ["user_id", "rank", "item_id"]


@dataclass(frozen=True)
class Evidence:
    """Champion minus previous, by user.

    users: of the model that fewer users met. difference: with its 95% bootstrap interval, for one look. always: with
    the interval that holds over all looks.
    """

    source: str
    metric: str
    users: int
    champion: float
    previous: float
    difference: Interval
    always: Interval

    def to_dict(self) -> dict[str, Any]:
        plain = {key: getattr(self, key) for key in ("source", "metric", "users", "champion", "previous")}
        return {**plain, "difference": self.difference.to_dict(), "always": self.always.to_dict()}

    def worse(self, max_loss: float, min_users: int) -> bool:
        """The champion does worse by more than `max_loss`, a share of the previous one's value, beyond doubt."""
        limit = -max_loss * self.previous
        return self.users >= min_users and self.difference.high < limit and self.always.high < limit


@dataclass(frozen=True)
class KeptLists:
    """Lists of one model at one scoring: who was offered what, as of when."""

    version: str
    as_of: pd.Timestamp
    path: Path


def sampled_users(users: Array, most: int) -> Array:
    """At most so many user ids, always the same ones whatever their order."""
    users = pd.unique(np.asarray(users, dtype=object))
    if len(users) <= most:
        return np.asarray(np.sort(users), dtype=object)
    marks = np.fromiter((zlib.crc32(str(user).encode()) for user in users), dtype=np.int64, count=len(users))
    return np.asarray(np.sort(users[np.argsort(marks, kind="stable")[:most]]), dtype=object)


def keep_lists(folder: Path, version: str, as_of: pd.Timestamp, lists: pd.DataFrame) -> Path:
    """Put lists (user_id, rank, item_id) where `kept_lists` finds them; equal version and moment replace each other."""
    path = folder / f"{as_of.tz_convert('UTC'):%Y%m%dT%H%M%S%f}-v{version}.parquet"
    write_parquet(lists[LISTS].reset_index(drop=True), path)
    return path


def kept_lists(folder: Path) -> list[KeptLists]:
    """All that are kept, oldest first."""
    found = []
    for path in sorted(folder.glob("*-v*.parquet")):
        moment, _, version = path.stem.partition("-v")
        found.append(KeptLists(version, pd.to_datetime(moment, format="%Y%m%dT%H%M%S%f").tz_localize("UTC"), path))
    return found


def forget_before(folder: Path, moment: pd.Timestamp) -> int:
    """Throw lists away that are older; how many went."""
    old = [one for one in kept_lists(folder) if one.as_of < moment]
    for one in old:
        one.path.unlink(missing_ok=True)
    return len(old)


def outcomes_of_lists(
    kept: list[KeptLists], champion: str, previous: str, taken: pd.DataFrame, *, metric: str, k: int
) -> pd.DataFrame:
    """One row for each user who was offered lists of both models and then took something: champion, previous.

    A list counts until the next one was made; a user's value is the mean over the periods in which it took something.

    Args:
        taken: user_id, item_id, timestamp of what counts as taken, of any time.
        metric: a name in RANKING, at `k`.
    """
    moments = sorted({one.as_of for one in kept if one.version == champion})
    by_place = {(one.version, one.as_of): one.path for one in kept}
    common = [moment for moment in moments if (previous, moment) in by_place]
    parts = []
    for start, end in zip(common, [*common, None][1:], strict=True):
        later = taken[taken["timestamp"] > start]
        if end is not None:
            later = later[later["timestamp"] <= end]
        lists = {version: read_parquet(by_place[version, start], LISTS) for version in (champion, previous)}
        parts.append(_period(lists[champion], lists[previous], later, metric, k))
    table = pd.concat(parts, ignore_index=True) if parts else _nobody()
    return table.groupby("user_id", as_index=False, sort=True)[["champion", "previous"]].mean()


def weigh(source: str, metric: str, table: pd.DataFrame, error_share: float, tuned_for: int) -> Evidence | None:
    """Evidence from a table of user_id, champion, previous; nan where a user met only one of them.

    None: of fewer than two users of a model nothing can be said.
    """
    champion, previous = (table[name].to_numpy(dtype=np.float64) for name in ("champion", "previous"))
    users = min(int((~np.isnan(values)).sum()) for values in (champion, previous))
    if users < 2:
        return None
    difference = _linear(champion) - _linear(previous)
    return Evidence(
        source=source,
        metric=metric,
        users=users,
        champion=float(np.nanmean(champion)),
        previous=float(np.nanmean(previous)),
        difference=mean_interval(difference, _SAMPLES, _SEED),
        always=always_valid_mean(difference, error_share, tuned_for),
    )


def _linear(values: Float64Array) -> Float64Array:
    """(n,) finite values with the mean of those that are there, and with the spread that this mean has over users.

    How many users met a model is chance as well: the mean is a ratio, and these are its values to first order (the
    delta method). Where all are there they are the values themselves.
    """
    there = ~np.isnan(values)
    if there.all():
        return values
    mean = float(values[there].mean())
    return np.where(there, mean + (values - mean) / there.mean(), mean)


def _period(champion: pd.DataFrame, previous: pd.DataFrame, taken: pd.DataFrame, metric: str, k: int) -> pd.DataFrame:
    both = np.intersect1d(champion["user_id"].unique(), previous["user_id"].unique())
    taken = taken[taken["user_id"].isin(both)].drop_duplicates(["user_id", "item_id"])
    users = np.sort(taken["user_id"].unique())
    if not len(users):
        return _nobody()
    items = pd.unique(
        np.concatenate([frame["item_id"].to_numpy(dtype=object) for frame in (champion, previous, taken)])
    )
    user_index, item_index = pd.Index(users), pd.Index(items)
    cells = user_index.get_indexer(pd.Index(taken["user_id"])), item_index.get_indexer(pd.Index(taken["item_id"]))
    relevant = csr_array((np.ones(len(taken), dtype=np.float32), cells), shape=(len(users), len(items)))
    counts = np.diff(relevant.indptr)

    def value(lists: pd.DataFrame) -> Float64Array:
        shown = lists[(lists["rank"] <= k) & lists["user_id"].isin(users)]
        places = np.full((len(users), k), -1, dtype=np.int64)
        rows = user_index.get_indexer(pd.Index(shown["user_id"]))
        places[rows, shown["rank"].to_numpy() - 1] = item_index.get_indexer(pd.Index(shown["item_id"]))
        return RANKING[metric](hit_matrix(places, relevant), counts)

    return pd.DataFrame({"user_id": users, "champion": value(champion), "previous": value(previous)})


def _nobody() -> pd.DataFrame:
    empty = pd.Series(dtype=np.float64)
    return pd.DataFrame({"user_id": pd.Series(dtype=object), "champion": empty, "previous": empty})
