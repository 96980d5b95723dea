"""The pictures world through the whole pipeline: a folder of drawings with bad files among them, from ingest to
register, judged, cached, and the same bytes when made again.
"""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import Pixsem, artifact, empty_store
from PIL import Image

from components.data.tables import read_table
from pipelines.config.compose import compose_config
from tests.unit.pictures.drawings import CIRCLES, HEALTH_WORKER, HEARTS, PACKAGED, PLAIN, RUNNING, WAVING, copy_drawings
from tests.unit.pipelines.stages.data.stage_chain import run_stages

pytestmark = pytest.mark.integration
STEMS = (*WAVING, *RUNNING[:12], *HEALTH_WORKER, *HEARTS[:8], *CIRCLES[:8], *PLAIN)
BOMB = "".join(f'<g id="g{n}">' + f'<use href="#g{n + 1}"/>' * 10 + "</g>" for n in range(9))
SETTINGS = [
    "preset=tiny", "source=pictures_tiny", "source.path=drawings", "source.picture.combinations_held_out=0.2",
    "curate.near_duplicate_distance=-1", "evaluate_generator.prompts=4", "evaluate_generator.edits=2",
]  # fmt: skip


def new_store(folder, empty_mlflow) -> Pixsem:
    """Return an empty store beside a folder of drawings, of which two cannot be drawn."""
    pixsem = empty_store(folder, empty_mlflow)
    drawings = copy_drawings(folder / "drawings", STEMS)
    whole = (PACKAGED / "1F98A.svg").read_bytes()
    (drawings / "1F98A.svg").write_bytes(whole[: len(whole) // 2])
    bomb = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{BOMB}<rect id="g9" width="9" height="9"/></svg>'
    (drawings / "1F697.svg").write_text(bomb.replace("</svg>", '<use href="#g0"/></svg>'))
    return pixsem


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, empty_mlflow) -> Pixsem:
    """A store in which the whole pipeline ran."""
    pixsem = new_store(tmp_path_factory.mktemp("pictures"), empty_mlflow)
    pixsem("run", *SETTINGS)
    return pixsem


def test_the_report_names_the_figures_of_drawings_beside_their_chance_and_ceiling(pictures):
    metrics = pictures.json("report")["metrics"]
    shown = metrics["text_to_image"]
    wanted = {
        "exact",
        "concept",
        "skin_tone",
        "gender",
        "single_object",
        "two_objects",
        "counting",
        "colours",
        "overall",
    }
    for figures in (shown, shown["chance"], shown["ceiling"]):
        assert wanted <= set(figures)
    assert {"overall", "exact"} <= set(shown["seen"]) and list(shown["checkpoints"]) == ["48", "96", "144", "192"]
    editing = metrics["editing"]
    assert {"success", "by_factor", "skin_tone", "gender", "background", "ceiling", "chance"} <= set(editing)
    assert editing["copy_source"] == 0 and 0 <= editing["by_factor"] <= 1
    rows = (artifact(pictures, "evaluate_generator") / "judgements.jsonl").read_text().splitlines()
    judged = [json.loads(row) for row in rows]
    assert {"held out prompts", "taught pictures", "edits"} <= {row["split"] for row in judged}
    of_edits = [row["right"] for row in judged if row["split"] == "edits"]
    assert of_edits and sum(of_edits) / len(of_edits) == pytest.approx(editing["success"])


def test_a_broken_svg_and_an_svg_bomb_are_failed_with_a_reason_and_nothing_is_lost(pictures):
    report = pictures.json("report")
    for stage in report["stages"]:
        counts = stage["counts"]
        if counts:
            assert counts["kept"] + counts["dropped"] + counts["failed"] == counts["input"]
    assert report["metrics"]["ingest"]["failed_by_reason"] == {"broken_svg": 1, "svg_bomb": 1}
    rows: dict[str, tuple[str, str]] = {}
    for path in artifact(pictures, "ingest").glob("rows/*.parquet"):
        table = read_table(path)
        rows |= dict(zip(table["origin"], zip(table["status"], table["reason"], strict=True), strict=True))
    files = {origin: found for origin, found in rows.items() if origin.startswith("drawings/")}
    assert len(files) == len(STEMS) + 2
    assert files.pop("drawings/1F98A.svg") == ("failed", "broken_svg")
    assert files.pop("drawings/1F697.svg") == ("failed", "svg_bomb")
    assert set(files.values()) == {("success", "")}


def test_pictures_to_look_at_are_left_by_every_stage(pictures):
    for stage, name in (
        ("curate", "sheet.png"), ("synthesize_edits", "sheet.png"), ("evaluate_generator", "generated.png"),
        ("evaluate_generator", "edits.png"), ("evaluate_generator", "convergence.png"),
        ("evaluate_generator", "convergence_pictures.png"),
    ):  # fmt: skip
        with Image.open(artifact(pictures, stage) / name) as picture:
            assert min(picture.size) > 64, name
    for stage in ("train_generator", "train_editor"):
        assert list(artifact(pictures, stage).glob("samples/*.png"))


def test_versions_are_registered_with_their_gates_verdicts(pictures):
    models = {row["name"]: row for row in pictures.json("models")}
    assert set(models) == {"pixsem-tokenizer", "pixsem-generator"}
    assert models["pixsem-generator"]["tokenizer_version"] == models["pixsem-tokenizer"]["version"]


def test_a_second_run_is_cached_and_a_changed_drawing_is_noticed(pictures, tmp_path):
    assert all(row["cached"] for row in pictures.json("run", *SETTINGS, "--dry-run"))
    shutil.copytree(pictures.folder / "drawings", tmp_path / "drawings")
    changed = Pixsem(tmp_path)
    shutil.copytree(pictures.store / "artifacts" / "ingest", changed.store / "artifacts" / "ingest")
    assert changed.json("run", *SETTINGS, "--until", "ingest", "--dry-run")[0]["cached"]
    path = tmp_path / "drawings" / "1F34E.svg"
    path.write_text(path.read_text().replace("#000", "#333"))
    (row,) = changed.json("run", *SETTINGS, "--until", "ingest", "--dry-run")
    assert row["reasons"] == ["source files changed"]


def test_stages_run_one_by_one_in_another_place_give_the_bytes_of_the_run(
    pictures, tmp_path, monkeypatch, empty_mlflow
):
    monkeypatch.chdir(new_store(tmp_path, empty_mlflow).folder)
    made = run_stages(tmp_path / "one_by_one", compose_config(SETTINGS), "curate_pairs")
    found = {name.split("/")[0]: digest for name, digest in pictures.digests().items()}
    assert {"ingest", "measure", "curate", "synthesize_edits", "measure_pairs", "curate_pairs"} == made.keys()
    assert {name: found[name] for name in made} == {name: each.manifest.digest for name, each in made.items()}


@pytest.mark.slow  # test_durability.py stops and kills runs of scenes
def test_a_run_stopped_and_resumed_gives_the_bytes_of_an_uninterrupted_one(pictures, tmp_path, empty_mlflow):
    stopped = new_store(tmp_path, empty_mlflow)
    stopped("run", *SETTINGS, "--until", "synthesize_edits")
    stopped("run", *SETTINGS, "--until", "index")
    found, whole = stopped.digests(), pictures.digests()
    pairs = {"synthesize_edits", "measure_pairs", "curate_pairs"}
    assert {name.split("/")[0] for name in found} == {"ingest", "measure", "curate", *pairs, "index"}
    assert {name: whole[name] for name in found} == found
