"""Making a batch's pictures: the same as alone, grouped by what they share, shown on the way, stopped for nobody."""

from __future__ import annotations

import asyncio
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import places
from pipelines.serve.making import groups, make, preview_steps, read_job, warm_up
from pipelines.serve.version import Serving
from pipelines.serving import make_picture, png_bytes
from tests.unit.generator.worlds import pipeline

pytestmark = pytest.mark.unit
SECRET = "a circle that nobody shall read of"
ONE_LEVEL = 1  # of 255: what other sizes of a batch may change, by the order of sums


@pytest.fixture(scope="module")
def serving():
    return Serving(pipeline(), Path(), {"id": "tiny/1"})


def job(**row):
    return read_job({"prompt": "a red circle", "seed": 1, **row}, 3)


def source(colour: str, size: tuple[int, int]) -> bytes:
    return png_bytes(Image.new("RGB", size, colour))


def told_by(serving, jobs):
    """Return what each job is told."""
    told = {one: [] for one in jobs}
    make(serving, jobs, lambda news: [told[one].append(what) for one, what in news.items()])
    return told


def pixels(picture) -> np.ndarray:
    opened = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
    return np.asarray(opened).astype(int)


def test_a_picture_of_a_batch_is_the_one_that_its_seed_makes_alone(serving):
    rows = [{"prompt": text, "seed": seed} for seed, text in enumerate(("a red circle", "make it blue", "circle"), 5)]
    jobs = [job(**row) for row in rows]
    told = told_by(serving, jobs)
    for row, one in zip(rows, jobs, strict=True):
        made = told[one][-1]
        alone = pixels(make_picture(serving.pipe, row))
        assert made["kind"] == "picture" and made["batch"] == 3 and made["seed"] == row["seed"]
        assert abs(pixels(made["png"]) - alone).max() <= ONE_LEVEL
        assert alone.std() > 1  # it is a picture that another seed would change
    assert abs(pixels(told[jobs[0]][-1]["png"]) - pixels(told[jobs[1]][-1]["png"])).max() > ONE_LEVEL


def test_edits_of_pictures_of_any_size_are_those_that_are_made_alone(serving):
    rows = [{"image": source("red", (40, 20)), "seed": 3}, {"image": source("blue", (16, 16)), "seed": 4}]
    told = told_by(serving, jobs := [job(**row) for row in rows])
    for row, one in zip(rows, jobs, strict=True):
        alone = told_by(serving, [again := job(**row)])[again][-1]
        assert abs(pixels(told[one][-1]["png"]) - pixels(alone["png"])).max() <= ONE_LEVEL


def test_a_batch_is_divided_by_steps_guidance_and_edit_or_not(serving):
    own = serving.pipe.config["num_inference_steps"]
    jobs = [
        job(), job(num_inference_steps=own), job(num_inference_steps=own + 1), job(guidance_scale=3.5),
        job(image=source("red", (8, 8))), job(image=source("blue", (8, 8)), seed=9),
    ]  # fmt: skip
    assert [[jobs.index(one) for one in group] for group in groups(serving, jobs)] == [[0, 1], [2], [3], [4, 5]]


def test_steps_and_forming_pictures_are_told_to_who_asked(serving):
    curious, quiet = job(num_inference_steps=6, previews=2), job(num_inference_steps=6, progress=False)
    told = told_by(serving, [curious, quiet])
    kinds = [(news["kind"], news.get("step")) for news in told[curious]]
    assert kinds == [
        ("progress", 1), ("progress", 2), ("preview", 2), ("progress", 3), ("progress", 4), ("preview", 4),
        ("progress", 5), ("progress", 6), ("picture", None),
    ]  # fmt: skip
    assert [news["kind"] for news in told[quiet]] == ["progress", "picture"]  # the first step: it is being made
    early, late, final = (pixels(news["png"]) for news in told[curious] if "png" in news)
    assert abs(late - final).mean() < abs(early - final).mean()  # they come nearer to the picture


@pytest.mark.parametrize(
    ("previews", "steps", "shown"), [(0, 10, []), (1, 10, [5]), (3, 10, [2, 5, 8]), (3, 4, [2, 3]), (3, 1, [])]
)
def test_forming_pictures_are_spread_over_the_steps(previews, steps, shown):
    assert preview_steps(previews, steps) == shown


def test_a_batch_that_nobody_waits_for_stops_at_its_next_step(serving):
    jobs, steps = [job(num_inference_steps=50), job(num_inference_steps=50)], []

    def tell(news):
        steps.append(next(iter(news.values()))["step"])
        if len(steps) > 2:
            for one in jobs:
                one.gone = True

    make(serving, jobs, tell)
    assert steps == [1, 2, 3]


def test_who_left_is_told_nothing_and_the_others_get_their_pictures(serving):
    left, stays = job(seed=1), job(seed=2)
    left.gone = True
    told = told_by(serving, [left, stays])
    assert told[stays][-1]["kind"] == "picture" and all(news["kind"] != "picture" for news in told[left])


def test_the_png_says_what_made_it(serving):
    picture = told_by(serving, [one := job(num_inference_steps=2, guidance_scale=1.5)])[one][-1]
    texts = Image.open(io.BytesIO(picture["png"])).text
    assert {"prompt": "a red circle", "seed": "1", "model": "tiny/1", "guidance_scale": "1.5"}.items() <= texts.items()
    assert texts["num_inference_steps"] == "2" == str(picture["steps"])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": " "}, "has no prompt"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"image": b"no picture"}, "the image cannot be read"),
        ({"previews": 4}, "previews is 4; it is a whole number from 0 to 3"),
    ],
)
def test_a_row_that_asks_for_no_picture_is_refused_in_words(row, words):
    with pytest.raises(ValueError, match=words):
        job(**row)


def test_a_version_with_broken_weights_is_refused(serving):
    warm_up(serving)
    broken = pipeline()
    next(broken.transformer.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="are not numbers"):
        warm_up(Serving(broken, Path(), {}))


def test_a_failure_of_the_model_is_told_to_each_as_an_error_that_knows_its_place():
    broken = pipeline()
    broken.vae.decode = None  # a call of it is a TypeError
    jobs = [job(), job(seed=2)]
    told = told_by(Serving(broken, Path(), {"id": "broken"}), jobs)
    assert all(isinstance(told[one][-1], RuntimeError) for one in jobs)
    assert "vae.decode" in places(told[jobs[0]][-1])


def test_the_engines_log_has_the_place_of_a_failure_and_nothing_of_the_request(caplog):
    from pipelines.serve.model_engine import Engine

    class Broken:
        def decode(self, latents):
            raise TypeError(SECRET)

    pipe = pipeline()
    pipe.vae.decode = Broken().decode
    engine = object.__new__(Engine.func_or_class)
    engine._torch, engine._failures = ThreadPoolExecutor(1), 0

    async def told():
        return [told async for told in engine._made(Serving(pipe, Path(), {"id": "broken"}), [job(prompt=SECRET)])]

    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    try:
        assert asyncio.run(told())
    finally:
        logger.removeHandler(caplog.handler)
        engine._torch.shutdown()
    assert "in decode\n" in caplog.text and SECRET not in caplog.text
    assert engine._failures == 1
