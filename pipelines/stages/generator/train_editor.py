"""train_editor: the mixture of captions and edit pairs, from train_generator's weights. What it makes is the generator
of later stages.

Artifact: as train_generator's.
"""

from __future__ import annotations

from pipelines.stage import StageContext
from pipelines.stages.generator.generator_setup import built, load_generator
from pipelines.stages.generator.latent_batches import open_samples
from pipelines.training.start_workers import train_in_workers
from pipelines.training.worker import BuildContext, Built


def run(context: StageContext) -> None:
    """Train the editor."""
    train_in_workers(
        context, "pipelines.stages.generator.train_editor:build", "editor", samples=0
    )  # the builder counts them


def build(context: BuildContext) -> Built:
    """Take the generator up, with batches of captions and edits."""
    settings = context.config.generator
    model, text_tokenizer = load_generator(context.store, context.inputs["train_generator"], context.scratch)
    return built(context, open_samples(context), model, text_tokenizer, settings.editing, settings.edit_share)
