"""dvc.yaml against the code: a stage that does not name a module it uses would not run again when that changes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from rectory.models.catalogue import modules_of
from rectory.params import load_params

ROOT = Path(__file__).parents[2]
PIPELINE: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PARAMS = load_params(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def graph() -> Any:
    return grimp.build_graph("tasks", "rectory", cache_dir=None)


def source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).relative_to(ROOT).as_posix()


def stages() -> list[tuple[str, dict[str, Any], str | None]]:
    found: list[tuple[str, dict[str, Any], str | None]] = []
    for name, stage in PIPELINE["stages"].items():
        if "foreach" in stage:
            kinds = sorted({candidate.kind for candidate in PARAMS.train.candidates.values()})
            found += [(name, stage["do"], kind) for kind in kinds]
        else:
            found.append((name, stage, None))
    return found


@pytest.mark.parametrize(("name", "stage", "kind"), stages(), ids=lambda value: value if isinstance(value, str) else "")
def test_deps_cover_every_module_that_the_stage_imports(
    graph: Any, name: str, stage: dict[str, Any], kind: str | None
) -> None:
    used = {f"tasks.{name}", "tasks"} | graph.find_upstream_modules(f"tasks.{name}")
    if kind is not None:
        for module in modules_of(kind):
            used |= {module} | graph.find_upstream_modules(module)
    deps = [dep.replace("${item.kind}", kind or "") for dep in stage["deps"]]
    missing = [
        source
        for source in sorted(map(source_of, used))
        if not any(source == dep or source.startswith(f"{dep}/") for dep in deps)
    ]
    assert not missing, f"stage {name}: add these to its deps in dvc.yaml: {missing}"


def test_every_dep_that_is_code_exists() -> None:
    for name, stage, kind in stages():
        for dep in stage["deps"]:
            path = dep.replace("${item.kind}", kind or "").replace("${dataset}", PARAMS.dataset)
            if path.startswith(("rectory/", "tasks/", "datasets/")):
                assert (ROOT / path).exists(), f"stage {name}: {path} is gone"


def test_stages_run_the_steps_by_their_names() -> None:
    for name, stage, _ in stages():
        assert stage["cmd"].startswith(f"python -m tasks.{name}")
