"""The one declared rule for Muon: what each trained model keeps for AdamW, by name."""

import pytest
from torch import nn

from components.generator.options import FusionOptions, HeadOptions, SmallBackboneOptions
from components.generator.transformer import DeepFusionTransformer
from components.tokenizer.discriminator import PatchCritic
from components.tokenizer.image_text import ImageTextModel, small_encoder
from components.tokenizer.options import SmallEncoderOptions
from components.tokenizer.vae import PixelSemanticVAE
from components.training.optimizers import split_parameters

pytestmark = pytest.mark.unit

ENCODER = SmallEncoderOptions(width=32, depth=1, heads=2, patch=8, text_depth=1, max_words=8)


def generator(options: FusionOptions) -> DeepFusionTransformer:
    small = SmallBackboneOptions(width=32, depth=1, heads=4, kv_heads=2, hidden=48)
    return DeepFusionTransformer.fresh(small, 20, 8, 4, options)


def tokenizer() -> PixelSemanticVAE:
    pixels = {"kind": "patch", "width": 32, "depth": 1, "heads": 2, "multiples": (1,)}
    spec = small_encoder(ENCODER, 32).spec
    return PixelSemanticVAE(
        encoder_spec=spec, image_size=32, channels=8, pixel_options=pixels, semantic_depth=1, linear_path=True,
    )  # fmt: skip


def names(model: nn.Module) -> tuple[list[str], list[str]]:
    """Layers whose weights Muon trains, and linear ones that it leaves to AdamW."""
    named = {id(p): name.removesuffix(".weight") for name, p in model.named_parameters()}
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    matrices, others = ([named[id(p)] for p in part] for part in split_parameters(model))
    return sorted(matrices), sorted(linear & set(others))


def prefixed(prefix: str, *layers: str) -> list[str]:
    return [f"{prefix}.{layer}" for layer in layers]


DECODER = [
    "mlp.down_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    *prefixed("self_attn", "k_proj", "o_proj", "q_proj", "v_proj"),
]
VISION = prefixed(
    "encoder.backbone.encoder.layer.0",
    "attention.k_proj", "attention.o_proj", "attention.q_proj", "attention.v_proj", "mlp.fc1", "mlp.fc2",
)  # fmt: skip
BLOCK = ["down", "out", "qkv", "up"]


def test_of_the_generator_adamw_keeps_what_faces_latents_and_every_modulation():
    demo = FusionOptions(time="adaln", source="added", prediction="x", head=HeadOptions(0, 32, 2))
    hidden = ["embed_time.first", "embed_time.second", *prefixed("layers.0.shared", *DECODER)]
    assert names(generator(demo)) == (
        hidden, ["embed_latent", "embed_source", "layers.0.modulation", "out", "out_modulation"],
    )  # fmt: skip
    wide = ["head.condition", *prefixed("head.layers.0", "down", "gate_up", "out", "qkv")]
    assert names(generator(FusionOptions(head=HeadOptions(1, 32, 2)))) == (
        sorted(hidden + wide),
        ["embed_latent", "head.embed", "head.layers.0.modulation", "head.modulation", "head.out"],
    )


def test_of_the_tokenizer_muon_trains_every_linear_layer():
    parts = ("pixel_decoder", "semantic_decoder", "semantic_encoder")
    blocks = [f"{part}.blocks.0.{layer}" for part in parts for layer in BLOCK]
    faces = ["patch_skip", *prefixed("pixel_decoder", "enter", "leave", "linear")]
    projections = ["semantic_decoder.project", "semantic_encoder.project"]
    # It declares no outer layer. With `patch_skip`, the pixel decoder's three and both projections left to AdamW, a
    # short training gained features (cosine with the encoder's .89 to .99) and lost pixels (35.4 to 34.8 dB) with each
    # of three seeds, far beyond their spread.
    assert names(tokenizer()) == (sorted(VISION + blocks + faces + projections), [])


def test_of_an_image_text_model_muon_trains_every_linear_layer():
    model = ImageTextModel(small_encoder(ENCODER, 32), 30, ENCODER)
    heads = ["bag_of_words", "image_project", "text_project", *prefixed("pool", "down", "key_value", "up")]
    assert names(model) == (sorted(VISION + heads + prefixed("text_blocks.0", *BLOCK)), [])


def test_what_has_no_linear_layer_or_is_frozen_has_nothing_for_muon():
    assert names(PatchCritic(8)) == ([], [])
    frozen = tokenizer().requires_grad_(False)
    assert split_parameters(frozen) == ([], [])
