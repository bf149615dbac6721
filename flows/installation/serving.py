"""`python -m flows.installation.serving PROJECT HOST PORT`: the live service, which a broken params.yaml does not stop.

The params that it last started with are kept; when today's cannot be read, the champion is served with those.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rectory.errors import ParamsError, RectoryError
from rectory.files import replacing
from rectory.workspace import Workspace

if TYPE_CHECKING:
    from rectory.params import Params


def params_that_load(workspace: Workspace) -> Params:
    """params.yaml, else the last that could be read.

    Raises:
        ParamsError: neither can be.
    """
    from rectory.params import load_params

    kept = workspace.state / "params.last-good.yaml"
    try:
        params = load_params(workspace.params_file)
    except ParamsError as error:
        if not kept.is_file():
            raise
        sys.stderr.write(f"rectory: {error} The champion is served with the params of before, {kept}.\n")
        return load_params(kept)
    with replacing(kept) as scratch:
        scratch.write_bytes(workspace.params_file.read_bytes())
    return params


def main(project: str, host: str, port: str) -> int:
    """Serve until told to stop."""
    from rectory.serving.server import serve

    workspace = Workspace(project, project)
    try:
        serve(workspace, params_that_load(workspace).serve, host=host, port=int(port))
    except RectoryError as error:
        sys.stderr.write(f"rectory: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
