"""Sampling, guidance, and the diffusers pipeline."""

import numpy as np
import pytest
import torch
from PIL import Image

from components.generator.pipeline import PixelSemanticPipeline
from components.generator.sampling import Guidance, Request, branches, sample
from tests.unit.generator.worlds import VARIANTS, inputs, pipeline, transformer

pytestmark = pytest.mark.unit


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("edits", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_reading_text_and_source_once_gives_the_same_latents_as_at_every_step(name, edits):
    model, values = transformer(VARIANTS[name]), inputs()
    request = Request(values["ids"], values["text"], values["source"] if edits else None)
    scheduler = pipeline().scheduler
    once, always = (
        sample(model, scheduler, values["noisy"], request, Guidance(3.0, 1.5), 3, cached=cached)
        for cached in (True, False)
    )
    assert torch.allclose(once, always, atol=1e-4)
    other = Request(values["ids"].flip(0), values["text"].flip(0), request.source)
    assert not torch.allclose(once, sample(model, scheduler, values["noisy"], other, Guidance(3.0, 1.5), 3), atol=1e-3)


def test_guidance_of_one_is_the_conditional_model_and_others_add_up_to_one():
    assert branches(Guidance(1.0, 1.0), True) == [(1.0, True, True)]
    assert branches(Guidance(1.0, 7.0), False) == [(1.0, True, True)]  # no source, nothing to be guided by
    assert branches(Guidance(2.0, 1.0), True) == [(2.0, True, True), (-1.0, False, True)]
    three = branches(Guidance(3.0, 1.5), True)
    assert three == [(3.0, True, True), (-1.5, False, True), (-0.5, False, False)]
    assert sum(weight for weight, *_ in three) == 1


def test_guidance_ends_at_its_time_and_the_conditional_model_goes_on_alone():
    model, values = transformer(VARIANTS["demo"]), inputs()
    with torch.no_grad():
        for weight in model.parameters():  # a fresh model says nothing of its text
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    request = Request(values["ids"], values["text"], values["source"])

    def made(guidance: Guidance) -> torch.Tensor:
        return sample(model, pipeline().scheduler, values["noisy"], request, guidance, 4)

    alone, always = made(Guidance()), made(Guidance(3.0))
    assert not torch.allclose(alone, always, atol=1e-2)
    for guidance in (Guidance(3.0, 1.5, above=1.0), Guidance(0.0, 1.5, above=1.0)):
        assert torch.allclose(made(guidance), alone, atol=1e-5)
    partly = made(Guidance(3.0, above=0.5))
    assert not torch.allclose(partly, alone, atol=1e-3) and not torch.allclose(partly, always, atol=1e-3)


def test_euler_steps_follow_a_straight_path_to_its_end():
    model, values = transformer(VARIANTS["demo"]), inputs()
    target = values["source"]
    model.denoise = lambda noisy, times, condition: (noisy - target) / times[:, None, None, None]
    made = sample(model, pipeline().scheduler, values["noisy"], Request(values["ids"], values["text"]), Guidance(), 4)
    assert torch.allclose(made, target, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_saved_pipeline_makes_identical_pictures(name, tmp_path):
    first = pipeline(name)
    first.save_pretrained(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pickle")]
    second = PixelSemanticPipeline.from_pretrained(tmp_path)
    second.set_progress_bar_config(disable=True)
    made = [p("a red circle", generator=seeded(), output_type="pt").images for p in (first, second)]
    assert torch.equal(*made)
    edited = [p("make it blue", image=made[0], generator=seeded(), output_type="pt").images for p in (first, second)]
    assert torch.equal(*edited)
    assert not torch.equal(edited[0], made[0])
    assert dict(second.config)["guidance_scale"] == 2.0


def test_the_pipeline_takes_and_gives_what_users_of_diffusers_expect():
    pipe = pipeline()
    (picture,) = pipe("a red circle", generator=seeded()).images
    assert isinstance(picture, Image.Image) and picture.size == (32, 32)
    arrays = pipe(
        ["a red circle", "make it blue"], generator=seeded(), output_type="np", num_images_per_prompt=2
    ).images
    assert arrays.shape == (4, 32, 32, 3) and arrays.min() >= 0 and arrays.max() <= 1
    (latents,) = pipe("a red circle", generator=seeded(), output_type="latent", return_dict=False)
    again = pipe("a red circle", latents=torch.randn((1, 8, 4, 4), generator=seeded()), output_type="latent").images
    assert torch.equal(latents, again)
    wide = Image.fromarray(np.zeros((40, 80, 3), np.uint8))
    assert pipe("make it blue", image=wide, generator=seeded(), output_type="pt").images.shape == (1, 3, 32, 32)
    seen = []
    pipe("a", generator=seeded(), callback_on_step_end=lambda p, i, t, kwargs: seen.append(i) or {})
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": []}, "at least one"),
        ({"prompt": 3}, "a text or a list of texts"),
        ({"prompt": "a", "num_inference_steps": 0}, "at least one step"),
        ({"prompt": "a", "output_type": "gif"}, "pil, np, pt or latent"),
        ({"prompt": ["a", "b", "c"], "image": torch.zeros(2, 3, 32, 32)}, "2 images for 3 prompts"),
        ({"prompt": "a", "latents": torch.zeros(1, 2, 4, 4)}, "they must be (1, 8, 4, 4)"),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words.replace("(", r"\(").replace(")", r"\)")):
        pipeline()(**arguments)


def test_a_generator_and_a_tokenizer_of_different_latents_are_not_joined():
    parts = pipeline().components
    parts["transformer"] = transformer(VARIANTS["paper"])
    parts["transformer"].channels = 7
    with pytest.raises(ValueError, match="belong to different models"):
        PixelSemanticPipeline(**parts)
