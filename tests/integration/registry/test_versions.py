"""Registered versions: once each, champions and their history, and what MLflow loads and serves is the pipeline
itself.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from components.registry.gates import Gate, check_gates
from components.registry.model_versions import Registry
from components.registry.named_versions import find_in_database
from components.registry.tracking import Tracker
from pipelines.serving import GENERATOR_COLUMNS, TOKENIZER_COLUMNS, encode_png
from pipelines.tracking.open_version import open_version
from tests.unit.generator.worlds import pipeline

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[3]
GATES = [Gate("text_to_image.overall", limit=0.2, max_drop=0.05)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    pipeline().save_pretrained(folder / "pipeline")
    return folder


@pytest.fixture(scope="module")
def registry(folder) -> Registry:
    return Registry(Tracker(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"), "pixsem"))


@pytest.fixture(scope="module")
def run(registry) -> str:
    return registry._tracker.start_run("r", {}, {})


def log(registry: Registry, run: str, folder: Path, digest: str) -> str:
    return registry.log_model(
        run,
        "pixsem-generator",
        {"pixsem.digest": digest},
        folder / "pipeline",
        "pipelines.serving:load_generator",
        GENERATOR_COLUMNS,
    )


@pytest.fixture(scope="module")
def champion(registry, run, folder):
    version = registry.register(
        "pixsem-generator", log(registry, run, folder, "first"), run, {"pixsem.digest": "first"}
    )
    assert registry.settle(version, check_gates(GATES, {"text_to_image.overall": 0.5}, None), "champion") is None
    return registry.find("models:/pixsem-generator@champion")


def judge(registry, run, folder, digest, overall):
    before = registry.champion("pixsem-generator")
    version = registry.register("pixsem-generator", log(registry, run, folder, digest), run, {"pixsem.digest": digest})
    refusal = registry.settle(
        version, check_gates(GATES, {"text_to_image.overall": overall}, {"text_to_image.overall": 0.5}), "champion"
    )
    return before, registry.version("pixsem-generator", version.version), refusal


def test_the_same_model_registered_twice_is_one_version(registry, run, folder, champion):
    again = registry.register("pixsem-generator", "whatever", run, {"pixsem.digest": "first"})
    assert again.version == champion.version == "1"


def test_a_worse_model_is_refused_with_the_reason_and_leaves_the_champion(registry, run, folder, champion):
    before, version, refusal = judge(registry, run, folder, "worse", 0.3)
    assert "worse than the champion's 0.5 by 0.2; 0.05 is allowed" in refusal
    assert version.tags["pixsem.refused"] == refusal and version.aliases == ()
    assert registry.champion("pixsem-generator").version == before.version


def test_a_better_model_becomes_champion_and_can_be_rolled_back(registry, run, folder, champion):
    before, version, refusal = judge(registry, run, folder, "better", 0.6)
    assert refusal is None and version.aliases == ("champion",)
    assert registry.rollback("pixsem-generator").version == before.version
    assert registry.champion("pixsem-generator").version == before.version
    with pytest.raises(ValueError, match="nothing to roll back to"):
        registry.rollback("pixsem-generator")


def test_of_a_version_judged_anew_the_later_judgement_holds(registry, run, folder, champion):
    _, version, refusal = judge(registry, run, folder, "anew", 0.1)
    assert refusal and version.tags["pixsem.refused"] == refusal
    registry.retag(version, {"pixsem.figures": json.dumps({"text_to_image.overall": 0.55})})
    again = registry.version("pixsem-generator", version.version)
    assert (
        registry.settle(again, check_gates(GATES, again.figures, {"text_to_image.overall": 0.5}), "candidate") is None
    )
    again = registry.find("models:/pixsem-generator@candidate")
    assert (again.version, again.figures) == (version.version, {"text_to_image.overall": 0.55})
    assert "pixsem.refused" not in again.tags


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("models:/pixsem-generater@champion", "did you mean pixsem-generator"),
        ("models:/pixsem-generator/99", "has no version 99"),
        ("models:/pixsem-generator@prince", "no version of pixsem-generator is its prince yet"),
        ("models:/pixsem-generator", "names no version"),
    ],
)
def test_what_is_not_registered_is_said_in_words(registry, champion, folder, uri, words):
    for find in (registry.find, lambda uri: find_in_database(folder / "mlflow.db", uri)):
        with pytest.raises(ValueError, match=words):
            find(uri)


def test_a_version_is_found_in_the_sqlite_file_as_through_mlflow_and_its_files_are_opened_where_they_are(
    registry, champion, folder, monkeypatch
):
    for uri in ("models:/pixsem-generator@champion", f"models:/pixsem-generator/{champion.version}"):
        assert find_in_database(folder / "mlflow.db", uri) == registry.find(uri)
    # By the path in the store, and by an address in the environment.
    opened = [open_version("models:/pixsem-generator@champion", str(folder))]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    opened += [open_version("models:/pixsem-generator@champion", str(folder / "none"))]
    for one in opened:
        assert one.folder.is_relative_to(folder / "artifacts") and (one.folder / "model_index.json").is_file()
        assert (one.id, one.alias) == (f"pixsem-generator/{champion.version}", "champion")
        assert (one.digest, one.created) == (champion.tags["pixsem.digest"], champion.created // 1000)


def test_a_server_that_follows_an_alias_keeps_no_file_open_and_sees_it_move(registry, run, folder, champion):
    def opened():
        return open_version("models:/pixsem-generator@pretender", str(folder))

    other = registry.register("pixsem-generator", log(registry, run, folder, "other"), run, {"pixsem.digest": "other"})
    registry.give(champion, "pretender")
    before, files = opened(), len(os.listdir("/proc/self/fd"))
    registry.give(other, "pretender")
    found = [opened() for _ in range(20)]
    assert before.version == champion.version and {one.version for one in found} == {other.version}
    assert len(os.listdir("/proc/self/fd")) <= files


def test_the_model_mlflow_loads_makes_the_pipelines_own_pictures(registry, champion, folder, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry._tracker.uri)
    mlflow.set_tracking_uri(registry._tracker.uri)
    stored = registry.download(champion, folder / "downloaded").parents[1]
    assert not [p for p in stored.rglob("*") if p.suffix in (".pkl", ".pickle", ".pt", ".bin")]
    model = mlflow.pyfunc.load_model("models:/pixsem-generator@champion")
    source = Image.fromarray(np.full((32, 32, 3), 90, np.uint8))
    made = model.predict(
        [{"prompt": "a red circle", "seed": 5}, {"prompt": "make it blue", "seed": 5, "image": encode_png(source)}]
    )
    pipe = pipeline()
    wanted = [
        pipe("a red circle", generator=torch.Generator().manual_seed(5)).images[0],
        pipe("make it blue", image=source, generator=torch.Generator().manual_seed(5)).images[0],
    ]
    for row, picture in zip(made["image"], wanted, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(row)))), np.asarray(picture))


def test_the_registered_tokenizer_gives_pictures_back_and_registering_it_warns_of_nothing(
    registry, run, folder, recwarn
):
    import mlflow

    mlflow.set_tracking_uri(registry._tracker.uri)
    pipeline().vae.save_pretrained(folder / "vae")
    logged = registry.log_model(
        run,
        "pixsem-tokenizer",
        {"pixsem.digest": "t"},
        folder / "vae",
        "pipelines.serving:load_tokenizer",
        TOKENIZER_COLUMNS,
    )
    assert not [str(warning.message) for warning in recwarn if "mlflow" in warning.filename]
    model = mlflow.pyfunc.load_model(f"models:/{logged}")
    made = model.predict([{"image": encode_png(Image.new("RGB", (40, 60)))}])
    assert made["latent_shape"][0] == "8x4x4"
    assert Image.open(io.BytesIO(base64.b64decode(made["image"][0]))).size == (32, 32)


def test_mlflow_serves_the_champion_over_http(registry, champion, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": registry._tracker.uri,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        "models:/pixsem-generator@champion",
        "--env-manager",
        "local",
    ]
    log_file = folder / "serve.log"
    with log_file.open("w") as log_to:
        server = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port), "-w", "1"],
            env=environment,
            stdout=log_to,
            stderr=log_to,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 90
        while True:
            assert time.monotonic() < end and server.poll() is None, log_file.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2)
                break
            except OSError:
                time.sleep(0.3)
        made = ask(port, [{"prompt": "a red circle", "seed": 5}])["predictions"][0]["image"]
        wanted = pipeline()("a red circle", generator=torch.Generator().manual_seed(5)).images[0]
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(made)))), np.asarray(wanted))
        for row, words in (({"prompt": " "}, "has no prompt"), ({"prompt": "a", "image": "%%"}, "no base64")):
            with pytest.raises(urllib.error.HTTPError) as refused:
                ask(port, [row])
            assert refused.value.code == 400
            assert words in refused.value.read().decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def ask(port: int, rows: list[dict]) -> dict:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"dataframe_records": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    return json.loads(urllib.request.urlopen(request, timeout=30).read())
