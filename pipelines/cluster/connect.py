"""Starting or reaching Ray, and refusing at once what its nodes can never provide."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray

from pipelines.cluster.reaper import watched
from pipelines.cluster.resources import Demand, nodes_text, unmet
from pipelines.config.schema import ClusterSection
from pipelines.errors import UserError, one_line
from pipelines.store.files import Store

# Of every worker. Ray leaves all of a node's GPUs visible to what asked for none, unless told otherwise.
WORKER_ENVIRONMENT = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
LOCAL = "local"
POLL = 0.5
KNOCK_SECONDS = 10.0
# The longest path that Ray makes a socket at, below its temporary folder, and what the system takes.
SOCKET = "ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store.9"
SOCKET_BYTES = 107
PROBE_SECONDS = 60.0  # that a node may take to start a worker and look


def connect(settings: ClusterSection) -> str:
    """Start a local Ray, or reach the cluster that is configured or named by RAY_ADDRESS; return its address.

    Raises `UserError` where it cannot be reached.
    """
    # Ray reports usage over the network unless told not to; a local Ray's workers inherit all of these.
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", **WORKER_ENVIRONMENT}.items():
        os.environ.setdefault(name, value)
    address = settings.address or os.environ.get("RAY_ADDRESS") or LOCAL
    options: dict[str, Any] = {"runtime_env": {"env_vars": WORKER_ENVIRONMENT}}
    _knock(address)
    if address == LOCAL:
        # A process beside every training that asks whether a node is about to be taken away: no use on the only one.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        check_sockets(os.environ)
        if not _can_keep_token():
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # its processes inherit it, and it ends with them
        options = {"num_cpus": settings.num_cpus, "include_dashboard": False}
    try:
        with watched() if address == LOCAL else nullcontext():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # a bare one where its processes take too long to start, as on a machine with much else
        raise UserError(f"cluster.address={address}: Ray cannot be reached: {one_line(error)}") from error
    return address


def check_sockets(environ: Mapping[str, str]) -> None:
    """Refuse a temporary folder whose path is too long for a local Ray's sockets."""
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in environ), None)
    length = len(os.fsencode(f"{environ[name]}/{SOCKET}")) if name else 0
    if name and length > SOCKET_BYTES:
        raise UserError(
            f"{name}={environ[name]} is too long for Ray: its sockets would have paths of {length} bytes, where the "
            f"system takes {SOCKET_BYTES}. Set RAY_TMPDIR to a folder with a short path, for example RAY_TMPDIR=/tmp."
        )


def _can_keep_token() -> bool:
    """True where Ray finds its token, or can write one to ~/.ray. A user of a container may have no home."""
    if any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return True
    try:
        place = Path.home() / ".ray"
        place.mkdir(parents=True, exist_ok=True)
        return (place / "auth_token").is_file() or os.access(place, os.W_OK)
    except (OSError, RuntimeError):  # RuntimeError: the system knows no home of this user
        return False


def _knock(address: str) -> None:
    """Learn of a wrong address at once: Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # no address of a server: Ray's own words for one
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"cluster.address={address}: Ray cannot be reached: {one_line(error)}. Give the address of the head's "
            "server, port 6379 unless it was told otherwise"
        ) from error


def check_demands(
    demands: Sequence[Demand], settings: ClusterSection, address: str, waiting: Callable[[], None]
) -> None:
    """Refuse what no node could ever give: Ray would wait for it without end.

    A running cluster's nodes get `join_seconds` to join; `waiting` is called meanwhile. With `autoscaling` nothing is
    refused. Raises `UserError` that names each stage and its request.
    """
    ends = time.monotonic() + (0.0 if address == LOCAL else settings.join_seconds)
    while problems := unmet(demands, nodes := ray.nodes()):
        if settings.autoscaling:
            return
        if time.monotonic() >= ends:
            lines = "".join(f"\n  {stage} {problem}" for stage, problem in problems.items())
            raise UserError(
                f"Ray would wait without end:{lines}\nIt has {nodes_text(nodes)}. Ask for less, add nodes, or set "
                "cluster.autoscaling=true where an autoscaler will add them."
            )
        waiting()
        time.sleep(POLL)


def check_shared(store: Store) -> None:
    """Refuse a folder as the store that some node of the cluster does not have, or has one of its own of."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if not store.is_local or len(nodes) < 2:
        return
    mark = f"tmp/shared-{uuid.uuid4().hex}"
    store.write_bytes(mark, b"", durable=False)
    try:
        lacking = _lacking(store, mark, nodes)
    finally:
        store.remove_tree(mark)
    if lacking:
        raise UserError(
            f"store={store.absolute_url} is a folder that these nodes of the cluster do not share: "
            f"{', '.join(lacking)}. Use a shared disk under the same path on every node, or s3://bucket/path."
        )


def ask_nodes(
    task: Any,
    nodes: Sequence[Mapping[str, Any]],
    seconds: float,
    arguments: Callable[[Mapping[str, Any]], tuple[Any, ...]],
    **options: Any,
) -> Iterator[tuple[Mapping[str, Any], ray.ObjectRef | None]]:
    """Call a task on all nodes at the same time; yield each with its finished call, or None where it has not answered
    after `seconds`.
    """
    calls = [
        task.options(num_cpus=0, label_selector={"ray.io/node-id": node["NodeID"]}, **options).remote(*arguments(node))
        for node in nodes
    ]
    _, silent = ray.wait(calls, num_returns=len(calls), timeout=seconds)
    for node, call in zip(nodes, calls, strict=True):
        yield node, None if call in silent else call


def _lacking(store: Store, mark: str, nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the nodes that do not see a file of the store. One that is lost meanwhile has nothing to share."""
    lacking = []
    for node, call in ask_nodes(ray.remote(_sees), nodes, PROBE_SECONDS, lambda _: (store.absolute_url, mark)):
        where = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        try:
            if call is None or not ray.get(call):
                lacking.append(where)
        except ray.exceptions.RayTaskError as error:
            raise UserError(f"node {where} cannot work on this run: {one_line(error.cause)}") from None
        except (ray.exceptions.NodeDiedError, ray.exceptions.WorkerCrashedError):
            continue
    return lacking


def _sees(store_url: str, mark: str) -> bool:
    return Store(store_url).exists(mark)
