"""Starting the service on a local Ray or a cluster, and stopping it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from components.registry.named_versions import SCHEME
from pipelines.errors import Interrupted, UserError, one_line
from pipelines.serve.http_wire import CALLBACK
from pipelines.serve.limits import Limits, read_limits
from pipelines.serve.loopback import ray_on_loopback
from pipelines.store.files import ADDRESS

NAME = "pixsem"
MODEL = "models:/pixsem-generator@champion"
API_KEY, WEBHOOK_SECRET = "PIXSEM_API_KEY", "PIXSEM_WEBHOOK_SECRET"  # names in the environment
POLL_S = 0.2
TRIES = 2  # to start a replica at first, before it is given up


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    engine: Any  # the handle of Engine


def build(args: Mapping[str, Any]) -> Any:
    """Return the Serve application of a Serve config file: `import_path: pipelines.serve.start:build`. Its `args` are
    `model`, `store`, and any of `Limits`.
    """
    given = dict(args)
    model, store = given.pop("model", MODEL), given.pop("store", os.environ.get("PIXSEM_STORE", "./store"))
    return application(model, store, read_limits({"gpus": 0, "cpus": 1, **given}))


def application(model: str, store: str, limits: Limits) -> Any:
    """Return the Serve application: Front, which speaks HTTP, before Engine, which makes the pictures."""
    from pipelines.serve.model_engine import Engine

    deployment: Any = Engine  # Serve's decorator has no types
    engine = deployment.options(
        num_replicas=limits.replicas,
        max_ongoing_requests=limits.ongoing,
        max_queued_requests=limits.queued,
        max_constructor_retry_count=TRIES,
        health_check_period_s=limits.health_s,
        graceful_shutdown_timeout_s=limits.stop_s,
        ray_actor_options={
            "num_cpus": limits.cpus,
            "num_gpus": limits.gpus,
            "runtime_env": {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},  # its threads leave the cores to the HTTP side
        },
    ).bind(model, store, limits)
    return front(engine, limits, os.environ.get(API_KEY), os.environ.get(WEBHOOK_SECRET))


def front(engine: Any, limits: Limits, api_key: str | None = None, webhook_secret: str | None = None) -> Any:
    """Return the HTTP side before an engine, which is bound or running."""
    from pipelines.serve.front import Front

    deployment: Any = Front
    options = deployment.options(
        max_ongoing_requests=limits.connections,
        max_constructor_retry_count=TRIES,
        graceful_shutdown_timeout_s=limits.stop_s,
    )
    return options.bind(engine, limits, api_key, webhook_secret)


@contextmanager
def started(model: str, store: str, limits: Limits, waiting: Callable[[], None] = lambda: None) -> Iterator[Running]:
    """Start Ray, or reach the cluster that RAY_ADDRESS names, and the service; both end with the block.

    `waiting` is called while they start. Raises `UserError` where the service cannot be started.
    """
    import ray
    from ray import serve as ray_serve
    from ray.serve.context import _set_global_client
    from ray.serve.exceptions import RayServeException

    from pipelines.cluster.connect import LOCAL, connect
    from pipelines.config.schema import ClusterSection

    local = os.environ.get("RAY_ADDRESS", LOCAL) == LOCAL
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # here; replicas have logs of their own
    with ray_on_loopback() if local else nullcontext():
        os.environ.update(CALLBACK)
        connect(ClusterSection(address=None, num_cpus=None))
    try:
        limits = sized(limits, ray.cluster_resources())
        _check_running(limits)
        try:
            try:
                ray_serve.start(proxy_location="HeadOnly", http_options={"host": limits.host, "port": limits.port})
                deploy(application(model, store, limits), waiting=waiting)
            except (RuntimeError, ray.exceptions.RayError, RayServeException) as error:
                raise UserError(f"the service cannot be started: {one_line(error)}") from error
            yield Running(f"http://{limits.host}:{limits.port}", ray_serve.get_deployment_handle("Engine", NAME))
        finally:
            ray_serve.delete(NAME)  # requests that are being answered may end
            if local:
                _set_global_client(None)  # it ends with Ray itself
            elif not ray_serve.status().applications:
                ray_serve.shutdown()
    finally:
        ray.shutdown()


def _check_running(limits: Limits) -> None:
    """Refuse a cluster whose Serve listens elsewhere, or serves a model already: Serve would ignore, or replace it."""
    from ray import serve as ray_serve
    from ray.serve.context import _get_global_client

    running = _get_global_client(raise_if_no_controller_running=False)
    if running is None:
        return
    there = running.http_config
    if (there.host, there.port) != (limits.host, limits.port):
        raise UserError(
            f"Ray Serve runs on this cluster already, on {there.host}:{there.port}. Give that by --host and --port, "
            "or stop it with: serve shutdown"
        )
    if NAME in ray_serve.status().applications:
        raise UserError(f"this cluster serves an application {NAME} already. Stop it first with: serve shutdown")


def sized(limits: Limits, resources: Mapping[str, float]) -> Limits:
    """Return limits with what each copy of the model gets of a cluster's resources, where they do not say.

    One CPU is left to HTTP: with all of them a copy makes fewer pictures, not more.
    """
    gpus = min(1.0, resources.get("GPU", 0.0)) if limits.gpus is None else limits.gpus
    share = 1.0 if gpus else max(1.0, (resources.get("CPU", 1.0) - 1) // limits.replicas)
    return replace(limits, gpus=gpus, cpus=share if limits.cpus is None else limits.cpus)


def deploy(app: Any, name: str = NAME, prefix: str = "/", waiting: Callable[[], None] = lambda: None) -> None:
    """Run a Serve application and wait until it answers. Raises `UserError` where it cannot be started."""
    from ray import serve as ray_serve
    from ray.serve.schema import ApplicationStatus

    target = ray_serve.RunTarget(app, name=name, route_prefix=prefix)
    ray_serve.run_many([target], wait_for_applications_running=False)
    while (found := ray_serve.status().applications[name]).status != ApplicationStatus.RUNNING:
        if found.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
            raise UserError(f"the service cannot be started: {_reason(found)}")
        waiting()
        time.sleep(POLL_S)


def _reason(found: Any) -> str:
    """Return the last line of what a deployment says of its failure: the error itself, below its traceback."""
    told = [deployment.message for deployment in found.deployments.values()] + [found.message]
    lines = [line.strip() for message in told for line in message.splitlines() if "Error: " in line]
    return lines[-1].partition("Error: ")[2] if lines else " ".join(told[-1].split())


def serve(model: str, store: str, limits: Limits) -> None:
    """Serve a model until Ctrl-C or SIGTERM; tell on stderr when it answers, and when another version does."""
    from components.registry.ui import check_port
    from pipelines.tracking.open_version import open_version
    from pipelines.workflow.stop_signals import StopSignals

    open_version(model, store)  # a wrong name is told at once
    model, store = _from_anywhere(model), _from_anywhere(store)  # replicas may have another current folder
    check_port(limits.host, limits.port)
    signals = StopSignals()
    try:
        with signals, started(model, store, limits, signals.check) as running:
            signals.install()  # Ray has put its own in their place
            told = _tell(running, {})
            print(f"{running.url}  {told['id']}; stop with Ctrl-C", file=sys.stderr, flush=True)
            while True:
                ends = time.monotonic() + limits.poll_s
                while time.monotonic() < ends:
                    signals.check()
                    time.sleep(POLL_S)
                told = _tell(running, told)
    except Interrupted:
        print("stopped", file=sys.stderr)


def _from_anywhere(place: str) -> str:
    return place if ADDRESS.match(place) or place.startswith(SCHEME) else os.path.abspath(place)


def _tell(running: Running, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return which version answers and which does not; tell what is new since `before`."""
    facts = running.engine.describe.remote().result()
    alias = f" ({facts['alias']})" if facts["alias"] else ""
    now = {"id": facts["id"] + alias, "refused": facts["watch"]["refused"]}
    if before and now["id"] != before["id"]:
        print(f"{now['id']} answers now", file=sys.stderr, flush=True)
    if now["refused"] and now["refused"] != before.get("refused"):
        print(f"{now['id']} still answers: {now['refused']}", file=sys.stderr, flush=True)
    return now
