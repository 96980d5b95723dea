"""What a training puts into its work on the way, on a store whose listings lag."""

from __future__ import annotations

import pytest

from pipelines.store.artifacts import Work
from pipelines.store.files import Store
from pipelines.training.worker import note_samples, publish_tree, samples_in

pytestmark = pytest.mark.unit


@pytest.fixture
def work(tmp_path) -> Work:
    store = Store(str(tmp_path / "store"))
    store.prepare()
    return Work(store, "train_generator", "f" * 24, {})


def evaluate(work: Work, folder, step: int) -> None:
    """Publish an evaluation's files as training does."""
    made = folder / f"evaluation-{step}"
    for name in (f"samples/step-{step}.png", f"snapshots/step-{step}/model.safetensors"):
        (made / name).parent.mkdir(parents=True)
        (made / name).write_text(f"{name} {step}")
    note_samples(work, publish_tree(work, made))


def test_no_sample_is_lost_where_the_listing_does_not_show_it_yet(work, tmp_path, monkeypatch):
    for step in (3, 6):
        evaluate(work, tmp_path, step)
    listed = samples_in(work)
    monkeypatch.setattr(Store, "files", lambda self, relative: {})
    assert samples_in(work) == listed
    assert [file.path for file in listed] == [
        "samples/step-3.png", "samples/step-6.png",
        "snapshots/step-3/model.safetensors", "snapshots/step-6/model.safetensors",
    ]  # fmt: skip


def test_a_hurt_record_of_samples_loses_none_that_is_there(work, tmp_path):
    evaluate(work, tmp_path, 3)
    before = samples_in(work)
    (record,) = (tmp_path / "store" / work.path / "records").iterdir()
    record.write_bytes(record.read_bytes()[:-20])
    assert samples_in(work) == before
    evaluate(work, tmp_path, 6)
    assert len(samples_in(work)) == 4
