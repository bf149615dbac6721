"""The first stage at one moment: sources fitted on what was known then, what they propose, what the log says of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from scipy.sparse import csr_array

from rectory.arrays import Float32Array, Int32Array
from rectory.features.training_set import SECONDS_PER_DAY, TrainingSet
from rectory.models.blend_history import History
from rectory.models.blend_proposals import Proposals, feature_names, propose, scored_by
from rectory.models.blend_ranker import Examples
from rectory.models.protocol import Recommender
from rectory.models.validation import Validation

_USERS_AT_ONCE = 256


@dataclass(frozen=True)
class Moment:
    """sources: name -> fitted model. history: of the same rows. depths: items that each source may propose."""

    sources: Mapping[str, Recommender]
    history: History
    depths: Mapping[str, int]

    @property
    def names(self) -> list[str]:
        """Columns of what the ranker sees."""
        return feature_names(self.sources, scored_by(self.sources), self.history.names)

    def only(self, kept: list[str]) -> Moment:
        """With these of the sources."""
        return replace(self, sources={name: source for name, source in self.sources.items() if name in kept})

    def narrowed(self, examples: Examples, kept: list[str]) -> Examples:
        """Examples of these sources as they would be if only the `kept` ones had been asked, in that order."""
        names, scored = list(self.sources), scored_by(self.sources)
        return examples.of_sources(
            [names.index(name) for name in kept], [scored.index(name) for name in kept if name in scored]
        )

    def described(self, users: Int32Array, exclude: csr_array | None) -> Iterator[tuple[Proposals, Float32Array]]:
        """Proposals for blocks of users, rows counted over all of them, and what the history says of each.

        Blocks are made side by side, in order: nearly all of the work is outside of Python's lock.
        """

        def block(start: int) -> tuple[Proposals, Float32Array]:
            part = slice(start, start + _USERS_AT_ONCE)
            proposals = propose(self.sources, users[part], self.depths, None if exclude is None else exclude[part])
            return proposals.moved(start), self.history.columns(users[part], proposals.row, proposals.item)

        starts = range(0, len(users), _USERS_AT_ONCE)
        if len(starts) < 2:
            yield from map(block, starts)
            return
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            yield from threads.map(block, starts)

    def examples(self, validation: Validation) -> Examples:
        """What is proposed to the users of a window, held against what they took in it."""
        parts = list(self.described(validation.users, validation.exclude))
        return Examples.of([one for one, _ in parts], [facts for _, facts in parts], validation)


def fitted_side_by_side(names: list[str], fit: Callable[[str], Recommender]) -> dict[str, Recommender]:
    """`fit` of each name, in the order of names. Each fit has one thread of its own, so threads change no bit."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return dict(zip(names, threads.map(fit, names), strict=True))


def days_of(window: TrainingSet) -> float:
    """Length of a set's validation window."""
    return max((window.end - window.validation_start) / SECONDS_PER_DAY, 1e-3)
