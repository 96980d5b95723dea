"""The models of a configuration as they will be trained, on torch's meta device: real classes, real shapes, no
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from components.tokenizer.spaces import SEMANTIC_SPACE, Semantic, find_space
from pipelines.config.schema import Config

if TYPE_CHECKING:
    from components.training.options import TrainingOptions
    from components.training.trace import Shapes

CAPTION_WORDS, TEXT_WORDS = (
    8192 + 2,
    20_000 + 2,
)  # the most that the image-text model's and the generator's own vocabularies hold


@dataclass
class Parts:
    """The trained module, and the models that are in memory with it."""

    module: Any
    critic: Any = None
    beside: tuple[Any, ...] = ()
    blocks: tuple[Any, ...] = ()  # classes that activation checkpointing recomputes


@dataclass(frozen=True)
class Case:
    """A kind of step: its share of the steps, the shapes of a micro-batch, and whether the critic takes part."""

    share: float
    shapes: Shapes
    critic: bool = False


@dataclass(frozen=True)
class Training:
    """One training stage. `build` makes its parts anew on every call."""

    stage: str
    options: TrainingOptions
    build: Callable[[], Parts]
    cases: Callable[[int], list[Case]]  # of a micro-batch of so many samples
    saved: Callable[[], Any]  # the module whose weights are the stage's result
    validated: Callable[[], Shapes] | None = None  # of the batch whose loss the evaluation hook takes, all at once


class Models:
    """Builds the models of a configuration. `texts` stand for the captions and instructions to come, where there are
    some.

    ValueError where shapes are not known or do not fit together.
    """

    def __init__(self, config: Config, texts: tuple[str, ...] | None, text_tokens: int | None) -> None:
        self.config, self._texts = config, texts
        self.text_tokens = min(text_tokens or config.generator.max_text_tokens, config.generator.max_text_tokens)

    @cached_property
    def encoder_shape(self) -> tuple[dict[str, Any] | None, str]:
        """The encoder's spec (None: the small one's), and where it comes from."""
        from components.tokenizer.hub_encoders import encoder_shape

        settings = self.config.encoder
        if not settings.path:
            return None, "encoder.small"
        return encoder_shape(settings.path, settings.size, settings.revision)

    @cached_property
    def backbone_shape(self) -> tuple[dict[str, Any] | None, str]:
        """The decoder's configuration (None: the small one's), and where it comes from."""
        from components.generator.hub_decoders import backbone_shape

        settings = self.config.generator
        if not settings.backbone:
            return None, "generator.small"
        return backbone_shape(settings.backbone, settings.revision)

    def encoder(self) -> Any:
        """The vision encoder."""
        import torch

        from components.tokenizer.encoders import VisionEncoder
        from components.tokenizer.image_text import small_encoder

        settings = self.config.encoder
        spec, _ = self.encoder_shape
        with torch.device("meta"):
            if spec is None:
                return small_encoder(settings.small, settings.size or self.config.image_size)
            return VisionEncoder.from_spec(spec).requires_grad_(False)

    def image_text(self) -> Any:
        """The encoder with its text side."""
        import torch

        from components.tokenizer.image_text import ImageTextModel, Vocabulary

        words = CAPTION_WORDS if self._texts is None else len(Vocabulary.of(self._texts))
        with torch.device("meta"):
            return ImageTextModel(self.encoder(), words, self.config.encoder.small)

    def matcher(self) -> Any:
        """The encoder with its text side that is trained before curation."""
        import torch

        from components.tokenizer.image_text import ImageTextModel, Vocabulary, small_encoder

        settings = self.config.matcher
        words = CAPTION_WORDS if self._texts is None else len(Vocabulary.of(self._texts))
        with torch.device("meta"):
            encoder = small_encoder(settings.small, settings.size or self.config.image_size)
            return ImageTextModel(encoder, words, settings.small)

    def tokenizer(self) -> Any:
        """The latent space that later stages read."""
        import torch

        from pipelines.stages.tokenizer.space_setup import new_space

        with torch.device("meta"):
            return new_space(self.config, self.encoder(), self.config.tokenizer.model.space, load=False)

    @cached_property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a latent."""
        channels, height, width = self.tokenizer().latent_shape
        return channels, height, width

    def generator(self) -> Any:
        """The generator."""
        import torch

        from components.generator.text import train_text_tokenizer
        from components.generator.transformer import DeepFusionTransformer

        settings = self.config.generator
        channels, grid, _ = self.latent_shape
        backbone, _ = self.backbone_shape
        with torch.device("meta"):
            if backbone is not None:
                return DeepFusionTransformer(backbone, channels, grid, asdict(settings.model))
            words = TEXT_WORDS if self._texts is None else len(train_text_tokenizer(self._texts))
            return DeepFusionTransformer.fresh(settings.small, words, channels, grid, settings.model)

    def trainings(self) -> list[Training]:
        """Every training stage of the configuration, in order; those of no steps are left out."""
        config = self.config
        found = [
            Training(
                "train_encoder",
                config.encoder.training,
                lambda: self._captioned_parts(self.image_text()),
                lambda n: [Case(1.0, self.pictures(n) | captions("ids", n, config.encoder.small.max_words))],
                self.image_text,
            )
        ]
        if any(model.kind == "matcher" for model in config.measure.models.values()):
            found.insert(
                0,
                Training(
                    "train_matcher",
                    config.matcher.training,
                    lambda: self._captioned_parts(self.matcher()),
                    self._matched,
                    self.matcher,
                ),
            )
        space = find_space(config.tokenizer.model.space)
        if space.semantic is not Semantic.NOTHING:
            options, losses = config.tokenizer.semantic, config.tokenizer.semantic_losses
            found.append(
                Training("train_semantic", options, self._semantic_parts, self._judged(losses), self._semantic)
            )
        if space.training:
            options, losses = config.tokenizer.training, config.tokenizer.losses
            found.append(
                Training("train_tokenizer", options, self._tokenizer_parts, self._judged(losses), self.tokenizer)
            )
        generator = config.generator
        found += [
            Training(
                "train_generator",
                generator.training,
                self._generator_parts,
                lambda n: [Case(1.0, self.latents(n))],
                self.generator,
                lambda: self.latents(generator.validation_samples),
            ),
            Training(
                "train_editor",
                generator.editing,
                self._generator_parts,
                self._mixture,
                self.generator,
                lambda: self.latents(generator.validation_samples, edits=generator.edit_share > 0),
            ),
        ]
        return [training for training in found if training.options.steps]

    def _captioned_parts(self, model: Any) -> Parts:
        from components.tokenizer.blocks import Block
        from pipelines.stages.tokenizer.train_encoder import EncoderTask

        return Parts(EncoderTask(model, (Block,)).module, blocks=(Block,))

    def _matched(self, count: int) -> list[Case]:
        """Steps of the matcher: each picture with its caption, and one that is wrong by a word."""
        settings = self.config.matcher
        texts = [captions(name, count, settings.small.max_words) for name in ("ids", "wrong")]
        return [Case(1.0, self.pictures(count, settings.size) | texts[0] | texts[1])]

    def _semantic(self) -> Any:
        import torch

        from pipelines.stages.tokenizer.space_setup import new_space

        with torch.device("meta"):
            return new_space(self.config, self.encoder(), SEMANTIC_SPACE)

    def _semantic_parts(self) -> Parts:
        from pipelines.stages.tokenizer.train_semantic import semantic_task

        return self._task(semantic_task, self._semantic())

    def _tokenizer_parts(self) -> Parts:
        from pipelines.stages.tokenizer.train_tokenizer import tokenizer_task

        return self._task(tokenizer_task, self.tokenizer())

    def _task(self, make: Callable[..., Any], model: Any) -> Parts:
        import torch

        with torch.device("meta"):
            task = make(self.config, model, self.encoder(), None)
        beside = tuple(part for part in task.module.still if part is not None)
        return Parts(task.module, task.critic, beside, task.blocks)

    def _generator_parts(self) -> Parts:
        from components.generator.layers import FusionLayer, HeadLayer
        from components.generator.objective import FlowObjective

        return Parts(FlowObjective(self.generator(), self.config.generator.flow), blocks=(FusionLayer, HeadLayer))

    def _judged(self, losses: Any) -> Callable[[int], list[Case]]:
        """Steps without and with a critic."""
        start = losses.gan_start if losses.gan > 0 else 1.0

        def cases(count: int) -> list[Case]:
            found = [Case(start, self.pictures(count)), Case(1 - start, self.pictures(count), critic=True)]
            return [case for case in found if case.share > 0]

        return cases

    def _mixture(self, count: int) -> list[Case]:
        """Steps of captions and steps of edits: texts of like length come together, and a source is as long as many
        texts.
        """
        share = self.config.generator.edit_share
        found = [Case(1 - share, self.latents(count)), Case(share, self.latents(count, edits=True))]
        return [case for case in found if case.share > 0]

    def pictures(self, count: int, side: int | None = None) -> dict[str, tuple[tuple[int, ...], Any]]:
        """The shapes of a batch of pictures."""
        import torch

        side = side or self.config.image_size
        return {"images": ((count, 3, side, side), torch.uint8)}

    def latents(self, count: int, edits: bool = False) -> dict[str, tuple[tuple[int, ...], Any]]:
        """The shapes of a batch of latents with their texts, and with their sources."""
        import torch

        shape, length = self.latent_shape, self.text_tokens
        batch: dict[str, tuple[tuple[int, ...], Any]] = {
            "latents": ((count, *shape), torch.float16),
            "ids": ((count, length), torch.int64),
            "text": ((count, length), torch.bool),
        }
        if edits:
            batch |= {"sources": ((count, *shape), torch.float16), "has_source": ((count,), torch.bool)}
        return batch


def captions(name: str, count: int, length: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Return the shapes of a batch of texts."""
    import torch

    return {name: ((count, length), torch.int64)}
