"""The command line: what runs, what is cached and why, and what it says."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL, Pixsem

pytestmark = pytest.mark.integration
CHANGE = "curate.min_words=4"


@pytest.fixture(scope="module")
def changed(finished, tmp_path_factory) -> tuple[Pixsem, list[dict]]:
    """A copy of the finished store with a cached run and one with a changed threshold; with what was said before it."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(finished.store, folder / "store")
    pixsem = Pixsem(folder)
    pixsem("run", *SMALL)  # cached whole: written to MLflow by the next run that does something
    rows = pixsem.json("run", *SMALL, CHANGE, "--dry-run")
    pixsem("run", *SMALL, CHANGE)
    return pixsem, rows


def test_a_finished_run_is_cached_whole_and_starts_neither_ray_nor_torch_nor_mlflow(finished):
    code = (
        f"import sys; sys.argv = ['pixsem', 'run', *{SMALL!r}]\n"
        "from pipelines.cli.main import app\n"
        "app(standalone_mode=False)\n"
        "print([m for m in ('ray', 'torch', 'mlflow', 'pyarrow') if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=finished.folder,
        env=finished.environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.rstrip().endswith("[]")
    assert all(s["cached"] for s in finished.json("report")["stages"])


def test_counts_add_up_in_every_stage(finished):
    for stage in finished.json("report")["stages"]:
        counts = stage["counts"]
        assert counts["kept"] + counts["dropped"] + counts["failed"] == counts["input"] > 0


def test_the_report_scores_every_planted_fault(finished):
    metrics = finished.json("report")["metrics"]
    assert set(metrics["curation"]) >= {"kept", "dropped", "failed", "spam_caption", "near_duplicate_image"}
    assert "model" in metrics["absent"]["curation.wrong_caption"]


def test_a_changed_threshold_runs_no_measurement_and_the_dry_run_says_why(changed):
    pixsem, said = changed
    rows = {r["stage"]: r for r in said}
    assert rows["ingest"]["cached"]
    assert rows["measure"]["cached"]
    assert rows["curate"]["reasons"] == ["config curate.min_words: 3 -> 4"]
    assert rows["synthesize_edits"]["reasons"] == ["input curate changes"]
    ran = {s["name"]: not s["cached"] for s in pixsem.json("report")["stages"]}
    assert ran == {name: not row["cached"] for name, row in rows.items()}


def test_until_force_and_from_run_exactly_what_they_say(copy):
    copy("run", *SMALL, "--until", "measure")
    assert [s["name"] for s in copy.json("report")["stages"]] == ["ingest", "measure"]
    copy("run", *SMALL, "--force", "measure")
    assert [s["cached"] for s in copy.json("report")["stages"]] == [True, False, True, True]
    run = copy.json("report")["run"]
    copy("resume", run, "--from", "curate")
    assert [s["cached"] for s in copy.json("report")["stages"]] == [True, True, False, False]


def test_runs_and_stages_are_in_mlflow_with_fingerprints_and_data_sets(changed):
    pixsem, _ = changed
    database = sqlite3.connect(pixsem.store / "mlflow.db")
    runs = pixsem.json("status", "--all")
    assert len(runs) >= 3
    for run in runs:
        (parent,) = database.execute("select run_uuid from runs where name = ?", (run["id"],)).fetchone()
        children = database.execute(
            "select run_uuid from tags where key = 'mlflow.parentRunId' and value = ?", (parent,)
        ).fetchall()
        assert len(children) == 4
        for (child,) in children:
            assert database.execute(
                "select count(*) from tags where run_uuid = ? and key = 'pixsem.fingerprint'", (child,)
            ).fetchone() == (1,)
            assert database.execute("select count(*) from inputs where destination_id = ?", (child,)).fetchone()[0] >= 1
    digest = json.loads(next(pixsem.store.glob("artifacts/ingest/*/manifest.json")).read_text())["digest"]
    assert database.execute("select count(*) from datasets where digest = ?", (digest[:36],)).fetchone()[0] >= 1
    assert database.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)


def test_gc_lists_then_removes_what_no_run_needs(changed, tmp_path):
    shutil.copytree(changed[0].store, tmp_path / "store")
    copy = Pixsem(tmp_path)
    assert copy.json("gc")["items"] == []
    listed = copy.json("gc", "--keep-runs", "1")
    assert sorted(i["path"].split("/")[1] for i in listed["items"] if i["path"].startswith("artifacts/")) == [
        "curate",
        "synthesize_edits",
    ]
    copy("gc", "--keep-runs", "1", "--delete")
    assert copy.json("gc", "--keep-runs", "1")["items"] == []
    rows = copy.json("run", *SMALL, CHANGE, "--dry-run")
    assert all(r["cached"] for r in rows)


def test_a_run_may_end_with_several_stages_and_all_that_they_need(finished):
    rows = finished.json("run", *SMALL[:3], "--dry-run", "--until", "measure,train_encoder")
    assert [row["stage"] for row in rows] == [
        "ingest",
        "measure",
        "curate",
        "synthesize_edits",
        "measure_pairs",
        "curate_pairs",
        "index",
        "train_encoder",
    ]
    rows = finished.json("run", *SMALL[:3], "--dry-run", "--until", "evaluate_tokenizer,evaluate_generator")
    assert [row["stage"] for row in rows][-2:] == ["evaluate_tokenizer", "evaluate_generator"] and len(rows) == 16


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["config", "curat.min_words=3"], "did you mean 'curate'?"),
        (["config", "curate.min_word=3"], "did you mean 'curate.min_words'? (from the command line)"),
        (["config", "curate.min_words=many"], "curate.min_words: Input should be a valid integer"),
        (["config", "preset=tinny"], "did you mean 'tiny'?"),
        (["config", "source=folder"], "source.path: must be given"),
        (["config", "preset=scenes", "source.scene.size=16"], "every picture would be dropped as too small"),
        (["config", "curate.min_words"], "is not key=value"),
        (["run", "--until", "measur"], "did you mean 'measure'?"),
        (["status"], "there is no store"),
        (["run", "source=folder", "source.path=/nowhere", "--dry-run"], "there is no folder"),
    ],
)
def test_mistakes_are_answered_in_one_message_without_a_traceback(args, words, tmp_path):
    done = Pixsem(tmp_path).here(*args)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


def test_an_unknown_key_in_a_users_preset_is_traced_to_its_file(tmp_path, finished):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text("# @package _global_\ncurate:\n  min_wrods: 5\n")
    done = finished("config", "preset=mine", "--config-dir", str(tmp_path), code=2)
    assert "curate.min_wrods: unknown key; did you mean 'curate.min_words'?" in done.stderr
    assert str(tmp_path / "preset" / "mine.yaml") in done.stderr


def test_stages_draws_the_graph_and_lists_it(finished):
    assert "└─ train_tokenizer" in finished("stages").stdout
    names = [s["name"] for s in finished.json("stages")]
    assert names[:7] == [
        "ingest", "measure", "curate", "synthesize_edits", "measure_pairs", "curate_pairs", "index",
    ]  # fmt: skip
    assert names[7:] == [
        "train_encoder", "train_semantic", "train_tokenizer", "encode_latents", "index_latents", "train_generator",
        "train_editor", "evaluate_tokenizer", "evaluate_generator", "register",
    ]  # fmt: skip


def test_conf_names_every_key_of_the_schema(finished):
    from pipelines.config.schema import Config

    assert set(finished.json("config")) == set(Config.model_fields)
    assert (ROOT / "conf" / "config.yaml").is_file()
