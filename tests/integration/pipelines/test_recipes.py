"""The recipes of components/README.md, followed in a copy of the code: a latent space and a signal of one's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND, ROOT, empty_store

pytestmark = pytest.mark.integration
SPACE = '''"""A toy space: pixels averaged over the encoder's grid, and a small decoder."""

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import full_like, nn

from components.tokenizer.latent_space import LatentSpace, Parts
from components.tokenizer.standardised import StandardisedLatents


class Enlarge(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.up = nn.Upsample(scale_factor=factor)
        self.out = nn.Conv2d(3, 3, 3, padding=1)

    @property
    def last_layer(self):
        return self.out.weight

    def forward(self, latent):
        return self.out(self.up(latent))


class AveragedPixels(StandardisedLatents, ModelMixin, ConfigMixin):
    has_features, bottleneck, reads = False, True, "latent"

    @register_to_config
    def __init__(self, image_size, grid, space="toy", scaling=None):
        super().__init__()
        self.image_size, self.grid = image_size, grid
        self.pixel_decoder = Enlarge(image_size // grid)
        self.register_statistics(3, scaling)

    @property
    def latent_shape(self):
        return 3, self.grid, self.grid

    def set_scaling(self, mean, std):
        self.register_to_config(scaling=self.keep_statistics(mean, std))

    def moments(self, images, features):
        mean = nn.functional.adaptive_avg_pool2d(images, self.grid)
        return mean, full_like(mean, -30.0)

    def pixels_of(self, raw):
        return self.pixel_decoder(raw)

    def encode(self, x):
        return AutoencoderKLOutput(latent_dist=self.standardised(*self.moments(x, None)))

    def decode(self, z):
        return DecoderOutput(sample=self.pixels_of(self.raw(z)))

    def features(self, x):
        return None

    features_of = decode_features = features


def build(parts: Parts) -> LatentSpace:
    return AveragedPixels(parts.image_size, parts.encoder.grid, parts.space)
'''
ENTRY = """    "toy": Space(
        "pixels averaged over a grid",
        build="components.tokenizer.toy_space:build",
        training=Switches(semantic=False, train_encoder=False, detach_pixels=False, kl=False),
        of_encoder=False,
        holds_features=False,
    ),
    "pretrained": Space("""
SIGNAL = '''"""A toy signal: the share of vowels in a caption."""


def measure(sample):
    letters = [c for c in (sample.caption or "").lower() if c.isalpha()]
    return {"vowel_share": sum(c in "aeiou" for c in letters) / len(letters) if letters else None}
'''
# What the recipes say to touch: file -> (what is there, what takes its place); None: a new file.
TOUCHED = {
    "components/tokenizer/toy_space.py": (None, SPACE),
    "components/tokenizer/spaces.py": ('    "pretrained": Space(', ENTRY),
    "conf/compare.yaml": (
        "\n  plain:\n",
        "\n  toy: {kind: space, what: averaged, settings: {tokenizer.model.space: toy}}\n  plain:\n",
    ),
    "components/curation/toy_signal.py": (None, SIGNAL),
    "components/curation/signals.py": (
        '    "text": Signal(',
        '    "vowels": Signal({"vowel_share": "float64"}, toy_signal.measure),\n    "text": Signal(',
    ),
    "components/curation/options.py": (
        "    min_words: int",
        "    min_vowel_share: float | None = None\n    min_words: int",
    ),
    "components/curation/decide.py": (
        "    _language,\n",
        '    _threshold("few_vowels", "vowel_share", "min_vowel_share"),\n    _language,\n',
    ),
}


@pytest.fixture
def code(tmp_path, empty_mlflow) -> Path:
    """A copy of the code with the recipes followed, and an empty store."""
    empty_store(tmp_path, empty_mlflow)
    for room in ("components", "pipelines", "conf"):
        shutil.copytree(ROOT / room, tmp_path / room)
    for name, (before, after) in TOUCHED.items():
        path = tmp_path / name
        text = path.read_text("utf-8") if before else ""
        assert not before or text.count(before) == 1, f"{name} has changed: the recipe and this test must follow"
        path.write_text(text.replace(before, after) if before else after, "utf-8")
    signals = tmp_path / "components/curation/signals.py"
    imported = "from components.curation.images import"
    with_toy = f"from components.curation import toy_signal\n{imported}"
    signals.write_text(signals.read_text().replace(imported, with_toy, 1))
    return tmp_path


def test_a_space_and_a_signal_of_ones_own_run_through_the_pipeline(code):
    environment = {**os.environ, "PYTHONPATH": str(code), "COLUMNS": "200"}
    environment.pop("MLFLOW_TRACKING_URI", None)

    def pixsem(*args: str) -> str:
        done = subprocess.run([*COMMAND, *args], cwd=code, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    own = ["preset=tiny", "source.count=120", "tokenizer.model.space=toy", "curate.min_vowel_share=0.36"]
    value = json.loads(pixsem("run", *own, "--until", "evaluate_tokenizer", "--json"))
    stages = {stage["name"]: stage for stage in value["stages"]}
    assert value["state"] == "completed" and "train_semantic" not in stages
    assert value["metrics"]["tokenizer"]["space"] == "toy" and value["metrics"]["tokenizer"]["psnr"] > 5
    assert value["metrics"]["absent"]["tokenizer.retrieval"] == "the space has no encoder of features"
    assert value["metrics"]["curation"]["by_reason"]["few_vowels"] > 0
    counts = stages["curate"]["counts"]
    assert counts["input"] == counts["kept"] + counts["dropped"] + counts["failed"] == 120
    assert "toy" in pixsem("compare", "preset=tiny", "spaces=[toy]", "--dry-run")


def test_the_recipes_name_every_file_that_is_touched():
    page = (ROOT / "components" / "README.md").read_text("utf-8")
    names = {name.replace("toy_", "my_") for name in TOUCHED}
    assert [name for name in names if f"`{name}`" not in page] == []
