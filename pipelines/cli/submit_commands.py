"""The command that runs a configuration on a Ray cluster elsewhere, follows it, and stops it."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipelines.submit.jobs import JobServer, Request

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # of click, or of the copy of it that Typer has of its own


def add_commands(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(submit)


def submit(
    address: Annotated[
        str,
        typer.Option("--address", help="The cluster's job server: http://host:8265", envvar="RAY_API_SERVER_ADDRESS"),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Configuration: key=value, preset=NAME, source=NAME.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Stop after this stage.")] = None,
    force: Annotated[list[str] | None, typer.Option("--force", help="Run this stage even if it is cached.")] = None,
    config_dir: Annotated[
        str | None, typer.Option("--config-dir", help="Your own folder of presets and sources; it is sent along.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", help="Name of an environment variable that the job gets; its value is never logged."),
    ] = None,
    no_install: Annotated[
        bool, typer.Option("--no-install", help="Install nothing: the cluster's image has all packages.")
    ] = False,
    constraints: Annotated[
        Path | None,
        typer.Option("--constraints", help="Versions to install; default: pixsem's constraints.txt."),
    ] = None,
    shared_store: Annotated[
        bool, typer.Option("--shared-store", help="Every node has the store's folder under the same path.")
    ] = False,
    serve: Annotated[
        str | None,
        typer.Option(
            "--serve",
            metavar="ARGUMENTS",
            help="Serve a model of the store instead of a run: what pixsem serve takes, in quotes.",
        ),
    ] = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Print the job's id and leave it.")] = False,
    follow: Annotated[str | None, typer.Option("--follow", metavar="JOB", help="Follow this job.")] = None,
    stop: Annotated[str | None, typer.Option("--stop", metavar="JOB", help="Stop this job.")] = None,
) -> None:
    """Run a configuration on a Ray cluster, or serve a model there. The job does not depend on this command."""
    from pipelines.errors import UserError
    from pipelines.submit.jobs import JobServer

    logging.disable(logging.INFO)  # Ray's client tells of every upload and connection
    if (follow or stop) and (overrides or until or force or config_dir or serve or (follow and stop)):
        raise UserError("--follow and --stop take a job as it is: give one of them alone, with --address.")
    if stop:
        _stop(JobServer(address), stop)
        return
    if follow:
        raise typer.Exit(_follow(JobServer(address), follow))
    request = _request(
        overrides or [],
        config_dir,
        until,
        force or [],
        env or [],
        None if no_install else constraints or _constraints(),
        shared_store,
        serve,
    )
    server = JobServer(address)
    job = server.submit(request)
    _tell(f"job {job} {'serves' if serve else 'has the run'}; its store is {request.config.store}")
    if no_follow:
        print(job)
        _tell_how(server, job)
        return
    raise typer.Exit(_follow(server, job))


def _request(
    overrides: list[str],
    config_dir: str | None,
    until: str | None,
    force: list[str],
    env: list[str],
    constraints: Path | None,
    is_shared: bool,
    serve: str | None,
) -> Request:
    """Check here what would fail there, and return what is to be handed over."""
    from pipelines.config.compose import compose_config
    from pipelines.config.origins import name_of
    from pipelines.config.values import assign
    from pipelines.errors import UserError
    from pipelines.submit.jobs import Request, shared_store
    from pipelines.submit.shipping import named_variables, pinned_packages
    from pipelines.workflow.launch import check_stages

    config = compose_config(overrides, config_dir)
    if config.cluster.address or config.cluster.num_cpus:
        raise UserError(
            "cluster.address and cluster.num_cpus are not for submit: the run is on the cluster of --address."
        )
    check_stages(config, until, force)
    served = None if serve is None else _served(serve, until, force)
    store = shared_store(config.store, is_shared)
    # The job reads neither this machine's working directory nor its PIXSEM_STORE.
    overrides = [*(o for o in overrides if name_of(o) != "store"), assign("store", store)]
    config = config.model_copy(update={"store": store})
    variables = named_variables(env, os.environ)
    packages = pinned_packages(constraints, store) if constraints else []
    return Request(
        config, overrides, Path(config_dir) if config_dir else None, until, force, packages, variables, served
    )


def _served(text: str, until: str | None, force: list[str]) -> list[str]:
    """Return the arguments of `pixsem serve` in a text, once that command has read them."""
    import shlex

    from pipelines.cli import serve_commands
    from pipelines.errors import UserError

    if until or force:
        raise UserError("--until and --force are of a run; with --serve there is none.")
    app = typer.Typer(add_completion=False)
    serve_commands.add_commands(app)
    try:
        words = shlex.split(text)
        typer.main.get_command(app).make_context("pixsem serve", list(words))
    except (ValueError, USAGE_ERROR) as error:
        raise UserError(f"--serve '{text}': {getattr(error, 'message', error)}") from None
    return words


def _constraints() -> Path:
    from pipelines.submit.shipping import ROOT

    return ROOT / "constraints.txt"


def _follow(server: JobServer, job: str) -> int:
    try:
        code = server.follow(job, _write)
    except KeyboardInterrupt:
        _tell("\ndetached; the job goes on.")
        _tell_how(server, job)
        return 130
    info = server.info(job)
    if info.driver_exit_code is None and info.message:  # it never came to run, or was stopped: the log does not say why
        _tell(info.message.strip())
    store = (info.metadata or {}).get("pixsem.store")
    _tell(f"job {job}: {info.status.value.lower()}" + (f"; pixsem report --store {store}" if store else ""))
    return code


def _stop(server: JobServer, job: str) -> None:
    before = server.info(job).status
    if before.is_terminal():
        _tell(f"job {job} had ended already: {before.value.lower()}")
        return
    _tell(f"stopping job {job}: what trains saves a checkpoint first")
    _tell(
        f"job {job}: {server.stop(job).status.value.lower()}; finished shards and stages are kept. Submit the "
        "same again to go on."
    )


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def _tell_how(server: JobServer, job: str) -> None:
    from pipelines.submit.jobs import attach_command, stop_command

    _tell(f"follow it: {attach_command(server.address, job)}\nstop it:   {stop_command(server.address, job)}")
