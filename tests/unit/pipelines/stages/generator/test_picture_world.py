"""The pictures world for the judge, on a small real index: prompts and edits of what no model was trained on, true
pictures that are right, and copies of the source that never are.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from components.data.records import Record, read_records
from components.pictures.catalogue import HELD_OUT, RECONSTRUCTION, TRAIN
from components.pictures.composition import Composition
from components.pictures.options import CATEGORIES, COMPOSITION_EDITS, FACTORS
from pipelines.config.compose import compose_config
from pipelines.config.schema import Config
from pipelines.stage import ShardContext, ShardTask
from pipelines.stages.generator.judged_world import find_world
from pipelines.stages.generator.picture_world import SEEN, PictureWorld
from tests.unit.pictures.drawings import HAIR, RUNNING, SMALL, copy_drawings
from tests.unit.pipelines.stages.data.stage_chain import local_files, run_stages
from tests.unit.pipelines.stages.generator.evaluated import evaluate, pieces
from tests.unit.pipelines.stages.generator.fake_world import Prepared, key_of

pytestmark = pytest.mark.unit
SETTINGS = [
    "preset=tiny", "source=pictures_tiny", "image_size=64", "encoder.small.patch=16", "source.picture.compositions=1",
    "source.picture.combinations_held_out=0.3", "source.picture.concepts_held_out=0.2",
    "curate.near_duplicate_distance=-1", "evaluate_generator.prompts=8", "evaluate_generator.unseen_prompts=4",
    "evaluate_generator.edits=6",
]  # fmt: skip
STEMS = tuple(dict.fromkeys((*SMALL, *RUNNING, *HAIR[:15], *HAIR[30:])))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A configuration, the artifacts of its data stages, and a folder."""
    folder = tmp_path_factory.mktemp("world")
    config = compose_config([*SETTINGS, f"source.path={copy_drawings(folder / 'set', STEMS)}"])
    return config, run_stages(folder / "store", config, "index"), folder


def world_of(made, seed: int = 0, config: Config | None = None) -> PictureWorld:
    asked, artifacts, folder = made
    context = ShardContext(ShardTask("evaluation"), 0, folder, artifacts["index"].store, folder / "scratch")
    return PictureWorld(context, config or asked, artifacts, seed)


@pytest.fixture(scope="module")
def world(made) -> PictureWorld:
    return world_of(made)


@pytest.fixture(scope="module")
def trained(made) -> set[bytes]:
    """The pictures that a model is trained on, by their pixels."""
    from components.curation.images import decode_image
    from components.curation.options import ImageLimits

    _, artifacts, _ = made
    found = set()
    for stage in ("curate", "curate_pairs"):
        for path in local_files(artifacts[stage], "shards/*.tar"):
            for record in read_records(path):
                assert isinstance(record, Record)
                if not json.loads(record.parts["json"])["pixsem"]["held_out"]:
                    pictures = [
                        part for name, part in record.parts.items() if name in ("png", "source.png", "target.png")
                    ]
                    found |= {decode_image(part, ImageLimits()).rgb.tobytes() for part in pictures}
    return found


def test_the_world_of_a_pictures_source_is_this_one_and_says_beforehand_what_it_asks_for(made, world):
    config = made[0]
    assert find_world(config) is PictureWorld
    sizes = PictureWorld.sizes(config)
    assert sizes.categories == world.categories == CATEGORIES and sizes.further == 4
    assert sizes.edit_kinds == world.edit_kinds == (*FACTORS, *COMPOSITION_EDITS) and sizes.judged
    plain = compose_config(["preset=tiny", "source=pictures"])
    assert (
        PictureWorld.sizes(plain).categories == ("single_object",) and PictureWorld.sizes(plain).edit_kinds == FACTORS
    )


@pytest.mark.parametrize("category", CATEGORIES)
def test_prompts_are_distinct_and_about_held_out_drawings(world, trained, category):
    prompts = world.prompts(category, 8)
    assert 4 <= len(prompts) <= 8 and all(asked.category == category for asked in prompts)
    shown = [asked.about.composition for asked in prompts]
    assert len(set(shown)) == len(shown)
    for asked in prompts:
        assert Composition.from_dict(asked.row["truth"]) == asked.about.composition and asked.text
        splits = {world.catalogue[key].split for key in asked.about.composition.keys}
        assert HELD_OUT in splits and RECONSTRUCTION not in splits
        assert world.picture(asked).tobytes() not in trained


def test_prompts_of_the_seen_split_are_about_taught_drawings_alone(made, world):
    for category in CATEGORIES:
        prompts = world.prompts(category, 4, SEEN)
        assert prompts
        keys = {key for asked in prompts for key in asked.about.composition.keys}
        assert {world.catalogue[key].split for key in keys} == {TRAIN}
    assert [split.metric for split in world.sizes(made[0]).splits] == [SEEN]


def test_the_same_seed_asks_for_the_same_and_another_for_something_else(made, world):
    again, other = world_of(made), world_of(made, seed=1)
    for category in CATEGORIES:
        assert world.prompts(category, 6) == again.prompts(category, 6)
    for kind in world.edit_kinds:
        assert [c.row for c in world.edits(kind, 4)] == [c.row for c in again.edits(kind, 4)]
    assert world.prompts("single_object", 6) != other.prompts("single_object", 6)


def test_true_pictures_are_right_in_all_that_is_said_and_other_ones_are_not(world):
    for category in CATEGORIES:
        prompts = world.prompts(category, 8)
        readings = world.read(np.stack([world.picture(asked) for asked in prompts]))
        assert all(all(world.right(asked, read).values()) for asked, read in zip(prompts, readings, strict=True))
        crossed = [world.right(asked, readings[i - 1])["exact"] for i, asked in enumerate(prompts)]
        assert sum(crossed) <= 1
    said = {name for asked in world.prompts("single_object", 30) for name in world.right(asked, Composition(()))}
    assert {"exact", "concept", "skin_tone", "gender"} <= said


@pytest.mark.parametrize("kind", [*FACTORS, *COMPOSITION_EDITS])
def test_an_edit_leads_to_a_picture_that_no_model_was_trained_on(world, trained, kind):
    cases = world.edits(kind, 6)
    if kind in ("time", "phase", "style"):
        assert cases == []  # each time, phase and style here comes once, or there is one set
        return
    assert cases and all(case.kind == kind and case.instruction for case in cases)
    for case in cases:
        splits = {world.catalogue[key].split for key in case.about.target.keys}
        assert HELD_OUT in splits and case.about.split == HELD_OUT
        assert case.target.tobytes() not in trained
        assert np.array_equal(case.mask, (case.source != case.target).any(-1)) and case.mask.any()
        assert Composition.from_dict(case.row["truth"]) == case.about.target
    if kind in FACTORS:
        assert {world.catalogue[case.about.source.keys[0]].split for case in cases} == {TRAIN}


def test_the_true_result_of_an_edit_is_right_and_a_copy_of_the_source_is_not(world):
    cases = [case for kind in world.edit_kinds for case in world.edits(kind, 6)]
    true = world.read_edits(np.stack([case.target for case in cases]), cases)
    copied = world.read_edits(np.stack([case.source for case in cases]), cases)
    assert [c.kind for c, read in zip(cases, true, strict=True) if not world.edited_right(c, read)] == []
    assert [c.kind for c, read in zip(cases, copied, strict=True) if world.edited_right(c, read)] == []
    assert not any(world.source_right(case) for case in cases)
    assert all(json.dumps(world.plain(read)) for read in true)


def test_an_evaluation_gives_every_figure_of_this_world(made, world, tmp_path):
    fewer = ("evaluate_generator.prompts=3", "evaluate_generator.edits=3")
    config = compose_config(
        [*SETTINGS[:-3], "evaluate_generator.unseen_prompts=2", *fewer, f"source.path={made[2] / 'set'}"]
    )
    only = ("held out prompts", "edits")
    studio, sections = pieces(config, world, Prepared({}))
    cases = [(s, case) for s in sections if s.split in only for case in studio.sheet.cases(s)]
    truth = {key_of(c) if s.of_edits else c.text: studio.sheet.truth(s, c) for s, c in cases}
    metrics = evaluate(tmp_path, config, world, Prepared(truth), size=64, only=only).metrics()
    figures, done = metrics["text_to_image"], metrics["editing"]
    names = {*CATEGORIES, "overall", "exact", "concept", "skin_tone", "gender"}
    assert {figures[name] for name in names} == {figures["ceiling"][name] for name in names} == {1.0}
    kinds = Counter(case.kind for s, case in cases if s.of_edits)
    assert {name: done[name] for name in kinds} == dict.fromkeys(kinds, 1.0)
    assert done["success"] == done["by_factor"] == done["ceiling"] == 1 and done["copy_source"] == 0
    absent = {name for name in metrics["absent"] if name.removeprefix("editing.") in world.edit_kinds}
    assert absent == {f"editing.{name}" for name in ("time", "phase", "style")}

    (tmp_path / "copied").mkdir()
    copies = truth | {key_of(c): c.source for s, c in cases if s.of_edits}
    copied = evaluate(tmp_path / "copied", config, world, Prepared(copies), size=64, only=("edits",))
    figures = copied.metrics()["editing"]
    assert figures["success"] == figures["by_factor"] == 0 and figures["ceiling"] == 1


def test_without_compositions_every_picture_is_read_as_one_drawing(made):
    config = compose_config(
        [
            *(s for s in SETTINGS if "compositions" not in s),
            "source.picture.compositions=0",
            "source.picture.composition_edits=0",
            f"source.path={made[2] / 'set'}",
        ]
    )
    world = world_of(made, config=config)
    assert world.categories == ("single_object",) and world.edit_kinds == FACTORS
    prompts = world.prompts("single_object", 8)
    readings = world.read(np.stack([world.picture(asked) for asked in prompts]))
    assert {read.layout for read in readings} == {("full",)}
    assert all(world.right(asked, read)["exact"] for asked, read in zip(prompts, readings, strict=True))
