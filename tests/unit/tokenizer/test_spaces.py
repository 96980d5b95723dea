"""Latent spaces: what goes in and out, what each one's training reaches, and what is saved with it."""

from __future__ import annotations

import ast
import copy
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from components.tokenizer.blocks import norm_groups, patchify, unpatchify
from components.tokenizer.discriminator import PatchCritic
from components.tokenizer.encoders import FAMILIES, VisionEncoder
from components.tokenizer.image_text import ImageTextModel, Vocabulary, load_image_text, save_image_text, small_encoder
from components.tokenizer.latent_space import LatentSpace, Parts, build_space
from components.tokenizer.losses import hinge_discriminator_loss, kl_loss, latent_noise, semantic_loss
from components.tokenizer.objectives import EncoderPerceptual, TokenizerObjective
from components.tokenizer.options import LossOptions, PixelDecoderOptions, SmallEncoderOptions, TokenizerOptions
from components.tokenizer.rivals import AutoencoderSpace, fresh_kl_vae, load_autoencoder, load_tokenizer
from components.tokenizer.spaces import SPACES, STAGE_ONE
from components.tokenizer.vae import PixelSemanticVAE
from components.tokenizer.warm_start import principal, warm_start

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[3]

SMALL = SmallEncoderOptions(width=32, depth=2, heads=2, patch=8, text_depth=1, max_words=8)
DECODERS = {
    "patch": {"kind": "patch", "width": 32, "depth": 1, "heads": 2, "multiples": [1]},
    "conv": {"kind": "conv", "width": 8, "depth": 1, "heads": 1, "multiples": [1, 2]},
}


def encoder() -> VisionEncoder:
    torch.manual_seed(1)
    return small_encoder(SMALL, 32)


def space(channels: int | None = 12, decoder: str = "patch", **more) -> PixelSemanticVAE:
    torch.manual_seed(2)
    model = PixelSemanticVAE(encoder().spec, 32, channels, DECODERS[decoder], semantic_depth=1, **more)
    model.encoder.load_state_dict(encoder().state_dict())
    return model.eval()


def pictures(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


IMAGES = pictures().float() / 127.5 - 1


@pytest.mark.parametrize("decoder", ["patch", "conv"])
@torch.no_grad()
def test_a_saved_space_opens_as_it_was(tmp_path, decoder):
    model = space(decoder=decoder)
    model.set_scaling(torch.linspace(-1, 1, 12), torch.linspace(0.5, 2, 12))
    model.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    latent = model.encode(IMAGES).latent_dist.mode()
    assert latent.shape == (4, 12, 4, 4) == (4, *again.latent_shape)
    assert torch.equal(latent, again.encode(IMAGES).latent_dist.mode())
    assert torch.equal(model.decode(latent).sample, again.decode(latent).sample)
    assert torch.equal(model.decode_features(latent), again.decode_features(latent))
    assert again.decode(latent).sample.shape == IMAGES.shape
    assert (tmp_path / "diffusion_pytorch_model.safetensors").exists()


@torch.no_grad()
def test_latents_that_leave_a_space_are_standardised_and_come_back_as_they_were():
    model = space()
    raw, log_variance = model.moments(IMAGES, model.encoder(IMAGES))
    decoded = model.decode(model.encode(IMAGES).latent_dist.mode()).sample
    model.set_scaling(raw.mean((0, 2, 3)), raw.std((0, 2, 3)))
    posterior = model.encode(IMAGES).latent_dist
    torch.testing.assert_close(posterior.mode().mean((0, 2, 3)), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(posterior.mode().std((0, 2, 3)), torch.ones(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(posterior.std, (0.5 * log_variance).exp() / model.latent_std, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.decode(posterior.mode()).sample, decoded, atol=1e-4, rtol=1e-3)
    with pytest.raises(ValueError, match="dead channel"):
        model.set_scaling(torch.zeros(12), torch.zeros(12))


@pytest.mark.parametrize("name", SPACES)
@torch.no_grad()
def test_every_space_of_the_table_is_built_and_satisfies_the_interface(tmp_path, name):
    torch.manual_seed(3)
    AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4).save_pretrained(tmp_path)
    decoder = PixelDecoderOptions(kind="conv", width=8, depth=1, heads=1, multiples=(1, 2, 2, 2))
    options = TokenizerOptions(space=name, channels=12, semantic_depth=1, pretrained=str(tmp_path))
    entry = SPACES[name]
    model = build_space(entry, Parts(name, options, decoder, 32, encoder())).eval()
    assert isinstance(model, LatentSpace)
    latent = model.encode(IMAGES).latent_dist.mode()
    assert latent.shape == (4, *model.latent_shape) and model.decode(latent).sample.shape == IMAGES.shape
    features, held = model.features(IMAGES), model.decode_features(latent)
    assert entry.of_encoder == model.has_features == (features is not None) == (held is not None)
    assert features is None or held.shape == features.shape
    empty = build_space(entry, Parts(name, options, decoder, 32, encoder(), load=False))
    assert {k: v.shape for k, v in empty.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_an_unknown_space_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"no latent space 'psvae' \(did you mean ps_vae\?\)"):
        TokenizerOptions(space="psvae")


def test_no_code_outside_the_table_compares_names_of_spaces():
    found = []
    for path in [p for room in ("components", "pipelines") for p in (ROOT / room).rglob("*.py")]:
        if path.name == "spaces.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Compare | ast.MatchValue):
                said = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
                found += [f"{path}:{node.lineno}"] if said & set(SPACES) else []
    assert not found


@torch.no_grad()
def test_the_rae_latent_is_the_features_themselves():
    model = space(channels=None)
    latent = model.encode(IMAGES).latent_dist.mode()
    assert torch.equal(model.decode_features(latent), model.features(IMAGES))
    assert latent.shape == (4, 32, 4, 4)


def gradients(name: str, stage: int = 2) -> dict[str, bool]:
    """Which parts of a model a batch's loss reaches."""
    model = space(channels=12 if SPACES[name].bottleneck else None).train()
    switches = STAGE_ONE if stage == 1 else SPACES[name].training
    objective = TokenizerObjective(model, encoder(), switches, LossOptions(perceptual=0), 0.0, None)
    loss, _, _ = objective({"images": pictures()}, 0.5, None)
    loss.backward()
    parts = {"encoder": model.encoder, "pixels": model.pixel_decoder}
    if model.bottleneck:
        parts |= {"E_s": model.semantic_encoder, "D_s": model.semantic_decoder}
    return {k: any(p.grad is not None and p.grad.abs().sum() > 0 for p in m.parameters()) for k, m in parts.items()}


def test_each_space_trains_what_the_paper_says_and_nothing_else():
    assert gradients("s_vae", stage=1) == {"encoder": False, "E_s": True, "D_s": True, "pixels": True}
    assert gradients("s_vae") == {"encoder": False, "E_s": False, "D_s": False, "pixels": True}
    assert gradients("ps_vae") == {"encoder": True, "E_s": True, "D_s": True, "pixels": True}
    assert gradients("p_vae") == {"encoder": True, "E_s": True, "D_s": False, "pixels": True}
    assert gradients("rae") == {"encoder": False, "pixels": True}
    assert gradients("rae_hd") == {"encoder": True, "pixels": True}


def test_in_stage_one_pixels_teach_the_pixel_decoder_alone():
    model = space().train()
    weights = LossOptions(semantic=0.0, kl=0.0, perceptual=0)
    objective = TokenizerObjective(model, encoder(), STAGE_ONE, weights, 0.0, None)
    objective({"images": pictures()}, 0.5, None)[0].backward()
    reached = {
        n.split(".")[1] for n, p in objective.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert reached == {"pixel_decoder"}


def test_the_frozen_copy_stays_and_the_tuned_encoder_is_held_to_it():
    model, teacher = space().train(), encoder()
    before = copy.deepcopy(teacher.state_dict())
    objective = TokenizerObjective(model, teacher, SPACES["ps_vae"].training, LossOptions(perceptual=0), 0.0, None)
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.1)
    for step in range(2):
        loss, figures, _ = objective({"images": pictures()}, 0.5, None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert (figures["encoder_semantic"] < 1e-6) == (step == 0)  # equal at first, apart after one step
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any("teacher" in name or "still" in name for name in objective.state_dict())


def test_kl_has_its_closed_form_and_warms_up():
    mean, log_variance = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (0.5 * log_variance).exp()), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(kl_loss(mean, log_variance), theirs.mean())
    objective = TokenizerObjective(
        space(),
        encoder(),
        SPACES["p_vae"].training,
        LossOptions(kl=1.0, pixel_l1=0.0, perceptual=0, kl_warmup=0.5),
        0.0,
        None,
    )
    torch.manual_seed(0)
    early, figures, _ = objective({"images": pictures()}, 0.125, None)
    torch.testing.assert_close(early, 0.25 * figures["kl"])


def test_the_semantic_loss_is_l2_and_cosine_distance():
    features = torch.randn(2, 3, 8)
    assert semantic_loss(features, features).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(semantic_loss(-features, features), 4 * features.square().mean() + 2)


@torch.no_grad()
def test_a_warm_start_keeps_the_semantics_and_decodes_as_linear_patch_pca():
    images = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(3)).cumsum(-1).tanh()
    stage_one = space()
    model = space(linear_path=True)
    model.load_state_dict(stage_one.state_dict(), strict=False)
    warm_start(model, images, 8)
    features = model.encoder(images)
    raw = model.moments(images, features)[0]
    patches = patchify(images, 8)
    mean, directions, _ = principal(patches.reshape(-1, 192), 8)
    wanted = (patches.double() - mean) @ directions.T @ directions + mean
    torch.testing.assert_close(model.pixels_of(raw), unpatchify(wanted.float(), 8, 4), atol=1e-3, rtol=1e-3)
    # Four directions of twelve are kept: what D_s reads is the S-VAE's latent projected on them.
    before = stage_one.moments(images, features)[0].flatten(2).transpose(1, 2)
    centre, turn, _ = principal(before.reshape(-1, 12), 4)
    projected = ((before.double() - centre) @ turn.T @ turn + centre).float()
    torch.testing.assert_close(model.features_of(raw), stage_one.semantic_decoder(projected), atol=1e-3, rtol=1e-3)


def test_latent_noise_is_in_units_of_each_channels_deviation():
    raw = torch.randn(2000, 2, 2, 2) * torch.tensor([1.0, 10.0]).view(1, 2, 1, 1)
    torch.manual_seed(0)
    added = latent_noise(raw, 0.3) - raw
    expected = (raw.std((0, 2, 3)) * 0.3 / 3**0.5).tolist()  # a uniform share of the largest: its root mean square
    assert added.std((0, 2, 3)).tolist() == pytest.approx(expected, rel=0.05)


def test_the_critic_learns_by_hinge_and_judges_patches():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-2.0, 0.5])
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx(0.5 * (0.5 + 0.75))
    critic = PatchCritic(width=8)
    assert critic.judge(IMAGES).shape[:2] == (4, 1) and critic.judge(IMAGES)[0].numel() > 1
    objective = TokenizerObjective(space(), encoder(), SPACES["ps_vae"].training, LossOptions(perceptual=0), 0.0, None)
    loss, figures, (shown, decoded) = objective({"images": pictures()}, 0.9, critic)
    assert "adversarial" in figures and not decoded.requires_grad
    torch.testing.assert_close(shown, IMAGES)
    assert loss.requires_grad


def test_the_perceptual_distance_is_zero_for_equal_pictures_and_reaches_the_decoded_one_only():
    distance = EncoderPerceptual(encoder().requires_grad_(False))
    assert distance(IMAGES, IMAGES).item() == 0
    decoded = (IMAGES + 0.1 * torch.randn_like(IMAGES)).requires_grad_(True)
    distance(decoded, IMAGES).backward()
    assert decoded.grad.abs().sum() > 0


@torch.no_grad()
def test_a_fresh_kl_vae_starts_with_a_latent_that_its_noise_does_not_hide():
    torch.manual_seed(0)
    space = AutoencoderSpace.of(fresh_kl_vae(8, 32, 8, width=8, depth=1), 32, "kl_vae")
    mean, log_variance = space.moments(IMAGES, None)
    assert space.latent_shape == (8, 8, 8)
    assert (0.5 * log_variance).exp().max() < 0.1 and mean.std((0, 2, 3)).mean() > 3 * (0.5 * log_variance).exp().mean()


@pytest.mark.parametrize(("width", "groups"), [(128, 32), (192, 16), (64, 16), (32, 8), (8, 2), (34, 2), (3, 1)])
def test_no_group_norm_of_a_convolutional_autoencoder_is_an_instance_norm(width, groups):
    assert norm_groups(width) == groups


@pytest.mark.parametrize("kind", ["kl", "tiny"])
@torch.no_grad()
def test_a_diffusers_autoencoder_is_a_space_as_it_is(kind, tmp_path):
    torch.manual_seed(0)
    if kind == "kl":
        model = AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4,
        ).eval()  # fmt: skip
        wanted = model.encode(IMAGES).latent_dist.mean
    else:
        model = AutoencoderTiny(
            encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1), latent_channels=4,
        ).eval()  # fmt: skip
        wanted = model.encode(IMAGES).latents
    rival = AutoencoderSpace.of(model, 32, "pretrained")
    torch.testing.assert_close(rival.encode(IMAGES).latent_dist.mode(), wanted)
    torch.testing.assert_close(rival.decode(wanted).sample, model.decode(wanted).sample)
    rival.set_scaling(wanted.mean((0, 2, 3)), wanted.std((0, 2, 3)))
    rival.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    latent = again.encode(IMAGES).latent_dist.mode()
    torch.testing.assert_close(latent.std((0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(again.decode(latent).sample, model.decode(wanted).sample, atol=1e-3, rtol=1e-3)


def test_what_holds_no_tokenizer_is_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    space().save_pretrained(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_tokenizer(tmp_path)


def test_an_image_text_model_opens_as_it_was_and_learns_its_captions(tmp_path):
    captions = ["a red circle", "a blue square", "two green dots", "nothing at all"]
    vocabulary = Vocabulary.of(captions)
    torch.manual_seed(0)
    model = ImageTextModel(encoder(), len(vocabulary), SMALL)
    ids = vocabulary.encode(captions, 8)
    assert ids.shape == (4, 8) and vocabulary.encode(["purple"], 8)[0, 0] == 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        loss = sum(model.losses(IMAGES, ids).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_image_text(model, vocabulary, tmp_path)
    again, words = load_image_text(tmp_path)
    with torch.no_grad():
        similarity = again.embed_features(again.encoder(IMAGES)) @ again.embed_text(words.encode(captions, 8)).T
    assert similarity.argmax(1).tolist() == [0, 1, 2, 3]
    (tmp_path / "image_text.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no image-text model"):
        load_image_text(tmp_path)


def test_every_supported_family_is_named_in_transformers():
    import transformers

    assert all(hasattr(transformers, f.model) and hasattr(transformers, f.config) for f in FAMILIES.values())


@torch.no_grad()
def test_taef2_from_its_authors_files_reconstructs_a_photo(tmp_path):
    import os
    from pathlib import Path

    import numpy as np
    from PIL import Image

    if "PIXSEM_ASSETS" not in os.environ:
        pytest.skip("PIXSEM_ASSETS is not set: the weights are not part of the project")
    assets = Path(os.environ["PIXSEM_ASSETS"])
    photo = Image.open(sorted((assets / "photos" / "cid22").glob("*.png"))[0]).convert("RGB").resize((128, 128))
    image = torch.from_numpy(np.asarray(photo).transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
    rival = AutoencoderSpace.of(load_autoencoder(str(assets / "weights" / "taef2")), 128, "pretrained")
    latent = rival.encode(image).latent_dist.mode()
    assert latent.shape == (1, 32, 16, 16)
    error = ((rival.decode(latent).sample.clamp(-1, 1) - image) / 2).square().mean()
    assert -10 * error.log10() > 24
    rival.save_pretrained(tmp_path)
    torch.testing.assert_close(load_tokenizer(tmp_path).encode(image).latent_dist.mode(), latent)


def test_files_that_are_no_tiny_autoencoder_are_refused_in_words(tmp_path):
    torch.save({"1.weight": torch.zeros(1)}, tmp_path / "x_encoder.pth")
    torch.save({"1.weight": torch.zeros(1)}, tmp_path / "x_decoder.pth")
    with pytest.raises(ValueError, match="no tiny autoencoder known here"):
        load_autoencoder(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pair of"):
        load_autoencoder(str(tmp_path / "empty"))
