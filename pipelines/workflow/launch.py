"""Starting and resuming runs: from a configuration to a driven run with its views and its MLflow log."""

from __future__ import annotations

import functools
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.config.compose import load_config, to_yaml
from pipelines.config.schema import Config
from pipelines.errors import Interrupted, UserError, one_line
from pipelines.stage import Stage
from pipelines.store.files import Store
from pipelines.store.leases import Leases
from pipelines.store.runs import Run, find_run, new_run, save_run
from pipelines.tracking.run_log import RunLog, close_open, is_registered, open_tracker, register_versions, settle_runs
from pipelines.workflow.driver import Driver, Listener, start_stages
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.graph_walks import ancestors, descendants, stages_named
from pipelines.workflow.identity import StagePlan, identify, make_plan
from pipelines.workflow.live import LiveView
from pipelines.workflow.report import report, report_text


def _wanted(stages: list[Stage], until: str | None) -> list[str]:
    """The stages that a run ends with (one, or several with commas between) and all that they need; every stage
    without.
    """
    if not until:
        return [s.name for s in stages]
    return ancestors([n for name in until.split(",") for n in stages_named(name.strip(), stages)], stages)


def _forced(stages: list[Stage], force: list[str], wanted: list[str]) -> list[str]:
    """Return the stages that `--force` stands for, in order. `UserError` for those that the run does not reach."""
    found: set[str] = set()
    for name in force:
        reached = [meant for meant in stages_named(name, stages) if meant in wanted]
        if not reached:
            raise UserError(f"stage {name} is forced, but the run ends before it: drop --force {name} or move --until.")
        found.update(reached)
    return [name for name in wanted if name in found]


def check_stages(config: Config, until: str | None, force: list[str]) -> None:
    """Raise `UserError` where stages are named that the run does not have."""
    stages = build_workflow(config)
    _forced(stages, force, _wanted(stages, until))


def stages_of(config: Config, until: str | None) -> list[str]:
    """Return the stages that a run of the configuration has. `UserError` for a stage that it has not."""
    return _wanted(build_workflow(config), until)


def _rows(plans: dict[str, StagePlan]) -> list[dict[str, Any]]:
    return [
        {
            "stage": name,
            "cached": plan.cached,
            "conditional": plan.conditional,
            "fingerprint": plan.identity.fingerprint,
            "reasons": plan.reasons,
            "note": plan.note,
        }
        for name, plan in plans.items()
    ]


def dry_run_listing(store: Store, config: Config, until: str | None, force: list[str]) -> list[dict[str, Any]]:
    """Return for each stage whether it is cached, or why it would run, and whether that depends on what comes before
    it.

    Writes nothing but the cache of source digests.
    """
    stages = build_workflow(config)
    wanted = _wanted(stages, until)
    force = _forced(stages, force, wanted)
    return _rows(make_plan(stages, identify(stages, config, store), store, force, wanted))


def run_new(
    store: Store,
    config: Config,
    until: str | None,
    force: list[str],
    quiet: bool,
    keep_ray: bool = False,
    asked: Sequence[str] = (),
) -> Run:
    """Start a run of a configuration and drive it to its end. `keep_ray` leaves a local Ray up, for the caller's next
    run. `asked` is what the command line was given for the configuration.
    """
    stages = build_workflow(config)
    wanted = _wanted(stages, until)
    force = _forced(stages, force, wanted)
    store.prepare()
    run = new_run(store, config.preset, to_yaml(config), until, force, asked)
    return _drive(store, config, stages, run, wanted, quiet, keep_ray)


def load_run(store: Store, run_id: str | None) -> tuple[Run, Config]:
    """Return a run and the configuration it kept."""
    run = find_run(store, run_id)
    path = f"{run.path}/config.yaml"
    return run, load_config(store.read_bytes(path).decode(), store.path(path))


def _force_on_resume(run: Run, stages: list[Stage], from_stage: str | None) -> list[str]:
    """A resume forces what `--from` asks for, and what the run was asked to force and has not done yet."""
    open_ones = [n for n in run.force if n not in run.stages or run.stages[n].state != "done"]
    wanted = _wanted(stages, run.until)
    asked = descendants(stages_named(from_stage, stages), stages) if from_stage else []
    return [name for name in wanted if name in {*open_ones, *asked}]


def resume_listing(store: Store, run: Run, config: Config, from_stage: str | None) -> list[dict[str, Any]]:
    """Return what `resume_run` would do."""
    stages = build_workflow(config)
    wanted = _wanted(stages, run.until)
    return _rows(
        make_plan(stages, identify(stages, config, store), store, _force_on_resume(run, stages, from_stage), wanted)
    )


def resume_run(store: Store, run: Run, config: Config, from_stage: str | None, quiet: bool) -> Run:
    """Go on with a run under its own id."""
    if run.state == "running":
        raise UserError(f"run {run.id} is still running. See it with: pixsem status {run.id}")
    stages = build_workflow(config)
    run.force = _force_on_resume(run, stages, from_stage)
    run.state = "running"
    run.attempts += 1
    return _drive(store, config, stages, run, _wanted(stages, run.until), quiet)


def _drive(
    store: Store,
    config: Config,
    stages: list[Stage],
    run: Run,
    wanted: list[str],
    quiet: bool,
    keep_ray: bool = False,
) -> Run:
    # Nothing of the run is touched, in the store or in MLflow, before it is certain that nobody else drives it.
    with Leases(store, run.id) as leases:
        holder = leases.acquire(run.lease)
        if holder is not None:
            raise UserError(
                f"run {run.id} is being driven already, by process {holder['pid']} on {holder['host']}. "
                f"See it with: pixsem status {run.id}"
            )
        identities = identify(stages, config, store)
        plans = make_plan(stages, identities, store, run.force, wanted)
        if run.attempts > 1:
            store.remove_tree(f"{run.path}/settled")
        start_stages(run, identities, wanted)
        console = Console(stderr=True, quiet=quiet)
        # Loading MLflow takes longer than a run in which everything is cached; such a run is written there later.
        cached = all(plan.cached for plan in plans.values())
        if cached and "register" in plans:
            cached = is_registered(config, store, identities["register"].fingerprint, dict(os.environ))
        log = None if cached and not run.mlflow_run else _open_log(store, config, run)
        ended: BaseException | None = None
        try:
            with LiveView(store, console) as view:
                listeners: list[Listener] = [log, view] if log else [view]
                after = {"register": functools.partial(register_versions, log, run)} if log else {}
                return Driver(store, config, stages, identities, run, listeners, leases, keep_ray, after).execute()
        except BaseException as error:
            ended = error
            raise
        finally:
            if log:
                log.finish(run, ended, report_text)
                save_run(store, run)
                if not isinstance(ended, Interrupted):  # who stopped it waits, and a resume ends with a page
                    _log_page(log, store, run)


def _log_page(log: RunLog, store: Store, run: Run) -> None:
    """Log the run's page to MLflow. One that cannot be made is said, and fails nothing."""
    from pipelines.gallery.run_page import gallery_page

    try:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "report.html"
            page.write_text(gallery_page(store, run, report(store, run)), "utf-8")
            log.tracker.log_artifact(run.mlflow_run, str(page), "")
    except Exception as error:
        again = f"pixsem report {run.id} --html --store {shlex.quote(store.url)}"
        print(f"the page of the run was not logged: {one_line(error)}. Make it with: {again}", file=sys.stderr)


def _open_log(store: Store, config: Config, run: Run) -> RunLog:
    tracker = open_tracker(config, store, dict(os.environ))
    settle_runs(store, tracker, run.id, report_text)
    if run.attempts > 1:
        close_open(store, tracker, run)
    return RunLog(tracker, store, config, run)
