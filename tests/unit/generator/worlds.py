"""Small real parts for tests of the generator: a latent space with known weights, transformers whose zero-initialised
parts are not zero.
"""

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from components.generator.options import FusionOptions, HeadOptions, SmallBackboneOptions
from components.generator.pipeline import PixelSemanticPipeline
from components.generator.text import train_text_tokenizer
from components.generator.transformer import DeepFusionTransformer
from components.tokenizer.encoders import VisionEncoder
from components.tokenizer.vae import PixelSemanticVAE

NO_HEAD = HeadOptions(0, 32, 2)
HEAD = HeadOptions(2, 32, 2)
VARIANTS = {
    "paper": FusionOptions(head=HEAD),
    "demo": FusionOptions(time="adaln", source="added", prediction="x", head=NO_HEAD),
    "separate weights": FusionOptions(image_weights="separate", head=NO_HEAD),
    "separate, adaLN, patches": FusionOptions(image_weights="separate", time="adaln", patch=2, head=HEAD),
}
TEXTS = ["a red circle on the left", "make it blue"]
CHANNELS, GRID, WORDS = 8, 4, 20


def transformer(options: FusionOptions, seed: int = 0) -> DeepFusionTransformer:
    torch.manual_seed(seed)
    small = SmallBackboneOptions(width=32, depth=2, heads=4, kv_heads=2, hidden=48)
    model = DeepFusionTransformer.fresh(small, WORDS, CHANNELS, GRID, options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2 and not parameter.any():
                parameter.normal_(std=0.1)
    return model.eval()


def space() -> PixelSemanticVAE:
    torch.manual_seed(1)
    from components.tokenizer.image_text import small_encoder
    from components.tokenizer.options import SmallEncoderOptions

    encoder: VisionEncoder = small_encoder(SmallEncoderOptions(width=32, depth=1, heads=2, patch=8), 32)
    pixels = {"kind": "patch", "width": 32, "depth": 1, "heads": 2, "multiples": (1,)}
    return PixelSemanticVAE(
        encoder_spec=encoder.spec,
        image_size=32,
        channels=CHANNELS,
        pixel_options=pixels,
        semantic_depth=1,
        space="ps_vae",
    ).eval()


def pipeline(name: str = "demo") -> PixelSemanticPipeline:
    tokenizer = train_text_tokenizer(TEXTS)
    assert len(tokenizer) <= WORDS
    made = PixelSemanticPipeline(
        space(), transformer(VARIANTS[name]), tokenizer, FlowMatchEulerDiscreteScheduler(shift=3.0), 2.0, 1.0, 3, 16
    )
    made.set_progress_bar_config(disable=True)
    return made


def inputs(batch: int = 3, length: int = 5, seed: int = 3) -> dict[str, torch.Tensor]:
    """Noisy latents, times, words of different lengths, and sources of some."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([length, length - 2, 0])[:batch]
    return {
        "noisy": torch.randn(batch, CHANNELS, GRID, GRID, generator=generator),
        "times": torch.rand(batch, generator=generator),
        "ids": torch.randint(1, WORDS, (batch, length), generator=generator),
        "text": torch.arange(length)[None] < lengths[:, None],
        "source": torch.randn(batch, CHANNELS, GRID, GRID, generator=generator),
        "has_source": torch.tensor([True, False, True])[:batch],
    }
