"""Step behave: what-if questions that every recommender must answer well, whatever its accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from rectory.data.card import load_card
from rectory.evaluation.behaviour import Context, load_tests, run_tests
from rectory.evaluation.relevance import load_window
from rectory.features.training_set import TrainingSet
from rectory.files import read_json, write_json
from rectory.models.bundle import Bundle
from rectory.params import Params
from rectory.workspace import Workspace
from tasks import main


@dataclass(frozen=True)
class Behaved:
    """passed: of the tests that apply. failed: names."""

    candidate: str
    passed: int
    not_applicable: int
    failed: tuple[str, ...]

    @property
    def text(self) -> str:
        failed = f", failed: {', '.join(self.failed)}" if self.failed else ""
        return f"{self.passed} behavioural tests passed, {self.not_applicable} not applicable{failed}"


def run(params: Params, workspace: Workspace, candidate: str) -> Behaved:
    """Put one fitted candidate to our tests and the project's own. Equal inputs give equal bytes."""
    tests = load_tests(workspace.project, params.behave.modules)
    context = Context(
        Bundle.load(workspace.model(candidate)),
        TrainingSet.load(workspace.features),
        load_window(workspace, load_card(workspace.card(params.dataset)), params),
        candidate=params.train.candidates[candidate],
        chosen=read_json(workspace.fit_report(candidate))["chosen"],
        seed=params.train.seed,
        validation_users=params.train.validation_users,
        params=params.behave,
    )
    results = run_tests(tests, context)
    write_json(
        workspace.behaviour(candidate),
        {"candidate": candidate, "kind": context.bundle.kind, "tests": [result.to_dict() for result in results]},
    )
    asked = [result for result in results if result.applicable]
    failed = tuple(result.name for result in asked if not result.passed)
    return Behaved(candidate, len(asked) - len(failed), len(results) - len(asked), failed)


if __name__ == "__main__":
    main("behave", run, per_candidate=True)
