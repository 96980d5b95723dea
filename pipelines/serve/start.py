"""Starting the service on a local Ray or a cluster, and stopping it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.serve.limits import Limits

NAME = "pixsem"


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    engine: Any  # handle of the deployment Engine


def application(model: str, store: str, limits: Limits, environment: Mapping[str, str] | None = None) -> Any:
    """Return the Serve application: Front, which speaks HTTP, before Engine, which makes the pictures."""
    from pipelines.serve.front import Front

    front = {"num_cpus": 0, "runtime_env": {"env_vars": dict(environment or {})}}
    return Front.options(max_ongoing_requests=limits.connections, ray_actor_options=front).bind(
        engine_deployment(model, store, limits), limits
    )


def engine_deployment(model: str, store: str, limits: Limits) -> Any:
    """Return the bound deployment of the model's copies."""
    from pipelines.serve.engine import Engine

    return Engine.options(
        num_replicas=limits.replicas,
        max_ongoing_requests=limits.ongoing,
        max_queued_requests=limits.queued,
        health_check_period_s=limits.health_s,
        graceful_shutdown_timeout_s=limits.stop_s,
        ray_actor_options={"num_cpus": limits.cpus, "num_gpus": limits.gpus},
    ).bind(model, store, limits)


@contextmanager
def started(model: str, store: str, limits: Limits, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start Ray and the service; both end with the block."""
    import ray
    from ray import serve as ray_serve

    from pipelines.cluster.connect import connect
    from pipelines.config.schema import ClusterSection

    connect(ClusterSection(address=None, num_cpus=None))
    try:
        ray_serve.start(
            proxy_location="HeadOnly",
            http_options={"host": limits.host, "port": limits.port, "request_timeout_s": limits.request_s + 10},
        )
        ray_serve.run(application(model, store, limits, environment), name=NAME)
        yield Running(f"http://{limits.host}:{limits.port}", ray_serve.get_deployment_handle("Engine", NAME))
    finally:
        ray_serve.shutdown()
        ray.shutdown()


def serve(model: str, store: str, limits: Limits) -> None:
    """Serve a model until SIGINT or SIGTERM."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    with started(model, store, limits) as running:
        facts = running.engine.describe.remote().result()
        alias = f" ({facts['alias']})" if facts["alias"] else ""
        print(f"{running.url}  {facts['id']}{alias}; stop with Ctrl-C", file=sys.stderr)
        told.wait()
