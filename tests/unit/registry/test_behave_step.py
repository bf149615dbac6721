"""The step behave on a small run, a test of one's own that refuses a promotion, and what is kept with the version."""

from __future__ import annotations

import pytest

from flows.finished import inputs_of
from rectory.errors import UsageError
from rectory.files import read_json, tree_digests
from rectory.params import Params
from rectory.registry import audit
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import behave, promote, register

OWN = """
from rectory.evaluation.behaviour import Context, Finding, behavioural_test


@behavioural_test("nothing_but_books")
def nothing_but_books(context: Context) -> Finding:
    lists = context.bundle.recommend(context.bundle.users.ids[:50], 5)
    share = (lists["item_id"].astype(int) % 4 == 2).mean()
    return Finding(share == 1.0, f"{share:.0%} of all places hold books, 100% are asked", share, 1.0)
"""


def with_own(params: Params, workspace: Workspace, text: str = OWN) -> Params:
    (workspace.project / "own.py").write_text(text, encoding="utf-8")
    return params.model_copy(update={"behave": params.behave.model_copy(update={"modules": ("own.py",)})})


def behaved(params: Params, workspace: Workspace) -> dict[str, behave.Behaved]:
    return {name: behave.run(params, workspace, name) for name in params.train.candidates}


def test_every_candidate_passes_our_tests_and_equal_inputs_give_equal_bytes(
    params: Params, workspace: Workspace
) -> None:
    done = behaved(params, workspace)
    assert all(not one.failed for one in done.values()), done
    assert done["personal_frequency"].passed >= 5, done["personal_frequency"].text
    written = read_json(workspace.behaviour("personal_frequency"))
    assert (written["candidate"], written["kind"], len(written["tests"])) == (
        "personal_frequency", "personal_frequency", 7,
    )  # fmt: skip
    before = tree_digests(workspace.root)
    behaved(params, workspace)
    assert tree_digests(workspace.root) == before


def test_a_test_of_ones_own_refuses_a_promotion_and_is_kept_with_the_version(
    params: Params, workspace: Workspace
) -> None:
    params = with_own(params, workspace)
    done = behaved(params, workspace)
    assert done["personal_frequency"].failed == ("nothing_but_books",)
    register.run(params, workspace)
    decided = promote.run(params, workspace)
    assert decided.champion != "personal_frequency", "a plain list is seated instead"
    decision = read_json(workspace.decision)
    tried = next(one for one in decision["attempts"] if one["challenger"] == "personal_frequency")
    refusal = next(one for one in tried["reasons"] if one["rule"] == "behaviour:nothing_but_books")
    assert not refusal["passed"] and "of all places hold books" in refusal["text"]
    seated = ModelStore(workspace).champion()
    assert seated is not None and seated.candidate == decided.champion
    kept = ModelStore(workspace).artifact(seated, "behaviour.json")
    assert kept is not None and read_json(kept) == read_json(workspace.behaviour(seated.candidate))
    told = " ".join(audit.read(workspace)[0]["reasons"])
    assert "nothing_but_books" in told and "a baseline" in told


def test_a_version_that_is_reused_keeps_the_newest_results(params: Params, workspace: Workspace) -> None:
    behaved(params, workspace)
    register.run(params, workspace)
    params = with_own(params, workspace)
    behaved(params, workspace)
    assert register.run(params, workspace).new == 0
    store = ModelStore(workspace)
    kept = store.artifact(store.versions()[0], "behaviour.json")
    assert kept is not None and len(read_json(kept)["tests"]) == 8


def test_a_changed_test_file_is_a_changed_run_of_the_same_models(params: Params, workspace: Workspace) -> None:
    params = with_own(params, workspace)
    before, first = inputs_of(workspace, params, "source"), register.run(params, workspace)
    with_own(params, workspace, OWN + "\n# stricter\n")
    after, second = inputs_of(workspace, params, "source"), register.run(params, workspace)
    assert {name for name in before if before[name] != after[name]} == {"tests"}
    assert (second.new, second.versions) == (0, first.versions)
    assert second.lineage_key != first.lineage_key
    (workspace.project / "own.py").unlink()
    with pytest.raises(UsageError, match=r"there is no file own\.py"):
        inputs_of(workspace, params, "source")
