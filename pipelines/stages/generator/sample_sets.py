"""Pictures made for evaluation: in batches with seeds of their own, timed; and how far they lie from held-out ones."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config.schema import Config
from pipelines.config.source_kinds import serving_sources
from pipelines.stage import ShardContext, derive_seed
from pipelines.stages.evaluation import spread
from pipelines.stages.generator.generator_setup import load_pipeline
from pipelines.stages.tokenizer.picture_batches import Pictures
from pipelines.stages.tokenizer.space_setup import load_image_text
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from pipelines.tracking.figures import encoder_slug


class Maker:
    """Makes pictures with the generator, or with a snapshot of it."""

    def __init__(self, store: Store, config: Config, inputs: dict[str, Artifact], scratch: Path, seed: int) -> None:
        self._load = lambda artifact, snapshot: load_pipeline(
            store, config, {**inputs, "train_editor": artifact}, scratch, snapshot
        )
        self._pipe = self._quiet(self._load(inputs["train_editor"], None))
        self._seed, self._batch = seed, config.evaluate_generator.batch
        self.made = 0
        self._seconds: list[float] = []  # of each whole batch of text-to-image

    def use(self, artifact: Artifact, snapshot: str | None) -> None:
        """Go on with the weights of a snapshot of an artifact."""
        self._pipe = self._quiet(self._load(artifact, snapshot))

    @staticmethod
    def _quiet(pipe: Any) -> Any:
        from components.training.machine import best_device

        pipe.set_progress_bar_config(disable=True)
        return pipe.to(best_device())

    def __call__(
        self, name: str, prompts: Sequence[str], sources: np.ndarray | None = None, guidance: float | None = None
    ) -> np.ndarray:
        """Return pictures uint8 [N, S, S, 3] for prompts, from sources uint8 [N, S, S, 3] where given.

        Each has noise of its own, which follows from `name`, the prompt, and how often it has come before, and from
        nothing else.
        """
        import torch

        found = []
        before: Counter[str] = Counter()
        seeds = []
        for prompt in prompts:
            seeds.append(derive_seed(self._seed, name, prompt, before[prompt]) % 2**63)
            before[prompt] += 1
        for first in range(0, len(prompts), self._batch):
            part = slice(first, first + self._batch)
            image = None if sources is None else torch.from_numpy(sources[part]).permute(0, 3, 1, 2).float() / 255
            generator = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
            started = time.perf_counter()
            pictures = self._pipe(
                list(prompts[part]), image=image, guidance_scale=guidance, generator=generator, output_type="np"
            ).images
            if sources is None and guidance is None and len(pictures) == self._batch:
                self._seconds.append(time.perf_counter() - started)
            found.append((pictures * 255).round().astype(np.uint8))
        self.made += len(prompts)
        return np.concatenate(found)

    def decoded(self, pictures: np.ndarray) -> np.ndarray:
        """Return pictures uint8 [N, S, S, 3] through the latent space and back."""
        import torch

        from components.tokenizer.latent_space import decode_pictures

        found = []
        vae = self._pipe.vae
        for first in range(0, len(pictures), self._batch):
            part = torch.from_numpy(pictures[first : first + self._batch]).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.inference_mode():
                back = decode_pictures(vae, vae.encode(part.to(vae.device)).latent_dist.mode())
            found.append(((back + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(found)

    def timing(self) -> dict[str, float]:
        """Return seconds per picture of text-to-image, all steps and the decoder, and the batch it was measured at; {}
        without a whole batch.
        """
        if not self._seconds:
            return {}
        # The median passes over the first batch, which warms up.
        return {
            "seconds_per_image": statistics.median(self._seconds) / self._batch,
            "seconds_per_image_batch": self._batch,
        }


def generated_distances(
    maker: Maker, config: Config, inputs: dict[str, Artifact], context: ShardContext, absent: dict[str, str]
) -> dict[str, Any]:
    """Return Frechet distances between held-out pictures and those made of their captions, in the encoder's features.

    `frechet_reconstruction_*` is the same for the held-out pictures through the latent space: what no generator can be
    below. `retrieval` is the share of made pictures whose caption the image-text model finds first among all of them.
    """
    import torch

    from components.evaluation.frechet import FeatureMoments, frechet_distance, frechet_name
    from components.evaluation.retrieval import retrieval_score
    from components.training.machine import best_device

    serving = serving_sources(config.named_sources())["text_to_image"]
    count = config.evaluate_generator.frechet_pictures
    held_out = Pictures.to_choose_from(
        inputs["index"], context.scratch, {"picture": count}, True, config.image_size, config.measure.limits, serving
    )
    numbers = spread(held_out.captioned(), count)
    name = frechet_name(encoder_slug(config.encoder.path))
    if len(numbers) < 2:
        reason = "fewer than two held-out pictures have captions"
        absent |= dict.fromkeys((f"text_to_image.{name}", "text_to_image.retrieval"), reason)
        return {}
    image_text, vocabulary = load_image_text(context.store, inputs["train_encoder"], context.scratch)
    device = best_device()
    image_text.to(device)
    captions = [held_out.rows["caption"][n] for n in numbers]
    real = held_out.decoded(numbers).transpose(0, 2, 3, 1)
    made = maker("frechet", captions)

    def features(pictures: np.ndarray) -> list[Any]:
        parts = []
        for first in range(0, len(pictures), 64):
            batch = torch.from_numpy(pictures[first : first + 64].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.inference_mode():
                parts.append(image_text.encoder(batch.to(device)))
        return parts

    def moments(parts: list[Any]) -> FeatureMoments:
        found = FeatureMoments()
        for part in parts:
            found.update(part.mean(1))
        return found

    truth, of_made = moments(features(real)), features(made)
    values: dict[str, Any] = {
        name: frechet_distance(truth, moments(of_made)),
        f"{name}_of_reconstructions": frechet_distance(truth, moments(features(maker.decoded(real)))),
        "frechet_pictures": len(numbers),
        "frechet_shards": len(held_out.layout.sizes),  # that they were chosen from
    }
    with torch.inference_mode():
        text = image_text.embed_text(vocabulary.encode(captions, image_text.options.max_words).to(device))
        score = retrieval_score(torch.cat([image_text.embed_features(part) for part in of_made]), text, captions)
    return values | {"retrieval": score["retrieval_top1"], "retrieval_pool": len(set(captions))}
