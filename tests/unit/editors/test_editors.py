"""Published editors: any pipeline of diffusers that takes a picture with a prompt, and who tells it what to do."""

from __future__ import annotations

import numpy as np
import pytest

from components.curation.editing.base import DroppedPair, EditPair
from components.curation.editing.options import EditOptions, FamilyWeights
from components.curation.editing.synthesize import synthesize
from components.editors.editor_instructions import Writer, from_template
from components.editors.options import EditorModel, InstructionWriter, Template
from pipelines.stages.data.model_editors import model_editors
from tests.unit.editors.tiny_editors import WORDS, instruct_pix2pix, kontext, writer

pytestmark = pytest.mark.unit
ALONE = FamilyWeights(photometric=0, geometric=0, region=0, model=1)
TEMPLATES = [{"instruction": "make it blue", "inverse": "make it red"}]
FEW = {"num_inference_steps": 2}


@pytest.fixture(scope="module")
def pix2pix(tmp_path_factory) -> str:
    return str(instruct_pix2pix(tmp_path_factory.mktemp("pix2pix")))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (4, 5, 3)), np.ones((10, 10, 1))).astype(np.uint8)  # [40, 50, 3]


def made(photo, model: dict, caption: str | None = "a photo of a dog", seed: int = 0, **options):
    editors = model_editors({"tiny": {"templates": TEMPLATES, "arguments": FEW, **model}})
    chosen = EditOptions(family_weights=ALONE, pairs_per_image=1, min_change=0.0, min_side=32, **options)
    return synthesize(photo, np.random.default_rng(seed), chosen, (), caption, editors)


def test_instruct_pix2pix_makes_pairs_that_its_seed_decides_and_tries_and_the_way_back(photo, pix2pix):
    found = made(photo, {"path": pix2pix, "tries": 2}, inverse=True)
    first, second, back = found
    assert all(isinstance(pair, EditPair) and pair.family == "model" for pair in found)
    assert first.source.shape == first.target.shape == (32, 48, 3), "cut at the sides to multiples of 16"
    assert np.array_equal(first.source, photo[4:36, 1:49]) and first.instruction == second.instruction == "make it blue"
    assert not np.array_equal(first.target, second.target)
    assert (back.kind, back.instruction) == ("undo_tiny", "make it red") and np.array_equal(back.target, first.source)
    again = made(photo, {"path": pix2pix, "tries": 2}, inverse=True)
    assert np.array_equal(again[0].target, first.target) and np.array_equal(again[1].target, second.target)
    assert not np.array_equal(made(photo, {"path": pix2pix}, seed=1)[0].target, first.target)


def test_a_flow_editor_is_taken_as_it_is(photo, tmp_path):
    arguments = {**FEW, "height": 32, "width": 48, "max_area": 32 * 48, "_auto_resize": False}
    (pair,) = made(photo, {"path": str(kontext(tmp_path)), "arguments": arguments})
    assert isinstance(pair, EditPair) and pair.target.shape == (32, 48, 3)


def test_a_second_edit_makes_one_pair_of_both_instructions(photo, pix2pix):
    editors = model_editors({"tiny": {"path": pix2pix, "templates": TEMPLATES, "arguments": FEW}})
    editors += model_editors({"other": {"path": pix2pix, "templates": [{"instruction": "Add snow"}], "arguments": FEW}})
    chosen = EditOptions(family_weights=ALONE, pairs_per_image=1, min_change=0.0, min_side=32, composed=True)
    first, both = synthesize(photo, np.random.default_rng(0), chosen, (), None, editors)
    assert isinstance(both, EditPair) and {first.kind} < set(both.kind.split("+")) == {"tiny", "other"}
    assert ". Then " in both.instruction and np.array_equal(both.source, first.source)
    assert not np.array_equal(both.target, first.target)


def test_templates_take_the_caption_and_without_one_those_that_need_none():
    rng = np.random.default_rng(0)
    several = (Template("paint {caption} in oil", "show a photo of {caption}"), Template("make it night"))
    said = {from_template(several, "a dog", rng) for _ in range(20)}
    assert {(i.text, i.inverse) for i in said} == {
        ("paint a dog in oil", "show a photo of a dog"),
        ("make it night", ""),
    }
    assert {from_template(several, None, rng).text for _ in range(20)} == {"make it night"}
    assert from_template(several[:1], None, rng) is None


def test_a_text_model_writes_instructions_from_captions_and_its_seed(photo, tmp_path, pix2pix):
    import torch

    options = InstructionWriter(str(writer(tmp_path)), prompt="{caption} make", tokens=6)
    words = Writer(options, torch.device("cpu"))
    said = [words.write("a photo of a dog", seed) for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2] and set(said[0].text.split()) <= set(WORDS)
    assert words.write(None, 1) is None
    told = {"path": str(tmp_path), "prompt": "{caption} make", "tokens": 6}
    (pair,) = made(photo, {"path": pix2pix, "templates": [], "writer": told})
    assert isinstance(pair, EditPair) and pair.instruction
    (drop,) = made(photo, {"path": pix2pix, "templates": [], "writer": told}, caption=None)
    assert isinstance(drop, DroppedPair) and (drop.reason, drop.detail) == (
        "no_instruction",
        "the picture has no caption",
    )


def test_what_is_no_editor_or_takes_no_such_argument_is_refused_in_words(photo, pix2pix, tmp_path):
    with pytest.raises(ValueError, match=r"cannot be loaded"):
        made(photo, {"path": str(tmp_path)})
    with pytest.raises(ValueError, match=r"takes no argument 'guidance_scal'.*did you mean 'guidance_scale'"):
        made(photo, {"path": pix2pix, "arguments": {"guidance_scal": 2.0}})
    for wrong in ({}, {"templates": TEMPLATES, "writer": {"path": "a/b"}}, {"templates": [{"instruction": "{x}"}]}):
        with pytest.raises(ValueError):
            EditorModel(**{"path": "a/b", **{k: tuple(Template(**t) for t in v) if k == "templates" else v
                                             for k, v in wrong.items()}})  # fmt: skip
