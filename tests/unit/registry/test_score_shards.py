"""Scoring in shards gives the bytes that one process gives."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rectory.errors import UsageError
from rectory.files import sha256_file
from rectory.params import Params
from rectory.registry import batch
from rectory.registry.shards import ScorePlan, shard_starts
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace
from tasks import score, score_shard
from tests.unit.registry.conftest import Bench


@pytest.fixture
def champion(bench: Bench, store: ModelStore) -> None:
    version = bench.register("personal_frequency")
    store.promote(version, "for the test")


def lists(workspace: Workspace) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in (workspace.scores, workspace.scores_jsonl)}


@pytest.mark.parametrize(("repeats", "shards"), [("allow", 3), ("exclude", 2), ("allow", 50)])
@pytest.mark.usefixtures("champion")
def test_shards_give_the_bytes_of_one_process(
    params: Params, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, repeats: str, shards: int
) -> None:
    monkeypatch.setattr(batch, "_BLOCK_CELLS", 1)  # 64 users a block
    card = workspace.card("shop")
    card.write_text(card.read_text().replace("repeats: allow", f"repeats: {repeats}"))
    alone = score.run(params, workspace)
    expected = lists(workspace)
    assert pq.ParquetFile(workspace.scores).num_row_groups == 4

    made = score.prepare(params, workspace, shards)
    assert made == min(shards, 4), "never more shards than blocks"
    for shard in reversed(range(made)):
        score_shard.run(params, workspace, str(shard))
    together = score.join(params, workspace)
    assert lists(workspace) == expected
    assert (together.users, together.rows, together.model_version) == (alone.users, alone.rows, alone.model_version)
    assert not workspace.score_shards.exists()


@pytest.mark.usefixtures("champion")
def test_a_model_outside_the_project_is_copied_to_where_every_worker_sees_it(
    params: Params, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ModelStore.bundle_folder
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setattr(ModelStore, "bundle_folder", lambda *given: folder(*given).rename(elsewhere))
    score.prepare(params, workspace, 2)
    plan = ScorePlan.load(workspace)
    assert Path(plan.bundle).is_relative_to(workspace.project.absolute())
    assert (Path(plan.bundle) / "bundle.json").read_text() == (elsewhere / "bundle.json").read_text()
    with pytest.raises(UsageError, match="there is no shard 7"):
        score_shard.run(params, workspace, "7")


def test_shards_are_whole_blocks_as_even_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_BLOCK_CELLS", 6400)  # 64 users a block among 100 items
    assert shard_starts(640, 100, 1) == (0,)
    assert shard_starts(640, 100, 3) == (0, 192, 384)
    assert shard_starts(641, 100, 2) == (0, 320), "the last block may be short"
    assert shard_starts(10, 100, 5) == (0,)
    assert shard_starts(0, 100, 5) == (0,)
