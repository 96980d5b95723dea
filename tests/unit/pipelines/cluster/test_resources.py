"""Resources of stages: what is asked of Ray is what the configuration says, and what no node could give is named
beforehand.
"""

from __future__ import annotations

import pytest

from pipelines.cluster.resources import (
    Demand,
    driver_options,
    nodes_text,
    resources_of,
    scaling_options,
    task_options,
    unmet,
)
from pipelines.config.compose import compose_config, load_config, to_dict, to_yaml
from pipelines.config.node_selectors import selects
from pipelines.errors import UserError
from pipelines.workflow.graph import build_workflow

pytestmark = pytest.mark.unit

STAGES = {stage.name: stage for stage in build_workflow()}
PAPER = ["preset=paper", "source.path=list.csv"]


def node(cpus: float = 0, gpus: float = 0, memory: float = 0, alive: bool = True, **labels: str) -> dict:
    resources = {"CPU": cpus, "GPU": gpus, "memory": memory * 2**30}
    return {"Alive": alive, "Resources": {k: v for k, v in resources.items() if v}, "Labels": labels}


def problems(overrides: list[str], nodes: list[dict], *names: str) -> dict[str, str]:
    config = compose_config(overrides)
    return unmet([Demand.of(config, STAGES[name]) for name in names or STAGES], nodes)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("gpu", {"gpu"}),
        ("!gpu", {"cpu", "spot", None}),
        ("in(gpu, spot)", {"gpu", "spot"}),
        ("in(gpu,spot)", {"gpu", "spot"}),
        ("!in(gpu, spot)", {"cpu", None}),
    ],
)
def test_a_selector_means_the_nodes_that_ray_says_it_means(selector, selected):
    for value in ("gpu", "cpu", "spot", None):
        labels = {"zone": "a"} if value is None else {"pool": value, "zone": "a"}
        assert selects({"pool": selector, "zone": "a"}, labels) == (value in selected)


@pytest.mark.parametrize("selector", ["", "-a", "in()", "in(a", "!!a", "a b", "in(a, b!c)"])
def test_a_selector_that_ray_would_not_read_is_refused_with_its_key(selector):
    from ray._private.label_utils import validate_label_selector_value

    assert selector == "" or validate_label_selector_value(
        selector
    )  # Ray reads an empty one as any value; we ask for words
    with pytest.raises(UserError, match=r"execution\.resources\.measure\.labels\.pool: .* selects no label's value"):
        compose_config([f"execution.resources.measure.labels={{pool: '{selector}'}}"])


def test_stages_ask_ray_for_exactly_what_is_configured():
    import ray
    from ray.train import ScalingConfig

    from pipelines.workflow.shards import make_shard

    config = compose_config(
        [
            "execution.resources.encode_latents={cpus: 3, gpus: 0.5, memory_gb: 2, labels: {pool: '!spot', "
            "ray.io/accelerator-type: 'in(H100, H200)'}}",
            "execution.training.train_editor={workers: 2, cpus: 4, gpus: 1, memory_gb: 8, labels: {pool: gpu}}",
        ]
    )
    labels = {"pool": "!spot", "ray.io/accelerator-type": "in(H100, H200)"}
    encode = resources_of(config, "encode_latents")
    assert task_options(encode) == {"num_cpus": 3, "num_gpus": 0.5, "memory": 2 << 30, "label_selector": labels}
    assert driver_options(encode) == {"num_cpus": 0, "num_gpus": 0, "label_selector": labels}
    training = resources_of(config, "train_editor")
    assert scaling_options(training) == {
        "num_workers": 2, "use_gpu": True, "resources_per_worker": {"CPU": 4, "GPU": 1, "memory": 8 << 30},
        "label_selector": {"pool": "gpu"},
    }  # fmt: skip
    assert driver_options(training) == {"num_cpus": 0, "num_gpus": 0, "label_selector": {"pool": "gpu"}}
    # Ray takes them.
    ray.remote(make_shard).options(**task_options(encode))
    ray.remote(make_shard).options(**driver_options(training))
    assert ScalingConfig(**scaling_options(training)).label_selector == {"pool": "gpu"}
    plain = resources_of(compose_config([]), "measure")
    assert task_options(plain) == {"num_cpus": 1, "num_gpus": 0}


def test_in_the_published_recipe_gpu_stages_ask_for_gpus_and_no_other_stage_holds_one():
    config = compose_config(PAPER)
    with_gpus = {name for name in STAGES if resources_of(config, name).gpus}
    trained = {name for name, stage in STAGES.items() if stage.trains}
    assert with_gpus == trained | {"encode_latents", "evaluate_tokenizer", "evaluate_generator"}
    for name in set(STAGES) - with_gpus:
        assert task_options(resources_of(config, name))["num_gpus"] == 0
    for stage in STAGES.values():  # what only waits for workers holds nothing
        assert (
            driver_options(resources_of(config, stage.name))["num_cpus"],
            driver_options(resources_of(config, stage.name))["num_gpus"],
        ) == (0, 0)


def test_the_demo_fits_a_laptop_and_the_published_recipe_its_cluster():
    assert problems([], [node(cpus=2, memory=8)]) == {}
    gpu_nodes = [node(cpus=64, gpus=8, memory=500)]
    assert problems(PAPER, gpu_nodes) == {}


def test_what_no_node_can_give_is_named_by_stage_request_and_key():
    laptop = [node(cpus=8, memory=16)]
    found = problems(PAPER, laptop)
    assert set(found) == {
        "train_encoder",
        "train_semantic",
        "train_tokenizer",
        "encode_latents",
        "train_generator",
        "train_editor",
        "evaluate_tokenizer",
        "evaluate_generator",
    }
    assert found["train_generator"] == (
        "asks for 8 workers at once, each with 8 CPUs, 1 GPU; no node has that (execution.training.train_generator)"
    )
    assert (
        found["evaluate_generator"]
        == "asks for 8 CPUs, 1 GPU; no node has that (execution.resources.evaluate_generator)"
    )
    memory = problems(["execution.resources.measure.memory_gb=20"], laptop, "measure")
    assert memory == {"measure": "asks for 1 CPU, 20 GB memory; no node has that (execution.resources.measure)"}
    labels = problems(["execution.resources.measure.labels={pool: big}"], laptop, "measure")
    assert labels == {
        "measure": "asks for 1 CPU on a node labelled pool=big; no node has that (execution.resources.measure)"
    }


def test_workers_that_run_together_are_counted_over_nodes_and_only_over_those_that_live_and_are_meant():
    asked = ["execution.training.train_editor={workers: 4, cpus: 2, gpus: 1, labels: {pool: gpu}}"]
    three = [
        node(cpus=9, gpus=2, pool="gpu"),
        node(cpus=2, gpus=8, pool="gpu"),
        node(cpus=64, gpus=8),
        node(cpus=64, gpus=8, alive=False, pool="gpu"),
    ]
    assert problems(asked, three, "train_editor")["train_editor"].startswith(
        "asks for 4 workers at once, each with 2 CPUs, 1 GPU on a node labelled pool=gpu; there is room for 3 "
    )
    assert problems(asked, [*three, node(cpus=2, gpus=1, pool="gpu")], "train_editor") == {}
    actors = ["execution.resources.encode_latents={cpus: 1, gpus: 0.5, actors: 4}"]  # half a GPU each
    assert problems(actors, [node(cpus=8, gpus=2)], "encode_latents") == {}
    assert "room for 3" in problems(actors, [node(cpus=3, gpus=2)], "encode_latents")["encode_latents"]


def test_nodes_are_told_by_kind():
    nodes = [
        node(cpus=8, memory=16, pool="a"),
        node(cpus=8, memory=16, pool="a"),
        node(cpus=1, gpus=1),
        node(alive=False),
    ]
    assert nodes_text(nodes) == "2 nodes with 8 CPUs, 16 GB memory, pool=a; 1 node with 1 CPU, 1 GPU"


def test_a_run_that_was_begun_without_labels_and_memory_still_reads():
    values = to_dict(compose_config([]))
    for stage in (*values["execution"]["resources"].values(), *values["execution"]["training"].values()):
        del stage["labels"]
    for stage in values["execution"]["training"].values():
        del stage["memory_gb"]
    del values["cluster"]["join_seconds"], values["cluster"]["autoscaling"]
    from omegaconf import OmegaConf

    assert to_yaml(load_config(OmegaConf.to_yaml(OmegaConf.create(values)), "config.yaml")) == to_yaml(
        compose_config([])
    )
