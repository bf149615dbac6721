"""The key changes with what makes the model, and with nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rectory.data.card import Card, load_card
from rectory.params import Params, dump_params, load_params, parse_params
from rectory.registry.environment import cpu_digest
from rectory.registry.lineage import CodeGraph, candidate_code, candidate_lineage, code_hash, lock_hash, run_lineage
from rectory.registry.rebuild import environment_differences
from tests.shop import CARD, ROOT

LOCK = ROOT / "requirements.lock"


@pytest.fixture
def params() -> Params:
    return load_params(ROOT / "params.yaml")


@pytest.fixture
def card(tmp_path: Path) -> Card:
    (tmp_path / "shop.yaml").write_text(CARD, encoding="utf-8")
    return load_card(tmp_path / "shop.yaml")


def changed(params: Params, key: str, value: object) -> Params:
    tree = dump_params(params)
    *path, last = key.split(".")
    section = tree
    for part in path:
        section = section[part]
    section[last] = value
    return parse_params(tree, "test")


def key(params: Params, card: Card, data: str = "d1.dir", candidate: str = "popularity_recent") -> str:
    return candidate_lineage(params, card, data, LOCK, candidate).key


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("train.seed", 7, False),
        ("split.test_share", 0.2, False),
        ("features.max_values", 10, False),
        ("train.candidates.popularity_recent.windows_days", [1, 2], False),
        ("train.candidates.popularity.windows_days", [1, 2], True),
        ("train.workers", 3, True),
        ("report.sample_users", 1, True),
        ("evaluate.bootstrap_samples", 100, True),
    ],
)
def test_a_candidate_s_key_follows_the_params_that_it_reads(
    params: Params, card: Card, name: str, value: object, same: bool
) -> None:
    assert (key(params, card) == key(changed(params, name, value), card)) is same


def test_a_candidate_s_key_follows_data_card_and_lock(params: Params, card: Card, tmp_path: Path) -> None:
    other_card = card.model_copy(update={"interactions": card.interactions.model_copy(update={"targets": ("buy",)})})
    described = card.model_copy(update={"description": "another text"})
    assert key(params, card) == key(params, described)
    assert key(params, card) != key(params, other_card)
    assert key(params, card) != key(params, card, data="d2.dir")
    (tmp_path / "lock").write_text("numpy==1.26.4\n")
    assert candidate_lineage(params, card, "d1.dir", tmp_path / "lock", "popularity").key != key(
        params, card, candidate="popularity"
    )
    assert lock_hash(tmp_path / "none").startswith("installed-")


def test_a_run_s_key_follows_judging_and_every_candidate_but_not_the_report(params: Params, card: Card) -> None:
    def whole(given: Params) -> str:
        return run_lineage(given, card, "d1.dir", LOCK).key

    assert (
        whole(params) == whole(changed(params, "train.workers", 3)) == whole(changed(params, "report.sample_users", 1))
    )
    for name, other in (("gate.min_gain", 0.5), ("score.k", 3), ("train.candidates.popularity.windows_days", [5])):
        assert whole(params) != whole(changed(params, name, other)), name


def test_code_of_one_kind_is_its_own_module_and_what_that_imports() -> None:
    graph = CodeGraph()
    found = graph.modules(["tasks.train", "rectory.models.popularity"])
    assert {"tasks", "rectory.models", "rectory.models.bundle", "rectory.models.popularity"} <= set(found)
    assert not {"rectory.models.personal_frequency", "rectory.registry.store", "rectory.params.sections"} & set(found)
    assert candidate_code("popularity", graph) != candidate_code("personal_frequency", graph)


_HASH = "from rectory.registry.lineage import candidate_code as c; print(c('popularity'), c('personal_frequency'))"


def test_tuning_is_no_part_of_a_run() -> None:
    graph = CodeGraph()
    used = graph.modules(graph.steps())
    assert "tasks.train" in used
    assert not [name for name in used if "tun" in name]


def test_the_code_hash_does_not_depend_on_where_the_sources_lie_and_sees_an_edit(tmp_path: Path) -> None:
    for package in ("rectory", "tasks"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))

    def hashes() -> list[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", _HASH], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    graph = CodeGraph()
    before = hashes()
    assert before == [candidate_code("popularity", graph), candidate_code("personal_frequency", graph)]
    edited = tmp_path / "rectory" / "models" / "popularity.py"
    edited.write_text(edited.read_text() + "\n# another thought\n")
    after = hashes()
    assert after[0] != before[0]


def test_the_hash_of_modules_does_not_depend_on_their_order_and_takes_little_time() -> None:
    assert code_hash(["rectory.files", "rectory.errors"]) == code_hash(["rectory.errors", "rectory.files"])
    began = time.process_time()
    candidate_code("popularity")
    assert time.process_time() - began < 1.5


def test_equal_instruction_sets_give_equal_digests_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("model name: x\nflags : sse avx2 fma\n")
    (tmp_path / "b").write_text("model name: y\nflags : fma sse avx2\n")
    (tmp_path / "c").write_text("flags : fma sse\n")
    assert cpu_digest(tmp_path / "a") == cpu_digest(tmp_path / "b") != cpu_digest(tmp_path / "c")


def test_packages_that_differ_from_the_lock_are_named() -> None:
    lock = (
        "# a lock\nnumpy==0.1 \\\n    --hash=sha256:00\nno-such-package==1.0 \\\n    --hash=sha256:00\n"
        "colorama==0.1 ; sys_platform == 'win32'\n"
    )
    found = environment_differences(lock)
    assert len(found) == 2
    assert found[0] == "no-such-package: ==1.0 recorded, not installed" and found[1].startswith("numpy: ==0.1 recorded")
