"""train_tokenizer: stage 2, or whatever the chosen space is trained for. Every later stage reads its artifact alone.

What a space starts from and what of it is trained stands in `components.tokenizer.spaces`; of a finished model only the
latent statistics are measured. Artifact: `model/`, `samples/`, `curve.jsonl`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.tokenizer.spaces import Semantic, Switches, find_space
from pipelines.config.schema import Config
from pipelines.stage import StageContext
from pipelines.stages.evaluation import FEW_PARTS, spread_rows
from pipelines.stages.tokenizer.picture_batches import Pictures, PictureSource
from pipelines.stages.tokenizer.space_setup import (
    drawing,
    fit_scaling,
    load_image_text,
    load_space,
    new_space,
    perceptual,
    training_pictures,
)
from pipelines.store.files import Store
from pipelines.training.start_workers import train_in_workers
from pipelines.training.worker import BuildContext, Built

SCALING_PICTURES = 2048  # pictures from which latent statistics and the warm start are measured
SAMPLE_PICTURES = 8


def run(context: StageContext) -> None:
    """Train the chosen space."""
    train_in_workers(context, "pipelines.stages.tokenizer.train_tokenizer:build", "tokenizer")


class TokenizerTask:
    """A tokenizer's objective, its critic, and a picture of held-out reconstructions."""

    def __init__(
        self,
        model: Any,
        teacher: Any,
        switches: Switches,
        losses: Any,
        noise: float,
        distance: Any,
        held_out: Pictures | None,
        freeze_encoder: bool = False,
    ) -> None:
        from components.tokenizer.blocks import Block
        from components.tokenizer.discriminator import PatchCritic
        from components.tokenizer.objectives import TokenizerObjective

        if freeze_encoder:
            switches = dataclasses.replace(switches, train_encoder=False)
        self.module: Any = TokenizerObjective(
            model, copy.deepcopy(teacher) if teacher is not None else None, switches, losses, noise, distance
        )
        self.critic: Any = PatchCritic() if losses.gan > 0 and losses.gan_start < 1 else None
        self.critic_from = losses.gan_start
        self.blocks = (Block,)
        self._model, self._held_out = model, held_out

    def evaluate(self, step: int, folder: Path) -> dict[str, float]:
        """Write originals above their reconstructions."""
        import torch

        from components.evaluation.grids import reconstruction_grid
        from components.tokenizer.objectives import to_pictures

        assert self._held_out is not None, "a task that is only planned has no pictures"
        device = next(self.module.parameters()).device
        count = min(SAMPLE_PICTURES, len(self._held_out))
        pictures = to_pictures(torch.from_numpy(self._held_out.decoded(range(count)))).to(device)
        model = self._model
        decoded = model.pixels_of(model.moments(pictures, model.features(pictures))[0]).float().clamp(-1, 1)
        path = folder / "samples" / f"step-{step:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [("original", (pictures.cpu() + 1) / 2), ("decoded", (decoded.cpu() + 1) / 2)]
        reconstruction_grid(rows).save(path)
        return {}


def first_pictures(pictures: Pictures, streamed: bool = False, count: int = SCALING_PICTURES) -> Iterator[Any]:
    """Yield evenly spread pictures in batches of 256, uint8 `[b, 3, S, S]`; of streamed ones, those of a few shards."""
    import torch

    step = max(1, len(pictures) // count)
    numbers = list(range(0, len(pictures), step))[:count]
    if streamed:
        numbers = spread_rows(pictures.rows.sizes.tolist(), count, FEW_PARTS)
    for first in range(0, len(numbers), 256):
        yield torch.from_numpy(pictures.decoded(numbers[first : first + 256]))


def save_space(model: Any, pictures: Pictures, folder: Path, scaling: str, streamed: bool = False) -> dict[str, Any]:
    """Measure the latent's statistics, unless `scaling` is none, write the model, and tell its size."""
    if scaling != "none":
        fit_scaling(model, first_pictures(pictures, streamed), scaling)
    model = model.cpu()
    model.save_pretrained(folder / "model")
    return {"parameters": sum(p.numel() for p in model.parameters())}


def build(context: BuildContext) -> Built:
    """Make the chosen space and its batches."""
    import torch

    from components.tokenizer.objectives import to_pictures
    from components.tokenizer.warm_start import warm_start

    config, settings = context.config, context.config.tokenizer
    entry, pixel_channels = find_space(settings.model.space), settings.model.pixel_channels
    pictures = training_pictures(context, held_out=False)
    image_text, _ = load_image_text(context.store, context.inputs["train_encoder"], context.scratch)
    torch.manual_seed(context.seed % 2**63)
    draw, ahead = drawing(context, pictures)
    streamed = draw.window is not None
    options = settings.training if entry.training else dataclasses.replace(settings.training, steps=0)
    encoder: Any = image_text.encoder
    if entry.semantic is Semantic.MODEL:
        model = load_space(context.store, context.inputs["train_semantic"], context.scratch)
    else:
        model = new_space(config, encoder, settings.model.space)
    if entry.semantic is Semantic.WEIGHTS:
        stage_one = load_space(context.store, context.inputs["train_semantic"], context.scratch)
        own = {
            k: v for k, v in stage_one.state_dict().items() if not (pixel_channels and k.startswith("pixel_decoder."))
        }
        model.load_state_dict(own, strict=False)
    if entry.patch_pca and pixel_channels:
        model.eval()
        warm_start(model, torch.cat([to_pictures(b) for b in first_pictures(pictures, streamed)]), pixel_channels)
        model.train()
    task = (
        tokenizer_task(config, model, encoder, training_pictures(context, held_out=True), context.store)
        if options.steps
        else None
    )
    weights = context.given.get("pictures_of")
    source = PictureSource(pictures, options.batch, draw, weights, ahead)

    def save(folder: Path) -> dict[str, Any]:
        return save_space(model, pictures, folder, settings.model.scaling, streamed)

    return Built(task, source, options, save, len(pictures) if context.given else None)


def tokenizer_task(
    config: Config, model: Any, encoder: Any, held_out: Pictures | None, store: Store | None = None
) -> TokenizerTask:
    """Return what trains a model of the configured space; `encoder` is the one as it was before."""
    settings = config.tokenizer
    entry = find_space(settings.model.space)
    assert entry.training is not None, "a finished model has no task"
    return TokenizerTask(
        model, encoder if entry.of_encoder else None, entry.training, settings.losses, settings.model.latent_noise,
        perceptual(config, settings.losses, encoder, store), held_out, settings.model.freeze_encoder,
    )  # fmt: skip
