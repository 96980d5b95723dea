"""`pixsem generate` and `edit`: what they import, the names of their files, batches, the grid, and what a PNG says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.cli.local_pictures import LocalPictures
from pipelines.cli.picture_files import MOST_IN_GRID, target
from pipelines.serving import make_picture, open_pipeline, png_bytes
from tests.unit.generator.worlds import pipeline

pytestmark = pytest.mark.unit
# The whole command line in one fresh process; then what schedulers of diffusers may still ask for.
COMMAND = """
import sys
from pipelines.cli.main import main
main_error = None
try:
    main()
except SystemExit as end:
    main_error = end.code
heavy = {
    "mlflow", "ray", "hydra", "omegaconf", "pandas", "sqlalchemy", "pyarrow", "scipy.stats", "sklearn", "torchmetrics",
    "matplotlib", "deepspeed", "fastapi", "starlette", "cv2",
}
print(main_error, sorted(heavy & set(sys.modules)), file=sys.stderr)
from diffusers import FlowMatchEulerDiscreteScheduler
FlowMatchEulerDiscreteScheduler(use_beta_sigmas=True).set_timesteps(3)
print("scipy.stats" in sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(folder):
    """A command of six pictures in batches of four, and one grid."""
    out = folder.parent / "out"
    (folder.parent / "more.txt").write_text("a red circle on the left\n\n")
    asked = ["generate", "a red circle", "make it blue", "--prompts", str(folder.parent / "more.txt")]
    options = ["--count", "2", "--seed", "7", "--steps", "2", "--batch", "4", "--grid", "--out", str(out)]
    command = [sys.executable, "-c", COMMAND, *asked, "--model", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done, out


def test_generate_imports_neither_mlflow_nor_ray_nor_hydra_and_what_it_leaves_out_comes_when_it_is_asked_for(made):
    done, _ = made
    assert done.stderr.splitlines() == ["0 []", "True"]  # no bar either, where no terminal is


def test_files_are_numbered_and_printed_in_order_and_each_says_what_it_was_made_with(made, folder):
    done, out = made
    texts = ["a-red-circle", "make-it-blue", "a-red-circle-on-the-left"]
    names = [f"{number}-{texts[(number - 1) // 2]}.png" for number in range(1, 7)] + ["grid.png"]
    assert done.stdout.split() == [str(out / name) for name in names]
    settings = Image.open(out / names[3]).text
    assert settings == {
        "prompt": "make it blue", "seed": "8", "model": "tiny", "num_inference_steps": "2", "guidance_scale": "2.0",
    }  # fmt: skip
    with Image.open(out / "grid.png") as grid:
        assert grid.width > 2 * 96 and grid.height > 3 * 96


def test_pictures_of_a_batch_are_those_that_are_made_one_by_one(made, folder):
    _, out = made
    pipe = open_pipeline(str(folder))
    for path in sorted(out.glob("[1-6]-*.png")):
        with Image.open(path) as picture:
            row = {"prompt": picture.text["prompt"], "seed": int(picture.text["seed"]), "num_inference_steps": 2}
            alone = np.asarray(make_picture(pipe, row), np.int16)
            # Products of another batch size are summed up in another order.
            assert np.abs(np.asarray(picture, np.int16) - alone).max() <= 1


def test_an_edit_starts_from_the_picture_and_a_bad_request_is_refused_before_a_model_is_opened(folder, tmp_path):
    source = tmp_path / "source.png"
    Image.new("RGB", (40, 32), "red").save(source)
    rows = [{"prompt": "make it blue", "seed": 3, "num_inference_steps": 2, "image_guidance_scale": 1.5}]
    (png,) = LocalPictures(str(folder), "", 8).make(rows, source)
    (tmp_path / "edited.png").write_bytes(png)
    with Image.open(tmp_path / "edited.png") as edited, Image.open(source) as picture:
        assert edited.text["image_guidance_scale"] == "1.5"
        alone = make_picture(open_pipeline(str(folder)), {**rows[0], "image": _base64(picture)})
        assert np.array_equal(np.asarray(edited), np.asarray(alone))
    nowhere = LocalPictures("nowhere", "", 8)
    with pytest.raises(ValueError, match="has no prompt"):
        next(nowhere.make([{"prompt": " ", "seed": 0}], None))
    with pytest.raises(ValueError, match="neither a folder nor"):
        next(nowhere.make(rows, source))
    source.write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot be read"):
        next(nowhere.make(rows, source))


def _base64(picture: Image.Image) -> str:
    from pipelines.serving import encode_png

    return encode_png(picture.convert("RGB"))


def test_names_follow_the_text_or_what_was_asked_for(tmp_path):
    assert target(None, "A red Cat!", 1, 1) == Path("a-red-cat.png")
    assert target(None, "../../etc/passwd", 1, 1) == Path("etc-passwd.png")
    assert target(None, "?", 3, 12) == Path("03-picture.png")
    assert target(tmp_path, "a", 1, 1) == tmp_path / "a.png"
    assert target(tmp_path / "cat.png", "a", 1, 1) == tmp_path / "cat.png"
    assert target(tmp_path / "cat.png", "a", 2, 10) == tmp_path / "cat-02.png"
    assert target(tmp_path / "cats", "a", 2, 2) == tmp_path / "cats" / "2-a.png"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "no text is given"),
        (["a", "--count", "200000"], "ask for fewer"),
        (["a", "--count", str(MOST_IN_GRID + 1), "--grid"], "holds 400 pictures at most"),
        (["--prompts", "none.txt"], "cannot be read"),
        (["a", "--server", "here:80"], "is no address"),
    ],
)
def test_mistakes_are_told_in_words(options, words):
    import typer

    from pipelines.cli import picture_commands

    app = typer.Typer()
    picture_commands.add_commands(app)
    with pytest.raises(ValueError, match=words):
        app(["generate", *options], standalone_mode=False)


def test_settings_of_any_letters_are_read_back_from_a_png_and_what_is_none_is_left_out(tmp_path):
    settings = {"prompt": "žluťoučký kůň 猫\n" + "x" * 5000, "seed": 2**62, "half": "\ud800", "none": None}
    (tmp_path / "it.png").write_bytes(png_bytes(Image.new("RGB", (2, 2)), settings))
    with Image.open(tmp_path / "it.png") as picture:
        assert picture.text == {"prompt": settings["prompt"], "seed": str(2**62), "half": "?"}
