"""Nothing that is read runs code: no pickle is reachable from an input, and a pickle in a reader's way is refused, not
opened.
"""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path

import pytest

from components.data.latent_reader import LatentDataset
from components.data.options import ShardLimits
from components.data.tables import read_table
from components.data.webdataset_source import normalise_shard
from components.tokenizer.lpips import Lpips
from components.tokenizer.rivals import load_autoencoder, load_tokenizer
from components.vision_models.inception import load_inception
from pipelines.serving import open_pipeline
from tests.chaos.data_bytes import tars

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[3]
RUNNING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "code"}
# Calls that load something, and the argument that keeps them from running code.
SAFE_WITH = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
NEVER = {
    "eval",
    "exec",
    "compile",
    "yaml.load",
    "yaml.unsafe_load",
    "pd.read_pickle",
    "pandas.read_pickle",
    "torch.hub.load",
    "torch.jit.load",
}
# `from_pretrained` of these loads no weights. `processor`: any Auto class of processors, in vision_models/loading.py.
WEIGHTLESS = ("AutoConfig", "AutoTokenizer", "AutoImageProcessor", "processor")
EXPLAINED = {
    "components/training/engine.py: import pickle": "for its error class alone: torch raises it where weights_only "
    "refuses a file",
    "components/tokenizer/taesd.py: import pickle": "likewise",
    "components/tokenizer/lpips.py: import pickle": "likewise",
    "components/vision_models/inception.py: torch.jit.load": "Inception's published weights exist as TorchScript "
    "alone, which is a program: what was fetched is opened only with the published sha256, and any other file only "
    "where the user names it himself (evaluate_tokenizer.inception), as he would name a program",
}


def findings(source: str, where: str) -> list[str]:
    """Return what in a source might run code out of data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{where}: import {name}" for name in names if name.split(".")[0] in RUNNING]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
        if name in NEVER:
            found.append(f"{where}: {name}")
        if name in SAFE_WITH and given.get(SAFE_WITH[name][0]) is not SAFE_WITH[name][1]:
            found.append(f"{where}: {name} without {SAFE_WITH[name][0]}={SAFE_WITH[name][1]}")
        if given.get("trust_remote_code") or given.get("allow_pickle"):
            found.append(f"{where}: {name} with code from strangers")
        if (
            name.endswith(".from_pretrained")
            and not given.get("use_safetensors")
            and name.split(".")[-2] not in WEIGHTLESS
        ):
            found.append(f"{where}: {name} without use_safetensors=True")
    return found


def test_no_source_of_ours_can_load_a_pickle():
    found = [
        line
        for room in ("components", "pipelines")
        for path in sorted((ROOT / room).rglob("*.py"))
        for line in findings(path.read_text(), path.relative_to(ROOT).as_posix())
    ]
    assert sorted(found) == sorted(EXPLAINED)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "yaml.load(t)",
        "eval(t)",
        "Model.from_pretrained(p)",
        "AutoConfig.from_pretrained(p, trust_remote_code=True)",
    ],
)
def test_the_search_finds_what_it_is_for(line):
    assert findings(line, "x")


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture
def evil(tmp_path):
    mark = tmp_path / "owned"
    data = pickle.dumps(Evil(mark))
    pickle.loads(data)
    assert mark.exists()  # it would
    mark.unlink()
    yield data
    assert not mark.exists()


def test_a_pickle_as_latents_table_or_shard_is_refused(tmp_path, evil):
    for name in ("0.arrow", "0.parquet", "0.tar"):
        (tmp_path / name).write_bytes(evil)
    with pytest.raises(ValueError, match="cannot be read as an Arrow file"):
        LatentDataset([tmp_path / "0.arrow"], None)
    with pytest.raises(ValueError, match="cannot be read as parquet"):
        read_table(tmp_path / "0.parquet")
    (row,) = normalise_shard(tmp_path / "0.tar", tmp_path / "out.tar", ShardLimits())
    assert (row.status, row.reason) == ("failed", "not_a_tar")


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("kind", ["PixelSemanticVAE", "AutoencoderKL"])
def test_a_pickle_as_a_models_weights_is_refused(tmp_path, evil, name, kind):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": kind}))
    (tmp_path / name).write_bytes(evil)
    with pytest.raises(ValueError, match=r"can(not)? be loaded|no autoencoder"):
        load_tokenizer(tmp_path) if kind == "PixelSemanticVAE" else load_autoencoder(str(tmp_path))


def test_a_pickle_as_a_tiny_autoencoders_weights_is_refused(tmp_path, evil):
    for half in ("encoder", "decoder"):
        (tmp_path / f"tiny_{half}.pth").write_bytes(evil)
    with pytest.raises(ValueError, match="no tiny autoencoder known here"):
        load_autoencoder(str(tmp_path))


def test_a_pickle_as_weights_of_lpips_or_of_inception_is_refused(tmp_path, evil):
    for name in ("vgg16.pth", "vgg.pth", "inception.pt"):
        (tmp_path / name).write_bytes(evil)
    with pytest.raises(ValueError, match="cannot be read as LPIPS' VGG16"):
        Lpips.load(tmp_path)
    with pytest.raises(ValueError, match="is no TorchScript file"):
        load_inception(tmp_path / "inception.pt")


def test_a_registered_folder_whose_weights_were_changed_is_refused(tmp_path, evil):
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "weights.bin").write_bytes(evil)
    (tmp_path / "sha256.json").write_text(json.dumps({"weights.bin": "0" * 64}))
    with pytest.raises(ValueError, match=r"weights\.bin is missing or was changed"):
        open_pipeline(str(tmp_path))


def test_members_of_a_tar_stay_inside_the_shard(tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    for number, data in enumerate(tars()):
        (inside / f"{number}.tar").write_bytes(data)
        normalise_shard(inside / f"{number}.tar", inside / f"out{number}.tar", ShardLimits(), require_caption=False)
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert written == {f"a/b/{name}{n}.tar" for n in range(len(tars())) for name in ("", "out")}
