"""The command line. Commands import what they need when they run, so that `pixsem --help` is quick."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pipelines.cli import (
    check_commands,
    compare_commands,
    evaluate_commands,
    inspect_commands,
    model_commands,
    picture_commands,
    run_commands,
    serve_commands,
    store_commands,
    submit_commands,
)

app = typer.Typer(
    name="pixsem",
    help="From image-understanding encoders to one model that generates and edits: durable workflows on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for commands in (
    run_commands, store_commands, check_commands, inspect_commands, model_commands, picture_commands,
    evaluate_commands, compare_commands, serve_commands, submit_commands,
):  # fmt: skip
    commands.add_commands(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from pipelines.versions import git_commit, library_version

        commit = git_commit()
        print(f"pixsem {library_version('pixsem')}" + ("" if commit == "absent" else f" ({commit})"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """From image-understanding encoders to one model that generates and edits: durable workflows on Ray."""


def main() -> None:
    """Run the command line: the user's mistakes end in one message and exit code 2, a failed run in 1."""
    from pipelines.errors import Interrupted, in_words

    try:
        app()
    except Interrupted as stop:
        print(f"stopped; finished shards and stages are kept. Go on with: {stop.again}", file=sys.stderr)
        sys.exit(128 + stop.signal_number)
    except BrokenPipeError:
        # The reader of our output went away (`pixsem stages | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError) as error:
        # UserError and the rooms' own ValueErrors are written for people; PIXSEM_DEBUG=1 shows where they arose.
        if os.environ.get("PIXSEM_DEBUG"):
            raise
        print(f"pixsem: {in_words(error)}", file=sys.stderr)
        sys.exit(2)
