"""The plan of the real workflow: which stages a changed key, a deleted artifact, --from, --force and --until ask
for.
"""

from __future__ import annotations

import functools

import pytest

from pipelines.config.compose import compose_config
from pipelines.config.schema import Config
from pipelines.store.files import Store
from pipelines.store.runs import Run
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.launch import dry_run_listing, resume_listing
from tests.unit.pipelines.workflow.cached_chain import commit_all

pytestmark = pytest.mark.unit
TINY = ["preset=tiny"]
# Every stage, and what is made from it directly or indirectly.
JUDGED = ["evaluate_generator", "register"]
EDITED = ["train_editor", *JUDGED]
GENERATED = ["train_generator", *EDITED]
ENCODED = ["index_latents", *GENERATED]
TOKENIZED = ["encode_latents", "evaluate_tokenizer", *ENCODED]
AFTER = {
    "register": [],
    "evaluate_generator": ["register"],
    "evaluate_tokenizer": ["register"],
    "train_editor": JUDGED,
    "train_generator": EDITED,
    "index_latents": GENERATED,
    "encode_latents": ENCODED,
    "train_tokenizer": TOKENIZED,
    "train_semantic": ["train_tokenizer", *TOKENIZED],
    "train_encoder": ["train_semantic", "train_tokenizer", *TOKENIZED],
    "index": ["train_encoder", "train_semantic", "train_tokenizer", *TOKENIZED],
    "curate_pairs": ["index", "train_encoder", "train_semantic", "train_tokenizer", *TOKENIZED],
}
AFTER["measure_pairs"] = ["curate_pairs", *AFTER["curate_pairs"]]
AFTER["synthesize_edits"] = ["measure_pairs", *AFTER["measure_pairs"]]
AFTER["curate"] = ["synthesize_edits", *AFTER["synthesize_edits"]]
AFTER["measure"] = ["curate", *AFTER["curate"]]
AFTER["ingest"] = ["measure", *AFTER["measure"]]
READERS_OF_PICTURES = [
    "measure", "synthesize_edits", "measure_pairs", "train_encoder", "train_semantic", "train_tokenizer",
    "encode_latents", "evaluate_tokenizer", "evaluate_generator",
]  # fmt: skip
CHANGES = {
    "source.count=81": ["ingest", "evaluate_generator"],
    "measure.limits.max_pixels=1000000": READERS_OF_PICTURES,
    "curate.min_words=4": ["curate"],
    "synthesize_edits.pairs_per_scene=2": ["synthesize_edits"],
    "measure_pairs.image_text.path=openai/clip-vit-base-patch32": ["measure_pairs"],
    "curate_pairs.min_words=2": ["curate_pairs"],
    "held_out=0.3": ["index"],
    "encoder.training.steps=7": ["train_encoder"],
    "tokenizer.semantic.steps=7": ["train_semantic"],
    "tokenizer.losses.kl=0.5": ["train_tokenizer"],
    "latents.batch=16": ["encode_latents"],
    "generator.training.ema=0.5": ["train_generator"],
    "generator.edit_share=0.25": ["train_editor"],
    "evaluate_tokenizer.noise=0.3": ["evaluate_tokenizer"],
    "evaluate_generator.prompts=3": ["evaluate_generator"],
    "register.alias=candidate": ["register"],
    "generator.guidance_scale=3.5": ["evaluate_generator", "register"],
    "execution.cache_gb=2.0": [],
    "execution.resources.measure.retries=9": [],
    "cluster.num_cpus=1": [],
    "tracking.experiment=other": [],
}


@functools.cache
def configured(*changes: str) -> Config:
    return compose_config([*TINY, *changes])


def reached(stages: list[str]) -> set[str]:
    return {*stages, *(after for stage in stages for after in AFTER[stage])}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """A store in which every stage of the tiny chain has an artifact, an empty one."""
    made = Store(str(tmp_path_factory.mktemp("store")))
    commit_all(made, configured(), {})
    return made


def rows(store: Store, *changes: str, until: str | None = None, force: tuple[str, ...] = ()) -> dict[str, dict]:
    found = dry_run_listing(store, configured(*changes), until, list(force))
    return {row["stage"]: row for row in found}


def running(found: dict[str, dict], conditional: bool = False) -> set[str]:
    return {name for name, row in found.items() if not row["cached"] and row["conditional"] == conditional}


def test_every_stage_is_in_the_tables():
    stages = build_workflow()
    assert set(AFTER) == {stage.name for stage in stages}
    assert {stage.name for stage in stages if stage.config} == {s for stages in CHANGES.values() for s in stages}


def test_a_whole_store_asks_for_nothing(store):
    assert not running(rows(store)) and not running(rows(store), conditional=True)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_key_asks_for_the_stages_that_read_it_and_all_after_them(store, change):
    found = rows(store, change)
    assert running(found) == reached(CHANGES[change])
    assert not running(found, conditional=True)
    key = change.partition("=")[0]
    for stage in CHANGES[change]:
        assert any(f"config {key}:" in reason for reason in found[stage]["reasons"]), found[stage]


@pytest.mark.parametrize("stage", AFTER)
def test_a_forced_or_deleted_stage_runs_and_those_after_it_only_if_it_comes_out_different(store, stage, tmp_path):
    forced = rows(store, force=(stage,))
    (folder,) = store.local(f"artifacts/{stage}").iterdir()
    folder.rename(tmp_path / "aside")
    try:
        deleted = rows(store)
    finally:
        (tmp_path / "aside").rename(folder)
    for found in (forced, deleted):
        assert running(found) == {stage}
        assert running(found, conditional=True) == set(AFTER[stage])


@pytest.mark.parametrize("stage", AFTER)
def test_from_asks_for_a_stage_and_all_after_it_and_until_for_what_leads_to_it(store, stage):
    config = configured()
    found = {row["stage"]: row for row in resume_listing(store, Run("r", "tiny"), config, stage)}
    assert running(found) == reached([stage])
    assert not running(found, conditional=True)
    assert set(rows(store, until=stage)) == {s for s in AFTER if stage in reached([s])}
