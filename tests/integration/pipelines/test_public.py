"""The public names: from an installed wheel, in an environment of its own, and of an export where pixsem is not
installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import ROOT
from test_old_store import store  # noqa: F401

import pixsem
from pipelines.errors import UserError

pytestmark = pytest.mark.integration
PACKED = ("pixsem.py", "components", "pipelines", "conf", "pyproject.toml", "README.md", "LICENSE")
SNIPPET = """
import sys, time
started = time.perf_counter()
import pixsem
assert time.perf_counter() - started < 1 and not {"torch", "diffusers", "ray"} & sys.modules.keys()
from pixsem import LatentDataset, PixelSemanticPipeline, PixelSemanticVAE, load_pipeline, load_tokenizer, run
import torch
from torch.utils.data import DataLoader
assert "site-packages" in pixsem.__file__, pixsem.__file__
store, folder = sys.argv[1:]
seeded = lambda: torch.Generator().manual_seed(0)
pipeline = load_pipeline("models:/pixsem-generator@champion", store=store)
made = pipeline("a red circle", num_inference_steps=2, generator=seeded(), output_type="pt").images
from diffusers import DiffusionPipeline
plain = DiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
for again in (load_pipeline(folder), PixelSemanticPipeline.from_pretrained(folder), plain):
    again.set_progress_bar_config(disable=True)
    assert type(again) is PixelSemanticPipeline
    assert torch.equal(again("a red circle", num_inference_steps=2, generator=seeded(), output_type="pt").images, made)
tokenizer = load_tokenizer("models:/pixsem-tokenizer@champion", store=store)
assert isinstance(tokenizer, PixelSemanticVAE)
latents = LatentDataset("encode_latents", store=store, kind="captions")
batch = next(iter(DataLoader(latents, batch_size=4, num_workers=1)))
assert batch["latent"].shape == (4, *latents.shape) == (4, *tokenizer.latent_shape) and len(batch["text"]) == 4
print(" ".join(f"{v:.4f}" for v in made.flatten()[::97].tolist()[:12]))
"""
PLAIN = """
import sys
try:
    import components
except ImportError:
    pass
else:
    raise AssertionError("pixsem is installed here")
import torch
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True, low_cpu_mem_usage=False)
pipeline.set_progress_bar_config(disable=True)
seeded = torch.Generator().manual_seed(0)
made = pipeline("a red circle", num_inference_steps=2, generator=seeded, output_type="pt").images
print(" ".join(f"{v:.4f}" for v in made.flatten()[::97].tolist()[:12]))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """A virtual environment with the dependencies of this one, and without pixsem: an editable install's hook does not
    come along.
    """
    folder = tmp_path_factory.mktemp("env") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder


def python(environment: Path, *args: str) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MLFLOW_TRACKING_URI", "PIXSEM_STORE")}
    variables |= {"HF_MODULES_CACHE": str(environment / "modules"), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [str(environment / "bin" / "python"), *args],
        env=variables,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=environment,
    )
    assert done.returncode == 0, done.stderr
    return done


def without_bars(text: str) -> str:
    return "".join(line for line in text.replace("\r", "\n").splitlines() if "Loading pipeline components" not in line)


def test_an_export_is_opened_by_plain_diffusers_where_pixsem_is_not_installed(environment, store, tmp_path):  # noqa: F811
    from pipelines.tracking.export import export_pipeline

    (folder,) = store.local("artifacts/register").glob("*/pipeline")
    export_pipeline(folder, tmp_path / "out")
    done = python(environment, "-c", PLAIN, str(tmp_path / "out"))
    assert without_bars(done.stderr) == ""
    import torch

    pipeline = pixsem.load_pipeline(folder)
    made = pipeline(
        "a red circle", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="pt"
    ).images
    assert done.stdout.split() == [f"{v:.4f}" for v in made.flatten()[::97].tolist()[:12]]
    with pytest.raises(UserError, match="is there already"):
        export_pipeline(folder, tmp_path / "out")


def test_the_wheel_has_the_public_names_and_says_what_it_installs(environment, store, tmp_path):  # noqa: F811
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in PACKED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tree / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(tree)], check=True, timeout=240
    )
    (wheel,) = tmp_path.glob("*.whl")
    interpreter = str(environment / "bin" / "python")
    subprocess.run(
        [*pip, "--python", interpreter, "install", "--no-deps", "--ignore-installed", str(wheel)],
        check=True,
        timeout=240,
    )
    (site,) = environment.glob("lib/*/site-packages")
    installed = {path.name for path in site.iterdir()} - {"borrowed.pth", "__pycache__"}
    assert installed == {"pixsem.py", "components", "pipelines", "conf", "pixsem-0.1.0.dist-info"}
    assert (site / "components" / "py.typed").exists() and (site / "pipelines" / "py.typed").exists()
    page = [p.relative_to(ROOT) for p in (ROOT / "pipelines" / "gallery").glob("*/*") if p.suffix != ".pyc"]
    assert len(page) > 10 and all((site / path).is_file() for path in page)  # templates, styles and the plots' library
    (folder,) = store.local("artifacts/register").glob("*/pipeline")
    done = python(environment, "-c", SNIPPET, store.url, str(folder))
    assert without_bars(done.stderr) == ""
    assert len(done.stdout.split()) == 12
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    version = subprocess.run(
        [str(environment / "bin" / "pixsem"), "--version"], env=alone, capture_output=True, text=True, check=True
    )
    assert version.stdout == "pixsem 0.1.0\n"
    asked = {**alone, "_PIXSEM_COMPLETE": "complete_bash", "COMP_WORDS": "pixsem gen", "COMP_CWORD": "1"}
    completed = subprocess.run(
        [str(environment / "bin" / "pixsem")], env=asked, capture_output=True, text=True, check=True
    )
    assert completed.stdout.split() == ["generate"]


def test_what_is_not_there_is_said_in_words(store, tmp_path):  # noqa: F811
    for name in ("nowhere", str(tmp_path), "models:/pixsem-generator@candidate", "models:/nothing/1"):
        with pytest.raises(ValueError, match=r"neither a folder|holds no pipeline|is its candidate yet|is registered"):
            pixsem.load_pipeline(name, store=store.url)
    with pytest.raises(ValueError, match="holds no latent shards"):
        pixsem.LatentDataset(tmp_path)
    with pytest.raises(ValueError, match=r"neither a folder with \*\.arrow nor encode_latents"):
        pixsem.LatentDataset("latents")
    with pytest.raises(AttributeError, match="it has LatentDataset"):
        _ = pixsem.nothing
