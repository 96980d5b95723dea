"""train_generator: text-to-image by flow matching, from Arrow latents alone.

Artifact: `model/`, `text/` (its tokenizer), `samples/`, `snapshots/` (averaged weights along the way), `curve.jsonl`.
"""

from __future__ import annotations

from pipelines.generators import built, fresh_generator
from pipelines.latent_batches import open_samples
from pipelines.stage import StageContext
from pipelines.training_stage import BuildContext, Built, train_in_workers


def run(context: StageContext) -> None:
    """Train the generator."""
    train_in_workers(context, "pipelines.stages.train_generator:build", "generator")


def build(context: BuildContext) -> Built:
    """Make a new generator and its batches of captioned latents."""
    import torch

    train, _ = open_samples(context)
    texts = train.captions.texts + train.edits.texts
    torch.manual_seed(context.seed % 2**63)
    model, tokenizer = fresh_generator(context.config, texts, train.captions.dataset.spec.shape)
    return built(context, model, tokenizer, context.config.generator.training, edit_share=0.0)
