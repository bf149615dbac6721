"""Entry point of `rectory`: one typer application, errors as one paragraph, exit codes that scripts can trust."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from cli import backtest, care, data, models, operate, replaying, runs, serving, tuning, up
from rectory.ending import INTERRUPTED, WORDS, end_within
from rectory.errors import RectoryError

_LAST_SECONDS = 10.0
"""Of an interrupted command, for threads that Python waits for before it ends."""

app = typer.Typer(
    name="rectory",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="A recommender factory: recommenders, promoted on evidence.\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong use, 3 data refused, 4 gate refused (only with --require-promotion).",
)
runs.add_to(app)
models.add_to(app)
tuning.add_to(app)
backtest.add_to(app)
data.add_to(app)
care.add_to(app)
serving.add_to(app)
replaying.add_to(app)
up.add_to(app)
operate.add_to(app)


@app.callback()
def options(
    project: Annotated[
        str, typer.Option(help="Folder with params.yaml and datasets/.", envvar="RECTORY_PROJECT", show_default=True)
    ] = ".",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options of every command."""
    os.environ["RECTORY_PROJECT"] = project
    if debug:
        os.environ["RECTORY_DEBUG"] = "1"


def main() -> None:
    """Run the command line; every expected error is one paragraph on stderr and its own exit code."""
    for name, value in {
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "1",
    }.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except RectoryError as error:
        if os.environ.get("RECTORY_DEBUG"):
            raise
        print(f"rectory: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer turns Ctrl-C into its exit code without a word.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        print(WORDS, file=sys.stderr)
        end_within(_LAST_SECONDS)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # Stands before OSError, which it is one of.
        # `rectory ... | head` closed the pipe: that is no fault of ours, and flushing at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as failure:
        from rectory.files import disk_error

        told = None if os.environ.get("RECTORY_DEBUG") else disk_error(failure)
        if told is None:
            raise
        print(f"rectory: {told}", file=sys.stderr)
        sys.exit(told.exit_code)


if __name__ == "__main__":
    main()
