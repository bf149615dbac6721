"""What a version recommends to a few users, noted at its registration: whoever serves it must come to the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rectory.models.bundle import Bundle
from rectory.models.protocol import NO_ITEM

SAMPLE_FILE = "sample_lists.json"
COMPARED = 10
"""Places of each list that must agree."""
_USERS = 32
# More than are compared: an item that changes places with the last one compared has a score to be judged by.
_NOTED = 2 * COMPARED
# Another processor, or users asked one by one and not in a block, sum in another order: that much of the largest score
# says nothing about who comes first.
_ROUNDING = 1e-5

Sample = dict[str, list[dict[str, Any]]]
"""{"lists": [{"user_id", "items", "scores"}]}, best first: in this form `rectory forget` takes a person out of it."""


def sample_lists(bundle: Bundle) -> Sample:
    """Lists as batch scoring makes them, of users with a history, spread over all of them."""
    known = np.flatnonzero(np.diff(bundle.seen.indptr) > 0)
    users = known[np.linspace(0, len(known) - 1, min(_USERS, len(known))).astype(np.int64)].astype(np.int32)
    top = bundle.recommend_codes(users, _NOTED)
    found = []
    for user_id, items, scores in zip(bundle.users.decode(users), top.items, top.scores, strict=True):
        kept = items != NO_ITEM
        ids = [str(one) for one in bundle.items.decode(items[kept])]
        found.append({"user_id": str(user_id), "items": ids, "scores": scores[kept].astype(float).tolist()})
    return {"lists": found}


def difference(sample: Sample, served: Callable[[str], Sequence[str]]) -> str | None:
    """How served lists differ from the sample, in words; None: they agree.

    Args:
        served: user id -> the first COMPARED items that this user gets from what serves, the best first.
    """
    lists = sample["lists"]
    answered = [list(served(noted["user_id"])) for noted in lists]
    unlike = [pair for pair in zip(lists, answered, strict=True) if not _agree(*pair)]
    if not unlike:
        return None
    noted, found = unlike[0]
    return (
        f"{len(unlike)} of {len(lists)} sampled users would get other lists than by batch scoring; the first one "
        f"{', '.join(found[:3]) or 'nothing'} and not {', '.join(noted['items'][:3]) or 'nothing'}"
    )


def _agree(noted: dict[str, Any], found: list[str]) -> bool:
    """The same items in the same places, but for those whose scores are equal up to rounding."""
    items, scores = noted["items"], noted["scores"]
    if len(found) != min(COMPARED, len(items)) or len(set(found)) != len(found):
        return False
    score_of = dict(zip(items, scores, strict=True))
    most = _ROUNDING * max(map(abs, scores), default=0.0)
    return all(
        one == there or abs(score_of.get(one, np.inf) - score) <= most
        for one, there, score in zip(found, items, scores, strict=False)
    )
