"""A few users' lists with titles and reasons, beside what they really took in the test window."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rectory.data.card import Card
from rectory.errors import UsageError
from rectory.features.build import event_weights, is_target
from rectory.files import read_parquet
from rectory.models.bundle import Bundle

LAST_ITEMS = 5
MOST_REASONS = 3

# Where in the order of activity a user is looked for: first the ends and the middle, then between them.
_PLACES = (("heavy", 0.95), ("typical", 0.5), ("light", 0.05))


@dataclass(frozen=True)
class ListedItem:
    """One recommended item.

    hit: the user took it in the test window.
    before: how often the user had it before the test window.
    reasons: (text, contribution to the score), largest first, at most three.
    """

    rank: int
    item_id: str
    title: str
    score: float
    hit: bool
    before: int
    reasons: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TakenItem:
    """One item that the user really took in the test window.

    rank: place in the recommended list; None: not recommended.
    known: the model knows the item; one that first appeared in the test window cannot be recommended.
    """

    item_id: str
    title: str
    rank: int | None
    known: bool


@dataclass(frozen=True)
class SampleUser:
    """One user. kind: heavy, typical, light, new (no history), or regular."""

    user_id: str
    kind: str
    history_rows: int
    last_items: tuple[str, ...]
    listed: tuple[ListedItem, ...]
    taken: tuple[TakenItem, ...]

    @property
    def hits(self) -> int:
        return sum(item.hit for item in self.listed)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def sample_users(bundle: Bundle, split: Path, card: Card, number: int, k: int) -> list[SampleUser]:
    """Choose users of the test window and rank for them. Equal inputs, equal choice.

    Args:
        bundle: the champion's; it knows nothing of the test window.
        split: folder with train.parquet, valid.parquet and test.parquet.
        card: says which events count as taken.
        number: users to show; fewer when there are fewer.
        k: length of the lists.
    """
    test = read_parquet(split / "test.parquet", ["user_id", "item_id", "event", "value"])
    # The same rule as in evaluation: a target event that weighs something.
    taken = test[is_target(test, card) & (event_weights(test, card) > 0)]
    columns = ["user_id", "item_id", "timestamp"]
    history = pd.concat([read_parquet(split / f"{name}.parquet", columns) for name in ("train", "valid")])
    chosen = choose_users(history["user_id"].astype(str).value_counts(), taken["user_id"].unique(), number)
    if not chosen:
        return []
    users = [user for user, _ in chosen]
    lists = bundle.recommend(users, k)
    history = history[history["user_id"].isin(users)]
    return [
        _sample(
            bundle,
            user,
            kind=kind,
            history=history[history["user_id"] == user],
            listed=lists[lists["user_id"] == user],
            taken=taken[taken["user_id"] == user],
        )
        for user, kind in chosen
    ]


def choose_users(activity: pd.Series[int], candidates: Any, number: int) -> list[tuple[str, str]]:
    """(user, kind): a heavy, a typical and a light one, a new one, then others evenly between them.

    Args:
        activity: rows before the test window, by user.
        candidates: users of the test window.
        number: how many.
    """
    rows = activity.reindex(sorted(str(user) for user in candidates)).fillna(0).astype(int)
    # Sorted by id first and stably by activity then: ties always fall alike.
    ordered = rows[rows > 0].sort_values(kind="stable")
    new = rows[rows == 0]
    wanted = [(kind, place, ordered) for kind, place in _PLACES]
    wanted.append(("new", 0.0, new))
    wanted += [("regular", (turn * 0.618) % 1.0, ordered) for turn in range(1, number + 1)]
    chosen: dict[str, str] = {}
    for kind, place, pool in wanted:
        if len(chosen) == number:
            break
        if len(pool):
            user = str(pool.index[round(place * (len(pool) - 1))])
            chosen.setdefault(user, kind)
    return list(chosen.items())


def _sample(
    bundle: Bundle, user: str, *, kind: str, history: pd.DataFrame, listed: pd.DataFrame, taken: pd.DataFrame
) -> SampleUser:
    before = history["item_id"].astype(str).value_counts()
    took = [str(item) for item in taken["item_id"].drop_duplicates()]
    if not bundle.repeats:
        # Items that may not be recommended again are no hits either; they would read as misses.
        took = [item for item in took if item not in before.index]
    rank_of = dict(zip(listed["item_id"].astype(str), listed["rank"].astype(int), strict=True))
    known = bundle.items.encode(took) >= 0
    last = history.sort_values("timestamp", kind="stable")["item_id"].astype(str).drop_duplicates(keep="last")
    rows = (
        ListedItem(
            rank=int(rank),
            item_id=str(item),
            title=bundle.title(str(item)),
            score=float(score),
            hit=item in took,
            before=int(before.get(item, 0)),
            reasons=_reasons(bundle, user, str(item)),
        )
        for rank, item, score in listed[["rank", "item_id", "score"]].itertuples(index=False)
    )
    return SampleUser(
        user_id=user,
        kind=kind,
        history_rows=len(history),
        last_items=tuple(bundle.title(item) for item in reversed(last.tail(LAST_ITEMS).tolist())),
        listed=tuple(rows),
        taken=tuple(
            TakenItem(item, bundle.title(item), rank_of.get(item), bool(is_known))
            for item, is_known in sorted(zip(took, known, strict=True), key=lambda pair: rank_of.get(pair[0], 10**9))
        ),
    )


def _reasons(bundle: Bundle, user: str, item: str) -> tuple[tuple[str, float], ...]:
    try:
        reasons = bundle.why(user, item)
    except UsageError:
        # An item of the list that the bundle cannot explain is no reason to lose the page.
        return ()
    return tuple((reason.text, float(reason.contribution)) for reason in reasons[:MOST_REASONS])
