"""`python -m flows.installation.deploying PROJECT`: bring work pool, limits, deployments and automations up to date.

A process of its own, so that the supervisor never imports prefect. Exit code 2: what the project says cannot be used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from rectory.errors import RectoryError


def main(project: str) -> int:
    """Deploy and say what; an expected error in one paragraph, which `rectory up` shows."""
    from rectory.params import load_params
    from rectory.workspace import Workspace

    try:
        load_params(Workspace(project=project).params_file)
        from flows.installation.lost_runs import watch_for_lost_runs

        made = import_module("flows.deployments").deploy(Path(project))
        watch_for_lost_runs()
    except RectoryError as error:
        sys.stderr.write(f"rectory: {error}\n")
        return error.exit_code
    sys.stderr.write(f"{len(made)} deployments: {', '.join(str(one) for one in made)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
