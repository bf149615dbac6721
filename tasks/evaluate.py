"""Step evaluate: one candidate's lists against the test window. Equal bundles give equal files."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.data.card import load_card
from rectory.evaluation.holdout import evaluate
from rectory.evaluation.relevance import load_window
from rectory.files import replacing, write_json, write_parquet
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Evaluated:
    """The gate's metric on the test window, with its 95% interval."""

    candidate: str
    metric: str
    value: float
    low: float
    high: float
    users: int


def run(params: Params, workspace: Workspace, candidate: str) -> Evaluated:
    """Rank for every test user and write metrics, per-user values and the plot's table."""
    window = load_window(workspace, load_card(workspace.card(params.dataset)), params)
    bundle = Bundle.load(workspace.model(candidate))
    holdout = evaluate(bundle, window, params.evaluate, params.gate.metric)
    baseline = params.train.candidates[candidate].baseline
    about = {"candidate": candidate, "kind": bundle.kind, "baseline": baseline}
    write_json(workspace.metrics(candidate), about | holdout.to_dict())
    write_parquet(holdout.per_user, workspace.per_user(candidate))
    with replacing(workspace.metric_plot(candidate)) as scratch:
        holdout.plot(candidate).to_csv(scratch, index=False)
    metric = params.gate.metric
    gated = holdout.metrics[metric]
    return Evaluated(candidate, metric, gated.value, gated.low, gated.high, gated.users)


if __name__ == "__main__":
    main("evaluate", run, per_candidate=True)
