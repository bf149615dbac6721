"""What a loaded engine must show before it may answer anybody."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rectory.serving.types import Engine, Request

_ROUNDS = 3


@dataclass(frozen=True)
class Answers:
    """Every sampled user gets a list: of distinct items, scores falling, none of them an unknown item.

    user_ids: sample; one that nobody knows belongs in it.
    """

    user_ids: Sequence[str]
    n: int = 10

    def __call__(self, engine: Engine, _serving: Engine | None) -> str | None:
        empty = 0
        for user_id in self.user_ids:
            answer = engine.recommend(Request(user_id, n=self.n))
            shown = [one.item_id for one in answer.items]
            scores = [one.score for one in answer.items]
            if len(set(shown)) != len(shown):
                return f"user {user_id!r} would see an item twice"
            if any(not np.isfinite(score) for score in scores):
                return f"user {user_id!r} would get scores that are no numbers"
            empty += not shown
        return f"{empty} of {len(self.user_ids)} sampled users would get an empty list" if empty else None


@dataclass(frozen=True)
class Latency:
    """The slowest tenth of answers stays within a limit, absolute and against the engine that serves.

    Processor time is what counts: beside the load of answers this thread, which steps back, may wait for anything.

    limit_milliseconds: 90th percentile over the sample, the best of three rounds (the first ones warm up).
    most_times: refused when slower than this many times the serving engine on the same sample.
    """

    user_ids: Sequence[str]
    limit_milliseconds: float
    most_times: float
    n: int = 10

    def __call__(self, engine: Engine, serving: Engine | None) -> str | None:
        mine = self._milliseconds(engine)
        if mine > self.limit_milliseconds:
            return f"one answer in ten takes {mine:.1f} ms or more, allowed are {self.limit_milliseconds:g}"
        if serving is None:
            return None
        theirs = self._milliseconds(serving)
        # A tenth of the limit is no matter, however many times the other it is.
        if mine > max(self.most_times * theirs, self.limit_milliseconds / 10):
            return f"{mine:.1f} ms an answer against {theirs:.1f} ms of the model in service"
        return None

    def _milliseconds(self, engine: Engine) -> float:
        rounds = []
        for _ in range(_ROUNDS):
            taken = []
            for user_id in self.user_ids:
                began = time.thread_time()
                engine.recommend(Request(user_id, n=self.n))
                taken.append(time.thread_time() - began)
            rounds.append(float(np.percentile(taken, 90)) * 1000)
        return min(rounds)
