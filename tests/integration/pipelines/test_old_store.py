"""A store, its registered models and a pipeline folder that an earlier commit wrote are read by this one, and say the
same.

`old_store/a287622.tar.xz` was made at a287622 by `pixsem run` with the overrides below; `a287622.json` holds numbers
that its tokenizer and pipeline gave there.
"""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import torch

from pipelines.config.compose import compose_config
from pipelines.config.keys import flatten
from pipelines.gallery.run_page import gallery_page
from pipelines.store.files import Store
from pipelines.store.maintenance import verify
from pipelines.tracking.figures import generator_figures, tokenizer_figures
from pipelines.workflow.launch import dry_run_listing, load_run, resume_listing
from pipelines.workflow.report import report, report_text

pytestmark = pytest.mark.integration
HERE = Path(__file__).parent / "old_store"
MADE_IN = "/tmp/old/store"  # where the store lay; MLflow's database holds absolute addresses
OVERRIDES = [
    "preset=tiny",
    "source.count=60",
    "source.samples_per_shard=30",
    "encoder.small.width=16",
    "encoder.small.depth=1",
    "encoder.small.heads=1",
    "tokenizer.model.channels=8",
    "tokenizer.model.pixel_channels=4",
    "tokenizer.pixel_decoder.width=16",
    "tokenizer.pixel_decoder.heads=1",
    "generator.small={width:16,depth:1,heads:1,kv_heads:1,hidden:16}",
    "generator.snapshots=0",
    "generator.training.sample_every=0",
    "generator.editing.sample_every=0",
    "held_out=0.3",
    "register.tokenizer=[]",
    "register.generator=[]",
    "evaluate_generator.frechet_pictures=4",
]

OLD_DATA = ["ingest"]  # pictures were measured otherwise, and pairs not at all


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(HERE / "a287622.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    with closing(sqlite3.connect(folder / "store" / "mlflow.db")) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            for column in [
                row[1] for row in database.execute(f"pragma table_info({table})") if "CHAR" in row[2].upper()
            ]:
                moved = f"update {table} set {column} = replace({column}, ?, ?) where {column} like ?"
                database.execute(moved, (MADE_IN, str(folder / "store"), f"%{MADE_IN}%"))
        database.commit()
    return Store(str(folder / "store"))


def test_what_it_ingested_is_cached_and_nothing_is_damaged(store):
    run, config = load_run(store, None)
    for rows in (
        dry_run_listing(store, compose_config([*OVERRIDES, f"store={store.url}"]), None, []),
        resume_listing(store, run, config, None),
    ):
        found = {row["stage"]: row for row in rows}
        assert [name for name, row in found.items() if row["cached"]] == OLD_DATA
        assert found["measure"]["reasons"] == ["stage version 1 -> 2"]
        assert found["measure_pairs"]["reasons"] == ["never made in this store"]
    assert verify(store, None)["damaged"] == []


def test_its_run_is_reported(store):
    run, _ = load_run(store, None)
    value = report(store, run)
    assert value["state"] == "completed" and value["metrics"]["tokenizer"]["psnr"] > 0
    assert [model["aliases"] for model in value["models"]] == [["champion"], ["champion"]]
    assert "6 steps" in report_text(store, run)
    page = gallery_page(store, run, value)
    assert "This evaluation kept no single pictures" in page and "models:/pixsem-generator/1" in page


def test_gates_may_ask_for_every_figure_that_a_run_has(store):
    run, config = load_run(store, None)
    metrics = report(store, run)["metrics"]
    groups = {"tokenizer": ["tokenizer"], "generator": ["text_to_image", "editing"]}
    known = {"tokenizer": tokenizer_figures(config), "generator": generator_figures(config)}
    for model, names in groups.items():
        measured = flatten({name: metrics[name] for name in names})
        figures = {key for key, value in measured.items() if isinstance(value, int | float)}
        assert len(figures) > 10
        assert {key for key in figures if known[model].get(key, "absent")} == set()


def numbers(values: torch.Tensor) -> list[float]:
    return values.flatten()[::97].tolist()[:12]


def test_its_tokenizer_and_pipeline_give_what_they_gave(store):
    from components.generator.pipeline import PixelSemanticPipeline
    from components.tokenizer.rivals import load_tokenizer

    expected = {k: pytest.approx(v, abs=2e-3) for k, v in json.loads((HERE / "a287622.json").read_text()).items()}
    (folder,) = store.local("artifacts/train_tokenizer").glob("*/model")
    tokenizer = load_tokenizer(folder)
    picture = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    with torch.no_grad():
        latent = tokenizer.encode(picture).latent_dist.mode()
        assert numbers(latent) == expected["latent"]
        assert numbers(tokenizer.decode(latent).sample) == expected["decoded"]
    (folder,) = store.local("artifacts/register").glob("*/pipeline")
    pipeline = PixelSemanticPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)

    def made(prompt: str, **more) -> list[float]:
        seeded = torch.Generator().manual_seed(0)
        return numbers(pipeline(prompt, num_inference_steps=2, generator=seeded, output_type="pt", **more).images)

    assert made("a red circle") == expected["picture"]
    assert made("make it blue", image=(picture + 1) / 2) == expected["edited"]


def test_its_registered_models_are_listed_traced_and_served(store, tmp_path, monkeypatch):
    from mlflow.pyfunc import load_model

    from pipelines.cli.model_commands import registrar
    from pipelines.serving import make_picture, open_pipeline
    from pipelines.tracking.lineage import trace

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = registrar(store.url)
    assert made.registry.names() == ["pixsem-generator", "pixsem-tokenizer"]
    champion = made.registry.find("models:/pixsem-generator@champion")
    assert trace(made, "models:/pixsem-generator@champion")
    row = {"prompt": "a red circle", "seed": 3, "num_inference_steps": 2}
    picture = make_picture(open_pipeline(str(made.registry.download(champion, tmp_path))), row)
    assert picture.size == (32, 32)
    (folder,) = [
        p.parent
        for p in store.local("mlartifacts/models").rglob("MLmodel")
        if (p.parent / "artifacts" / "pipeline").is_dir()
    ]
    answer = load_model(str(folder)).predict([{"prompt": "a red circle"}])
    assert len(answer) == 1 and answer["image"][0]
