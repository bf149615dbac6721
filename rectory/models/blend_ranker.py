"""Second stage: a pointwise LightGBM ranker, trained on what the sources knew before each of several past windows."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from rectory.arrays import Array, Float32Array, Float64Array
from rectory.models.blend_proposals import Proposals, describe, nearness
from rectory.models.lightgbm_import import import_lightgbm
from rectory.models.protocol import Reason
from rectory.models.validation import Validation
from rectory.params.candidates import BlendParams

if TYPE_CHECKING:
    from lightgbm import Booster

PRIOR = 4.0
"""Log odds between the top of the best single source's list and what it does not propose: where boosting starts."""
_NEGATIVES = 4.0
"""Weight of a user's misses against the same user's hits."""
_ROWS_OF_A_FEW = 2000
"""About ten users' proposals; below it one thread scores them: to wake others would cost more than they save."""
_ONE_THREAD = 1
"""Of each call of LightGBM. The last number that anybody asked for holds for the whole process there, calls that are
under way included, whose memory was laid out for another one: `pred_contrib` beside `predict` has ended processes here
(LightGBM issues 5482 and 6142). Where more than one core is to work, threads of ours share out rows or windows."""
_LEVEL = -1.5
"""About the log odds of a hit under these weights; it moves no order."""
_WORDS = {
    "pair": "this user's own history with the item",
    "item": "how the item does with everyone",
    "user": "what this user is like",
}


@dataclass(frozen=True)
class Examples:
    """One past window: what was proposed, what was known of it then, and what came true.

    facts: (m, n_facts) what the history says of each pair. hit: (m,) bool. n: users asked.
    """

    proposals: Proposals
    facts: Float32Array
    hit: Array
    n: int

    @cached_property
    def x(self) -> Float32Array:
        """(m, n_features) what the ranker sees."""
        return describe(self.proposals, self.facts)

    @classmethod
    def of(cls, proposals: list[Proposals], facts: list[Float32Array], validation: Validation) -> Self:
        """Blocks of users put together; a proposal is a hit if the user took the item in the window."""
        whole = Proposals.joined(proposals)
        relevant = validation.relevant
        row = np.repeat(np.arange(relevant.shape[0], dtype=np.int64), np.diff(relevant.indptr))
        hit = np.isin(whole.row * relevant.shape[1] + whole.item, row * relevant.shape[1] + relevant.indices)
        return cls(whole, np.concatenate(facts), hit, len(validation.users))

    def of_users(self, kept: Array) -> Self:
        """The examples of some users only. kept: (n,) bool."""
        rows = kept[self.proposals.row]
        place = np.cumsum(kept) - 1
        proposals = self.proposals.where(rows)
        return type(self)(
            replace(proposals, row=place[proposals.row]), self.facts[rows], self.hit[rows], int(kept.sum())
        )

    def of_sources(self, columns: list[int], scored: list[int]) -> Self:
        """The examples as if only these sources had been asked.

        Args:
            columns: places of the sources. scored: places of those among them that can score any pair.
        """
        rows = (self.proposals.ranks[:, columns] > 0).any(axis=1)
        return type(self)(
            self.proposals.where(rows).of_sources(columns, scored), self.facts[rows], self.hit[rows], self.n
        )

    def weights(self) -> Float64Array:
        """(m,) each user's hits weigh sqrt(number of hits) in all, the misses four times that; sum 1.

        So the ranker learns what to put first for a user and not which users take much. A user without a hit, whose
        order teaches nothing, weighs 0. The square root stands between users alike and interactions alike.
        """
        row = self.proposals.row
        hits = np.bincount(row, self.hit, self.n)
        misses = np.bincount(row, ~self.hit, self.n)
        for_hits = np.sqrt(hits) / np.maximum(hits, 1)
        for_misses = _NEGATIVES * np.sqrt(hits) / np.maximum(misses, 1)
        weight = np.where(self.hit, for_hits[row], for_misses[row])
        return np.asarray(weight / max(weight.sum(), 1e-12), dtype=np.float64)


def prior(proposals: Proposals, column: int) -> Float64Array:
    """(m,) where boosting starts: the order of one source."""
    return PRIOR * nearness(proposals.ranks[:, column])


def ranker_columns(names: list[str]) -> list[str]:
    """Names of columns as LightGBM's text can hold them."""
    return [name.replace(" ", "_") for name in names]


class Ranker:
    """A trained booster. text: LightGBM's own format, which is what is kept."""

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def train(
        cls, examples: list[Examples], *, best: int, names: list[str], params: BlendParams, trees: int, seed: int
    ) -> Self:
        """Fit on all windows together; each window weighs the same.

        Pointwise (log loss) and heavily subsampled: that carried over to the next window on every log tried, where a
        listwise objective on one window did not. Library: Ke et al., "LightGBM", NeurIPS 2017.

        Args:
            best: column of the source whose order boosting starts from.
            names: of the columns of `x`.
        """
        lightgbm = import_lightgbm()
        weight = np.concatenate([part.weights() for part in examples])
        kept = weight > 0
        x = np.concatenate([part.x for part in examples])[kept]
        hit = np.concatenate([part.hit for part in examples])[kept].astype(np.float32)
        start = np.concatenate([prior(part.proposals, best) for part in examples])[kept] + _LEVEL
        weight = weight[kept]
        if not kept.any():  # nothing ever came true: trees that say nothing
            x, hit, start, weight = np.zeros((2, len(names)), np.float32), np.array([0.0, 1.0]), np.zeros(2), np.ones(2)
        settings = {
            "objective": "binary",
            "boost_from_average": False,
            "learning_rate": params.learning_rate,
            "num_leaves": params.leaves,
            "min_data_in_leaf": int(np.clip(len(x) // 1000, 20, 200)),
            "feature_fraction": 0.5,
            "bagging_fraction": 0.5,
            "bagging_freq": 1,
            "lambda_l2": 10.0,
            "max_bin": 127,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": _ONE_THREAD,
            "seed": seed,
            "verbosity": -1,
        }
        columns = ranker_columns(names)
        data = lightgbm.Dataset(x, hit, weight=weight / weight.mean(), init_score=start, feature_name=columns)
        return cls(lightgbm.train(settings, data, num_boost_round=trees).model_to_string())

    @cached_property
    def _booster(self) -> Booster:
        booster: Booster = import_lightgbm().Booster(model_str=self.text)
        return booster

    @property
    def columns(self) -> list[str]:
        """What it looks at, as `ranker_columns` names it."""
        return list(self._booster.feature_name())

    def beyond(self, x: Float32Array, trees: int | None = None, after: int = 0) -> Float64Array:
        """(m,) what (the first) trees add to the prior. Each row is scored by itself, so threads change no bit.

        All trees may be asked for from several threads; only some of them from one at a time, as a booster remembers
        which ones it was asked for last.

        Args:
            trees: how many; None: all. after: the first ones that are left out.
        """
        if not len(x) or trees == after:
            return np.zeros(len(x))
        if trees is not None or len(x) < _ROWS_OF_A_FEW:
            return self._scores(x, None if trees is None else trees - after, after)
        cores = os.cpu_count() or 1
        with ThreadPoolExecutor(cores) as threads:
            return np.concatenate(list(threads.map(self._scores, np.array_split(x, cores))))

    def _scores(self, x: Float32Array, trees: int | None = None, after: int = 0) -> Float64Array:
        raw = self._booster.predict(
            x, raw_score=True, start_iteration=after, num_iteration=trees, num_threads=_ONE_THREAD
        )
        return np.asarray(raw, dtype=np.float64)

    def explain(self, x: Float32Array) -> list[Reason]:
        """Shapley values of one row, summed by group of features; with the average they add up to its log odds."""
        values = np.asarray(self._booster.predict(x, pred_contrib=True, num_threads=_ONE_THREAD))[0]
        groups: dict[str, float] = {}
        for name, value in zip(self._booster.feature_name(), values[:-1], strict=True):
            head, _, tail = name.partition("_")
            liked = head in ("likes", "fresh")
            words = _WORDS.get(head) or (f"same {tail} as what this user takes" if liked else f"what {tail} says")
            groups[words] = groups.get(words, 0.0) + float(value)
        return [Reason("an average proposal", float(values[-1])), *(Reason(*one) for one in groups.items())]

    def gains(self) -> list[tuple[str, float]]:
        """Features by their share of the ranker's gain, largest first."""
        gain = self._booster.feature_importance("gain")
        share = gain / max(gain.sum(), 1e-12)
        return sorted(zip(self._booster.feature_name(), share.tolist(), strict=True), key=lambda one: (-one[1], one[0]))
