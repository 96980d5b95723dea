"""Every command of the front page runs, from a fresh clone's layout: tracked files, an environment, nothing else.

`make demo`, told to make the run that other tests share, finds all but its gates cached: the chain itself is run from
nothing by the other tests here.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conftest import ROOT, TRAINED
from PIL import Image

pytestmark = pytest.mark.integration
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Without gates: what a page's reader generates with is the champion.
SMALL = " ".join(shlex.quote(override) for override in (*TRAINED, "register.tokenizer=[]", "register.generator=[]"))
# The paper's plan with models of one layer: test_presets_fit.py plans its own, which takes half a minute.
SHALLOW = (
    "encoder.path=null encoder.size=null encoder.small.depth=1 encoder.small.text_depth=1 generator.backbone=null "
    "generator.small.depth=1 generator.model.head.depth=1 tokenizer.pixel_decoder.depth=1 "
    "tokenizer.model.semantic_depth=1"
)
# How a command of the page is run here: what is added to it, and the exit code and words it ends with. The first that
# fits counts.
HOW: tuple[tuple[str, str, int, str], ...] = (
    ("make demo", "", 0, "run "),
    ("make test", " --dry-run", 0, "pytest"),  # make's own: what it runs is this suite
    ("source .venv/bin/activate", "", 0, ""),
    ("pixsem generate", " --steps 2", 0, "woman.png"),
    ("pixsem edit", " --steps 2", 0, "man.png"),
    ("pixsem report --html", "", 0, "opens offline"),
    ("pixsem report", "", 0, "tokenizer"),
    ("pixsem models", "", 0, "champion"),
    ("pixsem lineage", "", 0, "ingest"),
    ("pixsem run --dry-run", f" {SMALL}", 0, "would run: config generator.guidance_scale: 2.0 -> 3"),
    ("pixsem run generator.guidance_scale=3", f" {SMALL}", 0, "completed"),
    ("pixsem resume --from", " --dry-run", 0, "would run: forced"),
    ("pixsem resume", "", 0, "completed"),
    ("pixsem run --until curate source=folder", " preset=tiny store=./data_store", 0, "completed"),
    ("pixsem inspect", "", 0, "3 samples looked at, 0 of them would fail"),
    ("pixsem run --until curate", " preset=tiny --dry-run", 0, "would run"),
    ("pixsem config", "", 0, "from conf/preset/demo.yaml"),
    ("pixsem run preset=single_gpu", " source.files.caption_column=caption --dry-run", 0, "would run"),
    ("pixsem plan", f" {SHALLOW}", 0, "train_editor"),
    ("pixsem submit", "", 2, "no Ray job server"),
)
ELSEWHERE = {
    "pixsem ui": "test_the_page_of_mlflow_is_served",
    "pixsem evaluate": "test_evaluate_model.py",
    "pixsem serve": "tests/integration/serve, as is the Python of OpenAI's client",
    "pixsem doctor": "test_doctor.py, which takes minutes",
}


def commands() -> list[str]:
    lines = [line for block in SHELL.findall((ROOT / "README.md").read_text("utf-8")) for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory, trained) -> Path:
    """A copy of what is tracked, with an environment that holds what the real one does."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("Makefile", "README.md", "LICENSE", "pyproject.toml", "constraints.txt", "pixsem.py"):
        shutil.copyfile(ROOT / name, folder / name)
    for name in ("components", "pipelines", "conf"):
        shutil.copytree(ROOT / name, folder / name)
    environment = folder / ".venv"
    environment.mkdir()
    for path in Path(sys.prefix).iterdir():
        if path.name != "demo" and not path.name.startswith("installed-"):
            (environment / path.name).symlink_to(path)
    # Its own stamp, of its own content: with a stale one, make would install the clone into the real environment.
    pins = (folder / "pyproject.toml").read_bytes() + (folder / "constraints.txt").read_bytes()
    (environment / f"installed-{hashlib.sha256(pins).hexdigest()[:16]}").touch()
    would_run = subprocess.run(["make", "-n", "demo"], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert "pixsem run" in would_run and "pip install" not in would_run
    (environment / "demo").write_text(SMALL.replace("'", "").removeprefix("preset="))
    shutil.copytree(trained.store, folder / "store")
    data = folder / "data"
    (data / "photos").mkdir(parents=True)
    rows = ["file_name,text,caption"]
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(data / "photos" / f"{number}.png")
        rows.append(f"{number}.png,a noisy picture number {number},a noisy picture")
    (data / "photos" / "metadata.csv").write_text("\n".join(rows) + "\n")
    table = {
        "image": [{"bytes": (data / "photos/0.png").read_bytes(), "path": "0.png"}],
        "caption": ["a picture of noise"],
    }
    pyarrow.parquet.write_table(pyarrow.table(table), data / "photos.parquet")
    (data / "list.csv").write_text("url,TEXT\nhttp://127.0.0.1:9/a.png,a picture of nothing\n")
    subprocess.run(["tar", "cf", "00000.tar", "photos"], cwd=data, check=True)
    return folder


def run(clone: Path, command: str, code: int) -> str:
    variables = {**os.environ, "PYTHONPATH": str(clone), "COLUMNS": "200"}
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS", "PIXSEM_STORE"):
        variables.pop(name, None)
    script = f"source .venv/bin/activate && {command}"
    done = subprocess.run(["bash", "-c", script], cwd=clone, env=variables, capture_output=True, text=True, timeout=500)
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_the_page_shows_no_command_that_is_run_by_no_test():
    unknown = [c for c in commands() if not c.startswith((*(how[0] for how in HOW), *ELSEWHERE))]
    assert not unknown
    assert {how[0] for how in HOW if any(c.startswith(how[0]) for c in commands())} == {how[0] for how in HOW}


@pytest.mark.parametrize("command", [c for c in commands() if not c.startswith(tuple(ELSEWHERE))])
def test_the_front_pages_commands_run(clone, command):
    added, code, words = next(how[1:] for how in HOW if command.startswith(how[0]))
    here = command.replace("/data/{00000..00099}.tar", f"{clone}/data/{{00000..00000}}.tar")
    here = here.replace("/data/photos", f"{clone}/data/photos").replace("list.parquet", f"{clone}/data/list.csv")
    here = here.replace("hf://datasets/org/name", f"{clone}/data/photos.parquet")
    here = here.replace("http://head:8265", "http://127.0.0.1:9").replace(
        "store=s3://bucket/run", f"store={clone}/store"
    )
    assert words in run(clone, here + added, code)


def test_the_page_of_mlflow_is_served(clone):
    assert "pixsem ui" in commands()
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    server = subprocess.Popen(
        ["bash", "-c", "source .venv/bin/activate && exec pixsem ui --port 5177"], cwd=clone, env=environment,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen("http://127.0.0.1:5177/", timeout=5) as answer:
                    assert b"MLflow" in answer.read()
                break
            except OSError:
                assert time.monotonic() < end and server.poll() is None, "the page does not answer"
                time.sleep(0.3)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_the_python_of_the_page_runs(clone):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if "from pixsem" in block)
    (clone / "snippet.py").write_text(
        f"{block}\nprint(picture.size, edited.size, len(latents), tokenizer.latent_shape)"
    )
    assert "(32, 32) (32, 32)" in run(clone, "python snippet.py", 0)
