"""`pixsem doctor`: what a run will need, tried before one is started. Store and MLflow from here, the rest on every
node of the Ray.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

from components.registry.mlflow_errors import TrackingError, without_credentials
from pipelines.cluster.resources import Demand, nodes_text, resources_of, unmet
from pipelines.config.schema import Config
from pipelines.config.trainings import TRAININGS
from pipelines.doctor.node_checks import Line, Wanted, check_node, installed
from pipelines.errors import UserError, one_line
from pipelines.preflight import problems
from pipelines.store.files import Store
from pipelines.tracking.run_log import open_tracker, tracking_uri
from pipelines.workflow.graph import build_workflow

PYTHONS = ((3, 11), (3, 12))
NODE_SECONDS = 180.0  # that a node may take to start a worker, load torch and try
CONTENT = b"pixsem doctor\n"


def examine(config: Config) -> Iterator[Line]:
    """Yield a line for each thing tried, as soon as it is known. What fails is a line too; nothing raises."""
    yield _python()
    yield from _configuration(config)
    try:
        store = Store(config.store)
    except UserError as error:
        yield Line("store", False, one_line(error))
        return
    found = _store(store)
    yield found
    yield _mlflow(config, store) if found.ok else Line("mlflow", False, "not tried: the store comes first")
    yield from _ray(config, store)


def _configuration(config: Config) -> Iterator[Line]:
    """What the configuration names, by the checks that `pixsem run` makes before its first stage."""
    found = problems(config)
    yield from (Line("config", False, problem) for problem in found)
    if not found:
        yield Line("config", True, "models, source and gates fit together, as far as can be seen without loading them")


def _python() -> Line:
    here = sys.version_info[:2]
    text = sys.version.split()[0]
    return Line("python", here in PYTHONS, text if here in PYTHONS else f"{text}; pixsem needs 3.11 or 3.12")


def _store(store: Store) -> Line:
    """Write, read, list, keep two from making the same file, move and remove."""
    place, moved = (f"tmp/doctor-{secrets.token_hex(8)}" for _ in range(2))
    problems, notes = [], []
    try:
        store.prepare()
        try:
            store.write_bytes(f"{place}/a", CONTENT)
            if store.read_bytes(f"{place}/a") != CONTENT:
                problems.append("what was written is read as something else")
            if not store.create(f"{place}/b", b"") or store.create(f"{place}/b", b""):
                problems.append("two drivers could hold one lease: it does not refuse to make a file that is there")
            if store.names(place) != ["a", "b"]:
                notes.append("its listings lag, which runs allow for")
            store.move_tree(place, moved, ["a", "b"])
            if store.size(f"{moved}/a") != len(CONTENT) or store.exists(f"{place}/a"):
                problems.append("a folder that was moved is not where it should be")
        finally:
            for left in (place, moved):
                store.remove_tree(left)
    except (UserError, OSError) as error:
        problems.append(one_line(error))
    if problems:
        return Line("store", False, f"{store.url}: {'; '.join(problems)}")
    return Line(
        "store",
        True,
        "; ".join([f"{store.absolute_url} writes, reads, lists, moves, and lets one alone make a file", *notes]),
    )


def _mlflow(config: Config, store: Store) -> Line:
    from components.registry.registry_trial import try_tracking

    try:
        uri = without_credentials(tracking_uri(config, store, dict(os.environ)))
        return Line("mlflow", True, f"{uri}: {try_tracking(open_tracker(config, store, dict(os.environ)))}")
    except (TrackingError, ValueError) as error:
        return Line("mlflow", False, one_line(error))


def wanted_of(config: Config, store: Store) -> Wanted:
    """Return what a configuration expects of its nodes."""
    trainings = {key: attrgetter(key)(config) for key in TRAININGS.values()}
    bf16 = [f"{key}.precision" for key, options in trainings.items() if options.precision == "bf16"]
    bf16 += ["latents.precision"] if config.latents.precision == "bf16" else []
    gpus = tuple(dict.fromkeys(s.base for s in build_workflow(config) if resources_of(config, s.name).gpus))
    float8 = tuple(f"{key}.float8" for key, options in trainings.items() if options.float8)
    zero_stage = max(options.zero_stage for options in trainings.values())
    return Wanted(gpus, tuple(bf16), zero_stage, store.absolute_url, installed(), float8)


def _ray(config: Config, store: Store) -> Iterator[Line]:
    import ray

    from pipelines.cluster.connect import check_shared, connect

    try:
        address = connect(config.cluster)
    except UserError as error:
        yield Line("ray", False, one_line(error))
        yield Line("nodes", False, "not checked: Ray comes first")
        return
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        yield Line("ray", True, f"{ray.__version__} at {address}: {nodes_text(nodes)}")
        yield from _demands(config, nodes)
        try:
            check_shared(store)
        except UserError as error:
            yield Line("store", False, one_line(error))
        yield from _nodes(wanted_of(config, store), nodes)
    finally:
        ray.shutdown()


def _demands(config: Config, nodes: list[Mapping[str, Any]]) -> Iterator[Line]:
    lacking = unmet([Demand.of(config, stage) for stage in build_workflow(config)], nodes)
    advice = "Add nodes, ask for less, or set cluster.autoscaling=true where an autoscaler adds them"
    for stage, problem in lacking.items():
        yield Line(
            "resources",
            config.cluster.autoscaling,
            f"{stage} {problem}. {'Waited for' if config.cluster.autoscaling else advice}",
        )
    if not lacking:
        yield Line("resources", True, "the nodes have what each stage asks for")


def _nodes(wanted: Wanted, nodes: list[Mapping[str, Any]]) -> Iterator[Line]:
    """Check all nodes at the same time; a worker of its own each, with the environment of those that train, and all
    GPUs in its sight.
    """
    import ray

    from pipelines.cluster.connect import ask_nodes
    from pipelines.workflow.shards import worker_environment

    environment = {**worker_environment(1), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    task: Any = ray.remote(max_calls=1)(check_node)  # in a process of its own, which ends
    calls = ask_nodes(
        task, nodes, NODE_SECONDS, lambda node: (wanted, node["Resources"].get("GPU", 0.0)),
        max_retries=0, runtime_env={"env_vars": environment},
    )  # fmt: skip
    for node, call in calls:
        where = f"{node['NodeManagerHostname']} {node['NodeManagerAddress']}" if len(nodes) > 1 else ""
        if call is None:
            text = f"no answer in {NODE_SECONDS:.0f} s: is it overloaded, or its Ray of another version?"
            yield Line("node", False, text, where)
            continue
        try:
            for line in ray.get(call):
                yield dataclasses.replace(line, where=where)
        except ray.exceptions.RayError as error:
            yield Line("node", False, f"the worker that checked it was lost: {one_line(error)}", where)
