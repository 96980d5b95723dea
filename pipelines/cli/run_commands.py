"""Commands on runs: start, resume, see what they did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.shared import DEFAULT_STORE, AsJson, ConfigDir, Overrides, RunArgument, StoreOption, open_store, show

if TYPE_CHECKING:
    from pipelines.store.files import Store
    from pipelines.store.runs import Run


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (run, resume, config, stages, status, report):
        app.command()(command)


def run(
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and why; run nothing.")] = False,
    until: Annotated[
        str | None, typer.Option("--until", help="Stop after this stage, or several: A,B. Of one source: A@SOURCE.")
    ] = None,
    force: Annotated[list[str] | None, typer.Option("--force", help="Run this stage even if it is cached.")] = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Run the pipeline. Cached stages are taken from the store."""
    from pipelines.config.compose import compose_config
    from pipelines.preflight import refuse_problems
    from pipelines.store.files import Store
    from pipelines.workflow.launch import dry_run_listing, run_new, stages_of

    config = compose_config(overrides or [], config_dir)
    refuse_problems(config, stages_of(config, until))
    store = Store(config.store)
    if dry_run:
        rows = dry_run_listing(store, config, until, force or [])
        show(rows, as_json, lambda: _plan_lines(rows))
        return
    asked = [*(overrides or []), *(["--config-dir", str(config_dir)] if config_dir else [])]
    _finish(store, run_new(store, config, until, force or [], quiet=as_json, asked=asked), as_json)


def resume(
    run_id: RunArgument = None,
    from_stage: Annotated[str | None, typer.Option("--from", help="Run this stage and all after it again.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and why; run nothing.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Resume a run with its own configuration. Finished shards and stages are kept."""
    from pipelines.preflight import refuse_problems
    from pipelines.workflow.launch import load_run, resume_listing, resume_run, stages_of

    opened = open_store(store)
    found, config = load_run(opened, run_id)
    refuse_problems(config, stages_of(config, found.until))
    if dry_run:
        rows = resume_listing(opened, found, config, from_stage)
        show(rows, as_json, lambda: _plan_lines(rows))
        return
    done = resume_run(opened, found, config, from_stage, quiet=as_json)
    if config.evaluate_model is not None and done.state == "completed":
        from pipelines.tracking.model_evaluations import log_evaluation

        log_evaluation(config, opened, done)
    _finish(opened, done, as_json)


def _finish(store: Store, run: Run, as_json: bool) -> None:
    from pipelines.workflow.next_steps import next_steps
    from pipelines.workflow.report import report, report_text

    show(report(store, run), as_json, lambda: f"\n{report_text(store, run)}\n\n{next_steps(store, run)}")
    if run.state != "completed":
        raise typer.Exit(1)


def _plan_lines(rows: list[dict[str, Any]]) -> str:
    width = max([18, *(len(row["stage"]) for row in rows)])
    lines = []
    for row in rows:
        cached = f"cached, {row['note']}" if row["note"] else "cached"
        what = cached if row["cached"] else f"would run: {'; '.join(row['reasons'])}"
        lines.append(f"{row['stage']:<{width}} {what}")
    return "\n".join(lines)


def config(
    overrides: Overrides = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Print only what differs from the base, and the file it comes from.")
    ] = False,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the resolved configuration, every key."""
    from pipelines.config.compose import changed_keys, compose_config, to_dict, to_yaml

    if changed:
        rows = changed_keys(overrides or [], config_dir)
        values = [{"key": key, "value": value, "from": place} for key, value, place in rows]
        show(values, as_json, lambda: "\n".join(f"{key}: {json.dumps(value)}  # {place}" for key, value, place in rows))
        return
    resolved = compose_config(overrides or [], config_dir)
    show(to_dict(resolved), as_json, lambda: to_yaml(resolved).rstrip())


def stages(overrides: Overrides = None, config_dir: ConfigDir = None, as_json: AsJson = False) -> None:
    """Draw the stages and their inputs: all there are, or those of a configuration."""
    from pipelines.config.compose import NOT_GIVEN, compose_config
    from pipelines.workflow.graph import build_workflow
    from pipelines.workflow.graph_walks import draw_workflow

    given = bool(overrides or config_dir)
    found = build_workflow(compose_config(overrides or [], config_dir, NOT_GIVEN) if given else None)
    rows = [
        {"name": s.name, "inputs": list(s.inputs), "config": list(s.config), "version": s.version, "summary": s.summary}
        for s in found
    ]
    show(rows, as_json, lambda: draw_workflow(found))


def status(
    run_id: RunArgument = None,
    all_runs: Annotated[bool, typer.Option("--all", help="List every run of the store.")] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show the state of a run's stages."""
    from dataclasses import asdict

    from pipelines.store.runs import find_run, list_run_ids, read_progress, read_run
    from pipelines.workflow.live import StageTable
    from pipelines.workflow.report import run_artifacts

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


def report(
    run_id: RunArgument = None,
    html: Annotated[bool, typer.Option("--html", help="Write one page with pictures that opens offline.")] = False,
    out: Annotated[str | None, typer.Option("--out", help="The page's file; default: pixsem-RUN.html.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Report a run: stages, counts, metrics, pictures."""
    from pipelines.errors import UserError
    from pipelines.store.runs import find_run
    from pipelines.workflow.report import report as build
    from pipelines.workflow.report import report_text

    if out is not None and not html:
        raise UserError("--out names the file of a page: give --html, too")
    opened = open_store(store)
    found = find_run(opened, run_id)
    if not html:
        show(build(opened, found), as_json, lambda: report_text(opened, found))
        return
    from pipelines.gallery.run_page import gallery_page

    file = Path(out or f"pixsem-{found.id}.html")
    file.write_text(gallery_page(opened, found, build(opened, found)), "utf-8")
    size, page = file.stat().st_size, str(file.absolute())
    made = {"run": found.id, "page": page, "bytes": size}
    show(made, as_json, lambda: f"{page}  {size / 1e6:.1f} MB, opens offline in any browser")
