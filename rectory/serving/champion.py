"""The champion's lists, asked once a user and kept until they run out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from rectory.arrays import Float32Array, Int32Array
from rectory.models.bundle import Bundle
from rectory.models.live_history import LiveHistory, SupportsHistory
from rectory.models.nearest import SupportsNearest, top_by_product
from rectory.models.protocol import NO_ITEM
from rectory.serving.histories import Taken

DEPTH = 200
"""Items of the champion's list that a live answer is made of."""
_NOW_SECONDS = 600.0
"""How long a list for a history stands while nothing new is taken."""
_KEPT_USERS = 200_000
"""Lists kept: 1.6 kB each."""


@dataclass(frozen=True)
class Ranked:
    """items: (m,) codes, best first. heights: (m,) score within the list, 1 for the first and 0 for the last."""

    items: Int32Array
    heights: Float32Array

    @classmethod
    def of(cls, items: Int32Array, scores: Float32Array) -> Ranked:
        kept = items != NO_ITEM
        items, scores = items[kept], scores[kept]
        spread = float(scores[0] - scores[-1]) if len(scores) else 0.0
        heights = (scores - scores[-1]) / spread if spread > 0 else np.ones(len(scores))
        return cls(items, np.asarray(heights, dtype=np.float32))


class Champion:
    """Lists of a fitted bundle for its own users; code -1 and codes beyond it are users of whom it knows nothing."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.n_users, self.n_items = len(bundle.users), len(bundle.items)
        self._reader = bundle.model if isinstance(bundle.model, SupportsHistory) else None
        # Among very many items a search answers one user at once; a whole product is for many users.
        model: object = bundle.model
        self._searched = model if isinstance(model, SupportsNearest) and model.nearest is not None else None
        self._lists: OrderedDict[int, tuple[Ranked, int]] = OrderedDict()
        self.trained_until = float(pd.Timestamp(bundle.trained_until).value / 1e9)
        self._now: OrderedDict[int, tuple[Ranked, int, float]] = OrderedDict()
        self._available = None if bundle.available is None else np.flatnonzero(bundle.available).astype(np.int32)

    def ranked(self, user: int, seen: Taken | None) -> Ranked:
        """The champion's list for a user, without what it has had where repeats are excluded.

        Args:
            seen: what may not be in the list; None: anything may. A kept list serves until a quarter of its places may
                have been taken since.
        """
        known = user if 0 <= user < self.n_users else NO_ITEM
        if seen is None or (known == NO_ITEM and len(seen) == 0):
            return self._kept(known, None, 0)
        if known == NO_ITEM:
            # Everybody of whom nothing is known shares one list; it is long enough for what one visitor takes.
            shared = self._kept(known, None, 0)
            return shared if len(seen) <= DEPTH // 4 else self._asked(known, seen)
        return self._kept(known, seen, len(seen))

    def now(self, user: int, taken: Taken, now: float, *, session: bool) -> Ranked | None:
        """The list for a history with what has been taken since the training; None: nothing was, or it cannot.

        Args:
            session: the history holds what the caller sent along: the list is not kept.
        """
        if not len(taken) or taken.time[-1] < self.trained_until or self._reader is None:
            return None
        kept = None if session else self._now.get(user)
        if kept is not None and kept[1] == len(taken) and abs(now - kept[2]) < _NOW_SECONDS:
            return kept[0]
        inside = taken.items < self.n_items
        items, time, weight = taken.items[inside], taken.time[inside], taken.weight[inside]
        known = user if 0 <= user < self.n_users else NO_ITEM
        history = LiveHistory(known, items, time, weight, now, self.trained_until)
        exclude = None if self.bundle.repeats else np.unique(items)
        top = self._reader.recommend_for_history(history, DEPTH, exclude=exclude, items=self._available)
        ranked = Ranked.of(top.items[0], top.scores[0])
        if not session:
            self._now[user] = (ranked, len(taken), now)
            if len(self._now) > _KEPT_USERS:
                self._now.popitem(last=False)
        return ranked

    def of_batch(self, user: int) -> Ranked:
        """The list with what the training knew of the user, as batch scoring makes it: exact. It is not kept."""
        known = user if 0 <= user < self.n_users else NO_ITEM
        if self.bundle.repeats or known == NO_ITEM:
            return self._exact(known, None)
        seen = self.bundle.seen
        return self._exact(known, np.unique(seen.indices[seen.indptr[user] : seen.indptr[user + 1]]).astype(np.int32))

    def rehearse(self, now: float) -> None:
        """Answer a stranger who has just taken something: what a first answer has to work out is worked out then."""
        if self.n_items:
            moment = np.array([max(now, self.trained_until)])
            taken = Taken(np.zeros(1, dtype=np.int32), moment, np.ones(1, dtype=np.float32))
            self.now(NO_ITEM, taken, float(moment[0]), session=True)

    def warm(self, users: Int32Array, seen: list[Taken]) -> None:
        """Ask for the lists of some of the champion's own users at once: a tenth of what one at a time costs.

        Args:
            seen: of each user, what may not be in the list where repeats are excluded.
        """
        if not len(users):
            return
        exclude = None
        if not self.bundle.repeats:
            items = [np.unique(taken.items[taken.items < self.n_items]) for taken in seen]
            ends = np.cumsum([0, *map(len, items)])
            ones = np.ones(int(ends[-1]), dtype=np.float32)
            exclude = csr_array((ones, np.concatenate(items), ends), shape=(len(users), self.n_items))
        top = self.bundle.model.recommend(users, DEPTH, exclude=exclude, items=self._available)
        for user, codes, scores, taken in zip(users.tolist(), top.items, top.scores, seen, strict=True):
            self._keep(user, Ranked.of(codes, scores), 0 if exclude is None else len(taken))

    def _kept(self, user: int, seen: Taken | None, had: int) -> Ranked:
        found = self._lists.get(user)
        if found is not None and had - found[1] <= DEPTH // 4:
            return found[0]
        return self._keep(user, self._asked(user, seen), had)

    def _keep(self, user: int, ranked: Ranked, had: int) -> Ranked:
        self._lists[user] = (ranked, had)
        if len(self._lists) > _KEPT_USERS:
            self._lists.popitem(last=False)
        return ranked

    def _asked(self, user: int, seen: Taken | None) -> Ranked:
        exclude = None if seen is None else np.unique(seen.items[seen.items < self.n_items])
        if self._searched is not None:
            query = self._searched.queries[user]
            top = top_by_product(self._searched, query, DEPTH, exclude, self._available)
            return Ranked.of(top.items[0], top.scores[0])
        return self._exact(user, exclude)

    def _exact(self, user: int, exclude: Int32Array | None) -> Ranked:
        without = None
        if exclude is not None:
            ones = np.ones(len(exclude), dtype=np.float32)
            without = csr_array((ones, exclude, np.array([0, len(exclude)])), shape=(1, self.n_items))
        asked = np.array([user], dtype=np.int32)
        top = self.bundle.model.recommend(asked, DEPTH, exclude=without, items=self._available)
        return Ranked.of(top.items[0], top.scores[0])

    def forget(self, user: int) -> None:
        """Drop the user's list; from now on nothing is known of this user."""
        self._lists.pop(user, None)
        self._now.pop(user, None)
