"""From a run's files and the seated champion to the gate's cases: who is measured on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import pandas as pd

from rectory.data.card import Card
from rectory.errors import DataError
from rectory.evaluation.compare import compare, gain_over
from rectory.evaluation.holdout import Holdout, evaluate, milliseconds_per_user
from rectory.evaluation.relevance import Window, build_window, load_window
from rectory.features.training_set import TrainingSet
from rectory.files import read_json, read_parquet
from rectory.models.bundle import Bundle
from rectory.models.protocol import FitReport
from rectory.params import Params
from rectory.registry.behaviour_rules import Behaviour
from rectory.registry.gate import Baseline, Case, Champion, Contender, Decision, Reason, Try, choose_challengers, settle
from rectory.registry.lineage import recipe
from rectory.workspace import Workspace

_MIB = 2**20


class Seated(Protocol):
    """A champion: a registered version, or a model that a backtest keeps in a folder."""

    @property
    def candidate(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def lineage_key(self) -> str: ...
    @property
    def recipe(self) -> str | None: ...
    @property
    def trained_until(self) -> str:
        """ISO moment from which on it has seen nothing."""
        ...


S = TypeVar("S", bound=Seated)


@dataclass(frozen=True)
class Measured:
    """What the gate needs of one model on one window."""

    per_user: pd.DataFrame
    value: float
    users: int
    coverage: float
    popularity_share: float


class Judging(Generic[S]):
    """One run's candidates against each other and against the seated champion.

    Args:
        lineage_keys: candidate -> lineage key of this run.
        champion: of this run's data set; None: the seat is empty.
        bundle_of: loads a champion's bundle.
        note: why there is no champion to compare with, if it is not the first run.
        blocked: candidate -> why its version may not be promoted by itself.
        fault_of: what is wrong with a candidate's registered files; None: nothing.
    """

    def __init__(
        self,
        params: Params,
        workspace: Workspace,
        card: Card,
        *,
        lineage_keys: dict[str, str],
        champion: S | None,
        bundle_of: Callable[[S], Bundle],
        note: str | None = None,
        blocked: Mapping[str, str] | None = None,
        fault_of: Callable[[str], str | None] = lambda _candidate: None,
    ) -> None:
        self._params = params
        self._workspace = workspace
        self._card = card
        self._keys = lineage_keys
        self._champion = champion
        self._bundle_of = bundle_of
        self._note = note
        self._blocked = dict(blocked or {})
        self._fault_of = fault_of
        self._baselines = [name for name, one in params.train.candidates.items() if one.baseline]

    def decide(self) -> Decision:
        """Measure what is not measured yet and ask the gate."""
        try:
            return settle(self.cases(), self._params.gate, self._note)
        except NotComparable as error:
            why_not = str(error)
        # Who cannot be compared with the champion must not take its seat.
        first = settle([self._case(self.challengers[0], None)], self._params.gate, why_not)
        reasons = [one for one in first.reasons if one.rule not in ("no_champion", "empty_seat")]
        return replace(first, promote=False, reasons=(*reasons, Reason("comparable", False, why_not)))

    def cases(self) -> list[Case]:
        """Each challenger with what it is held against.

        Raises:
            NotComparable: the champion knows the whole test window.
        """
        return [self._case(one, self._champion) for one in self.challengers]

    @cached_property
    def challengers(self) -> list[Try]:
        """Who tries for the seat, in order."""
        params, seated = self._params, self._champion
        reports = {name: FitReport(**read_json(self._workspace.fit_report(name))) for name in params.train.candidates}
        own = None
        if seated is not None and params.gate.max_refresh_loss is not None:
            own = next((name for name in reports if recipe(params, name) == seated.recipe), None)
        return choose_challengers(reports, self._baselines, own, params.gate.challengers)

    def _case(self, one: Try, champion: S | None) -> Case:
        name, own = one.name, self._of_candidate(one.name)
        metric, options = self._params.gate.metric, self._params.evaluate
        rivals = tuple(
            Baseline(
                rival, gain_over(own.per_user, self._of_candidate(rival).per_user, metric, options, one.confidence)
            )
            for rival in self._baselines
            if rival != name
        )
        damaged = self._fault_of(name)
        # Damaged files must not be loaded, and where the windows differ a comparison would do so.
        comparable = champion is not None and (damaged is None or self._common_window is None)
        seated = self._seated(one, champion) if champion is not None and comparable else None
        return Case(self._contender(name, own, damaged), seated, rivals)

    def _contender(self, name: str, own: Measured, damaged: str | None) -> Contender:
        folder = self._workspace.model(name)
        speed, size = 0.0, 0.0
        if damaged is None:
            speed = milliseconds_per_user(Bundle.load(folder), self._window.users, self._params.evaluate.k[0])
            size = folder_mb(folder)
        return Contender(
            name=name,
            value=own.value,
            users=own.users,
            coverage=own.coverage,
            popularity_share=own.popularity_share,
            milliseconds_per_user=speed,
            model_mb=size,
            baseline=name in self._baselines,
            lineage_key=self._keys[name],
            recipe=recipe(self._params, name),
            behaviour=self._behaviour(name),
            blocked=self._blocked.get(name),
            damaged=damaged,
        )

    def _behaviour(self, name: str) -> tuple[Behaviour, ...] | None:
        """None: the step behave has not run for this candidate."""
        path = self._workspace.behaviour(name)
        return tuple(Behaviour.of(result) for result in read_json(path)["tests"]) if path.is_file() else None

    def _seated(self, challenger: Try, champion: S) -> Champion:
        """The champion on the part of the test window that it has not been trained on, the challenger on the same."""
        window = self._common_window
        if window is None:
            of_champion, of_challenger = self._of_champion(champion), self._of_candidate(challenger.name)
        else:
            of_champion = self._measure(self._bundle_of(champion), window)
            of_challenger = self._measure(Bundle.load(self._workspace.model(challenger.name)), window)
        metric, options = self._params.gate.metric, self._params.evaluate
        gains = compare(of_challenger.per_user, of_champion.per_user, metric, options, challenger.confidence)
        return Champion(
            name=champion.candidate,
            gain=gains.overall,
            coverage=of_champion.coverage,
            popularity_share=of_champion.popularity_share,
            slices=gains.slices,
            gap_increases=gains.gap_increases,
            version=champion.version,
            lineage_key=champion.lineage_key,
            recipe=champion.recipe,
        )

    def _of_candidate(self, name: str) -> Measured:
        facts = read_json(self._workspace.metrics(name))
        values = {metric: one["value"] for metric, one in facts["metrics"].items()}
        return self._pick(read_parquet(self._workspace.per_user(name)), values, facts["users"])

    def _of_champion(self, champion: S) -> Measured:
        same = [name for name, key in self._keys.items() if key == champion.lineage_key]
        return self._of_candidate(same[0]) if same else self._measured_champion

    @cached_property
    def _measured_champion(self) -> Measured:
        assert self._champion is not None  # noqa: S101 - for the type checker: callers have one
        return self._measure(self._bundle_of(self._champion), self._window)

    def _measure(self, bundle: Bundle, window: Window) -> Measured:
        holdout: Holdout = evaluate(bundle, window, self._params.evaluate)
        values = {metric: one.value for metric, one in holdout.metrics.items()}
        return self._pick(holdout.per_user, values, holdout.users)

    def _pick(self, per_user: pd.DataFrame, values: dict[str, float], users: int) -> Measured:
        k = self._params.evaluate.k[0]
        missing = float("nan")
        return Measured(
            per_user=per_user,
            value=values.get(self._params.gate.metric, missing),
            users=users,
            coverage=values.get(f"coverage@{k}", missing),
            popularity_share=values.get(f"popularity_share@{k}", missing),
        )

    @cached_property
    def _window(self) -> Window:
        return load_window(self._workspace, self._card, self._params)

    @cached_property
    def _common_window(self) -> Window | None:
        """None: the whole test window is new to the champion. Else the rows from its training's end on.

        Raises:
            NotComparable: nothing is left.
        """
        assert self._champion is not None  # noqa: S101 - for the type checker: callers have one
        split = read_json(self._workspace.split / "split.json")
        known_until = datetime.fromisoformat(self._champion.trained_until)
        if known_until <= datetime.fromisoformat(split["test_start"]):
            return None
        columns = ["user_id", "item_id", "event", "value", "timestamp"]
        test = read_parquet(self._workspace.split / "test.parquet", columns)
        users = self._workspace.tables / "users.parquet"
        try:
            return build_window(
                test=test[test["timestamp"] >= pd.Timestamp(known_until)],
                train=TrainingSet.load(self._workspace.features),
                card=self._card,
                head_share=self._params.evaluate.head_share,
                user_table=read_parquet(users) if self._card.users is not None else None,
                test_start=known_until.isoformat(),
            )
        except DataError:
            raise NotComparable(
                f"champion {self._champion.candidate} version {self._champion.version} was trained until "
                f"{known_until.isoformat()} and so has seen this test window ({split['test_start']} to "
                f"{split['test_end']}): there is nothing to compare on. A run with newer data can replace it; "
                "`rectory promote VERSION` does so by hand"
            ) from None


class NotComparable(Exception):
    """The champion knows the whole test window. No error of the run: it ends in a refusal."""


def folder_mb(folder: Path) -> float:
    """Size of the files below `folder` in MiB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / _MIB
