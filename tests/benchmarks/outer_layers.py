"""What the tokenizer gains and loses where AdamW, not Muon, trains its outer layers: those that face pixels, latents or
features.

python -m tests.benchmarks.outer_layers [--seeds 3] [--semantic 30] [--steps 60]

It makes the data and the encoder of `preset=scenes_small`, then trains both stages under both rules, each seed with the
same batches.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from components.tokenizer.objectives import to_pictures
from components.tokenizer.pixel_decoders import PatchPixelDecoder
from components.tokenizer.spaces import SEMANTIC_SPACE
from components.tokenizer.vae import PixelSemanticVAE, SemanticDecoder, SemanticEncoder
from components.tokenizer.warm_start import warm_start
from components.training.loop import Hooks, Place, train
from components.training.options import TrainingOptions
from pipelines.config.compose import compose_config
from pipelines.stages.mixing import Draw
from pipelines.stages.tokenizer.picture_batches import PictureSource
from pipelines.stages.tokenizer.space_setup import load_image_text, new_space, training_pictures
from pipelines.stages.tokenizer.train_semantic import semantic_task
from pipelines.stages.tokenizer.train_tokenizer import tokenizer_task
from pipelines.store.files import Store
from pipelines.workflow.launch import run_new
from pipelines.workflow.report import run_artifacts

JUDGED, STARTED = 200, 512  # held-out pictures; pictures of the warm start
OUTER: dict[type, Any] = {
    SemanticEncoder: lambda self: [self.project],
    SemanticDecoder: lambda self: [self.project],
    PatchPixelDecoder: lambda self: [self.linear, self.enter, self.leave],
    PixelSemanticVAE: lambda self: [self.patch_skip] if self.patch_skip is not None else [],
}


def short(options: TrainingOptions, steps: int) -> TrainingOptions:
    return dataclasses.replace(
        options,
        steps=steps,
        batch=32,
        sample_every=0,
        checkpoint_every=10**6,
        log_every=10**6,
        precision="fp32",
        ema=0.9,
    )


def trained(config: Any, opened: Any, seed: int, semantic: int, steps: int) -> tuple[Any, Any]:
    """Return a PS-VAE after both stages, and the encoder it started from."""
    image_text, _ = opened.image_text()
    encoder = image_text.encoder

    def stage(make: Any, model: Any, options: TrainingOptions, seed: int) -> None:
        source = PictureSource(opened.pictures, options.batch, Draw(seed))
        with tempfile.TemporaryDirectory() as folder:
            train(make(config, model, encoder, None), source, options, seed, Path(folder), Place(), Hooks())

    torch.manual_seed(seed)
    first = new_space(config, encoder, SEMANTIC_SPACE)
    stage(semantic_task, first, short(config.tokenizer.semantic, semantic), seed)
    torch.manual_seed(seed)
    model = new_space(config, encoder, config.tokenizer.model.space)
    own = {name: value for name, value in first.state_dict().items() if not name.startswith("pixel_decoder.")}
    model.load_state_dict(own, strict=False)
    pictures = to_pictures(torch.from_numpy(opened.pictures.decoded(range(STARTED))))
    warm_start(model.eval(), pictures, config.tokenizer.model.pixel_channels)
    stage(tokenizer_task, model.train(), short(config.tokenizer.training, steps), seed + 1)
    return model.eval(), opened.image_text()[0].encoder.eval()


@torch.no_grad()
def figures(model: Any, teacher: Any, held_out: Any) -> str:
    """Return PSNR of held-out pictures, and the cosine of the features that their latents hold with the encoder's."""
    pictures = to_pictures(torch.from_numpy(held_out.decoded(range(min(JUDGED, len(held_out))))))
    raw = model.moments(pictures, model.features(pictures))[0]
    error = (pictures - model.pixels_of(raw).clamp(-1, 1)).square().mean((1, 2, 3))
    cosine = torch.cosine_similarity(model.features_of(raw), teacher(pictures), dim=-1).mean()
    return f"PSNR {float((10 * torch.log10(4 / error)).mean()):.2f} dB, cosine {float(cosine):.4f}"


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--semantic", type=int, default=30)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--preset", default="scenes_small")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        config = compose_config([f"preset={given.preset}", f"store={place}/store"])
        store, scratch = Store(config.store), Path(place)
        inputs = run_artifacts(store, run_new(store, config, "train_encoder", [], quiet=True))
        sides = SimpleNamespace(store=store, inputs=inputs, scratch=scratch, config=config, threads=1, given={})
        opened = SimpleNamespace(
            pictures=training_pictures(sides, False),  # type: ignore[arg-type]
            image_text=lambda: load_image_text(store, inputs["train_encoder"], scratch),
        )
        held_out = training_pictures(sides, True)  # type: ignore[arg-type]
        for seed in range(given.seeds):
            for rule in ("Muon", "AdamW"):
                with contextlib.ExitStack() as rules:
                    for kind, layers in OUTER.items() if rule == "AdamW" else ():
                        rules.enter_context(patch.object(kind, "outer_layers", layers, create=True))
                    model, teacher = trained(config, opened, seed, given.semantic, given.steps)
                print(f"seed {seed}, outer layers by {rule}: {figures(model, teacher, held_out)}", flush=True)


if __name__ == "__main__":
    main()
