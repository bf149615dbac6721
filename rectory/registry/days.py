"""A date of a backtest as `policies.replay` asks it: answers come from the date's own workspace."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from rectory.data.card import Card
from rectory.files import read_json
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.params.sections import GateParams
from rectory.registry.gate import Case
from rectory.registry.judging import Judging, NotComparable
from rectory.registry.lineage import recipe
from rectory.registry.pieces import key_of
from rectory.registry.policies import Kept
from rectory.workspace import Backtest


class BacktestDay:
    """One date.

    Args:
        moment: ISO.
        drift_since: from a moment to {status, moved, calibrated} of the date's inputs.
    """

    def __init__(
        self,
        params: Params,
        card: Card,
        backtest: Backtest,
        *,
        date: str,
        moment: str,
        drift_since: Callable[[str], dict[str, Any]],
    ) -> None:
        self._params = params
        self._card = card
        self._backtest = backtest
        self._workspace = backtest.date(date)
        self._drift_since = drift_since
        self._seen: dict[Any, list[Case]] = {}
        self._drifts: dict[str, dict[str, Any]] = {}
        self.date = date
        self.moment = moment

    def kept(self, candidate: str) -> Kept:
        until = read_json(self._workspace.model(candidate) / "bundle.json")["trained_until"]
        return Kept(candidate, self.date, self._keys[candidate], recipe(self._params, candidate), str(until))

    def newest(self) -> Kept:
        return self.kept(self._judging(None, self._params.gate).challengers[0].name)

    def cases(self, seat: Kept | None, rules: GateParams) -> list[Case]:
        judging = self._judging(seat, rules)
        # All that is measured: rules that differ in what they make of it share a case.
        asked = (None if seat is None else seat.lineage_key, tuple(judging.challengers), rules.metric)
        if asked not in self._seen:
            try:
                self._seen[asked] = judging.cases()
            except NotComparable:
                self._seen[asked] = []
        return self._seen[asked]

    def drift(self, known_until: str) -> dict[str, Any]:
        if known_until not in self._drifts:
            self._drifts[known_until] = self._drift_since(known_until)
        return self._drifts[known_until]

    @cached_property
    def _keys(self) -> dict[str, str]:
        return {name: key_of(self._workspace, f"train-{name}") for name in self._params.train.candidates}

    def _judging(self, seat: Kept | None, rules: GateParams) -> Judging[Kept]:
        return Judging(
            self._params.model_copy(update={"gate": rules}),
            self._workspace,
            self._card,
            lineage_keys=self._keys,
            champion=seat,
            bundle_of=lambda kept: Bundle.load(self._backtest.date(kept.version).model(kept.candidate)),
        )
