"""Step train: fit one candidate and write its bundle. Same bytes in, same bytes out."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pandas as pd

from rectory.errors import UsageError
from rectory.features.training_set import TrainingSet
from rectory.files import replacing, write_json
from rectory.models.bundle import Bundle, read_titles
from rectory.models.catalogue import build
from rectory.models.warm_start import fit
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Trained:
    """What was fitted and its score on the validation window."""

    candidate: str
    kind: str
    validation_score: float


def run(params: Params, workspace: Workspace, candidate: str) -> Trained:
    """Fit one candidate of `train.candidates` on everything before the test window; continue where reuse says so."""
    candidates = params.train.candidates
    if candidate not in candidates:
        raise UsageError(f"no candidate {candidate!r} under train.candidates; there are {', '.join(candidates)}.")
    train = TrainingSet.load(workspace.features)
    model = build(candidates[candidate], params.train.seed, params.train.validation_users)
    report = fit(model, train, workspace.parent(candidate))
    kind, titles = candidates[candidate].kind, read_titles(workspace.tables)
    bundle = Bundle.of(candidate, kind, model, train, titles=titles, dataset=params.dataset)
    bundle.save(workspace.model(candidate))
    write_json(workspace.fit_report(candidate), asdict(report))
    with replacing(workspace.learning_curve(candidate)) as scratch:
        pd.DataFrame(report.curve).to_csv(scratch, index=False)
    return Trained(candidate, kind, report.score)


if __name__ == "__main__":
    main("train", run, per_candidate=True)
