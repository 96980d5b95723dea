"""Judges and features that a configuration names, by real small models; and figures of what judges say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.tokenizer.encoders import VisionEncoder
from components.vision_models.loading import Place
from components.vision_models.towers import HubTowers
from pipelines.config.compose import compose_config
from pipelines.judging.cases import Asked
from pipelines.judging.named_features import open_features
from pipelines.judging.remembered import Remembered
from pipelines.judging.row_figures import Held, figures_of, grouped, means
from pipelines.judging.set_measures import distance_intervals, distances, found_own
from pipelines.judging.table import make_judge
from pipelines.preflight.judges import check_judges
from tests.unit.vision_models.tiny_models import COLOURS, clip_of_colours, coloured

pytestmark = pytest.mark.unit
HERE = Place(torch.device("cpu"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    return str(clip_of_colours(tmp_path_factory.mktemp("clip")))


def pictures() -> np.ndarray:
    return np.stack([coloured(colour, 90 + n) for n, colour in enumerate(COLOURS)])


def test_a_clip_that_is_named_finds_each_picture_nearer_to_its_own_prompt(clip):
    judge = make_judge("clip", {"kind": "image_text", "path": clip}, HERE)
    asked = [Asked(f"a {colour} picture", "colours") for colour in COLOURS]
    own = [row["similarity"] for row in judge.judge_prompts(asked, pictures())]
    crossed = [row["similarity"] for row in judge.judge_prompts(asked[1:] + asked[:1], pictures())]
    assert all(a > b for a, b in zip(own, crossed, strict=True))
    assert judge.protocol() == {"kind": "image_text", "score": "cosine", "model": clip, "revision": None}
    assert judge.judge_prompts([], pictures()[:0]) == []


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"kind": "eye"}, "The kinds:"),
        ({"kind": "image_text"}, "path: Field required"),
        ({"kind": "image_text", "path": "x", "size": 3}, "no option 'size'"),
        ({"kind": "image_text", "path": "/nowhere/at/all"}, "cannot be loaded"),
    ],
)
def test_a_judge_that_cannot_work_is_refused_in_words(section, words):
    with pytest.raises(ValueError, match=words):
        make_judge("mine", section, HERE)


def test_features_of_an_image_text_model_are_its_embeddings_and_of_an_encoder_the_mean_of_its_patches(clip, tmp_path):
    import transformers

    towers = HubTowers(clip, None, HERE)
    wanted = towers.pictures([towers.prepare(rgb) for rgb in pictures()])
    assert torch.equal(open_features("clip", clip, HERE)(pictures()), wanted)
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8, "image_size": 32}
    transformers.Dinov2Model(transformers.Dinov2Config(**small)).save_pretrained(tmp_path)
    found = open_features("dino", str(tmp_path), HERE)(pictures())
    encoder = VisionEncoder.load(str(tmp_path), None).eval()
    with torch.inference_mode():
        own = encoder(torch.from_numpy(pictures()).permute(0, 3, 1, 2).float() / 127.5 - 1).mean(1)
    assert torch.allclose(found, own, atol=1e-5)


def test_what_judges_say_of_one_array_is_computed_once_and_another_array_is_another():
    asked = []
    once = Remembered(lambda found: asked.append(id(found)) or found.sum(), kept=2)
    a, b = np.ones(3), np.ones(3)
    assert [once(a), once(b), once(a)] == [3, 3, 3] and len(asked) == 2


def test_figures_are_numbers_and_verdicts_of_rows_called_by_key_and_judge_and_notes_are_none():
    judges = {"clip": {"suffixed": True}, "reference": {"suffixed": False}}
    rows = {"clip": {"similarity": 0.5, "right": True, "said": "yes"}, "reference": {"psnr": 20, "lpips": None}}
    figures = figures_of(rows | {"other": {"x": 1}}, judges)
    assert figures == {"similarity_clip": 0.5, "right_clip": 1, "psnr": 20}
    held = [Held(figures, "add", "a"), Held({"psnr": 10}, "remove", "a"), Held({"psnr": 30}, "remove", "b")]
    assert means(held) == {"similarity_clip": 0.5, "right_clip": 1, "psnr": 20}
    assert grouped(held, "category")["remove"] == {"psnr": 20} and grouped(held, "source")["b"] == {"psnr": 30}
    assert grouped(held[1:2], "source") == {}


def test_judges_and_features_that_cannot_work_are_told_before_a_run():
    changes = [
        "evaluate_generator.judges={a: {kind: image_texts, path: x}, reference: {kind: image_text, path: /nowhere/x}}",
        "evaluate_generator.features={inception: /nowhere/at/all}",
    ]
    found = "\n".join(check_judges(compose_config(["preset=tiny", *changes])))
    for words in ("no judge of kind 'image_texts'", "the pipeline's own is called reference", "no such folder",
                  "features of the pipeline's own are called inception"):  # fmt: skip
        assert words in found
    assert list(check_judges(compose_config(["preset=tiny"]))) == []


def test_intervals_of_sets_hold_their_figures_and_stay_within_what_these_can_be():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(40, 4, generator=generator) + 3
    for made in (truth.clone(), truth + 0.3 * torch.randn(40, 4, generator=generator), -truth):
        values, intervals = distances(truth, made), distance_intervals(truth, made, 0)
        assert values.keys() == intervals.keys() == {"frechet", "kernel", "precision", "recall", "coverage"}
        assert all(0 <= intervals[name][0] <= values[name] <= intervals[name][1] for name in values)
        assert all(intervals[name][1] <= 1 for name in ("precision", "recall", "coverage"))
    assert distances(truth, -truth)["coverage"] == 0 and distances(truth, truth.clone())["coverage"] == 1
    assert distance_intervals(truth[:20], truth[:20], 0) == {}
    prompts = [str(n // 2) for n in range(40)]  # two pictures of each prompt
    assert found_own(truth, truth.roll(1, 0), prompts) == [float(n % 2 == 0) for n in range(40)]
