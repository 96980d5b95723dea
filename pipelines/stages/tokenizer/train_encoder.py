"""train_encoder: the encoder every later stage starts from, and the text side that measures its retrieval.

Without `encoder.path` a small DINOv2 is trained on the curated captions; with it, the pretrained encoder stays as it is
and only the two heads are trained. Artifact: `model/` (an image-text model), `curve.jsonl`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.stage import StageContext
from pipelines.stages.evaluation import spread, spread_rows
from pipelines.stages.tokenizer.picture_batches import CaptionSource, captions_of
from pipelines.stages.tokenizer.space_setup import drawing, training_pictures
from pipelines.training.start_workers import train_in_workers
from pipelines.training.worker import BuildContext, Built

READ = 500_000  # pictures whose captions make the vocabulary; of more, evenly spread ones
READ_PARTS = 256  # of the index, that they are read from where pictures are streamed
COUNTED = 20_000  # captions whose words are counted


def run(context: StageContext) -> None:
    """Train, and report how long and how fast."""
    train_in_workers(context, "pipelines.stages.tokenizer.train_encoder:build", "encoder")


class EncoderTask:
    """Sigmoid image-text loss and a bag-of-words loss on one image-text model."""

    critic = None
    critic_from = 1.0

    def __init__(self, model: Any, blocks: tuple[Any, ...]) -> None:
        from torch import nn

        class Objective(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, batch: dict[str, Any], progress: float, critic: Any) -> Any:
                from components.tokenizer.objectives import to_pictures

                parts = self.model.losses(to_pictures(batch["images"]), batch["ids"], batch.get("wrong"))
                return sum(parts.values()), parts, None

        self.module: Any = Objective()
        self.blocks = blocks

    def evaluate(self, step: int, folder: Path) -> dict[str, float]:
        """Nothing to see."""
        return {}


def build(context: BuildContext) -> Built:
    """Make the image-text model and its batches."""
    import torch

    from components.tokenizer.blocks import Block
    from components.tokenizer.encoders import VisionEncoder
    from components.tokenizer.image_text import ImageTextModel, Vocabulary, save_image_text, small_encoder

    settings = context.config.encoder
    pictures = training_pictures(context, held_out=False)
    draw, ahead = drawing(context, pictures)
    read = spread_rows(pictures.rows.sizes.tolist(), READ, READ_PARTS if draw.window else None)
    captions = [caption for n in read for caption in captions_of(pictures, n)]
    vocabulary = Vocabulary.of(captions)
    torch.manual_seed(context.seed % 2**63)
    if settings.path:
        encoder = VisionEncoder.load(settings.path, settings.size, settings.revision).requires_grad_(False)
    else:
        encoder = small_encoder(settings.small, settings.size or context.config.image_size)
    model = ImageTextModel(encoder, len(vocabulary), settings.small)
    options = settings.training
    length = settings.small.max_words
    model.expect(vocabulary.encode(spread(captions, COUNTED), length))
    source = CaptionSource(
        pictures, lambda captions: vocabulary.encode(captions, length), options.batch,
        draw, context.given.get("pictures_of"), ahead,
    )  # fmt: skip

    def save(folder: Path) -> dict[str, Any]:
        save_image_text(model, vocabulary, folder / "model")
        return {"parameters": sum(p.numel() for p in encoder.parameters()), "words": len(vocabulary)}

    return Built(EncoderTask(model, (Block,)), source, options, save, len(pictures) if context.given else None)
