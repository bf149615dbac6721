"""What a finished piece of work survives, and what makes it void."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectory.data.card import load_card
from rectory.params import Params, load_params
from rectory.registry.pieces import Pieces, is_done, key_of, note_done
from rectory.workspace import Workspace
from tests.shop import CARD, ROOT


@pytest.fixture
def project(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path, tmp_path)
    workspace.card("shop").parent.mkdir()
    workspace.card("shop").write_text(CARD)
    workspace.lock_file.write_text("numpy==1\n")
    return workspace


def params(*overrides: str) -> Params:
    return load_params(ROOT / "params.yaml", ["dataset=shop", *overrides])


def pieces(project: Workspace, told: Params) -> Pieces:
    card = project.card("shop")
    return Pieces(told, load_card(card), card, project.lock_file)


def fit_key(project: Workspace, *overrides: str, data: str = "tables", candidate: str = "popularity_recent") -> str:
    return pieces(project, params(*overrides)).train(data, candidate)


def test_a_fit_does_not_ask_who_is_compared_nor_by_which_rules(project: Workspace) -> None:
    same = ["gate.min_gain=0.1", "gate.max_refresh_loss=null", "drift.window_days=3", "as_of=2025-02-01"]
    assert fit_key(project, *same) == fit_key(project)
    other = "train.candidates.personal_frequency.half_lives_days=[9]"
    assert fit_key(project, other) == fit_key(project), "another candidate's params"


@pytest.mark.parametrize(
    "override", ["train.candidates.popularity_recent.windows_days=[5]", "split.test_days=3", "train.seed=1"]
)
def test_a_fit_is_made_anew_when_what_it_reads_has_changed(project: Workspace, override: str) -> None:
    assert fit_key(project, override) != fit_key(project)


def test_a_fit_is_made_anew_on_other_tables_and_under_another_lock(project: Workspace) -> None:
    before = fit_key(project)
    assert fit_key(project, data="other tables") != before
    project.lock_file.write_text("numpy==2\n")
    assert fit_key(project) != before


def test_decisions_are_made_anew_when_the_gates_rules_change(project: Workspace) -> None:
    def key(*overrides: str) -> str:
        return pieces(project, params(*overrides)).replay(["gate"], ["k1"])

    assert key("score.k=5") == key()
    assert key("gate.min_gain=0.1") != key()


def test_a_refit_hangs_on_the_date_and_on_what_was_chosen(project: Workspace) -> None:
    told = {"candidate": "p", "params": {"kind": "popularity"}, "chosen": {"window_days": 7.0}}
    made = pieces(project, params())
    keys = {
        made.refit("tables", "2025-01-01", told),
        made.refit("tables", "2025-01-02", told),
        made.refit("tables", "2025-01-01", {**told, "chosen": {"window_days": 14.0}}),
    }
    assert len(keys) == 3


def test_a_piece_is_done_only_with_the_very_key_that_it_ended_with(project: Workspace) -> None:
    assert not is_done(project, "train-popularity", "k1")
    note_done(project, "train-popularity", "k1")
    assert is_done(project, "train-popularity", "k1")
    assert not is_done(project, "train-popularity", "k2")
    assert key_of(project, "train-popularity") == "k1"
