"""train_semantic: stage 1, the S-VAE. The encoder is frozen; E_s and D_s learn its features, D_p the detached latent.

Artifact: `model/` (a diffusers folder), `samples/`, `curve.jsonl`.
"""

from __future__ import annotations

from typing import Any

from components.tokenizer.spaces import SEMANTIC_SPACE, STAGE_ONE
from pipelines.config.schema import Config
from pipelines.stage import StageContext
from pipelines.stages.tokenizer.picture_batches import Pictures
from pipelines.stages.tokenizer.space_setup import drawing, load_image_text, new_space, perceptual, training_pictures
from pipelines.stages.tokenizer.train_tokenizer import TokenizerTask, save_space
from pipelines.store.files import Store
from pipelines.training.start_workers import train_in_workers
from pipelines.training.worker import BuildContext, Built


def run(context: StageContext) -> None:
    """Train stage 1."""
    train_in_workers(context, "pipelines.stages.tokenizer.train_semantic:build", "semantic")


def build(context: BuildContext) -> Built:
    """Make the S-VAE and its batches."""
    import torch

    from pipelines.stages.tokenizer.picture_batches import PictureSource

    image_text, _ = load_image_text(context.store, context.inputs["train_encoder"], context.scratch)
    torch.manual_seed(context.seed % 2**63)
    model = new_space(context.config, image_text.encoder, SEMANTIC_SPACE)
    pictures = training_pictures(context, held_out=False)
    options = context.config.tokenizer.semantic
    task = semantic_task(
        context.config, model, image_text.encoder, training_pictures(context, held_out=True), context.store
    )
    weights = context.given.get("pictures_of")
    draw, ahead = drawing(context, pictures)
    source = PictureSource(pictures, options.batch, draw, weights, ahead)
    return Built(
        task,
        source,
        options,
        lambda folder: save_space(model, pictures, folder, "none"),
        len(pictures) if context.given else None,
    )


def semantic_task(
    config: Config, model: Any, encoder: Any, held_out: Pictures | None, store: Store | None = None
) -> TokenizerTask:
    """Return what trains the S-VAE around a frozen encoder."""
    losses = config.tokenizer.semantic_losses
    # The decoder here shows what the semantic latent holds; noise on the latent is stage 2's.
    return TokenizerTask(model, encoder, STAGE_ONE, losses, 0.0, perceptual(config, losses, encoder, store), held_out)
