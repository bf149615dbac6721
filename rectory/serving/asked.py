"""One request with what it resolves to: whose history, what may be shown, and the candidates with their signals."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rectory.arrays import Array, BoolArray
from rectory.serving.codes import UNKNOWN
from rectory.serving.histories import Taken
from rectory.serving.mixing import PLACE, SIGNALS, parts
from rectory.serving.signals import View, look
from rectory.serving.types import Request, Rung

if TYPE_CHECKING:
    from rectory.serving.engine import LiveEngine

_PERSONAL = [PLACE[name] for name in SIGNALS if name not in ("day", "week", "month", "new")]


@dataclass(frozen=True)
class Asked:
    """One request with what it resolves to."""

    engine: LiveEngine
    request: Request
    user: int
    taken: Taken
    allowed: BoolArray
    now: float

    @classmethod
    def of(cls, engine: LiveEngine, request: Request) -> Asked:
        user = UNKNOWN if request.user_id is None else engine._users.code(request.user_id)
        if user in engine._forgotten and not engine._histories.fresh(user):
            user = UNKNOWN
        taken = engine._histories.of(user)
        session = [
            (engine._items.code(event.item_id), engine._time.of(event.timestamp), engine._taste.of(event))
            for event in request.history
        ]
        session = [one for one in session if one[0] != UNKNOWN and one[2] > 0]
        if session:
            codes, times, weights = (list(part) for part in zip(*session, strict=True))
            taken = taken.with_more(codes, times, weights)
        shelf = engine._world.shelf
        allowed = np.array(shelf.allowed(request.where))
        for one in request.exclude:
            if (code := engine._items.code(one)) != UNKNOWN:
                allowed[code] = False
        if not engine._world.repeats:
            allowed[taken.items] = False
        return cls(engine, request, user, taken, allowed, engine._now(request.now))

    def view(self, more: int | None = None, filled_to: int = 0, *, linked: Collection[str] | None = None) -> View:
        """Candidates and signals.

        Args:
            more: a code to look at in any case. filled_to: so many in all, if there are.
            linked: sums of links to make; None: those that weigh anything.
        """
        engine = self.engine
        ranked = engine._champion.ranked(self.user_of_champion, None if engine._world.repeats else self.taken)
        current = None
        if engine.uses_now:
            session = bool(self.request.history)
            current = engine._champion.now(self.user_of_champion, self.taken, self.now, session=session)
        extra = np.zeros(0, dtype=np.int32)
        if filled_to:
            extra = engine._world.trends[2].best_of(np.flatnonzero(self.allowed), filled_to)
        if more is not None:
            extra = np.append(extra, np.int32(more))
        return look(
            engine._world,
            self.user,
            self.taken,
            (ranked, current),
            allowed=self.allowed,
            now=self.now,
            linked=engine.mix.linked if linked is None else linked,
            more=np.unique(extra),
        )

    @property
    def user_of_champion(self) -> int:
        """UNKNOWN for a user who asked to be forgotten."""
        return UNKNOWN if self.user in self.engine._forgotten else self.user

    def rungs(self, x: Array) -> list[Rung]:
        """Which rung gave each row of signals: by what speaks for it, not by what speaks against."""
        for_it = np.maximum(parts(x, self.engine._weights), 0.0)
        whole = for_it.sum(axis=1)
        new = for_it[:, PLACE["new"]] > whole / 2
        popular = for_it[:, _PERSONAL].sum(axis=1) <= whole / 4
        other: Rung = "session" if self.request.history else "personal" if self.user != UNKNOWN else "popular"
        return [
            "latest" if is_new else "popular" if is_popular else other
            for is_new, is_popular in zip(new.tolist(), popular.tolist(), strict=True)
        ]
