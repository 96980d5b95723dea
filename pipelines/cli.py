"""The command line. Commands import what they need when they run, so that `pixsem --help` is quick."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines import cli_checks, cli_compare, cli_models, cli_submit

if TYPE_CHECKING:
    from pipelines.config.schema import Config
    from pipelines.runs import Run
    from pipelines.store import Store

app = typer.Typer(
    name="pixsem",
    help="From image-understanding encoders to one model that generates and edits: durable workflows on Ray.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Configuration: key=value, preset=NAME, source=NAME.", show_default=False)
]
ConfigDir = Annotated[
    str | None, typer.Option("--config-dir", help="Your own folder of presets and sources, laid out like conf/.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StoreOption = Annotated[
    str, typer.Option("--store", help="The store: a folder, s3://... or gs://...", envvar="PIXSEM_STORE")
]
RunArgument = Annotated[str | None, typer.Argument(help="A run's id; the latest if left out.", show_default=False)]
DEFAULT_STORE = "./store"


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


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print a listing as JSON or as text."""
    print(json.dumps(value, indent=1, ensure_ascii=False) if as_json else text())


def open_store(url: str) -> Store:
    """Open a store that must be there already."""
    from pipelines.errors import UserError
    from pipelines.store import Store

    store = Store(url)
    if not store.exists(""):
        raise UserError(f"there is no store at {url}. Name yours with --store, or start a run with: pixsem run")
    return store


@app.command()
def run(
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and why; run nothing.")] = False,
    until: Annotated[str | None, typer.Option("--until", help="Stop after this stage, or several: A,B.")] = None,
    force: Annotated[
        list[str] | None, typer.Option("--force", help="Make this stage again even if it is cached.")
    ] = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Run the pipeline; stages whose artifact stands are taken from the store."""
    from pipelines.config.compose import compose_config
    from pipelines.running import dry_run_listing, run_new
    from pipelines.store import Store

    config = compose_config(overrides or [], config_dir)
    store = Store(config.store)
    if dry_run:
        rows = dry_run_listing(store, config, until, force or [])
        show(rows, as_json, lambda: "\n".join(_plan_line(row) for row in rows))
        return
    _finish(store, run_new(store, config, until, force or [], quiet=as_json), as_json)


@app.command()
def resume(
    run_id: RunArgument = None,
    from_stage: Annotated[str | None, typer.Option("--from", help="Make this stage and all after it again.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and why; run nothing.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Go on with a run as it was configured; finished shards and stages are not made again."""
    from pipelines.running import load_run, resume_listing, resume_run

    opened = open_store(store)
    found, config = load_run(opened, run_id)
    if dry_run:
        rows = resume_listing(opened, found, config, from_stage)
        show(rows, as_json, lambda: "\n".join(_plan_line(row) for row in rows))
        return
    _finish(opened, resume_run(opened, found, config, from_stage, quiet=as_json), as_json)


def _finish(store: Store, run: Run, as_json: bool) -> None:
    from pipelines.report import report, report_text

    tries = ['pixsem generate "a red circle on a white background"', "pixsem models", "pixsem report", "pixsem ui"]
    if run.preset == "demo_small":
        tries.append("pixsem run preset=demo (trained two to three times as long)")
    show(report(store, run), as_json, lambda: f"\n{report_text(store, run)}\n\nnext: {', '.join(tries)}")
    if run.state != "completed":
        raise typer.Exit(1)


def _plan_line(row: dict[str, Any]) -> str:
    return f"{row['stage']:<18} {'cached' if row['cached'] else 'would run: ' + '; '.join(row['reasons'])}"


@app.command()
def config(overrides: Overrides = None, config_dir: ConfigDir = None, as_json: AsJson = False) -> None:
    """Print the resolved configuration, every key."""
    from pipelines.config.compose import compose_config, to_dict, to_yaml

    resolved = compose_config(overrides or [], config_dir)
    show(to_dict(resolved), as_json, lambda: to_yaml(resolved).rstrip())


@app.command()
def stages(as_json: AsJson = False) -> None:
    """Draw the stages and what each takes from which."""
    from pipelines.workflows import build_workflow, draw_workflow

    found = build_workflow()
    rows = [
        {"name": s.name, "inputs": list(s.inputs), "config": list(s.config), "version": s.version, "summary": s.summary}
        for s in found
    ]
    show(rows, as_json, lambda: draw_workflow(found))


@app.command()
def status(
    run_id: RunArgument = None,
    all_runs: Annotated[bool, typer.Option("--all", help="List every run of the store.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show a run's stages as they stand now."""
    from dataclasses import asdict

    from pipelines.live import StageTable
    from pipelines.report import run_artifacts
    from pipelines.runs import find_run, list_run_ids, read_progress, read_run

    opened = open_store(store)
    if all_runs:
        rows = [
            {
                k: v
                for k, v in asdict(read_run(opened, i)).items()
                if k in ("id", "preset", "state", "created", "seconds")
            }
            for i in list_run_ids(opened)
        ]
        show(
            rows,
            as_json,
            lambda: (
                "\n".join(f"{r['id']}  {r['preset']:<8} {r['state']:<12} {r['seconds']:8.1f} s" for r in rows)
                or "no runs yet"
            ),
        )
        return
    found = find_run(opened, run_id)
    value = asdict(found)
    for name, state in value["stages"].items():
        state["progress"] = read_progress(opened, found.id, name) if state["state"] == "running" else {}

    def text() -> str:
        from rich.console import Console

        table = StageTable(opened)
        table.artifacts = run_artifacts(opened, found)
        console = Console()
        with console.capture() as captured:
            console.print(table.render(found))
        return f"{captured.get().rstrip()}\n{found.state}"

    show(value, as_json, text)


@app.command()
def report(run_id: RunArgument = None, store: StoreOption = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Report a run: stages, counts, metrics, and where to look."""
    from pipelines.report import report as build
    from pipelines.report import report_text
    from pipelines.runs import find_run

    opened = open_store(store)
    found = find_run(opened, run_id)
    show(build(opened, found), as_json, lambda: report_text(opened, found))


@app.command()
def verify(run_id: RunArgument = None, store: StoreOption = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Re-hash every artifact and name each damaged file; the next run makes again what was hurt."""
    from pipelines.maintenance import verify as check
    from pipelines.runs import find_run

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


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is listed.")] = False,
    keep_runs: Annotated[
        int | None, typer.Option("--keep-runs", min=0, help="Forget all runs but the latest so many.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """List what no run needs; with --delete, remove it."""
    from dataclasses import asdict

    from pipelines.maintenance import find_garbage, remove_garbage

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


@app.command()
def ui(
    overrides: Overrides = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 5000,
    config_dir: ConfigDir = None,
) -> None:
    """Open MLflow's page on the store's runs."""
    from components.registry.ui import serve_ui
    from pipelines.config.compose import compose_config
    from pipelines.tracking import artifact_root, open_tracker, settle_runs, tracking_uri

    settings: Config = compose_config(overrides or [], config_dir)
    store = open_store(settings.store)
    settle_runs(store, open_tracker(settings, store, dict(os.environ)), None)
    raise typer.Exit(serve_ui(tracking_uri(settings, store, dict(os.environ)), artifact_root(store), host, port))


cli_checks.add_commands(app)
cli_models.add_commands(app)
cli_compare.add_commands(app)
cli_submit.add_commands(app)
