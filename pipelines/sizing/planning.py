"""Puts a plan together: samples and bytes, models and FLOPs, hours, and what will not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from pipelines.config.schema import Config
from pipelines.sizing.assumptions import Assumptions
from pipelines.sizing.data_volume import Flow, find_flows, joined, stage_bytes
from pipelines.sizing.hardware import Hardware
from pipelines.sizing.inference import (
    size_encoding,
    size_generator_evaluation,
    size_registration,
    size_tokenizer_evaluation,
)
from pipelines.sizing.models import Models
from pipelines.sizing.published import size_recaptioning, size_scoring
from pipelines.sizing.stage_sizes import Plan, StageSize
from pipelines.sizing.training import size_trainings
from pipelines.sizing.warnings import add_warnings, decode_seconds
from pipelines.stage import instance_name
from pipelines.workflow.graph import build_workflow

INFERENCE: dict[str, Callable[..., None]] = {
    "recaption": size_recaptioning,
    "encode_latents": size_encoding,
    "evaluate_tokenizer": size_tokenizer_evaluation,
    "evaluate_generator": size_generator_evaluation,
    "register": size_registration,
}


OF_PICTURES = ("measure", "curate", "synthesize_edits")  # stages that see no pairs of a source that holds them


def make_plan(config: Config, given: Assumptions) -> Plan:
    """Plan every stage of a configuration as if nothing were cached. `UserError` where its samples cannot be
    counted.
    """
    flows = find_flows(config, given)
    flow = joined(flows)
    models, hardware = Models(config, flow.words, given.text_tokens), Hardware(config, given)
    stages = build_workflow(config)
    rows = {stage.name: StageSize(stage.name) for stage in stages}
    pairs = {name: source.holds_pairs for name, source in config.named_sources().items()}
    for source, part in flows.items():
        samples = {
            "ingest": part.source,
            "measure": part.source,
            "curate": part.source,
            "synthesize_edits": part.kept if part.pairs else 0,
            "measure_pairs": part.pairs,
            "curate_pairs": part.pairs,
            "recaption": part.captioned,
            "index": part.index_rows,
            "index_latents": part.captioned + part.pairs,
        }
        for base, size in stage_bytes(part).items():
            row = rows.get(instance_name(base, source)) or rows.get(base)
            if row is not None and not (pairs[source] and base in OF_PICTURES):
                row.samples = (row.samples or 0) + samples[base]
                row.store_bytes = (row.store_bytes or 0) + size
    size_trainings(rows, config, flow, models, hardware)
    sizes = [(stage.name, INFERENCE[stage.name], flow) for stage in stages if stage.name in INFERENCE]
    sizes += [
        (stage.name, partial(size_scoring, signal=stage.given["signal"]), flows[stage.given["source"]])
        for stage in stages
        if stage.base == "score"
    ]
    for name, fill, part in sizes:
        try:
            fill(rows[name], config, part, models, hardware)
        except ValueError as error:  # a model that is not known or cannot be built is its stage's problem alone
            rows[name].problems.append(str(error))
    for row in rows.values():
        hardware.time(row)
        hardware.fit(row)
    add_warnings(rows, config, flows, flow, given)
    plan = Plan(list(rows.values()), _assumed(flow, given, models, hardware, rows.values()))
    plan.problems = hardware.store_problems(plan)
    return plan


def _assumed(
    flow: Flow, given: Assumptions, models: Models, hardware: Hardware, rows: Iterable[StageSize]
) -> dict[str, str]:
    found = {
        "samples": f"{flow.source:,}: {flow.how}; {given.keep:.0%} of them come through download and curation (--keep)",
        "edit pairs": f"{flow.pairs:,}: as many as are asked for",
        "in a tar": f"{flow.sample_bytes:,.0f} bytes a sample, {flow.pair_bytes:,.0f} an edit pair",
        "pictures": f"{flow.pixels:,.0f} pixels, which a core decodes in {1e3 * decode_seconds(flow.pixels):,.1f} ms",
        "encoder": _where(models, "encoder_shape"),
        "backbone": _where(models, "backbone_shape"),
        "texts": f"{models.text_tokens} tokens each (--text-tokens)",
        "activations": "the most bytes that forward and backward hold at once beside weights and gradients, traced "
        "through the real "
        "model on tensors without data; no slack of an allocator",
        "other memory": "4 bytes for each weight, gradient, state and average; ZeRO's shares, its master copy and its "
        "buckets as DeepSpeed "
        "makes them; the first rank, which keeps the average",
        "FLOPs": "torch's formulas for every product, convolution and attention of the traced passes; what activation "
        "checkpointing computes again counts",
        "cache": "nothing: every stage is planned from its start",
    }
    found |= {row.stage: row.assumed for row in rows if row.assumed}
    return found | {f"hours, {name}": words for name, words in sorted(hardware.used.items())}


def _where(models: Models, name: str) -> str:
    try:
        return f"shapes from {getattr(models, name)[1]}"
    except ValueError:
        return "shapes are not known"
