"""Any diffusers pipeline makes pictures of prompts and edits, each from its own seed, behind one interface."""

from __future__ import annotations

import numpy as np
import pytest

from components.editors.any_pipeline import AnyPipeline, check_any, open_any
from tests.unit.editors import tiny_editors, tiny_generators
from tests.unit.generator.worlds import pipeline

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    import torch

    root = tmp_path_factory.mktemp("pipelines")
    made = {
        "peer": open_any(str(tiny_generators.stable_diffusion(root / "sd")), None, "fp32"),
        "editor": open_any(str(tiny_editors.instruct_pix2pix(root / "ip2p")), None, "fp32"),
        "ours": pipeline(),
    }
    steps = {"num_inference_steps": 2, "guidance_scale": None, "unknown": 3}
    sides = {"editor": 16}  # its configuration says none
    return {name: AnyPipeline(pipe, torch.device("cpu"), sides.get(name), steps) for name, pipe in made.items()}


@pytest.mark.parametrize(("name", "side"), [("peer", 16), ("ours", 32)])
def test_a_picture_follows_from_its_prompt_and_seed_alone(models, name, side):
    model = models[name]
    together = model.make(["a red dog", "a photo", "a red dog"], [1, 2, 3])
    assert together.shape == (3, side, side, 3) and together.dtype == np.uint8 and model.side == side
    alone = model.make(["a photo"], [2])[0]
    assert np.abs(together[1].astype(int) - alone).max() <= 1  # batches round differently
    assert not np.array_equal(together[0], together[2])
    assert np.array_equal(model.make(["a photo"], [2])[0], alone)


@pytest.mark.parametrize(("name", "side"), [("editor", 16), ("ours", 32)])
def test_an_edit_has_the_size_of_its_source(models, name, side):
    sources = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    made = models[name].edit(sources, ["make it blue", "make it red"], [1, 2])
    assert made.shape == sources.shape and made.dtype == np.uint8
    assert np.array_equal(models[name].edit(sources[1:], ["make it red"], [2])[0], made[1])


@pytest.mark.parametrize("name", ["peer", "editor", "ours"])
def test_pictures_go_through_the_autoencoder_and_back(models, name):
    side = models[name].side
    pictures = np.full((2, side, side, 3), 128, np.uint8)
    back = models[name].decoded(pictures)
    assert back.shape == pictures.shape and back.dtype == np.uint8


def test_what_a_pipeline_cannot_do_is_said(models, tmp_path):
    with pytest.raises(ValueError, match="makes no edits"):
        models["peer"].edit(np.zeros((1, 16, 16, 3), np.uint8), ["make it red"], [1])
    folder = str(tiny_generators.stable_diffusion(tmp_path / "sd"))
    check_any(folder, None, prompts=True)
    with pytest.raises(ValueError, match="makes no edits"):  # before its weights are loaded
        check_any(folder, None, edits=True)
    with pytest.raises(ValueError, match="made no picture"):
        models["editor"].make(["a dog"], [1])
    with pytest.raises(ValueError, match="cannot be loaded"):
        open_any(str(tmp_path / "empty"), None, "fp32")
    with pytest.raises(ValueError, match="cannot be loaded"):
        check_any(str(tmp_path), None)


@pytest.mark.parametrize("name", ["peer", "ours"])
def test_noise_through_the_decoder_is_a_picture_that_follows_from_its_seed_alone(models, name):
    side = models[name].side
    made = models[name].noise([1, 2, 1])
    assert made.shape == (3, side, side, 3) and np.array_equal(made[0], made[2])
    assert not np.array_equal(made[0], made[1]) and np.array_equal(made[1:2], models[name].noise([2]))
