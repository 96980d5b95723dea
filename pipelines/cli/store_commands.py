"""Commands on a store: check its artifacts, remove what no run needs, open MLflow's page on its runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.shared import DEFAULT_STORE, AsJson, ConfigDir, Overrides, RunArgument, StoreOption, open_store, show

if TYPE_CHECKING:
    from pipelines.config.schema import Config


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (verify, gc, ui):
        app.command()(command)


def verify(run_id: RunArgument = None, store: StoreOption = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Re-hash every artifact and name damaged files. The next run makes them again."""
    from pipelines.store.maintenance import verify as check
    from pipelines.store.runs import find_run

    opened = open_store(store)
    found = check(opened, find_run(opened, run_id) if run_id else None)

    def text() -> str:
        lines = [f"{d['stage']}/{d['fingerprint']}/{d['file']}: {d['problem']}" for d in found["damaged"]]
        lines.append(
            f"{found['artifacts']} artifacts, {found['files']:,} files, {found['bytes']:,} bytes: "
            + (f"{len(lines)} damaged; mend with: pixsem resume" if lines else "all whole")
        )
        return "\n".join(lines)

    show(found, as_json, text)
    if found["damaged"]:
        raise typer.Exit(1)


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is listed.")] = False,
    keep_runs: Annotated[
        int | None, typer.Option("--keep-runs", min=0, help="Forget all but the latest N runs.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """List files that no run needs; --delete removes them."""
    from dataclasses import asdict

    from pipelines.store.maintenance import find_garbage, remove_garbage

    opened = open_store(store)
    garbage = find_garbage(opened, keep_runs)
    total = sum(item.bytes for item in garbage)
    if delete:
        remove_garbage(opened, garbage)
    verb = "removed" if delete else "could go; remove with --delete" if garbage else "nothing to remove"
    show(
        {"items": [asdict(item) for item in garbage], "bytes": total, "removed": delete},
        as_json,
        lambda: "\n".join(
            [
                *(f"{i.path}  {i.bytes:,} bytes: {i.reason}" for i in garbage),
                f"{len(garbage)} items, {total:,} bytes: {verb}",
            ]
        ),
    )


def ui(
    overrides: Overrides = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: 5000, or the next free one.")] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Open MLflow's page on the store's registered models and runs."""
    from components.registry.ui import serve_ui
    from pipelines.config.compose import compose_config
    from pipelines.tracking.run_log import artifact_root, open_tracker, pages_of, settle_runs, tracking_uri
    from pipelines.workflow.report import report_text

    settings: Config = compose_config(overrides or [], config_dir)
    store = open_store(settings.store)
    tracker = open_tracker(settings, store, dict(os.environ))
    settle_runs(store, tracker, None, report_text)
    pages = pages_of(store, tracker)
    uri = tracking_uri(settings, store, dict(os.environ))
    raise typer.Exit(serve_ui(uri, artifact_root(store), host, port, pages))
