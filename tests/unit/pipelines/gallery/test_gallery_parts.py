"""The parts of a run's page: what they choose, what they count, and where they put things."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image

from components.curation.report.sample_report import WORDS
from pipelines.gallery.curves import POINTS, curves
from pipelines.gallery.data_funnel import steps_of
from pipelines.gallery.figures_table import bounded
from pipelines.gallery.judged import Row, convergence, evenly
from pipelines.gallery.lineage_graph import TALL, WIDE, Box, placed, reduced
from pipelines.gallery.material import Album, Material, spread
from pipelines.gallery.timeline import timeline
from pipelines.store.files import Store
from pipelines.store.runs import Run, StageState, save_progress
from pipelines.workflow.report import report
from tests.unit.pipelines.gallery.whole_run import START, commit, drawing, png, whole_run

pytestmark = pytest.mark.unit


def test_a_spread_has_the_first_and_the_last():
    assert spread(3, 10) == [0, 1, 2] and spread(0, 4) == []
    assert spread(100, 4) == [0, 33, 66, 99] and spread(5, 1) == [0]


def test_an_album_keeps_small_pictures_exactly_and_counts_what_it_refuses():
    album = Album(room=20_000, side=128)
    small = album.add(png(drawing("red", "circle", 20)))
    assert (small.width, small.height) == (64, 64)
    import base64
    import io

    back = Image.open(io.BytesIO(base64.b64decode(small.uri.partition(",")[2]))).convert("RGB")
    assert np.array_equal(np.asarray(back), np.asarray(drawing("red", "circle", 20)))
    large = album.add(png(drawing("red", "circle", side=512)))
    assert (large.width, large.height) == (128, 128)
    assert album.add(b"no picture") is None and album.add(None) is None and album.refused == 1
    noise = png(Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)))
    while album.add(noise):
        pass
    assert album.refused == 2 and album.room == 0


def row(split: str, category: str, right: bool | None, number: int = 0) -> Row:
    return Row("", number, {"split": split, "category": category, "source_name": "", "right": right})


def test_few_of_many_rows_are_of_every_set_category_and_verdict():
    rows = [row("a", "one", True, n) for n in range(100)] + [row("a", "two", False, 100), row("b", "one", None, 101)]
    chosen = evenly(rows, 10)
    assert len(chosen) == 10 and [r.number for r in chosen] == [0, 100, 101, *range(1, 8)]
    assert len(evenly(rows, 1000)) == 102 and evenly([], 5) == []


def test_shares_over_training_are_means_over_categories():
    rows = [row("checkpoint at 20 samples", "one", True), row("checkpoint at 20 samples", "one", False),
            row("checkpoint at 20 samples", "two", True), row("checkpoint at 3 samples", "one", False),
            row("held out prompts", "one", True)]  # fmt: skip
    assert convergence(rows) == {3: {"overall": 0.0, "one": 0.0}, 20: {"overall": 0.75, "one": 0.5, "two": 1.0}}
    assert convergence([row("checkpoint at 3 samples", "one", None)]) == {}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("chance.overall", ("overall", "chance")),
        ("ceiling.overall", ("overall", "ceiling")),
        ("frechet_x_of_reconstructions", ("frechet_x", "ceiling")),
        ("of_source.psnr", ("psnr", "copy")),
        ("of_others.psnr", ("psnr", "chance")),
        ("copy_source", ("success", "copy")),
        ("ceiling.nowhere", ("ceiling.nowhere", "")),  # a bound of a figure that is not there stands for itself
        ("by_guidance.2_5", ("by_guidance.2_5", "")),
        ("overall", ("overall", "")),
    ],
)
def test_a_name_says_which_figure_it_bounds(name, found):
    values = {"overall": 0.5, "frechet_x": 1.0, "psnr": 20.0, "success": 0.1, "by_guidance": {"2_5": 0.5}}
    assert bounded(name, values) == found


def test_a_funnel_names_the_stage_and_whether_rows_failed():
    funnel = {"came_in": 100, "ingest_no_image": 90, "ingest_left_out": 80, "broken_image": 75, "too_small": 70}
    steps = steps_of(funnel, WORDS, "curate", "measure", frozenset({"no_image"}))
    assert [(s.stage, s.state, s.reason, s.lost, s.left) for s in steps] == [
        ("ingest", "failed", "no_image", 10, 90),
        ("ingest", "dropped", "left_out", 10, 80),
        ("measure", "failed", "broken_image", 5, 75),
        ("curate", "dropped", "too_small", 5, 70),
    ]


def material(store: Store, run: Run) -> Material:
    return Material(store, run, report(store, run))


def test_a_timeline_cuts_the_pause_between_attempts_and_shows_what_failed(tmp_path):
    store, run = Store(str(tmp_path)), Run("r1", "tiny", state="failed")
    commit(store, run, "ingest", {})  # 12 s
    run.seconds += 3600
    commit(store, run, "measure", {})  # 5 s, an hour later
    run.stages["measure"] = replace(run.stages["measure"], cached=True)  # a resume found it done
    run.stages["curate"] = StageState("failed", "c" * 24, seconds=8.0, error="no room")
    started = (START + timedelta(seconds=run.seconds)).isoformat()
    save_progress(store, run.id, "curate", {"started": started})
    run.stages["index"] = StageState("skipped", error="its input curate did not come about")
    bars, axis = timeline(material(store, run))
    assert [(bar.name, bar.state, bar.left is None) for bar in bars] == [
        ("ingest", "done", False), ("measure", "done", False), ("curate", "failed", False), ("index", "skipped", True)
    ]  # fmt: skip
    assert axis.seconds == pytest.approx(25) and [words for _, words in axis.pauses] == ["1:00:00"]
    assert bars[0].left == 0 and bars[0].width == pytest.approx(100 * 12 / 26.5)
    assert bars[2].left + bars[2].width == pytest.approx(100) and "no room" in bars[2].words
    assert datetime.fromisoformat(started) > START


def test_stages_that_ran_together_stand_above_each_other(tmp_path):
    store, run = Store(str(tmp_path)), Run("r1", "tiny", state="completed")
    commit(store, run, "encode_latents", {})
    run.seconds -= 30
    commit(store, run, "evaluate_tokenizer", {})
    one, other = timeline(material(store, run))[0]
    assert one.left == other.left == 0 and one.width < other.width == pytest.approx(100)


def test_a_run_of_which_nothing_ran_has_a_timeline(tmp_path):
    run = Run("r1", "tiny", stages={"ingest": StageState()})
    bars, axis = timeline(material(Store(str(tmp_path)), run))
    assert [(bar.state, bar.left) for bar in bars] == [("waiting", None)] and axis.seconds == 0


def test_a_long_curve_is_thinned_and_what_is_no_number_left_out(tmp_path):
    store, run = Store(str(tmp_path)), Run("r1", "tiny")
    points = [{"step": n, "loss": float("nan") if n == 5 else 1 / n, "samples": n} for n in range(1, 2001)]
    whole = "\n".join(map(json.dumps, points)).encode()
    commit(store, run, "train_encoder", {"curve.jsonl": whole})
    told = [{"step": n, "loss": 1 / n, "samples_per_second": 50.0, "time": 1.0} for n in (1, 2000)]
    store.write_bytes("runs/r1/curves/train_encoder.jsonl", "\n".join(map(json.dumps, told)).encode())
    store.write_bytes("runs/r1/curves/train_editor.jsonl", b'{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    run.stages["train_editor"] = StageState("running", "e" * 24)
    encoder, editor = curves(material(store, run))
    assert len(encoder["steps"]) <= POINTS and encoder["steps"][0] == 1 and encoder["steps"][-1] == 2000
    assert encoder["points"] == 2000 and list(encoder["plots"]) == ["loss", "samples per second"]
    assert encoder["figures"]["samples_per_second"][0] == 50.0
    assert editor["steps"] == [1] and json.dumps(encoder, allow_nan=False)


def test_a_graph_draws_no_edge_that_a_longer_way_says_too():
    inputs = {"a": [], "b": ["a"], "c": ["a", "b"], "d": ["a", "c", "b"]}
    assert reduced(inputs) == {"a": [], "b": ["a"], "c": ["b"], "d": ["c"]}


def test_boxes_of_a_graph_do_not_meet_and_stand_below_their_inputs(tmp_path):
    store, run = whole_run(tmp_path)
    boxes = {
        name: Box(name, "", "made", list(made.manifest.inputs)) for name, made in material(store, run).artifacts.items()
    }
    inputs = reduced({name: box.inputs for name, box in boxes.items()})
    graph = placed(boxes, inputs)
    for name, box in boxes.items():
        assert 0 <= box.x <= graph.width - WIDE and 0 <= box.y <= graph.height - TALL
        assert all(boxes[i].y + TALL < box.y for i in box.inputs)
        others = [other for other in boxes.values() if other.name != name and other.y == box.y]
        assert all(abs(other.x - box.x) >= WIDE for other in others)
    assert len(graph.edges) == sum(map(len, inputs.values()))
