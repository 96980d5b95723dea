"""train_generator: text-to-image by flow matching, from Arrow latents alone.

Artifact: `model/`, `text/` (its text tokenizer), `samples/`, `snapshots/` (averaged weights along the way),
`curve.jsonl`.
"""

from __future__ import annotations

from pipelines.stage import StageContext
from pipelines.stages.generator.generator_setup import built, fresh_generator
from pipelines.stages.generator.latent_batches import open_samples
from pipelines.training.start_workers import train_in_workers
from pipelines.training.worker import BuildContext, Built


def run(context: StageContext) -> None:
    """Train the generator."""
    train_in_workers(context, "pipelines.stages.generator.train_generator:build", "generator")


def build(context: BuildContext) -> Built:
    """Make a new generator and its batches of captioned latents."""
    import torch

    train, _ = open_samples(context)
    texts = [text for own in (*train.captions.texts, *train.edits.texts) for text in own]
    torch.manual_seed(context.seed % 2**63)
    model, text_tokenizer = fresh_generator(context.config, texts, train.captions.dataset.spec.shape)
    return built(context, model, text_tokenizer, context.config.generator.training, edit_share=0.0)
