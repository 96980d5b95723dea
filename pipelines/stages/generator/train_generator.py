"""train_generator: text-to-image by flow matching, from Arrow latents alone.

Artifact: `model/`, `text/` (its text tokenizer), `samples/`, `snapshots/` (averaged weights along the way),
`curve.jsonl`.
"""

from __future__ import annotations

import itertools

from pipelines.stage import StageContext
from pipelines.stages.generator.generator_setup import built, fresh_generator
from pipelines.stages.generator.latent_batches import open_samples
from pipelines.training.start_workers import train_in_workers
from pipelines.training.worker import BuildContext, Built


def run(context: StageContext) -> None:
    """Train the generator."""
    train_in_workers(
        context, "pipelines.stages.generator.train_generator:build", "generator", samples=0
    )  # the builder counts them


def build(context: BuildContext) -> Built:
    """Make a new generator and its batches of captioned latents."""
    import torch

    samples = open_samples(context)
    train = samples[0]
    texts = itertools.chain(train.captions.texts(), train.edits.texts())
    torch.manual_seed(context.seed % 2**63)
    model, text_tokenizer = fresh_generator(context.config, texts, train.captions.dataset.spec.shape)
    return built(context, samples, model, text_tokenizer, context.config.generator.training, edit_share=0.0)
