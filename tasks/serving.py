"""Step serving: who serves now and until when that was trained, for a drift check outside of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rectory.files import write_json
from rectory.params import Params
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Serving:
    """name: candidate. All are None before the first promotion."""

    name: str | None
    version: str | None
    trained_until: str | None

    @property
    def text(self) -> str:
        return f"{self.name} version {self.version} serves" if self.version else "nobody serves yet"


def run(params: Params, workspace: Workspace) -> Serving:
    """Write registry/serving.json."""
    champion = ModelStore(workspace).champion(params.dataset)
    facts = Serving(None, None, None)
    if champion is not None:
        facts = Serving(champion.candidate, champion.version, champion.trained_until)
    write_json(workspace.serving, asdict(facts))
    return facts


if __name__ == "__main__":
    main("serving", run)
