"""Encoders: the features are transformers' own, normalised without affine, whatever architecture they come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import transformers
from diffusers import AutoencoderRAE

from components.tokenizer.encoders import VisionEncoder

pytestmark = pytest.mark.unit

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}


def tiny(kind: str, folder):
    """Save a random model of a kind as users have them; return (folder, model, tokens that are no patches)."""
    torch.manual_seed(0)
    text = {"vocab_size": 32, "max_position_embeddings": 8, **SMALL}
    sides = {"patch_size": 8, "image_size": 32}
    if kind == "dinov2":
        model, skip = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, **sides)), 1
    elif kind == "dinov2_with_registers":
        config = transformers.Dinov2WithRegistersConfig(**SMALL, **sides, num_register_tokens=4)
        model, skip = transformers.Dinov2WithRegistersModel(config), 5
    elif kind == "dinov3":
        config = transformers.DINOv3ViTConfig(**SMALL, **sides, num_register_tokens=4)
        model, skip = transformers.DINOv3ViTModel(config), 5
    elif kind == "siglip":
        config = transformers.SiglipConfig(text_config=text, vision_config={**SMALL, **sides})
        model, skip = transformers.SiglipModel(config), 0
    else:
        config = transformers.CLIPConfig(text_config=text, vision_config={**SMALL, **sides}, projection_dim=16)
        model, skip = transformers.CLIPModel(config), 1
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))  # norms with an affine part, so that dropping it shows
    model.save_pretrained(folder)
    return model.eval(), skip


def reference(model, skip: int, pixels):
    """transformers' own features before the last norm, normalised without affine."""
    vision = getattr(model, "vision_model", model)
    taken = {}
    norm = (
        getattr(vision, "layernorm", None) or getattr(vision, "norm", None) or getattr(vision, "post_layernorm", None)
    )
    if type(vision).__name__.startswith("CLIP"):
        hidden = vision(pixel_values=pixels).last_hidden_state
    else:
        norm.register_forward_pre_hook(lambda _, inputs: taken.setdefault("hidden", inputs[0]))
        vision(pixel_values=pixels)
        hidden = taken["hidden"]
    return F.layer_norm(hidden[:, skip:], hidden.shape[-1:], eps=1e-6)


@pytest.mark.parametrize("kind", ["dinov2", "dinov2_with_registers", "dinov3", "siglip", "clip"])
@torch.no_grad()
def test_features_are_the_patches_of_transformers_own_model_normalised_without_affine(kind, tmp_path):
    model, skip = tiny(kind, tmp_path)
    encoder = VisionEncoder.load(str(tmp_path), None).eval()
    encoder.eps = 1e-6
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    features = encoder(images)
    assert features.shape == (2, 16, 64) == (2, encoder.grid**2, encoder.width)
    torch.testing.assert_close(features, reference(model, skip, encoder.prepare(images)), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(features.mean(-1), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.var(-1, correction=0), torch.ones(2, 16), atol=1e-3, rtol=0)


@torch.no_grad()
def test_pictures_of_another_size_are_resized_to_the_encoders(tmp_path):
    tiny("dinov2", tmp_path)
    encoder = VisionEncoder.load(str(tmp_path), 16).eval()
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    shrunk = F.interpolate(images, (16, 16), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
    assert encoder.grid == 2
    torch.testing.assert_close(encoder(images), encoder(shrunk))


@pytest.mark.parametrize("kind", ["siglip", "clip"])
@torch.no_grad()
def test_positions_are_interpolated_where_the_size_is_not_the_trained_one(kind, tmp_path):
    tiny(kind, tmp_path)
    assert VisionEncoder.load(str(tmp_path), 48).eval()(torch.zeros(1, 3, 48, 48)).shape == (1, 36, 64)


@torch.no_grad()
def test_the_rae_space_is_diffusers_own(tmp_path):
    torch.manual_seed(0)
    theirs = AutoencoderRAE(
        encoder_type="dinov2", encoder_hidden_size=64, encoder_patch_size=14, encoder_num_hidden_layers=2,
        encoder_input_size=28, patch_size=8, image_size=16, decoder_hidden_size=64, decoder_num_hidden_layers=1,
        decoder_num_attention_heads=1, decoder_intermediate_size=64,
    ).eval()  # fmt: skip
    theirs.encoder.layernorm.weight = torch.nn.Parameter(torch.ones(64))
    theirs.encoder.layernorm.bias = torch.nn.Parameter(torch.zeros(64))
    theirs.encoder.save_pretrained(tmp_path)
    ours = VisionEncoder.load(str(tmp_path), 28).eval()
    images = torch.rand(2, 3, 28, 28)
    wanted = theirs.encode(images).latent
    found = ours(images * 2 - 1).transpose(1, 2).reshape(wanted.shape)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)


def test_a_spec_builds_the_same_architecture(tmp_path):
    tiny("dinov2_with_registers", tmp_path)
    encoder = VisionEncoder.load(str(tmp_path), None).eval()
    again = VisionEncoder.from_spec(encoder.spec)
    again.load_state_dict(encoder.state_dict())
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(encoder(images), again.eval()(images))


def test_what_is_no_encoder_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="no encoder can be loaded"):
        VisionEncoder.load(str(tmp_path / "nothing"), None)
    transformers.BertConfig(hidden_size=32).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'bert' are not supported"):
        VisionEncoder.load(str(tmp_path), None)
    tiny("dinov2", tmp_path / "vit")
    with pytest.raises(ValueError, match="no multiple of its patch size 8"):
        VisionEncoder.load(str(tmp_path / "vit"), 30)
    (tmp_path / "vit" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="cannot be loaded"):
        VisionEncoder.load(str(tmp_path / "vit"), None)
