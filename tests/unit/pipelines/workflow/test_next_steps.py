"""The end of a run names what makes sense for that run."""

from __future__ import annotations

import json

import pytest

from pipelines.store.artifacts import FileEntry, Manifest, Work, content_digest
from pipelines.store.files import Store
from pipelines.store.runs import Run, StageState
from pipelines.tracking.registering import registration_path
from pipelines.workflow.live import outcome_text
from pipelines.workflow.next_steps import next_steps
from pipelines.workflow.report import report_text, run_artifacts

pytestmark = pytest.mark.unit

SKIPPED = {"metric": "x", "passed": True, "words": "the gate on x was skipped: only scenes have it", "skipped": True}
HELD = {"metric": "y", "passed": True, "words": "y is 1"}  # as older runs kept it


def commit(store: Store, run: Run, stage: str, files: dict[str, bytes], metrics: dict | None = None) -> None:
    """Commit an artifact with these files, and say that the run's stage is done."""
    work = Work(store, stage, "f" * 24, {})
    for name, data in files.items():
        store.write_bytes(f"{work.path}/{name}", data)
    entries = [FileEntry(name, len(data), "0" * 64) for name, data in files.items()]
    counts = {"input": 4, "kept": 3, "dropped": 1, "failed": 0}
    work.commit(
        Manifest(
            stage,
            "1",
            "f" * 24,
            content_digest(entries),
            {},
            {},
            {},
            entries,
            counts,
            metrics or {},
            {},
            run.id,
            "2026",
            1.0,
        )
    )
    run.stages[stage] = StageState(fingerprint="f" * 24, state="done")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path))


def finished(preset: str = "tiny", **values) -> Run:
    return Run("r1", preset, state="completed", **values)


def test_a_run_until_curation_points_to_its_sheet_and_to_no_model(store):
    run = finished(until="curate", asked=["preset=tiny", "sources.a.captions={alt: x}"])
    commit(store, run, "curate", {"sheet.html": b"x", "sheet.png": b"x"})
    text = next_steps(store, run)
    assert f"{store.path('artifacts/curate')}/{'f' * 24}/sheet.html" in text
    assert "without --until goes on" in text
    assert "pixsem run preset=tiny 'sources.a.captions={alt: x}'" in text  # the very run, not the demo
    assert "generate" not in text and "models" not in text


def test_a_run_with_a_champion_offers_a_prompt_of_its_own_that_it_drew_right(store):
    run = finished("demo_small")
    rows = [{"prompt": "a red cat", "right": False}, {"prompt": "two blue dogs", "right": True}]
    commit(
        store,
        run,
        "evaluate_generator",
        {"judgements.jsonl": "\n".join(map(json.dumps, rows)).encode(), "generated.png": b"x"},
    )
    commit(store, run, "register", {})
    models = [{"name": "pixsem-generator", "version": "1", "aliases": ["champion"], "refused": ""}]
    store.write_json(registration_path("f" * 24), {"tracking": "", "models": models})
    text = next_steps(store, run)
    assert "pixsem generate 'two blue dogs'" in text and "generated.png" in text
    assert "pixsem run preset=demo " in text


def test_a_refused_model_is_not_offered_for_use(store):
    run = finished()
    commit(store, run, "register", {})
    models = [{"name": "pixsem-generator", "version": "2", "aliases": [], "refused": "text_to_image.overall is 0"}]
    store.write_json(registration_path("f" * 24), {"tracking": "", "models": models})
    text = next_steps(store, run)
    assert "pixsem promote models:/pixsem-generator/2 --force --store " in text and "pixsem generate" not in text
    assert "or train longer, or change the gates in register.generator" in text


def test_a_candidate_is_offered_for_promotion(store):
    run = finished()
    commit(store, run, "register", {})
    models = [{"name": "pixsem-tokenizer", "version": "1", "aliases": ["candidate"], "refused": ""}]
    store.write_json(registration_path("f" * 24), {"tracking": "", "models": models})
    text = next_steps(store, run)
    assert "pixsem promote models:/pixsem-tokenizer/1 --store " in text and "--force" not in text


@pytest.mark.parametrize(("passed", "told"), [([], True), ([SKIPPED], True), ([SKIPPED, HELD], False)])
def test_a_report_says_which_gates_were_skipped_and_where_none_was_held(store, passed, told):
    run = finished()
    commit(store, run, "register", {})
    model = {"name": "pixsem-generator", "version": "1", "aliases": ["champion"], "refused": "", "gates": passed}
    store.write_json(registration_path("f" * 24), {"tracking": "", "models": [model]})
    lines = [line.strip() for line in report_text(store, run).splitlines()]
    assert (SKIPPED["words"] in lines) == (SKIPPED in passed)
    assert ("no gate was held: any version would have passed" in lines) == told


def test_a_report_shows_each_figure_with_interval_and_bounds_what_is_absent_by_its_reason_and_no_protocol(store):
    run = finished()
    metrics = {
        "text_to_image": {"overall": 0.6912, "chance": {"overall": 0.1}, "pictures": 8},
        "absent": {"editing.psnr": "no pairs", "editing.ssim": "no pairs"},
        "intervals": {"text_to_image.overall": [0.62, 0.751]},
        "protocol": {"text_to_image": {"seed": 3}},
    }
    commit(store, run, "evaluate_generator", {}, metrics)
    lines = [line.strip() for line in report_text(store, run).splitlines()]
    assert ["Text", "to", "image", "chance"] in [line.split() for line in lines]
    assert ["overall", "0.691", "[0.62,", "0.751]", "0.100"] in [line.split() for line in lines]
    assert "pictures 8" in lines and lines[lines.index("editing.psnr, editing.ssim") + 1] == "no pairs"
    assert not any(line.startswith(("intervals", "protocol")) for line in lines)


def test_a_failed_run_says_how_it_goes_on(store):
    run = Run("r1", "tiny", state="failed", stages={"measure": StageState(fingerprint="f", state="failed")})
    assert "pixsem resume r1" in next_steps(store, run) and "once measure can work" in next_steps(store, run)


def test_a_training_tells_its_steps_and_rate_and_a_data_stage_its_samples(store):
    run = finished()
    commit(store, run, "curate", {})
    commit(store, run, "train_editor", {}, {"training": {"editor": {"steps": 4815, "samples_per_second": 310.4}}})
    made = run_artifacts(store, run)
    assert outcome_text(made["train_editor"]) == "4,815 steps, 310 samples/s"
    assert outcome_text(made["curate"]) == "3 kept, 1 dropped of 4"
