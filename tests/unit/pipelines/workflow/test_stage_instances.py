"""Stages that are there once for each source: their names, what a name stands for, and what a new source asks for."""

from __future__ import annotations

import functools

import pytest

from pipelines.cluster.resources import Demand, resources_of, unmet
from pipelines.config.compose import compose_config, load_config, to_dict, to_yaml
from pipelines.config.declared import UndeclaredKey, declared
from pipelines.config.schema import Config
from pipelines.errors import UserError
from pipelines.stage import instance_name, shard_name, source_of
from pipelines.store.files import Store
from pipelines.store.runs import Run
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.graph_walks import ancestors, draw_workflow, stages_named
from pipelines.workflow.identity import identify
from pipelines.workflow.launch import dry_run_listing, resume_listing
from tests.unit.pipelines.workflow.cached_chain import commit_all

pytestmark = pytest.mark.unit
DATA = ["curate", "synthesize_edits", "measure_pairs", "curate_pairs", "index"]


@functools.cache
def configured(*sources: str, **changes: float) -> Config:
    """The tiny configuration with scenes sources of these names; `changes` are their counts."""
    values = to_dict(compose_config(["preset=tiny"]))
    values["sources"] = {name: {**values["source"], "count": changes.get(name, 80)} for name in sources}
    return Config.model_validate(values)


def running(rows: list[dict]) -> list[str]:
    return [row["stage"] for row in rows if not row["cached"]]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """A store in which the chain of two sources is cached."""
    made = Store(str(tmp_path_factory.mktemp("store")))
    commit_all(made, configured("drawn", "photos"), {})
    return made


def test_a_shard_names_its_source_and_one_without_a_source_has_none():
    assert shard_name("real_photos", "00012") == "real_photos-00012" and shard_name("", "00012") == "00012"
    assert source_of("artifacts/curate/f/shards/real_photos-00012.tar") == "real_photos"
    assert source_of("artifacts/curate/f/shards/00012.tar") == source_of("00012") == ""
    assert instance_name("score", "photos", "nsfw") == "score@photos.nsfw"
    assert instance_name("ingest", "") == "ingest"


def test_one_source_has_the_stages_and_fingerprints_that_it_had(tmp_path):
    stages = build_workflow(compose_config(["preset=tiny"]))
    assert [s.name for s in stages] == [s.base for s in stages] == [s.name for s in build_workflow()]
    found = identify(stages, configured(), Store(str(tmp_path)))
    assert "use" not in found["ingest"].config["source"] and found["ingest"].config["source"]["count"] == 240


def test_each_source_has_its_own_stages_and_all_meet_in_curate():
    stages = {stage.name: stage for stage in build_workflow(configured("drawn", "photos"))}
    assert list(stages)[:9] == ["ingest@drawn", "measure@drawn", "ingest@photos", "measure@photos", *DATA]
    assert stages["measure@photos"].inputs == ("ingest@photos",) and stages["measure@photos"].source == "photos"
    assert set(stages["curate"].inputs) == {"ingest@drawn", "ingest@photos", "measure@drawn", "measure@photos"}
    drawn = draw_workflow(list(stages.values()))
    assert all(name in drawn for name in stages)


def test_a_base_stands_for_all_its_instances_and_an_unknown_name_gets_the_nearest(store):
    config = configured("drawn", "photos")
    stages = build_workflow(config)
    assert stages_named("measure", stages) == ["measure@drawn", "measure@photos"]
    assert stages_named("measure@photos", stages) == ["measure@photos"]
    with pytest.raises(UserError, match="no stage 'measure@fotos'; did you mean 'measure@photos'"):
        stages_named("measure@fotos", stages)
    assert ancestors(["measure@photos"], stages) == ["ingest@photos", "measure@photos"]
    assert running(dry_run_listing(store, config, "measure", ["ingest@drawn"])) == ["ingest@drawn", "measure@drawn"]
    assert running(dry_run_listing(store, config, "measure@photos", ["ingest"]))[0] == "ingest@photos"
    with pytest.raises(UserError, match="stage ingest@drawn is forced, but the run ends before it"):
        dry_run_listing(store, config, "measure@photos", ["ingest@drawn"])
    again = running(resume_listing(store, Run("r", "tiny"), config, "ingest@photos"))
    assert again[:3] == ["ingest@photos", "measure@photos", "curate"] and "ingest@drawn" not in again


def test_a_new_or_a_changed_source_asks_for_nothing_of_the_others(store):
    added = running(dry_run_listing(store, configured("drawn", "photos", "third"), "index", []))
    assert added == ["ingest@third", "measure@third", *DATA]
    changed = running(dry_run_listing(store, configured("drawn", "photos", photos=90), "index", []))
    assert changed == ["ingest@photos", "measure@photos", *DATA]


def test_the_index_reads_what_was_measured_of_pictures_where_pairs_are_given_and_only_there():
    """A store without given pairs makes no index again."""
    before = next(stage for stage in build_workflow(configured("drawn", "photos")) if stage.name == "index")
    assert (before.version, before.inputs, before.config) == ("3", ("curate", "curate_pairs"), ("held_out",))
    values = to_dict(configured("drawn", "photos"))
    values["sources"]["pairs"] = to_dict(compose_config(["source=omniedit", "source.path=/data"]))["source"]
    stages = {stage.name: stage for stage in build_workflow(Config.model_validate(values))}
    assert stages["index"].inputs == (
        "curate", "curate_pairs", "measure@drawn", "measure@photos", "measure_pairs@pairs"
    )  # fmt: skip
    assert "curate.near_duplicate_distance" in stages["index"].config
    assert (stages["measure_pairs"].version, stages["measure_pairs@pairs"].version) == ("1", "2")


def test_a_sources_jobs_and_weight_are_no_matter_of_how_it_is_read(store):
    values = to_dict(configured("drawn", "photos"))
    values["sources"]["photos"] |= {"use": ["tokenizer"], "weight": 3.0}
    values["sources"]["drawn"] |= {"weight": 1.0}
    config = Config.model_validate(values)
    assert "ingest@photos" not in running(dry_run_listing(store, config, "measure", []))
    stage = next(s for s in build_workflow(config) if s.name == "ingest@photos")
    seen = declared(config, stage.name, stage.config, stage.without)
    assert seen.sources["photos"].weight is None and len(seen.sources["photos"].use) == 3
    assert seen.sources["photos"].count == 80
    with pytest.raises(UndeclaredKey, match=r"reads the configuration key sources\.drawn"):
        _ = seen.sources["drawn"]


def test_instances_share_resources_and_code(tmp_path):
    config = configured("drawn", "photos")
    assert resources_of(config, "measure@photos") == config.execution.resources.measure
    demands = [Demand.of(config, stage) for stage in build_workflow(config)]
    assert "measure" in unmet(demands, []) and not any("@" in name for name in unmet(demands, []))
    found = identify(build_workflow(config), config, Store(str(tmp_path)))
    assert found["ingest@photos"].code == found["ingest@drawn"].code
    assert found["ingest@photos"].fingerprint != found["ingest@drawn"].fingerprint


def test_a_kept_configuration_gives_its_sources_again_and_a_bad_name_is_refused():
    config = configured("drawn", "photos")
    assert load_config(to_yaml(config), "here") == config
    with pytest.raises(ValueError, match="should match pattern"):
        configured("Photos-1")
