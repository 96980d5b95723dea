"""The feature-space benchmark as a user calls it: what it would run, and, slowly, the whole of it at the smallest
size.
"""

from __future__ import annotations

import csv
import json
import signal

import pytest
from conftest import SMALL, Pixsem, kill, processes, wait_for

pytestmark = pytest.mark.integration
TINY = ["preset=tiny", "source.count=80", "source.samples_per_shard=10"]
OF_THE_CLOCK = ("second", "utilisation", "wait")
SPACES = ["ps_vae", "s_vae", "p_vae", "rae", "kl_vae"]


def test_a_dry_run_says_what_each_space_would_make_and_what_it_takes_from_others(finished):
    before = finished.digests()
    rows = finished.json("compare", *SMALL[:3], "controls=[shift_1]", "--dry-run")
    assert [row["row"] for row in rows] == [*SPACES, "shift_1"]
    stages = {row["row"]: {s["stage"]: s for s in row["stages"]} for row in rows}
    assert not any("register" in found for found in stages.values())
    for found in stages.values():  # the data are in the store already
        assert all(found[name]["cached"] for name in ("ingest", "measure", "curate", "synthesize_edits"))
    makers = {name: s.get("shared_with") for name, s in stages["s_vae"].items()}
    assert makers["train_encoder"] == makers["train_semantic"] == "ps_vae/0" and makers["train_tokenizer"] is None
    assert [n for n, s in stages["shift_1"].items() if not s["cached"] and s["shared_with"] is None] == [
        "train_generator", "train_editor", "evaluate_generator",
    ]  # fmt: skip
    text = finished("compare", *SMALL[:3], "--dry-run", "--claims", "CLAIMS.md").stdout
    claims = (finished.folder / "CLAIMS.md").read_text()
    assert "Runs with results: 0 of 5." in claims and "**not tested**" in claims and "**holds**" not in claims
    assert "kl_vae" in text and "takes measure_pairs, curate_pairs, index, train_encoder from ps_vae/0" in text
    assert finished.digests() == before and not (finished.store / "comparisons").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["spaces=[ps_vea]"], "did you mean 'ps_vae'?"), (["budgt=2"], "did you mean 'budget'?")],
)
def test_mistakes_are_answered_in_one_message(finished, arguments, words):
    done = finished("compare", *arguments, "--dry-run", code=2)
    assert words in done.stderr and "Traceback" not in done.stderr


def test_the_toy_leaves_figure_table_and_distances_in_the_store(tmp_path):
    pixsem = Pixsem(tmp_path)
    value = pixsem.json("toy", "--steps", "20", "--seeds", "1")
    assert value == json.loads((pixsem.store / "toy" / "toy.json").read_text())
    assert value["worst"]["8"]["0"] > value["floor"] > 0
    rows = list(csv.DictReader((pixsem.store / "toy" / "toy.csv").open()))
    assert {row["dimensions"] for row in rows} == {"2", "8"} and len(rows) == 16
    assert float(rows[-1]["worst"]) == value["worst"]["8"]["0"]
    assert (pixsem.store / "toy" / "toy.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_default_spaces_are_compared_once_resumed_and_joined_by_another(tmp_path):
    pixsem = Pixsem(tmp_path)
    value = pixsem.json("compare", *TINY, "--claims", "CLAIMS.md", timeout=1500)
    assert [row["row"] for row in value["results"]] == SPACES and value["missing"] == {}
    figures = {
        "tokenizer.psnr",
        "text_to_image.overall",
        "editing.success",
        "convergence.mean",
        "convergence.at_equal_seconds",
    }
    assert all(figures <= set(row["metrics"]) for row in value["results"])
    made = [key.split("/")[0] for key in pixsem.digests()]
    assert {stage: made.count(stage) for stage in ("ingest", "index", "train_encoder", "train_semantic")} == {
        "ingest": 1, "index": 1, "train_encoder": 1, "train_semantic": 1,
    }  # fmt: skip
    assert made.count("train_tokenizer") == made.count("evaluate_generator") == 5 and "register" not in made

    folder = pixsem.store / "comparisons" / value["comparison"]
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert names == {
        "index.html",
        "results.md",
        "results.csv",
        "summary.csv",
        "curves.csv",
        "by_samples.png",
        "by_seconds.png",
        "generated.png",
        "edits.png",
    }
    page = (folder / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 4 and "<script" not in page and "http" not in page
    claims = (tmp_path / "CLAIMS.md").read_text()
    assert "not tested" in claims and "ps_vae" in claims

    pictures = {path.name: path.stat().st_mtime_ns for path in (folder / "pictures").iterdir()}
    before = pixsem.digests()
    again = pixsem.json("compare", *TINY)
    assert [row["run"] for row in again["results"]] == [row["run"] for row in value["results"]]
    assert pixsem.digests() == before
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "pictures").iterdir()} == pictures

    joined = pixsem.json("compare", *TINY, "spaces=[rae_hd]", timeout=900)
    assert joined["comparison"] == value["comparison"]
    assert [row["row"] for row in joined["results"]] == [*SPACES, "rae_hd"]
    new = sorted(key.split("/")[0] for key in set(pixsem.digests()) - set(before))
    assert new == sorted(
        [
            "train_tokenizer",
            "encode_latents",
            "index_latents",
            "train_generator",
            "train_editor",
            "evaluate_tokenizer",
            "evaluate_generator",
        ]
    )

    import sqlite3

    database = sqlite3.connect(pixsem.store / "mlflow.db")
    (parent,) = database.execute(
        "select run_uuid from runs where name = ?", (f"comparison {value['comparison']}",)
    ).fetchone()
    children = database.execute(
        "select count(*) from tags where key = 'mlflow.parentRunId' and value = ?", (parent,)
    ).fetchone()
    assert children == (6,)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_comparison_stopped_and_killed_goes_on_and_ends_as_one_that_nobody_touched(tmp_path):
    asked = [*TINY, "spaces=[s_vae]", "controls=[shift_1]", "seeds=[0,1]"]  # shift_1 brings ps_vae
    rows = ["s_vae", "ps_vae", "shift_1"]
    calm, hurt = Pixsem(tmp_path / "calm"), Pixsem(tmp_path / "hurt")
    for pixsem in (calm, hurt):
        pixsem.folder.mkdir()
        pixsem.patience = 1500.0
    calm("compare", *asked)

    def made(stage: str) -> int:
        return sum(key.startswith(f"{stage}/") for key in hurt.digests())

    driver = hurt.start("compare", *asked)
    wait_for(lambda: made("evaluate_generator") == 1, 600.0)
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=120)
    assert driver.returncode == 128 + signal.SIGTERM and "the same pixsem compare again" in said
    driver = hurt.start("compare", *asked)
    wait_for(lambda: made("evaluate_generator") == 3, 600.0)
    before = hurt.digests()
    kill([driver.pid, *processes(str(hurt.folder))])
    driver.communicate()
    value = hurt.json("compare", *asked)

    assert [(row["row"], row["seed"]) for row in value["results"]] == [(row, seed) for row in rows for seed in (0, 1)]
    assert set(before.items()) <= set(hurt.digests().items())
    assert hurt.digests() == calm.digests()
    assert made("train_tokenizer") == 4  # shift_1 takes that of ps_vae, seed by seed
    tables = []
    for pixsem in (calm, hurt):
        (path,) = pixsem.store.glob("comparisons/*/summary.csv")
        tables.append([row for row in csv.DictReader(path.open()) if not any(w in row["figure"] for w in OF_THE_CLOCK)])
    assert tables[0] == tables[1]
    overall = [
        row for row in tables[0] if row["figure"] == "text_to_image.overall"
    ]  # of few pictures, some kinds are in one seed alone
    assert [(row["row"], row["seeds"]) for row in overall] == [(row, "2") for row in rows]
    assert all(row["standard_deviation"] for row in overall)
