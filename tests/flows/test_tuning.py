"""`rectory tune` as a user calls it: a server, workers, a page, MLflow, params.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from rectory.params import load_params
from rectory.registry.connection import Connection
from rectory.workspace import Workspace
from tests.flows.conftest import Installation
from tests.shop import make_project

pytestmark = pytest.mark.long


def test_better_values_are_found_written_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = make_project(tmp_path / "project", code=True)
    params = project / "params.yaml"
    # Steps too small to learn anything: whatever is proposed is better.
    params.write_text(params.read_text().replace("learning_rate: 0.2", "learning_rate: 0.00001"), encoding="utf-8")
    before = params.read_text(encoding="utf-8")

    found = Installation(project).json("tune", "lightfm_hybrid", "--trials", "4", "--workers", "2", "--write")

    assert [one["origin"] for one in found["trials"]].count("defaults") == 1
    assert len(found["trials"]) == 4
    assert found["defaults"]["values"]["learning_rate"] == 0.00001
    assert found["better"]
    assert found["credible"] > 0
    assert found["written"]
    assert found["refusal"] is None

    after = params.read_text(encoding="utf-8")
    lines = list(zip(before.splitlines(), after.splitlines(), strict=True))
    changed = [new.split(":")[0].strip() for old, new in lines if old != new]
    assert sorted(changed) == sorted(found["changed"])
    written = load_params(params).train.candidates["lightfm_hybrid"]
    assert {key: getattr(written, key) for key in found["changed"]} == found["changed"]

    page = project / "reports" / "tune-shop-lightfm_hybrid" / "index.html"
    assert page == project / found["page"]
    assert found["study"] in page.read_text(encoding="utf-8")
    runs = list((project / "runs").iterdir())
    assert len(runs) == 1
    assert runs[0].name.startswith("tune-")
    assert not (runs[0] / "models").exists()

    client = Connection(Workspace(project, project)).client()
    experiment = client.get_experiment_by_name("rectory/shop/tuning")
    assert len(client.search_runs([experiment.experiment_id])) == 5
    assert not client.search_registered_models(), "tuning registers nothing and seats nobody"
