"""The pictures world through the data stages: every file accounted for, faults that are known, pairs and an index that
keep the held-out side apart.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.curation.faults import FAULTS
from components.curation.images import decode_image
from components.curation.options import ImageLimits
from components.data.records import Record, read_records
from components.data.samples import image_part
from components.data.tables import read_table
from components.pictures.catalogue import HELD_OUT, RECONSTRUCTION, TRAIN, Catalogue
from components.pictures.composition import Composition, render
from components.pictures.draw import MAX_BYTES
from components.pictures.drawing_edits import follows
from pipelines.config.compose import compose_config
from pipelines.errors import UserError
from pipelines.stages.data.ingest_pictures import read_catalogue
from pipelines.stages.data.picture_pairs import picture_pairs
from pipelines.stages.data.sides import said_of
from pipelines.store.artifacts import Artifact
from tests.unit.pictures.drawings import PACKAGED, SMALL, copy_drawings
from tests.unit.pipelines.stages.data.stage_chain import local_files, read_index, run_stages

pytestmark = pytest.mark.unit
SETTINGS = [
    "preset=tiny", "source=pictures_tiny", "source.samples_per_shard=40",
    "source.picture.combinations_held_out=0.2", "source.picture.concepts_held_out=0.2",
    "source.picture.factor_edits=2", "source.picture.composition_edits=2", "curate.near_duplicate_peak=3",
    "curate.near_duplicate_colour=1.5", "curate.max_caption_repeats=3",
]  # fmt: skip
BOMB = "".join(f'<g id="g{n}">' + f'<use href="#g{n + 1}"/>' * 10 + "</g>" for n in range(9))
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">%s</svg>'
BAD = {  # file name -> what becomes of it
    "waving_hand.svg": "no_code_points",
    "1F98A.svg": "broken_svg",
    "1F697.svg": "svg_bomb",
    "1F3B8.svg": "outside_reference",
    "1F354.png": "broken_image",
    "1F344.svg": "empty_drawing",
    "1F6F8.svg": "too_many_bytes",
}
LEFT = {
    "E000.svg": "no_name",
    "1F469-1F3FB-200D-1F91D-200D-1F469-1F3FC.svg": "left_out",
    "emoji_u1f44b.svg": "same_code_points",
}


def set_of(folder: Path) -> Path:
    """Return a folder of drawings with every kind of file that cannot be used."""
    copy_drawings(folder, SMALL)
    shutil.copy(PACKAGED / "1F44B.svg", folder / "waving_hand.svg")
    whole = (PACKAGED / "1F98A.svg").read_bytes()
    (folder / "1F98A.svg").write_bytes(whole[: len(whole) // 2])
    (folder / "1F697.svg").write_text(SVG % (BOMB + '<rect id="g9" width="1" height="1"/><use href="#g0"/>'))
    (folder / "1F3B8.svg").write_text(SVG % '<image href="/etc/hostname" width="72" height="72"/>')
    (folder / "1F354.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (folder / "1F344.svg").write_text(SVG % "")
    with (folder / "1F6F8.svg").open("wb") as handle:
        handle.truncate(MAX_BYTES + 1)
    for name in ("E000", "1F469-1F3FB-200D-1F91D-200D-1F469-1F3FC"):
        shutil.copy(PACKAGED / f"{name}.svg", folder)
    shutil.copy(PACKAGED / "1F44B.svg", folder / "emoji_u1f44b.svg")
    (folder / "LICENSE.txt").write_text("mine")
    return folder


def faults_of(share: float) -> str:
    return "source.faults={" + ",".join(f"{name}:{share}" for name in FAULTS) + "}"


def config_of(path: Path | str, *more: str, compositions: int = 1):
    return compose_config([*SETTINGS, f"source.path={path}", f"source.picture.compositions={compositions}", *more])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Artifact]:
    """The data stages of a set with bad files, without faults in its compositions."""
    folder = tmp_path_factory.mktemp("pictures")
    config = config_of(set_of(folder / "set"), faults_of(0))
    return run_stages(folder / "store", config, "index")


def records(artifact: Artifact) -> list[Record]:
    found = [record for path in local_files(artifact, "shards/*.tar") for record in read_records(path)]
    assert all(isinstance(record, Record) for record in found)
    return found


def about(record: Record) -> dict:
    return json.loads(record.parts["json"])


def rows_of(artifact: Artifact, folder: str) -> list[dict]:
    found = []
    for path in local_files(artifact, f"{folder}/*"):
        table = read_index(path) if folder == "index" else read_table(path)
        found += [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    return found


def pixels(data: bytes) -> np.ndarray:
    return decode_image(data, ImageLimits()).rgb


@pytest.fixture(scope="module")
def curated(made) -> Catalogue:
    return read_catalogue(local_files(made["curate"], "shards/*.tar"))


def test_every_file_is_kept_dropped_or_failed_with_its_reason_and_the_counts_add_up(made):
    rows = {row["origin"]: row for row in rows_of(made["ingest"], "rows")}
    files = {origin.removeprefix("set/"): row for origin, row in rows.items() if origin.startswith("set/")}
    assert set(files) == {f"{stem}.svg" for stem in SMALL} | set(BAD) | set(LEFT)
    failed = {name: row["reason"] for name, row in files.items() if row["status"] == "failed"}
    dropped = {name: row["reason"] for name, row in files.items() if row["status"] == "dropped"}
    assert failed == BAD and dropped == LEFT
    assert all(row["detail"] for row in files.values() if row["status"] != "success")
    composed = [row for origin, row in rows.items() if origin.startswith("composition ")]
    trained = len([e for e in whole(made).entries if e.split == TRAIN])
    assert len(composed) == trained and {row["status"] for row in composed} == {"success"}
    assert made["ingest"].manifest.counts == {
        "input": len(rows), "kept": len(SMALL) + trained, "dropped": len(LEFT), "failed": len(BAD),
    }  # fmt: skip
    told = made["ingest"].manifest.metrics["ingest"]
    assert sum(told["failed_by_reason"].values()) == len(BAD)
    assert sum(told["dropped_by_reason"].values()) == len(LEFT)


def whole(made) -> Catalogue:
    return read_catalogue(local_files(made["ingest"], "drawings.tar"))


def test_the_catalogue_comes_back_from_its_tar_and_from_the_shards_that_carry_it(made):
    catalogue = whole(made)
    again = read_catalogue(local_files(made["ingest"], "shards/*.tar"))
    assert {e.key: e for e in catalogue.entries} == {e.key: e for e in again.entries}
    assert all(np.array_equal(catalogue.cutout(key), again.cutout(key)) for key in catalogue.at)
    assert all(catalogue.by_split[side] for side in (TRAIN, HELD_OUT, RECONSTRUCTION))


def test_a_sample_shows_its_composition_and_says_so_in_its_captions(made):
    catalogue = whole(made)
    found = records(made["ingest"])
    assert len(found) == made["ingest"].manifest.counts["kept"]
    singles = 0
    for record in found:
        said = about(record)["pixsem"]
        composition = Composition.from_dict(said["composition"])
        assert np.array_equal(pixels(record.parts["png"]), render(composition, catalogue))
        assert record.parts["txt"].decode() == said["captions"][0] == about(record)["caption"]
        splits = {catalogue[key].split for key in composition.keys}
        assert said["held_out"] == (splits != {TRAIN}) and said["split"] in splits
        singles += "entry" in said
        assert about(record)["faults"] == [] and about(record)["attribution"] == ""
    assert singles == len(SMALL)


def test_ingest_gives_the_same_bytes_again_and_another_seed_another_split(made, tmp_path):
    config = config_of(set_of(tmp_path / "set"), faults_of(0))
    again = run_stages(tmp_path / "store", config, "ingest")["ingest"]
    assert again.manifest.digest == made["ingest"].manifest.digest
    other = run_stages(tmp_path / "other", config_of(tmp_path / "set", "seed=5"), "ingest")
    assert [e.split for e in whole(other).entries] != [e.split for e in whole(made).entries]


def test_faults_are_planted_in_compositions_alone_and_carry_their_names_and_the_others_key(tmp_path):
    config = config_of(copy_drawings(tmp_path / "set"), faults_of(0.05), compositions=3)
    made = run_stages(tmp_path / "store", config, "curate")
    found = {record.key: record for record in records(made["ingest"])}
    drawings = [record for record in found.values() if "entry" in about(record)["pixsem"]]
    assert len(drawings) == len(SMALL) and not any(about(record)["faults"] for record in drawings)
    planted = {key: about(record)["faults"][0] for key, record in found.items() if about(record)["faults"]}
    composed = len(found) - len(drawings)
    assert {name: list(planted.values()).count(name) for name in FAULTS} == dict.fromkeys(FAULTS, round(composed / 20))
    for key, fault in planted.items():
        record, metadata = found[key], about(found[key])
        extension, data = image_part(record)
        assert metadata["pixsem"]["captions"] == [metadata["caption"]] == [record.parts["txt"].decode()]
        if fault not in ("duplicate_image", "near_duplicate_image"):
            assert "fault_source" not in metadata
            continue
        other = found[metadata["fault_source"]]
        assert not about(other)["faults"]
        difference = np.abs(pixels(data).astype(int) - pixels(image_part(other)[1])).mean()
        assert (difference == 0) if fault == "duplicate_image" else (0 < difference < 12 and extension == "jpg")
    scores = made["curate"].manifest.metrics["curation"]
    assert scores["tiny_image"]["recall"] == scores["broken_image"]["recall"] == scores["flat_image"]["recall"] == 1
    assert scores["duplicate_image"]["planted"] == round(composed / 20) and scores["duplicate_image"]["recall"] > 0.5


def test_every_pair_leads_between_curated_drawings_exactly_as_it_says(made, curated):
    kept = {
        about(record)["pixsem"]["entry"]["key"]
        for record in records(made["curate"])
        if "entry" in about(record)["pixsem"]
    }
    assert kept == set(curated.at) and len(kept) > 30
    pairs = records(made["synthesize_edits"])
    kinds = {about(pair)["kind"] for pair in pairs}
    assert {"skin_tone", "gender", "direction", "colour"} <= kinds and len(kinds) > 9
    for pair in pairs:
        said = about(pair)["pixsem"]
        source, target = (Composition.from_dict(said[side]) for side in ("source", "target"))
        before, after = (pixels(pair.parts[f"{side}.png"]) for side in ("source", "target"))
        assert {*source.keys, *target.keys} <= kept
        assert np.array_equal(before, render(source, curated)) and np.array_equal(after, render(target, curated))
        changed = pixels(pair.parts["mask.png"])[..., 0] > 0
        assert np.array_equal(changed, (before != after).any(-1)) and changed.any()
        assert said["instructions"][0] == pair.parts["txt"].decode()
        splits = {curated[key].split for key in (*source.keys, *target.keys)}
        assert said["held_out"] == (HELD_OUT in splits) and RECONSTRUCTION not in splits


def test_every_pair_of_drawings_agrees_with_its_description_and_passes_as_it_is(made, curated):
    before, after = (local_files(made[name], "shards/*.tar") for name in ("synthesize_edits", "curate_pairs"))
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(before, after, strict=True))
    signals = rows_of(made["measure_pairs"], "signals")
    assert {row["exact"] for row in signals} == {"agrees"}
    pairs = [about(record) for record in records(made["synthesize_edits"])]
    for own, other in itertools.pairwise(pairs):
        source, target = (Composition.from_dict(own["pixsem"][side]) for side in ("source", "target"))
        for text in other["pixsem"]["instructions"]:
            if follows(text, own["kind"], source, target, curated):
                assert own["kind"] == other["kind"], text


def test_the_index_keeps_held_out_drawings_and_their_edits_on_their_side_with_several_texts(made, curated):
    rows = rows_of(made["index"], "index")
    samples = {record.key: about(record) for record in records(made["curate"])}
    pairs = {record.key: about(record) for record in records(made["synthesize_edits"])}
    assert {row["key"] for row in rows} == set(samples) | set(pairs)
    for row in rows:
        said = (samples if row["role"] == "picture" else pairs)[row["key"]]["pixsem"]
        shown = [said["composition"]] if row["role"] == "picture" else [said["source"], said["target"]]
        splits = {curated[key].split for one in shown for key in Composition.from_dict(one).keys if key in curated.at}
        assert row["held_out"] == said["held_out"] and (row["held_out"] or splits <= {TRAIN})
        if row["role"] == "picture" and said["split"] == RECONSTRUCTION:
            assert (row["caption"], row["texts"]) == ("", [])  # for pictures alone: its words are never taught
        elif row["role"] == "picture":
            assert row["texts"] == said["captions"] and row["caption"] == row["texts"][0]
        elif row["role"] == "target":
            assert row["texts"] == said["instructions"] and row["instruction"] == row["texts"][0]
        else:
            assert row["texts"] is None
    several = [row for row in rows if row["texts"] and len(row["texts"]) > 1]
    assert {row["role"] for row in several} == {"picture", "target"}
    sides = {(row["role"], row["held_out"]) for row in rows}
    assert len(sides) == 6, "each role on both sides"


def test_a_set_of_which_nothing_can_be_used_is_refused_with_the_reasons(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "waving_hand.svg").write_text(SVG % "")
    (folder / "1F344.svg").write_text(SVG % "")
    with pytest.raises(UserError, match=r"of 2 drawings in source.path none can be used \(empty_drawing, no_code_poi"):
        run_stages(tmp_path / "store", config_of(folder), "ingest")
    for path, words in ((tmp_path / "nowhere", "no folder or tar"), (tmp_path / "empty", "no drawings are there")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=words):
            run_stages(tmp_path / "again", config_of(path), "ingest")


def test_two_sets_are_drawn_as_styles_and_an_edit_leads_from_one_to_the_other(tmp_path):
    for name in ("flat", "round"):
        copy_drawings(tmp_path / name, SMALL[:12])
    for path in (tmp_path / "round").glob("*.svg"):  # another artist: everything is blue
        path.write_text(re.sub(r'fill="#(?!000)\w+"', 'fill="#36f"', path.read_text()))
    config = config_of(f"{{flat: {tmp_path / 'flat'}, round: {tmp_path / 'round'}}}")
    made = run_stages(tmp_path / "store", config, "synthesize_edits")
    assert {e.factors["style"] for e in whole(made).entries} == {"flat", "round"}
    styles = [pair for pair in records(made["synthesize_edits"]) if about(pair)["kind"] == "style"]
    assert styles
    for pair in styles:
        keys = [about(pair)["pixsem"][side]["items"][0][1].partition("-") for side in ("source", "target")]
        assert {keys[0][0], keys[1][0]} == {"flat", "round"} and keys[0][2] == keys[1][2]


@pytest.mark.parametrize(
    "about",
    [{"entry": "x"}, {"entry": {"key": "k"}}, {"entry": None}, {"entry": [], "options": 3}],
)
def test_anothers_metadata_under_our_name_is_a_reason_and_no_traceback(made, about):
    with pytest.raises(ValueError, match=r"no entry|no drawing|validation"):
        picture_pairs(about, whole(made), 0)


@pytest.mark.parametrize("said", ["x", '{"pixsem": 3}', '{"pixsem": {"held_out": "yes"}}', "[1]", "{", ""])
def test_anothers_metadata_under_our_name_decides_no_side_of_the_split(said):
    assert said_of(said) == {}
    assert said_of('{"pixsem": {"held_out": true, "captions": [1]}}') == {}
    assert said_of('{"pixsem": {"held_out": true, "captions": ["a"]}}') == {"held_out": True, "captions": ["a"]}
