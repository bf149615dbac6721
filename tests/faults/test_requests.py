"""Wrong use is told with the key to change, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

import tasks.fetch
from rectory.data.card import load_card
from rectory.errors import CardError, UsageError
from rectory.params import load_params
from rectory.workspace import Workspace
from tests.shop import CARD, make_project


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("licence: none", "licence: none\ncolour: red", "colour"),
        ("  repeats: allow", "  repeat: allow", "interactions.repeat"),
        ("format: iso", "formt: iso", "interactions.timestamp.formt"),
        ("kind: categorical", "kind: category", "category.kind"),
        ("weights: {view: 0.3", "weights: {view: -1", "weights.view"),
        ("  user_id: customer\n", "", "interactions.user_id"),
        ("kind: files", "kind: fax", "fax"),
        ("name: shop", "name: bazaar", "bazaar"),
        ("name: shop", "name: [shop", "not YAML"),
    ],
)
def test_an_unknown_key_of_a_card_is_named(tmp_path: Path, before: str, after: str, named: str) -> None:
    assert before in CARD
    (tmp_path / "shop.yaml").write_text(CARD.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(CardError) as refusal:
        load_card(tmp_path / "shop.yaml")
    assert named in str(refusal.value)
    assert "shop.yaml" in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_several_faults_of_a_card_are_told_at_once(tmp_path: Path) -> None:
    card = CARD.replace("repeats: allow", "repeat: allow").replace("kind: categorical", "kind: category")
    (tmp_path / "shop.yaml").write_text(card, encoding="utf-8")
    with pytest.raises(CardError, match=r"(?s)repeat.*kind|kind.*repeat"):
        load_card(tmp_path / "shop.yaml")


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a b", ""])
def test_a_data_set_cannot_lead_out_of_the_project(tmp_path: Path, name: str) -> None:
    folder = make_project(tmp_path / "project")
    with pytest.raises(UsageError):
        tasks.fetch.run(load_params(folder / "params.yaml", [f"dataset='{name}'"]), Workspace(folder / "run", folder))
    assert not (folder / "run").exists()
