"""The generator as the stages see it: its task in training, how its training is built, its pipeline from artifacts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.config.schema import Config
from pipelines.stages.generator.latent_batches import LatentSource, Samples, draw_of
from pipelines.stages.tokenizer.space_setup import load_space, local_folder
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from pipelines.training.worker import BuildContext, Built

if TYPE_CHECKING:
    from components.training.options import TrainingOptions

GRID = 8  # pictures on a sample grid
GRID_STEPS = 10
GRID_GUIDANCE = 2.0
LOSSES = {"captions": "validation_loss", "edits": "validation_loss_edits"}


class GeneratorTask:
    """The flow-matching objective, and its evaluation hook: validation losses, pictures of held-out texts, snapshots of
    the weights.
    """

    critic: Any = None
    critic_from = 1.0

    def __init__(
        self, model: Any, flow: Any, held_out: LatentSource, validate: int, snapshots: set[int], vae: Any
    ) -> None:
        from components.generator.layers import FusionLayer, HeadLayer
        from components.generator.objective import FlowObjective

        self.module: Any = FlowObjective(model, flow)
        self.blocks = (FusionLayer, HeadLayer)
        self._snapshots, self._vae = snapshots, vae
        self._validate = {kind: held_out.first(kind, validate) for kind in held_out.kinds}
        counts = [len(getattr(held_out.samples, kind)) for kind in held_out.kinds]
        self._shown = {kind: held_out.first(kind, columns(counts)) for kind in held_out.kinds}

    def evaluate(self, step: int, folder: Path) -> dict[str, float]:
        """Return the validation losses; write a sample grid, and the weights where a snapshot is due."""
        self._grid(folder / "samples" / f"step-{step:08d}.png")
        if step in self._snapshots:
            self.module.model.save_pretrained(folder / "snapshots" / f"step-{step:08d}")
        return self.validation()

    def validation(self) -> dict[str, float]:
        """Return the flow-matching loss on held-out latents at 8 fixed times with fixed noise, for captions and for
        edits.
        """
        device = next(self.module.parameters()).device
        return {
            LOSSES[kind]: self.module.validation_loss({name: value.to(device) for name, value in batch.items()})
            for kind, batch in self._validate.items()
            if batch is not None
        }

    def _grid(self, path: Path) -> None:
        """Draw what the model makes of held-out captions, and of held-out edits beside their sources and targets."""
        import torch
        from torch import Tensor

        from components.evaluation.grids import reconstruction_grid
        from components.generator.sampling import Guidance, Request, sample
        from components.tokenizer.latent_space import decode_pictures

        model = self.module.model
        device = next(model.parameters()).device
        vae = self._vae().to(device)
        rows: list[tuple[str, Tensor]] = []

        def draw(label: str, latents: Tensor) -> None:
            pictures = decode_pictures(vae, latents.to(device).float())
            rows.append((label, (pictures.cpu() + 1) / 2))

        for kind, batch in self._shown.items():
            if batch is None:
                continue
            source = batch.get("sources")
            request = Request(
                batch["ids"].to(device), batch["text"].to(device), None if source is None else source.to(device).float()
            )
            noise = torch.randn(batch["latents"].shape, generator=torch.Generator().manual_seed(0)).to(device)
            scheduler = flow_scheduler(3.0)
            made = sample(model, scheduler, noise, request, Guidance(GRID_GUIDANCE), GRID_STEPS)
            if source is not None:
                draw("source", source)
            draw("made" if kind == "captions" else "edited", made)
            draw("truth", batch["latents"])
        path.parent.mkdir(parents=True, exist_ok=True)
        reconstruction_grid(rows).save(path)


def columns(counts: list[int]) -> int:
    """Return how many samples of each kind a grid shows: as many of each, since its rows are as long as each other."""
    return min([GRID, *(count for count in counts if count)])


def flow_scheduler(shift: float) -> Any:
    """Return the Euler scheduler, its times shifted towards noise."""
    from components.generator.pipeline import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=shift)


def built(
    context: BuildContext,
    samples: tuple[Samples, Samples],
    model: Any,
    text_tokenizer: Any,
    options: TrainingOptions,
    edit_share: float,
) -> Built:
    """Return a training of `model` on the latents of `encode_latents`, of which `edit_share` are edits."""
    settings = context.config.generator
    train, held_out = samples
    tokens = model.side**2 + 2 if model.options.source == "sequence" else 0

    weights = context.given.get("captions_of"), context.given.get("pairs_of")
    draw = draw_of(context)
    if draw.window is None:  # the workers begin at different shards, so that each compares its share of them
        for rows in (train.captions, train.edits) if edit_share else (train.captions,):
            count = len(rows.layout.sizes)
            rows.ahead(np.roll(np.arange(count), -context.rank * count // context.world).tolist(), through=False)

    def source(samples: Any) -> LatentSource:
        return LatentSource(
            samples,
            text_tokenizer,
            settings.max_text_tokens,
            options.batch,
            edit_share,
            tokens,
            draw,
            weights if samples is train else (None, None),
        )

    if not len(held_out.captions) or (edit_share and not len(held_out.edits)):
        from pipelines.errors import UserError

        raise UserError("no held-out captions or edits are left to validate on: raise held_out, or bring more samples.")
    task = GeneratorTask(
        model,
        settings.flow,
        source(held_out),
        settings.validation_samples,
        snapshot_steps(options, settings.snapshots),
        lambda: load_space(context.store, context.inputs["train_tokenizer"], context.scratch),
    )

    def save(folder: Path) -> dict[str, Any]:
        task.module.eval()
        model.save_pretrained(folder / "model")
        text_tokenizer.save_pretrained(folder / "text")
        return {"parameters": sum(p.numel() for p in model.parameters()), **task.validation()}

    return Built(task, source(train), options, save, len(train.captions) + (len(train.edits) if edit_share else 0))


def snapshot_steps(options: TrainingOptions, count: int) -> set[int]:
    """Return the steps after which a training keeps its weights: `count` of those at which it is evaluated."""
    if not options.sample_every:
        return set()
    evaluations = range(options.sample_every, options.steps + 1, options.sample_every)
    return spread_snapshots(sorted({*evaluations, options.steps}), count)


def spread_snapshots(steps: list[int], count: int) -> set[int]:
    """Return `count` of the steps, evenly spread, the last among them."""
    return (
        {steps[(i + 1) * len(steps) // count - 1] for i in range(count) if (i + 1) * len(steps) // count}
        if count
        else set()
    )


def fresh_generator(config: Config, texts: Iterable[str], shape: tuple[int, int, int]) -> tuple[Any, Any]:
    """Return a new generator for latents `(C, H, W)` and its text tokenizer; a small one knows the words of `texts`."""
    from components.generator.text import load_text_tokenizer, train_text_tokenizer
    from components.generator.transformer import DeepFusionTransformer

    settings = config.generator
    channels, grid, _ = shape
    if settings.backbone:
        text_tokenizer = load_text_tokenizer(settings.backbone, settings.revision)
        model = DeepFusionTransformer.from_backbone(
            settings.backbone, settings.revision, channels, grid, settings.model
        )
    else:
        text_tokenizer = train_text_tokenizer(texts)
        model = DeepFusionTransformer.fresh(settings.small, len(text_tokenizer), channels, grid, settings.model)
    return model, text_tokenizer


def load_generator(store: Store, artifact: Artifact, scratch: Path, snapshot: str | None = None) -> tuple[Any, Any]:
    """Return the generator of `train_generator` or `train_editor`, or one of its snapshots, and its text tokenizer."""
    from components.generator.text import load_text_tokenizer
    from components.generator.transformer import DeepFusionTransformer
    from components.tokenizer.rivals import without_path

    folder = local_folder(store, artifact, f"snapshots/{snapshot}" if snapshot else "model", scratch)
    model = DeepFusionTransformer.from_pretrained(folder, use_safetensors=True, low_cpu_mem_usage=False)
    return without_path(model).eval(), load_text_tokenizer(local_folder(store, artifact, "text", scratch))


def snapshots(artifact: Artifact) -> list[str]:
    """Return the names of an artifact's snapshots, in the order of training."""
    found = {path.removeprefix(f"{artifact.path}/snapshots/").split("/")[0] for path in artifact.files("snapshots/*")}
    return sorted(found)


def load_pipeline(
    store: Store, config: Config, inputs: dict[str, Artifact], scratch: Path, snapshot: str | None = None
) -> Any:
    """Return the diffusers pipeline of `train_tokenizer`'s latent space and `train_editor`'s generator, or a snapshot
    of it.
    """
    from components.generator.pipeline import PixelSemanticPipeline

    model, text_tokenizer = load_generator(store, inputs["train_editor"], scratch, snapshot)
    settings = config.generator
    return PixelSemanticPipeline(
        load_space(store, inputs["train_tokenizer"], scratch),
        model,
        text_tokenizer,
        flow_scheduler(settings.sampling_shift),
        guidance_scale=settings.guidance_scale,
        image_guidance_scale=settings.image_guidance_scale,
        guidance_above=settings.guidance_above,
        num_inference_steps=settings.sampling_steps,
        max_text_tokens=settings.max_text_tokens,
    )
