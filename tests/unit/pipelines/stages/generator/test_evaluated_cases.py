"""Prompts and pairs of `pixsem evaluate` are read whole or refused, and its figures are those of the rows."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from pipelines.cli.evaluate_commands import _configured, _who_judges
from pipelines.config.compose import compose_config
from pipelines.config.schema import EvaluateModelSection
from pipelines.errors import UserError
from pipelines.stages.generator.evaluated_cases import EvaluatedSheet, pairs_of, prompts_of, sections_of
from pipelines.stages.generator.model_figures import ModelFigures

pytestmark = pytest.mark.unit


def png(colour: int) -> bytes:
    made = io.BytesIO()
    Image.fromarray(np.full((20, 30, 3), colour, np.uint8)).save(made, "PNG")
    return made.getvalue()


def asked(**keys) -> EvaluateModelSection:
    return EvaluateModelSection(model="m", **keys)


def folder_of_pairs(folder, *columns: str):
    folder.mkdir()
    lines = []
    for n in range(3):
        for side in ("source", "target"):
            (folder / f"{side}{n}.png").write_bytes(png(10 * n + (100 if side == "target" else 0)))
        row = {"source": f"source{n}.png", "target": f"target{n}.png", "instruction": f"edit {n}", "edit_type": "style"}
        lines.append(json.dumps({name: row[name] for name in columns}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return folder


def test_prompts_come_as_often_as_pictures_are_made_with_seeds_of_their_own(tmp_path):
    lines = [{"prompt": f"p{n}", "tag": "ab"[n % 2]} for n in range(6)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    section = asked(prompts=str(tmp_path / "p.jsonl"), images_per_prompt=2, limit=2)
    found = prompts_of(section)
    assert [each.text for each in found] == ["p0", "p0", "p1", "p1", "p2", "p2", "p3", "p3"]
    sheet = EvaluatedSheet(section, 16, 0)
    (part,) = sections_of(section, found, [])
    assert part.compared and not part.truth and part.features == ()
    assert len(set(sheet.seeds(part))) == 8 and sheet.seeds(part) == EvaluatedSheet(section, 16, 0).seeds(part)
    assert sheet.seeds(part) != EvaluatedSheet(section, 16, 1).seeds(part)


def test_pairs_of_a_folder_and_of_its_metadata_file_are_the_same(tmp_path):
    folder = folder_of_pairs(tmp_path / "pairs", "source", "target", "instruction", "edit_type")
    found = pairs_of(asked(pairs=str(folder)))
    assert found == pairs_of(asked(pairs=str(folder / "metadata.jsonl")))
    assert [(pair.kind, pair.instruction) for pair in found] == [("style", f"edit {n}") for n in range(3)]
    assert found[1].source == png(10) and found[1].target == png(110)
    assert len(pairs_of(asked(pairs=str(folder), limit=2))) == 2
    case = EvaluatedSheet(asked(pairs=str(folder)), 16, 0).cases(sections_of(asked(), [], found)[0])[2]
    assert case.source.shape == (16, 16, 3) and case.source[0, 0, 0] == 20 and case.target[0, 0, 0] == 120


def test_pairs_without_true_results_are_not_compared_with_any(tmp_path):
    folder = folder_of_pairs(tmp_path / "pairs", "source", "instruction")
    found = pairs_of(asked(pairs=str(folder)))
    assert [pair.target for pair in found] == [None] * 3
    (section,) = sections_of(asked(), [], found)
    assert not section.truth and not section.compared
    assert not EvaluatedSheet(asked(pairs=str(folder)), 16, 0).has_truth


def test_pairs_of_a_parquet_file_have_their_pictures_in_it(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"source": [png(0), png(1)], "target": [png(100), png(101)], "instruction": ["a", "b"]}
    pq.write_table(pa.table(rows), tmp_path / "pairs.parquet")
    found = pairs_of(asked(pairs=str(tmp_path / "pairs.parquet")))
    assert [(pair.instruction, pair.source, pair.target) for pair in found] == [
        ("a", png(0), png(100)), ("b", png(1), png(101))
    ]  # fmt: skip


def test_a_pair_that_cannot_be_read_is_refused_and_not_passed_over(tmp_path):
    folder = folder_of_pairs(tmp_path / "pairs", "source", "target", "instruction")
    (folder / "target1.png").unlink()
    with pytest.raises(UserError, match=r"metadata\.jsonl:2"):
        pairs_of(asked(pairs=str(folder)))
    (folder / "target1.png").write_bytes(png(0)[:40])
    with pytest.raises(UserError, match="cannot be"):
        EvaluatedSheet(asked(pairs=str(folder)), 16, 0)
    with pytest.raises(UserError, match="cannot be read"):
        pairs_of(asked(pairs=str(tmp_path / "nowhere")))


def test_prompts_may_name_true_pictures_below_their_file_and_all_do_or_none(tmp_path):
    def file(*lines):
        (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return asked(prompts=str(tmp_path / "p.jsonl"))

    (tmp_path / "true").mkdir()
    (tmp_path / "true" / "a.png").write_bytes(png(70))
    whole = file({"prompt": "a", "picture": "true/a.png"}, {"prompt": "b", "picture": "true/a.png"})
    found = prompts_of(whole)
    (section,) = sections_of(whole, found, [])
    assert section.truth and "truth" in section.features and found[0].row == {"truth": "true/a.png"}
    truth = EvaluatedSheet(whole, 16, 0).truth(section, found[1])
    assert truth.shape == (16, 16, 3) and (truth == 70).all()
    for lines, words in (
        ([{"prompt": "a", "picture": "true/a.png"}, {"prompt": "b"}], "'b' names no `picture`"),
        ([{"prompt": "a", "picture": "true/b.png"}], "there is no picture .*b.png"),
        ([{"prompt": "a", "picture": "../a.png"}], "line 1: the picture is '../a.png'"),
        ([{"prompt": "a", "picture": "/etc/passwd"}], "a path below the folder"),
        ([{"prompt": "a", "picture": 3}], "line 1: the picture is 3"),
    ):
        with pytest.raises(UserError, match=words):
            prompts_of(file(*lines))


def test_masks_of_pairs_say_what_an_edit_may_change(tmp_path):
    folder = folder_of_pairs(tmp_path / "pairs", "source", "target", "instruction")
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for n, line in enumerate(lines):
        (folder / f"mask{n}.png").write_bytes(png(255 * (n % 2)))
        line["mask"] = f"mask{n}.png"
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    section = asked(pairs=str(folder))
    cases = EvaluatedSheet(section, 16, 0).cases(sections_of(section, [], pairs_of(section))[0])
    assert [bool(case.mask.all()) for case in cases] == [False, True, False]
    assert [bool(case.mask.any()) for case in cases] == [False, True, False]


def figures(rows, judges=("j",), model=None, features=None, **keys):
    config = compose_config(["preset=tiny"]).model_copy(update={"evaluate_model": asked(**keys)})
    said = {name: {"of": ["prompts", "edits"], "suffixed": True, "protocol": {"kind": name}} for name in judges}
    about = {"class": "X", "decodes": True, "own": "", "features": {}, **(model or {})}
    return ModelFigures(config, {"judges": said, "model": about}, 0).metrics(rows, features or {})


def row(category, **said):
    empty = {key: {} for key in ("about", "chance", "ceiling", "of_source", "removal")}
    return {"category": category, "source_name": "", "rows": {"j": said}, "prompt": "p", **empty}


def test_overall_is_the_mean_over_categories_and_unread_answers_leave_it(tmp_path):
    rows = [
        row("a", right=True),
        row("a", right=True),
        row("a", right=False),
        row("a", right=True),
        row("b", right=None),
    ]
    found = figures({"prompts": [*rows, row("b", right=False)]})
    images = found["text_to_image"]
    assert images["right_j"] == 3 / 5 and images["overall_j"] == 0.375
    assert images["by_category"] == {"a": {"right_j": 0.75}, "b": {"right_j": 0.0}}
    low, high = found["intervals"]["text_to_image.overall_j"]
    assert 0 <= low <= 0.375 <= high <= 0.5
    assert "editing" in found["absent"] and "text_to_image.ceiling" in found["absent"]


def test_questions_are_counted_by_their_category_over_all_pictures():
    def answers(*said):
        return [{"category": category, "right": right} for category, right in said]

    rows = [
        row("p", score=1.0, unread=0, answers=answers(("entity", True), ("entity", True), ("colour", False))),
        row("p", score=0.5, unread=1, answers=answers(("entity", False), ("colour", None))),
    ]
    images = figures({"prompts": rows})["text_to_image"]
    assert images["by_question_j"] == {"colour": 0.0, "entity": 2 / 3}
    assert images["score_j"] == 0.75 and images["unread_j"] == 0.5


def test_figures_that_are_missing_say_what_would_make_them_appear():
    absent = figures({"edits": [row("style")], "prompts": [row("a")]})["absent"]
    assert absent["editing.of_source"] == absent["editing.psnr"] == absent["editing.lpips"]
    for name, words in {
        "editing.psnr": "column target", "editing.score": "vlm_score", "text_to_image.right": "name a --benchmark",
        "text_to_image.similarity": "clip.kind=image_text", "text_to_image.ceiling": "`picture`",
        "text_to_image.frechet": "`picture`",
    }.items():  # fmt: skip
        assert words in absent[name]
    true = {**row("style"), **{name: {"rows": {"j": {"psnr": 1.0}}} for name in ("chance", "of_source")}}
    found = figures({"edits": [true]}, model={"decodes": False})
    assert found["editing"]["of_source"] == {"psnr_j": 1.0} and "of_reconstructions" not in found["editing"]
    absent = found["absent"]
    assert "no autoencoder" in absent["editing.of_reconstructions"] and "lpips_weights" in absent["editing.lpips"]
    assert "column mask" in absent["editing.preservation_psnr"]


def test_a_true_picture_counts_once_in_distances_of_sets_however_many_pictures_are_made_of_it():
    draw = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    rows = [
        {**row("a", similarity=0.5), "about": {"truth": f"{n // 2}.png"}, "prompt": f"p{n // 2}"} for n in range(60)
    ]
    of = np.repeat(draw, 2, 0)
    features = {"truth.f": of, "made.f": of, "ceiling.f": of, "chance.f": -of}
    found = figures({"prompts": rows}, model={"features": {"f": "x"}}, features=features)
    images = found["text_to_image"]
    assert images["frechet_pictures"] == 30 and images["coverage_f"] == 1 == images["instance_retrieval_f"]
    assert images["kernel_f"] < 1e-6 < images["chance"]["kernel_f"] and images["ceiling"]["recall_f"] == 1
    assert {"text_to_image.frechet_f", "text_to_image.coverage_f"} <= found["intervals"].keys()


def test_captions_that_a_model_cannot_tell_apart_have_no_retrieval_and_all_else():
    rows = [{**row("a", similarity=0.5), "prompt": f"p{n}"} for n in range(3)]
    features = {"made.image_text": np.eye(3, dtype=np.float32), "texts.image_text": np.ones((3, 3), np.float32)}
    found = figures({"prompts": rows}, model={"own": "own"}, features=features)
    assert found["text_to_image"]["similarity_j"] == 0.5 and "retrieval" not in found["text_to_image"]
    assert "tells none of these captions" in found["absent"]["text_to_image.retrieval"]


def test_who_judges_is_said_before_pictures_are_made_and_where_nobody_does_what_to_name():
    config = compose_config(["preset=tiny", "measure.models={clip: {kind: image_text, path: a/clip}}"])
    judges = _configured(config)
    assert judges == {"clip": {"kind": "image_text", "path": "a/clip", "revision": None}}
    assert _who_judges(asked(prompts="p.txt", judges=judges)) == "judges: clip (a/clip)"
    assert "train_encoder/abc" in _who_judges(asked(prompts="p.txt", image_text="abc"))
    told = _who_judges(asked(prompts="p.txt"))
    assert told.startswith("judges: none. Pictures are made and kept") and "clip.kind=image_text" in told
