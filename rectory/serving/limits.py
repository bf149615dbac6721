"""Token buckets: so many requests a second on average, so many at once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_MOST_CALLERS = 20_000


class TokenBuckets:
    """One bucket for each caller; the callers that were quiet longest are dropped first (their buckets are full).

    Args:
        per_second: tokens that a bucket gains.
        burst: tokens that it holds.
    """

    def __init__(self, per_second: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """Take a token: 0.0 if there was one, else the seconds until there is."""
        now = self._now()
        tokens, since = self._buckets.get(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        wait = 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._per_second
        self._buckets[caller] = (tokens if wait else tokens - 1.0, now)
        self._buckets.move_to_end(caller)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        return wait

    def empty(self, caller: str) -> bool:
        """Whether the caller has no token left, without taking one."""
        tokens, since = self._buckets.get(caller, (self._burst, 0.0))
        return tokens + (self._now() - since) * self._per_second < 1.0
