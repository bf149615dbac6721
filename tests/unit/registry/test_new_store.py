"""A new model store is whole or not there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from rectory.registry.new_store import create_store
from rectory.registry.store import ModelStore
from rectory.workspace import Workspace


def test_killed_while_the_tables_are_made_leaves_no_half_store(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path)
    program = (
        "import sys\nfrom pathlib import Path\nfrom rectory.registry.new_store import create_store\n"
        "create_store(Path(sys.argv[1]))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(workspace.model_store)]) as maker:
        deadline = time.monotonic() + 120
        while not any(one.stat().st_size > 50_000 for one in workspace.state.glob(".mlflow.db.new/mlflow.db")):
            assert maker.poll() is None, "it was done before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)  # Between two looks.
        maker.kill()
    assert not workspace.model_store.exists()
    create_store(workspace.model_store)
    made = workspace.model_store.stat().st_mtime_ns
    create_store(workspace.model_store)
    assert workspace.model_store.stat().st_mtime_ns == made, "one that is there is left alone"
    assert ModelStore(workspace).versions() == []
    assert [one.name for one in workspace.state.iterdir() if one.suffix != ".lock"] == ["mlflow.db"]
