"""What a plan warns of: what would work, and not well. Each warning names the key that helps."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping

import psutil

from pipelines.cluster.resources import resources_of
from pipelines.config.schema import Config
from pipelines.sizing.assumptions import DECODE_SECONDS, NODE_WORKERS, Assumptions
from pipelines.sizing.data_volume import Flow, stage_bytes
from pipelines.sizing.stage_sizes import StageSize
from pipelines.store.files import Store

GB = 1e9
LARGEST_CACHE = 256 * 2**30  # of decoded pictures in a worker's memory, that is worth naming
OF_PICTURES = ("train_matcher", "train_encoder", "train_semantic", "train_tokenizer")  # that decode what they train on
OF_LATENTS = ("train_generator", "train_editor")
# Evaluation -> what it judges, and the keys that shorten it.
EVALUATIONS = {
    "evaluate_tokenizer": (
        ("train_semantic", "train_tokenizer"),
        "evaluate_tokenizer.pictures or evaluate_tokenizer.probe_pictures",
    ),
    "evaluate_generator": (
        OF_LATENTS,
        "evaluate_generator.frechet_pictures, evaluate_generator.prompts or generator.sampling_steps",
    ),
}


def add_warnings(
    rows: Mapping[str, StageSize], config: Config, flows: Mapping[str, Flow], flow: Flow, given: Assumptions
) -> None:
    """Add to the rows what is unwise of them; their hours are known."""
    if not Store(config.store).is_local:  # a folder is read in place
        for name in (*OF_PICTURES, *OF_LATENTS):
            if name in rows:
                _copies(rows[name], rows, flows, config, given)
    for name in (*OF_PICTURES, "encode_latents"):
        if name in rows:
            _loader(rows[name], config, flow)
    for name in EVALUATIONS:
        _evaluation(name, rows)


def copied_bytes(stage: str, rows: Mapping[str, StageSize], flows: Mapping[str, Flow]) -> float:
    """Return what the workers of a stage copy of a remote store, in an epoch: each shard of which they read anything,
    whole.
    """
    if stage in OF_LATENTS:
        return float(rows["encode_latents"].store_bytes or 0)
    wanted = rows[stage].samples or 0
    total = 0.0
    for flow in flows.values():
        if stage in OF_PICTURES and flow.trained_on == 0 and not (stage == "train_encoder" and flow.captioned):
            continue
        sizes = stage_bytes(flow)
        whole = sizes["ingest"] if stage == "train_matcher" else sizes["curate"] + sizes["curate_pairs"]
        total += whole * min(1.0, wanted * flow.per_shard / max(1, flow.pictures))  # samples are spread over all shards
    return total


def _copies(
    row: StageSize, rows: Mapping[str, StageSize], flows: Mapping[str, Flow], config: Config, given: Assumptions
) -> None:
    whole, limit = copied_bytes(row.stage, rows, flows), config.execution.node_cache_gb * 2**30
    full, kept = config.shuffle.full_gb, min(whole, limit)
    disk, where = (given.node_disk_gb or 0) * GB, "a node"
    if not disk:
        disk, where = psutil.disk_usage(tempfile.gettempdir()).free, "this machine"
    if kept > disk:
        row.warnings.append(
            f"its node keeps {kept / GB:,.1f} GB of the store's shards, and {where} has {disk / GB:,.1f} GB of disk "
            "(--node-disk-gb). Lower execution.node_cache_gb, or set store to a folder that all nodes see: from there "
            "nothing is copied."
        )
    together, shards = min(row.workers, NODE_WORKERS), sum(-(-flow.source // flow.per_shard) for flow in flows.values())
    windows = whole * min(1.0, together * 2 * config.shuffle.window_shards / max(1, shards))
    if whole > full * 2**30 and limit < windows:  # each worker reads one window and fetches the next
        row.warnings.append(
            f"the windows of {together} workers on a node hold {windows / GB:,.1f} GB of shards at once, and it keeps "
            f"{limit / GB:,.1f} GB of them, so the same shards are fetched again and again. Raise "
            "execution.node_cache_gb, or lower shuffle.window_shards."
        )
    if limit < whole <= full * 2**30:
        row.problems.append(
            f"its {whole / GB:,.1f} GB of shards are shuffled as a whole (shuffle.full_gb={full:g}), and a node keeps "
            f"{limit / GB:,.1f} GB of them. Raise execution.node_cache_gb, or lower shuffle.full_gb."
        )


def decode_seconds(pixels: float) -> float:
    """Return how long one core decodes a picture."""
    each, pixel = DECODE_SECONDS
    return each + pixel * pixels


def _loader(row: StageSize, config: Config, flow: Flow) -> None:
    if not row.hours or not row.samples:
        return
    resources, threads = resources_of(config, row.stage), 1
    if row.stage == "encode_latents":  # decodes in one thread of each worker
        count = flow.captioned + 2 * flow.pairs
        remedy = "Raise execution.resources.encode_latents.actors; several share a GPU with gpus below 1."
    else:
        side, threads = (config.matcher.size if row.stage == "train_matcher" else None), max(1, int(resources.cpus))
        cached = row.samples * 3 * (side or config.image_size) ** 2
        count = row.seen or 0
        remedy = f"Raise execution.training.{row.stage}.cpus"
        if cached <= config.execution.cache_bytes:  # each worker decodes a picture once
            count = min(count, row.samples * row.workers)
        elif cached <= LARGEST_CACHE:
            remedy += f", or execution.cache_gb to {math.ceil(cached / 2**30)}"
        remedy += "."
    cores = threads * row.workers
    hours = count * decode_seconds(flow.pixels) / cores / 3600
    if hours > row.hours:
        row.warnings.append(
            f"its loader takes {hours:,.3g} hours to decode {count:,} pictures of {flow.pixels:,.0f} pixels in {cores} "
            f"threads, and its steps take {row.hours:,.3g}. {remedy}"
        )


def _evaluation(name: str, rows: Mapping[str, StageSize]) -> None:
    trainings, keys = EVALUATIONS[name]
    trained = sum(rows[stage].hours or 0.0 for stage in trainings if stage in rows)
    row = rows.get(name)
    if row is not None and trained and (row.hours or 0.0) > trained:
        row.warnings.append(
            f"it takes {row.hours:,.3g} hours, and what it judges is trained in {trained:,.3g}. Lower {keys}."
        )
