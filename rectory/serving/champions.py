"""Champions of the model store as engines: who holds the seat, how it is loaded, what it must show first."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from rectory.errors import DataError
from rectory.files import read_json
from rectory.params.serve import ServeParams
from rectory.registry import audit
from rectory.registry.sample_lists import COMPARED, SAMPLE_FILE, difference, sample_lists
from rectory.registry.seated import champion_number
from rectory.registry.store import ModelStore
from rectory.serving.engine import LiveEngine
from rectory.serving.service import Champions
from rectory.serving.slot import Swap
from rectory.serving.slot_checks import Answers, Latency
from rectory.serving.types import Engine
from rectory.workspace import Workspace

_SAMPLED_USERS = 40
_STRANGER = "nobody-has-this-id"


def champions(workspace: Workspace, params: ServeParams) -> Champions:
    """Of the project's model store."""
    store = ModelStore(workspace)

    def current() -> str | None:
        return champion_number(workspace)

    def load(version: str) -> Engine:
        registered = store.version(version)
        if (fault := store.fault(registered)) is not None:
            raise DataError(f"version {version} ({registered.candidate}) cannot be served: {fault}.")
        engine = LiveEngine.load(workspace, registered)
        # Before it learns what the log holds: events move answers away from those of the batch, as they should.
        noted = store.artifact(registered, SAMPLE_FILE)
        lists = sample_lists(engine.champion.bundle) if noted is None else read_json(noted)
        if (fault := difference(lists, lambda user: engine.batch_list(user, COMPARED))) is not None:
            raise DataError(f"version {version} ({registered.candidate}) cannot be served: {fault}.")
        return engine

    def warm(engine: Engine) -> None:
        if isinstance(engine, LiveEngine):
            engine.warm(params.warm_seconds)

    def check(engine: Engine, serving: Engine | None) -> str | None:
        users = _sample(engine)
        if reason := Answers(users)(engine, serving):
            return reason
        if serving is None:
            # A slow model is better than none, and one that is warmed while it serves better than a later one.
            return None
        warm(engine)
        return Latency(users, params.slowest_milliseconds, params.most_times_slower)(engine, serving)

    def told(swap: Swap) -> None:
        # The first model of a process that has just started is no decision.
        if swap.replaced is not None or swap.outcome == "refused":
            audit.append(workspace, "live model", asdict(swap))

    return Champions(current, load, [check], told, warm)


def _sample(engine: Engine) -> list[str]:
    if not isinstance(engine, LiveEngine):
        return [_STRANGER]
    ids = engine.champion.bundle.users.ids
    places = np.linspace(0, len(ids) - 1, min(_SAMPLED_USERS, len(ids))).astype(int)
    return [*(str(ids[place]) for place in places), _STRANGER]
