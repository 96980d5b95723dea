"""The training stages of a plan: what is trained, what a worker holds, what a step computes, what checkpoints take."""

from __future__ import annotations

from typing import Any

from pipelines.config.schema import Config
from pipelines.sizing.assumptions import MAPPED_PART_BYTES, PAIRED_ROW_BYTES, SHUFFLED_ROW_BYTES
from pipelines.sizing.data_volume import Flow, latent_bytes, stage_bytes
from pipelines.sizing.hardware import Hardware
from pipelines.sizing.models import Models, Training
from pipelines.sizing.stage_sizes import StageSize

CRITICS = ("weights", "gradients", "optimizer", "master")  # parts of the memory that a critic has, too


def size_trainings(rows: dict[str, StageSize], config: Config, flow: Flow, models: Models, hardware: Hardware) -> None:
    """Fill the rows of the training stages; a model that cannot be built, or is not known, is a problem of its row."""
    captions, edits = (round(n * (1 - flow.held_out)) for n in (flow.captioned, flow.pairs))
    captioned = captions + round(edits * flow.captioned_pairs)
    samples = {"train_generator": captioned, "train_editor": captioned + edits}
    samples["train_matcher"] = min(flow.source, config.matcher.samples)
    if config.encoder.path:  # its text side is trained on the captions of text-to-image, too
        either = min(flow.pictures, flow.captioned + (flow.pictures if flow.trained_on is None else flow.trained_on))
        samples["train_encoder"] = round(either * (1 - flow.held_out))
    for training in models.trainings():
        row = rows[training.stage]
        row.samples = samples.get(row.stage, flow.train_space)
        row.seen = training.options.steps * training.options.batch
        try:
            row.host = host_memory(row.stage, config, flow, models)
            size_training(row, training, config, hardware)
        except ValueError as error:
            row.problems.append(str(error))


def size_training(row: StageSize, training: Training, config: Config, hardware: Hardware) -> None:
    """Fill one row. ValueError where its model cannot be built."""
    from components.training.block_transforms import checkpoint_activations
    from components.training.footprint import FP32, Sizes, checkpoint_bytes, memory
    from components.training.trace import trace_training

    options = training.options
    hardware.place(row, options.precision)
    parts_of_batch = row.workers * options.accumulate
    if options.batch % parts_of_batch:
        row.problems.append(
            f"a batch of {options.batch} cannot be split over {row.workers} workers and {options.accumulate} "
            "micro-batches: make it a multiple of both."
        )
    parts = training.build()
    sizes = Sizes.of(parts.module, parts.beside)
    row.trained, row.frozen = sizes.trained, sizes.frozen + sizes.beside
    row.memory = memory(sizes, options, row.workers, row.bf16)
    checkpoint, copied = checkpoint_bytes(sizes, options), checkpoint_bytes(sizes, options, row.workers)
    if parts.critic is not None:
        critic = Sizes.of(parts.critic)
        held = memory(critic, options.of_critic, row.workers, row.bf16)
        row.memory |= {name: row.memory[name] + held[name] for name in CRITICS}
        row.trained += critic.trained
        checkpoint += checkpoint_bytes(critic, options.of_critic) - FP32 * critic.trained  # it has no average
        copied += checkpoint_bytes(critic, options.of_critic, row.workers) - FP32 * critic.trained
    row.host["checkpoint copy"] = copied  # written beside training
    flops, activations = 0.0, 0
    for case in training.cases(max(1, options.batch // parts_of_batch)):
        parts = training.build()
        if options.checkpoint_activations:
            checkpoint_activations(parts.module, parts.blocks)
        critic_now = parts.critic if case.critic else None
        cost = trace_training(parts.module, critic_now, parts.beside, case.shapes, row.bf16, fused=row.device == "GPU")
        flops += case.share * cost.flops
        activations = max(activations, cost.activations)
    hook = hook_bytes(training, sizes.trained, row.device == "GPU")  # not at the same time
    row.memory |= {"activations": activations} if activations >= hook else {"validation": hook}
    row.flops = options.steps * parts_of_batch * flops
    row.working_bytes = checkpoint * (options.keep + 1)  # one more while the newest is written
    row.store_bytes = FP32 * parameters(training.saved()) * (1 + kept_snapshots(training, config))


def hook_bytes(training: Training, trained: int, fused: bool) -> int:
    """Return what the evaluation hook of a training holds: the weights, which make room for their average, and what
    the validation loss makes of its whole batch in float32.
    """
    from components.training.footprint import FP32
    from components.training.trace import trace_inference

    if training.validated is None:
        return FP32 * trained
    objective = training.build().module

    def loss(**batch: Any) -> None:
        like = batch["latents"].float()
        times = like[:, 0, 0, 0]
        objective.loss(batch, like, times, times > 0, times > 0)

    return FP32 * trained + trace_inference([objective], loss, training.validated(), False, fused).activations


def host_memory(stage: str, config: Config, flow: Flow, models: Models) -> dict[str, int]:
    """Return what a training worker holds of the data: the order of an epoch that is shuffled as a whole, and decoded
    pictures where all of them fit into its cache. ValueError where the latents' shape is not known.
    """
    from components.data.part_rows import OPEN

    full = config.shuffle.full_gb * 2**30
    mapped = min(OPEN, 3 * -(-flow.source // flow.per_shard)) * MAPPED_PART_BYTES
    if stage in ("train_generator", "train_editor"):
        captioned = flow.captioned + round(flow.pairs * flow.captioned_pairs)
        edits = flow.pairs if stage == "train_editor" else 0
        whole = latent_bytes(flow, models.latent_shape, config.latents.flip) <= full
        return {"index": mapped + whole * (captioned + edits) * SHUFFLED_ROW_BYTES}
    sides, side = (flow.train, flow.pictures - flow.train), config.image_size
    if stage == "train_matcher":  # reads samples as they were ingested
        side = config.matcher.size or side
        sides = (min(flow.source, config.matcher.samples), 0)
    decoded = [pictures * 3 * side**2 for pictures in sides]
    kept = sum(size for size in decoded if size <= config.execution.cache_bytes)
    whole = sum(stage_bytes(flow)[made] for made in ("curate", "curate_pairs")) <= full
    row = PAIRED_ROW_BYTES if stage in ("train_matcher", "train_encoder") else whole * SHUFFLED_ROW_BYTES
    return {"index": mapped + sum(sides) * row, "decoded pictures": kept}


def kept_snapshots(training: Training, config: Config) -> int:
    """Return how many copies of its weights a training keeps along the way."""
    from pipelines.stages.generator.generator_setup import snapshot_steps

    if training.stage not in ("train_generator", "train_editor"):
        return 0
    return len(snapshot_steps(training.options, config.generator.snapshots))


def parameters(model: object) -> int:
    """Return the parameters of a model."""
    return sum(p.numel() for p in model.parameters())  # type: ignore[attr-defined]
