"""What every model can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from scipy.sparse import csr_array

from rectory.arrays import Float32Array, Float64Array, Int32Array
from rectory.features.training_set import TrainingSet

NO_ITEM = -1
"""Fills up a list that has fewer than k items."""


@dataclass(frozen=True)
class TopK:
    """Ranked lists.

    items: (n, k) int32 codes, best first; NO_ITEM after the last.
    scores: (n, k) float32, falling along each row; -inf where items is NO_ITEM. Comparable within a row only.
    """

    items: Int32Array
    scores: Float32Array


@dataclass(frozen=True)
class Reason:
    """One part of a score in words. The contributions of all reasons add up to the score.

    item: code of the item that `{item}` in the text stands for; NO_ITEM: the text has none.
    """

    text: str
    contribution: float
    item: int = NO_ITEM


@dataclass(frozen=True)
class FitReport:
    """What a fit found on the validation window; it decides who challenges, the test window decides who wins.

    metric: name of the validation score, "ndcg@10".
    score: validation score of the fit before the validation window.
    chosen: values that validation chose, e.g. {"half_life_days": 14.0, "epochs": 9}.
    curve: one dict for each try, e.g. {"half_life_days": 14.0, "epoch": 3, "score": 0.12}: the learning curve.
    notes: what was switched on or off and why, one plain sentence each; the report shows them as they stand.
    start: how the fit began, in a sentence: what it continued from, or why it began from scratch although something was
        there to continue from; empty where nothing was.
    """

    metric: str
    score: float
    chosen: dict[str, Any]
    curve: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    start: str = ""


class Recommender(Protocol):
    """A model over user and item codes of one TrainingSet. The constructor takes (params, seed, validation_users)."""

    def fit(self, train: TrainingSet) -> Self:
        """Choose what is to be chosen on the validation window, then fit on all of `train`. Sets `report`.

        Same training set, params and seed: same state, bit for bit.
        """
        ...

    @property
    def report(self) -> FitReport:
        """Of the last `fit`; not saved with the model."""
        ...

    def refit(self, train: TrainingSet, chosen: dict[str, Any]) -> Self:
        """Fit on all of `train` with what an earlier fit chose (its `report.chosen`): no search, no new report.

        `fit` ends with it. Others call it to fit one recipe on other stretches of time.
        """
        ...

    def recommend(
        self,
        users: Int32Array,
        k: int,
        *,
        exclude: csr_array | None = None,
        items: Int32Array | None = None,
    ) -> TopK:
        """Rank items for users.

        Args:
            users: (n,) codes; -1 is a user of whom nothing is known.
            k: length of the lists, >= 1; longer than the catalogue is allowed.
            exclude: (n, n_items), row i belongs to users[i]; stored entries (whatever their value) are not recommended.
            items: distinct codes that may be recommended; None: all.
        Returns:
            TopK of shape (n, k). Equal scores: smaller item code first.
        """
        ...

    def similar(self, items: Int32Array, k: int) -> TopK:
        """Items most like each of `items` (n,), without itself. A model that knows no likeness gives popular items."""
        ...

    def save(self, folder: Path) -> None:
        """Write npz, parquet and json into the existing, empty `folder`. Never pickle."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; answers are equal to the saved model's."""
        ...


Observer = Callable[[Float64Array], None]
"""Hears the (n_users,) validation scores of each step of a fit (an epoch, a try); may raise to end the fit."""


class Fitted:
    """Holds what the last fit found, for every model alike.

    observer: told by `Validation.score`; tuning prunes by it. Models have nothing to do for it.
    on_report: hears the report as soon as the search is over, before the fit on all rows; may raise to leave that out.
    """

    observer: Observer | None = None
    on_report: Callable[[FitReport], None] | None = None
    _held: FitReport | None = None

    @property
    def report(self) -> FitReport:
        """Of the last `fit`; a loaded model has none."""
        if self._held is None:
            raise RuntimeError("fit first: a loaded model has no fit report")
        return self._held

    @property
    def _report(self) -> FitReport | None:
        return self._held

    @_report.setter
    def _report(self, report: FitReport) -> None:
        self._held = report
        if self.on_report is not None:
            self.on_report(report)


@runtime_checkable
class ScoresPairs(Protocol):
    """Can score single user-item pairs, not only lists."""

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """(n,) score of items[i] for users[i] (code or -1), on the scale of `recommend`."""
        ...


@dataclass(frozen=True)
class Earlier:
    """A model to continue from, fitted on less data by the same params and seed.

    model: as `load` gave it; it is not changed. report: of its own fit; `chosen` is what is continued with.
    user_codes: (n_users,) int32, what each of today's users is called in `model`; -1: it was not known then.
    item_codes: (n_items,) int32, the same for items.
    """

    model: Any
    report: FitReport
    user_codes: Int32Array
    item_codes: Int32Array


class CannotContinue(Exception):
    """A warm start is not possible and the text says why, as the end of "from scratch, because ...". No error of a run:
    a fit from scratch follows."""


@runtime_checkable
class SupportsWarmStart(Protocol):
    """Can go on from a model of yesterday: nothing is searched, little is trained."""

    def warm_fit(self, train: TrainingSet, earlier: Earlier) -> Self:
        """Fit on all of `train`, with users, items and feature values that are new in it, from where `earlier` ended.

        `report` is the earlier one (score and choices are those of the last search) with another `start`. Same training
        set, params, seed and earlier model: same state, bit for bit, also when the earlier model was saved and loaded.

        Raises:
            CannotContinue: the earlier model does not fit to this training set.
        """
        ...


@runtime_checkable
class SupportsKeptPart(Protocol):
    """Has a part that ages slower than the rest: a refit takes it from the fit that was measured, as it is."""

    @classmethod
    def kept_files(cls) -> tuple[str, ...]:
        """Files of `save` that hold that part; a model that has not got it writes none."""
        ...

    def refit_keeping(self, train: TrainingSet, chosen: dict[str, Any], kept: Path) -> Self:
        """`refit` but for the part that lies in the folder `kept`.

        Where that part does not suit this training set, it is fitted anew too.
        """
        ...


@runtime_checkable
class SupportsExplain(Protocol):
    """Can say why."""

    def explain(self, user: int, item: int) -> list[Reason]:
        """Reasons, largest contribution first, that add up to the score of `item` for `user` (code or -1)."""
        ...
