"""One step each: read files, call rectory, write files. `python -m tasks.<step>` is the DVC stage.

A step is `run(params, workspace[, candidate])` and returns a small frozen dataclass. Steps never import each
other; they meet in files, whose names only `rectory.workspace` knows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rectory.errors import RectoryError
from rectory.files import disk_error
from rectory.measure import measured
from rectory.params import load_params
from rectory.workspace import Workspace

# Sums of floats depend on how many threads add them up, so one thread is part of "same bytes in, same bytes out". It
# has to be said before numpy is loaded; a package is imported before its modules. Cores are used across candidates.
for _library in ("OMP", "OPENBLAS", "MKL", "VECLIB"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"


def step_label(step: str, candidate: str | None = None) -> str:
    """Name under which a step's timing is kept: `split`, `train-lightfm_hybrid`."""
    return step if candidate is None else f"{step}-{candidate}"


def main(
    step: str, run: Callable[..., Any], *, per_candidate: bool = False, per: tuple[str, str] | None = None
) -> None:
    """Run one step from the command line and exit with the error's own code.

    Args:
        per_candidate: the step takes a candidate. per: name and help of what else it takes.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tasks.{step}", description=(sys.modules[run.__module__].__doc__))
    if per_candidate:
        per = ("candidate", "a name under train.candidates in params.yaml")
    if per is not None:
        parser.add_argument(per[0], help=per[1])
    parser.add_argument("--workspace", default=".", help="folder of this run's files (default: .)")
    parser.add_argument("--project", default=".", help="folder with params.yaml, datasets/ and .rectory/ (default: .)")
    parser.add_argument("--params", default=None, help="params file (default: params.yaml of the project)")
    given = parser.parse_args()
    workspace = Workspace(given.workspace, given.project)
    extra = (getattr(given, per[0]),) if per is not None else ()
    try:
        params = load_params(Path(given.params) if given.params else workspace.params_file)
        with measured(workspace.timing(step_label(step, *extra)), step):
            result = run(params, workspace, *extra)
    except (RectoryError, OSError) as error:
        told = error if isinstance(error, RectoryError) else disk_error(error)
        if told is None:
            raise
        print(f"{step}: {told}", file=sys.stderr)
        raise SystemExit(told.exit_code) from None
    except KeyboardInterrupt:
        print(f"{step}: interrupted; nothing half-written was left.", file=sys.stderr)
        raise SystemExit(130) from None
    print(json.dumps(dataclasses.asdict(result), default=str))
