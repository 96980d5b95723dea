"""Signals by models in the chain: scored once, joined to their samples, bounded by configuration, cached one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.data.tables import read_table
from pipelines.config.compose import compose_config
from pipelines.config.schema import Config
from pipelines.store.files import Store
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.launch import dry_run_listing
from tests.unit.pipelines.stages.data.stage_chain import local_files, run_stages
from tests.unit.pipelines.workflow.cached_chain import commit_all
from tests.unit.vision_models import tiny_models

pytestmark = pytest.mark.unit
FAULTS = "source.faults={broken_image: 0.1, wrong_caption: 0.1}"
SOURCE = ["preset=tiny", "source.count=40", "source.samples_per_shard=20", FAULTS, "curate.near_duplicate_distance=-1"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.clip(folder / "clip")
    tiny_models.classifier(folder / "class", ["normal", "nsfw"])
    return folder


def listed(models: Path) -> str:
    return (
        f"{{name: nsfw, kind: image_classification, path: {models}/class, label: nsfw, batch: 7}}, "
        f"{{name: clip, kind: image_text, path: {models}/clip}}"
    )


def configured(models: Path, *more: str) -> Config:
    return compose_config([*SOURCE, f"measure.models=[{listed(models)}]", *more])


def table(paths: list[Path]) -> dict[str, list]:
    columns: dict[str, list] = {}
    for path in paths:
        for name, values in read_table(path).items():
            columns.setdefault(name, []).extend(values)
    return columns


def test_each_models_signal_is_joined_to_its_sample_and_bounded(models, tmp_path):
    made = run_stages(tmp_path / "free", configured(models, "curate.signals={nsfw: {}, clip: {}}"), "curate")
    nsfw, clip = (table(local_files(made[f"score@{name}"], "scores/*.parquet")) for name in ("nsfw", "clip"))
    measured = table(local_files(made["measure"], "signals/*.parquet"))
    assert nsfw["key"] == clip["key"] == measured["key"] and len(nsfw["key"]) == 40
    # What cannot be decoded has no signal, and the reason that measure gives.
    assert nsfw["unscored"] == clip["unscored"] == measured["error"] and sum(map(bool, measured["error"])) == 4
    assert all((value is None) == bool(error) for value, error in zip(clip["clip"], measured["error"], strict=True))
    figures = made["score@nsfw"].manifest.metrics["score"]["nsfw"]
    assert (figures["kept"], figures["failed"]) == (36, 4) and 0 <= figures["p0"] <= figures["p50"] <= figures[
        "p100"
    ] <= 1
    kept = made["curate"].manifest.metrics["curation"]["kept"]
    limit = sorted(value for value in clip["clip"] if value is not None)[18]
    bounded = run_stages(tmp_path / "bound", configured(models, f"curate.signals={{clip: {{min: {limit}}}}}"), "curate")
    decisions = table(local_files(bounded["curate"], "decisions/*.parquet"))
    assert "score@nsfw" not in bounded["curate"].manifest.inputs
    low = {key for key, reason in zip(decisions["key"], decisions["reason"], strict=True) if reason == "low_clip"}
    assert low <= {
        key for key, value in zip(clip["key"], clip["clip"], strict=True) if value is not None and value < limit
    }
    metrics = bounded["curate"].manifest.metrics
    assert kept > metrics["curation"]["kept"] >= kept - len(low)
    assert metrics["curation"]["by_reason"]["low_clip"] == len(low) > 5
    assert metrics["curation"]["wrong_caption"]["planted"] == 4 and "recall" in metrics["curation"]["wrong_caption"]


def test_a_model_asks_for_its_own_stage_and_only_a_threshold_for_curation(models, tmp_path):
    store = Store(str(tmp_path))
    commit_all(store, configured(models), {})

    def running(config: Config) -> set[str]:
        return {row["stage"] for row in dry_run_listing(store, config, None, []) if not row["cached"]}

    assert running(configured(models)) == set()
    added = f"measure.models=[{{name: more, kind: nsfw_onnx}}, {listed(models)}]"
    more = compose_config([*SOURCE, added])
    assert running(more) == {"score@more"}
    asked = running(configured(models, "curate.signals={nsfw: {max: 0.5}}"))
    assert "curate" in asked and not {"ingest", "measure", "score@nsfw", "score@clip"} & asked
    (models / "class" / "note.txt").write_text("changed")
    assert running(configured(models)) == {"score@nsfw"}


def test_stages_of_models_are_there_where_models_are(models):
    names = [stage.name for stage in build_workflow(configured(models))]
    assert names.index("score@nsfw") < names.index("curate") and "train_matcher" not in names
    matched = build_workflow(compose_config([*SOURCE, "signals=matcher"]))
    scored = next(stage for stage in matched if stage.name == "score@matcher")
    assert scored.inputs == ("ingest", "train_matcher")
    assert not any(
        stage.base in ("score", "train_matcher", "recaption") for stage in build_workflow(compose_config(SOURCE))
    )


def test_the_pipelines_own_image_text_model_gives_cosines_and_odds_against_captions_of_other_words(tmp_path):
    import numpy as np
    import torch

    from components.tokenizer.image_text import ImageTextModel, Vocabulary, save_image_text, small_encoder
    from components.tokenizer.objectives import to_pictures
    from components.tokenizer.options import SmallEncoderOptions
    from components.vision_models.loading import Place
    from components.vision_models.options import SignalModel
    from components.vision_models.signal_kinds import load_signal
    from pipelines.stages.data.image_text_models import open_towers

    options = SmallEncoderOptions(width=16, depth=1, heads=1, patch=8, text_depth=1, max_words=8)
    captions = ["a red circle", "a blue square"]
    words = Vocabulary.of(captions)
    model = ImageTextModel(small_encoder(options, 16), len(words), options).eval()
    save_image_text(model, words, tmp_path)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    with torch.inference_mode():
        seen = model.embed_features(model.encoder(to_pictures(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()))))
        expected = (seen * model.embed_text(words.encode(captions, 8))).sum(1).tolist()
    scorer = load_signal(SignalModel("image_text", str(tmp_path)), Place(torch.device("cpu")), open_towers)
    assert scorer.score([scorer.prepare(rgb) for rgb in pictures], captions) == pytest.approx(expected, abs=1e-6)

    # As a matcher: each caption against those that differ by a word.
    from components.tokenizer.word_swaps import WordSwaps
    from components.vision_models.signal_kinds import Match
    from pipelines.stages.data.image_text_models import OwnTowers

    WordSwaps(words.encode([*captions, "a blue circle"], 8)).save(tmp_path)
    towers = OwnTowers(tmp_path, Place(torch.device("cpu")))
    matched = Match(towers).score([towers.prepare(rgb) for rgb in pictures], captions)
    with torch.inference_mode():
        rival = (seen * model.embed_text(words.encode(["a blue circle"] * 2, 8))).sum(1).tolist()
    scale = model.log_scale.exp().item()
    assert matched == pytest.approx([scale * (a - b) for a, b in zip(expected, rival, strict=True)], abs=1e-4)
    assert Match(towers).score([towers.prepare(pictures[0])], ["nothing known"]) == [0.0]
