"""What a recipe names, and what is laid out for the step that fits it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectory.errors import StoreError
from rectory.files import read_json, sha256_file
from rectory.params import Params, load_params
from rectory.registry.recipes import Recipe
from rectory.workspace import Workspace
from tests.shop import ROOT

CHOSEN = {"best": "own"}


@pytest.fixture
def params() -> Params:
    return load_params(ROOT / "params.yaml", [])


def bundle(folder: Path, ranker: str | None) -> Path:
    (folder / "model").mkdir(parents=True)
    if ranker is not None:
        (folder / "model" / "ranker.txt").write_text(ranker)
    return folder


def test_a_ranker_is_part_of_the_blends_recipe(params: Params, tmp_path: Path) -> None:
    one, other, none = (bundle(tmp_path / name, text) for name, text in (("a", "1"), ("b", "2"), ("c", None)))
    recipes = [Recipe.of(params, "blend", CHOSEN, folder) for folder in (one, other, none)]
    assert len({recipe.name for recipe in recipes}) == 3
    assert recipes[0].told["kept"] == {"ranker.txt": sha256_file(one / "model" / "ranker.txt")}
    assert "kept" not in recipes[2].told
    assert "kept" not in Recipe.of(params, "personal_frequency", CHOSEN, one).told, "it has no such part"


def test_what_is_kept_lies_beside_the_recipe(params: Params, tmp_path: Path) -> None:
    folder, workspace = bundle(tmp_path / "fit", "trees"), Workspace(tmp_path / "run", tmp_path)
    recipe = Recipe.of(params, "blend", CHOSEN, folder)
    recipe.lay_out(workspace, folder)
    assert read_json(workspace.recipe(recipe.name)) == recipe.told
    assert [path.read_text() for path in workspace.kept(recipe.name).iterdir()] == ["trees"]


def test_a_file_that_is_not_the_measured_ones_is_refused(params: Params, tmp_path: Path) -> None:
    folder, workspace = bundle(tmp_path / "fit", "trees"), Workspace(tmp_path / "run", tmp_path)
    recipe = Recipe.of(params, "blend", CHOSEN, folder)
    for other in (bundle(tmp_path / "other", "more trees"), bundle(tmp_path / "empty", None)):
        with pytest.raises(StoreError, match=r"ranker.txt .* missing or was changed"):
            recipe.lay_out(workspace, other)
    assert not workspace.recipe(recipe.name).exists()
