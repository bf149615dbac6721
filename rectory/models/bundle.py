"""A fitted candidate with all that is needed to answer by id: what is registered, evaluated and served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.arrays import BoolArray, Int32Array
from rectory.data.ids import UNKNOWN, IdMap
from rectory.errors import UsageError
from rectory.features.training_set import TrainingSet
from rectory.files import read_json, read_parquet, read_sparse, replacing, write_json, write_parquet, write_sparse
from rectory.models.catalogue import model_class
from rectory.models.protocol import NO_ITEM, Reason, Recommender, SupportsExplain, TopK
from rectory.models.topk import empty_lists


def read_titles(tables: Path) -> dict[str, str] | None:
    """Item id -> title from the validated item table; None: there is no table or it has no titles."""
    path = tables / "items.parquet"
    if not path.exists():
        return None
    table = read_parquet(path)
    if "title" not in table.columns:
        return None
    table = table[table["title"].notna()]
    return dict(zip(table["item_id"], table["title"].astype(str), strict=True))


@dataclass(frozen=True)
class Bundle:
    """One candidate's model, id maps and history.

    candidate, kind: its name and its kind in params.yaml.
    seen: (n_users, n_items) float32, number of interactions before the test window.
    repeats: an already-consumed item may be recommended again.
    titles: item id -> title, for the items that have one; None: the card names no title.
    dataset: name of the card.
    trained_until: ISO moment at which the test window starts; nothing from there on was read.
    available: (n_items,) bool: may be shown; None: the card does not say, so all may.
    """

    candidate: str
    kind: str
    model: Recommender
    users: IdMap
    items: IdMap
    seen: csr_array
    repeats: bool
    titles: dict[str, str] | None
    dataset: str
    trained_until: str
    available: BoolArray | None = None

    @classmethod
    def of(
        cls,
        candidate: str,
        kind: str,
        model: Recommender,
        train: TrainingSet,
        *,
        titles: dict[str, str] | None,
        dataset: str,
    ) -> Bundle:
        """Bundle of a model that was fitted on `train`."""
        return cls(
            candidate=candidate,
            kind=kind,
            model=model,
            users=train.users,
            items=train.items,
            seen=train.counts(),
            repeats=train.repeats,
            titles=titles,
            dataset=dataset,
            trained_until=pd.Timestamp(round(train.end * 1e9), unit="ns", tz="UTC").isoformat(),
            available=train.available,
        )

    def save(self, folder: Path) -> None:
        """Atomically write bundle.json, users.parquet, items.parquet, seen.npz, model/: equal bundles, equal bytes."""
        with replacing(folder) as scratch:
            (scratch / "model").mkdir(parents=True)
            self.users.save(scratch / "users.parquet", "user_id")
            titles = self.titles or {}
            ids = self.items.ids
            table = pd.DataFrame({"item_id": ids, "title": pd.Series([titles.get(i) for i in ids], dtype="string")})
            if self.available is not None:
                table["available"] = self.available
            write_parquet(table, scratch / "items.parquet")
            write_sparse(scratch / "seen.npz", self.seen)
            write_json(
                scratch / "bundle.json",
                {
                    "candidate": self.candidate,
                    "kind": self.kind,
                    "repeats": self.repeats,
                    "titles": self.titles is not None,
                    "dataset": self.dataset,
                    "trained_until": self.trained_until,
                    "users": len(self.users),
                    "items": len(self.items),
                },
            )
            self.model.save(scratch / "model")

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read what `save` wrote; only this kind's module is imported.

        Raises:
            DataError: a file is missing or damaged.
            UsageError: the kind is not known to this version of Rectory.
        """
        facts = read_json(folder / "bundle.json")
        table = read_parquet(folder / "items.parquet")
        titled = table[table["title"].notna()]
        return cls(
            candidate=facts["candidate"],
            kind=facts["kind"],
            model=model_class(facts["kind"]).load(folder / "model"),
            users=IdMap.load(folder / "users.parquet", "user_id"),
            items=IdMap(table["item_id"]),
            seen=read_sparse(folder / "seen.npz"),
            repeats=facts["repeats"],
            titles=dict(zip(titled["item_id"], titled["title"], strict=True)) if facts["titles"] else None,
            dataset=facts["dataset"],
            trained_until=facts["trained_until"],
            available=table["available"].to_numpy(dtype=bool) if "available" in table.columns else None,
        )

    def recommend_codes(
        self, users: Int32Array, k: int, *, exclude_seen: bool | None = None, items: Int32Array | None = None
    ) -> TopK:
        """Ranked item codes for user codes.

        Args:
            users: (n,) codes; -1 is a user of whom nothing is known.
            k: length of the lists, >= 1.
            exclude_seen: leave out what the user already had; None: unless the card lets items repeat.
            items: distinct codes that may be recommended; None: all.
        """
        if k < 1:
            raise UsageError(f"k is {k}: ask for at least one item.")
        users = np.asarray(users, dtype=np.int32)
        exclude = self._seen_by(users) if (not self.repeats if exclude_seen is None else exclude_seen) else None
        if self.available is not None:
            items = np.flatnonzero(self.available).astype(np.int32) if items is None else items[self.available[items]]
        return self.model.recommend(users, k, exclude=exclude, items=items)

    def similar_codes(self, items: Int32Array, k: int) -> TopK:
        """Codes of the items most like each of `items` (n,) that may be shown."""
        if self.available is None:
            return self.model.similar(items, k)
        # A model's likeness knows no catalogue: look further until the lists are full or there is nothing more.
        n_items, asked = len(self.items), k
        while True:
            asked = min(2 * asked, n_items)
            top = self.model.similar(items, asked)
            shown = (top.items != NO_ITEM) & self.available[top.items]
            if asked == n_items or (shown.sum(axis=1) >= k).all():
                break
        rows, places = np.nonzero(shown & (np.cumsum(shown, axis=1) <= k))
        result = empty_lists(len(items), k)
        rank = np.cumsum(shown, axis=1)[rows, places] - 1
        result.items[rows, rank], result.scores[rows, rank] = top.items[rows, places], top.scores[rows, places]
        return result

    def recommend(
        self,
        user_ids: Sequence[str],
        k: int = 10,
        *,
        exclude_seen: bool | None = None,
        items: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Lists by id: columns user_id, rank (from 1), item_id, score. Unknown users are answered, not refused.

        `items` restricts the lists; ids among them that the model does not know are passed over.
        """
        codes = None
        if items is not None:
            codes = np.unique(self.items.encode(items))
            codes = codes[codes != UNKNOWN]
        top = self.recommend_codes(self.users.encode(user_ids), k, exclude_seen=exclude_seen, items=codes)
        return self._frame("user_id", user_ids, "item_id", top)

    def similar(self, item_ids: Sequence[str], k: int = 10) -> pd.DataFrame:
        """Items most like each given one: columns item_id, rank (from 1), similar_item_id, score.

        Raises:
            UsageError: an item is unknown.
        """
        if k < 1:
            raise UsageError(f"k is {k}: ask for at least one item.")
        codes = np.asarray([self._item_code(item) for item in item_ids], dtype=np.int32)
        return self._frame("item_id", item_ids, "similar_item_id", self.similar_codes(codes, k))

    def why(self, user_id: str, item_id: str) -> list[Reason]:
        """Reasons, largest first, that add up to the item's score for this user (who may be unknown).

        Raises:
            UsageError: the item is unknown.
        """
        item = self._item_code(item_id)
        user = int(self.users.encode([user_id])[0])
        if isinstance(self.model, SupportsExplain):
            return [self._named(reason) for reason in self.model.explain(user, item)]
        top = self.model.recommend(np.array([user], dtype=np.int32), 1, items=np.array([item], dtype=np.int32))
        return [Reason(f"{self.kind} gives a score without parts", float(top.scores[0, 0]))]

    def title(self, item_id: str) -> str:
        """The item's title, or its id."""
        return (self.titles or {}).get(item_id, item_id)

    def _named(self, reason: Reason) -> Reason:
        """The reason with the title in place of `{item}`."""
        if reason.item == NO_ITEM:
            return reason
        return Reason(reason.text.replace("{item}", self.title(self.items.ids[reason.item])), reason.contribution)

    def _item_code(self, item_id: str) -> int:
        code = int(self.items.encode([item_id])[0])
        if code == UNKNOWN:
            raise UsageError(
                f"item {item_id!r} is not among the {len(self.items)} items that {self.candidate} knows (trained until "
                f"{self.trained_until}). Ids are exact: leading zeros, capitals and spaces count."
            )
        return code

    def _seen_by(self, users: Int32Array) -> csr_array:
        """(n, n_items): the history of each user, empty for -1."""
        if len(users) == 0 or self.seen.shape[0] == 0:
            return csr_array((len(users), len(self.items)), dtype=np.float32)
        rows = self.seen[np.maximum(users, 0)]
        if (users >= 0).all():
            return rows
        lengths = np.where(users >= 0, np.diff(rows.indptr), 0)
        known = np.repeat(users >= 0, np.diff(rows.indptr))
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        return csr_array((rows.data[known], rows.indices[known], indptr), shape=rows.shape)

    def _frame(self, key: str, keys: Sequence[str], value: str, top: TopK) -> pd.DataFrame:
        rows, places = np.nonzero(top.items != NO_ITEM)
        return pd.DataFrame(
            {
                key: np.asarray(list(keys), dtype=object)[rows],
                "rank": (places + 1).astype(np.int32),
                value: self.items.decode(top.items[rows, places]),
                "score": top.scores[rows, places],
            }
        )
