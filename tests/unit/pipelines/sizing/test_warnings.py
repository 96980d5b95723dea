"""What a plan warns of, on configurations where it must and where it must not."""

from __future__ import annotations

import json

import pytest

from pipelines.config.compose import compose_config
from pipelines.sizing.assumptions import DECODE_SECONDS, Assumptions
from pipelines.sizing.data_volume import find_flows, joined
from pipelines.sizing.plan_text import plan_text
from pipelines.sizing.stage_sizes import Plan, StageSize
from pipelines.sizing.warnings import add_warnings

pytestmark = pytest.mark.unit

# Of a million pixels, in shards of 500; their edits, two of each, have 196,608.
PHOTOS = ["preset=single_gpu", "source.path=/nowhere"]
PIXELS = (1_000_000 + 2 * 196_608) / 3
SAMPLES = 100_000


def warned(rows: list[StageSize], *overrides: str, **given: float) -> dict[str, list[str]]:
    config = compose_config([*PHOTOS, *overrides])
    assumed = Assumptions(samples=SAMPLES, **given)
    flows = find_flows(config, assumed)
    add_warnings({row.stage: row for row in rows}, config, flows, joined(flows), assumed)
    return {row.stage: row.warnings for row in rows if row.warnings}


def latents(workers: int = 1) -> list[StageSize]:
    return [
        StageSize("encode_latents", samples=SAMPLES, store_bytes=5 * 10**9),
        StageSize("train_generator", samples=SAMPLES, workers=workers, hours=5.0),
    ]


def test_copies_of_a_remote_store_that_a_nodes_disk_cannot_hold_are_warned_of():
    remote = "store=memory://run"
    (told,) = warned(latents(workers=8), remote, node_disk_gb=4)["train_generator"]
    assert "its node keeps 5.0 GB of the store's shards" in told and "Lower execution.node_cache_gb" in told
    assert "a node has 4.0 GB of disk (--node-disk-gb)" in told and "or set store to" in told
    assert not warned(latents(workers=8), remote, node_disk_gb=6)  # the node's workers share them
    assert not warned(latents(workers=8), remote, "execution.node_cache_gb=3", node_disk_gb=4)
    assert not warned(latents(workers=8), "store=/shared/run", node_disk_gb=1)  # read in place


def test_data_that_is_shuffled_as_a_whole_and_larger_than_a_nodes_cache_is_a_problem():
    rows = latents()
    small = "execution.node_cache_gb=3"
    assert not warned(rows, "store=memory://run", small, "shuffle.full_gb=4", node_disk_gb=9)
    assert rows[1].problems == []  # it streams
    warned(rows, "store=memory://run", small, node_disk_gb=9)
    (told,) = rows[1].problems
    assert "5.0 GB of shards are shuffled as a whole (shuffle.full_gb=64), and a node keeps 3.2 GB" in told


def test_an_evaluation_reads_its_pictures_alone_and_copies_no_shard():
    assert not warned([StageSize("evaluate_tokenizer", samples=10_000)], "store=memory://run", node_disk_gb=1)


def test_a_cache_that_is_smaller_than_the_windows_of_a_nodes_workers_is_warned_of():
    streams = ("store=memory://run", "shuffle.full_gb=1", "shuffle.window_shards=10")
    small, enough = "execution.node_cache_gb=2", "execution.node_cache_gb=4"
    # 200 shards of 25 MB: eight workers read 160 of them at once, one worker 20.
    (told,) = warned(latents(workers=16), *streams, small, node_disk_gb=9)["train_generator"]
    assert "the windows of 8 workers on a node hold 4.0 GB of shards at once, and it keeps 2.1 GB" in told
    assert "Raise execution.node_cache_gb, or lower shuffle.window_shards" in told
    assert not warned(latents(workers=16), *streams, enough, node_disk_gb=9)
    assert not warned(latents(), *streams, small, node_disk_gb=9)


def trained(hours: float, samples: int = 2 * SAMPLES) -> list[StageSize]:
    return [StageSize("train_semantic", samples=samples, seen=1_000_000, hours=hours)]


def test_a_loader_that_is_slower_than_the_steps_is_warned_of_with_its_cores():
    each, pixel = DECODE_SECONDS
    loads = 1_000_000 * (each + pixel * PIXELS) / 8 / 3600  # in the preset's 8 threads
    (told,) = warned(trained(0.9 * loads))["train_semantic"]
    assert f"takes {loads:,.3g} hours to decode 1,000,000 pictures of 464,405 pixels in 8 threads" in told
    assert "Raise execution.training.train_semantic.cpus, or execution.cache_gb to 37." in told
    assert not warned(trained(1.1 * loads))
    assert not warned(trained(0.9 * loads), "execution.training.train_semantic.cpus=16")


def test_pictures_that_the_cache_holds_are_decoded_once():
    assert warned(trained(0.1))
    assert not warned(trained(0.1, samples=10_000), "execution.cache_gb=32")
    assert warned(trained(0.1, samples=10_000), "execution.cache_gb=1")


def test_an_encoder_of_latents_that_waits_for_pictures_is_told_of_more_workers():
    def rows(workers: int) -> list[StageSize]:
        return [StageSize("encode_latents", samples=3 * SAMPLES, workers=workers, hours=0.3)]

    (told,) = warned(rows(1))["encode_latents"]
    assert "in 1 threads" in told and "Raise execution.resources.encode_latents.actors" in told
    assert not warned(rows(8))


def judged(evaluation: str, hours: float, *trainings: float) -> list[StageSize]:
    names = ("train_semantic", "train_tokenizer") if "tokenizer" in evaluation else ("train_generator", "train_editor")
    stages = [StageSize(name, hours=spent) for name, spent in zip(names, trainings, strict=True)]
    return [*stages, StageSize(evaluation, hours=hours)]


@pytest.mark.parametrize(
    ("evaluation", "key"),
    [
        ("evaluate_tokenizer", "evaluate_tokenizer.pictures"),
        ("evaluate_generator", "evaluate_generator.frechet_pictures"),
    ],
)
def test_an_evaluation_that_is_longer_than_what_it_judges_took_is_warned_of(evaluation, key):
    (told,) = warned(judged(evaluation, 3.1, 1.0, 2.0))[evaluation]
    assert "it takes 3.1 hours, and what it judges is trained in 3" in told and key in told
    assert not warned(judged(evaluation, 2.9, 1.0, 2.0))
    assert not warned([StageSize(evaluation, hours=3.0)])  # of a model that is trained elsewhere


def test_warnings_are_in_the_text_before_the_verdict_and_in_json():
    rows = judged("evaluate_tokenizer", 3.1, 1.0, 2.0)
    warned(rows)
    plan = Plan(rows, {})
    assert plan.will_not_fit() == []
    text = plan_text(plan)
    assert "\nunwise\n  evaluate_tokenizer: it takes 3.1 hours" in text and text.endswith("\n\neverything fits")
    assert [w["stage"] for w in json.loads(json.dumps(plan.to_json()))["unwise"]] == ["evaluate_tokenizer"]
    assert "unwise" not in plan_text(Plan([StageSize("index")], {}))
