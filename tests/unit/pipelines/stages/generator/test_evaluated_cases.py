"""Prompts and pairs of `pixsem evaluate` are read whole or refused, and its figures are those of the rows."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

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
    (part,) = sections_of(section, len(found), [])
    assert len(set(sheet.seeds(part))) == 8 and sheet.seeds(part) == EvaluatedSheet(section, 16, 0).seeds(part)
    assert sheet.seeds(part) != EvaluatedSheet(section, 16, 1).seeds(part)


def test_pairs_of_a_folder_and_of_its_metadata_file_are_the_same(tmp_path):
    folder = folder_of_pairs(tmp_path / "pairs", "source", "target", "instruction", "edit_type")
    found = pairs_of(asked(pairs=str(folder)))
    assert found == pairs_of(asked(pairs=str(folder / "metadata.jsonl")))
    assert [(pair.kind, pair.instruction) for pair in found] == [("style", f"edit {n}") for n in range(3)]
    assert found[1].source == png(10) and found[1].target == png(110)
    assert len(pairs_of(asked(pairs=str(folder), limit=2))) == 2
    case = EvaluatedSheet(asked(pairs=str(folder)), 16, 0).cases(sections_of(asked(), 0, found)[0])[2]
    assert case.source.shape == (16, 16, 3) and case.source[0, 0, 0] == 20 and case.target[0, 0, 0] == 120


def test_pairs_without_true_results_are_not_compared_with_any(tmp_path):
    folder = folder_of_pairs(tmp_path / "pairs", "source", "instruction")
    found = pairs_of(asked(pairs=str(folder)))
    assert [pair.target for pair in found] == [None] * 3
    (section,) = sections_of(asked(), 0, found)
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


def figures(rows, judges=("j",), model=None, **keys):
    config = compose_config(["preset=tiny"]).model_copy(update={"evaluate_model": asked(**keys)})
    said = {name: {"of": ["prompts", "edits"], "suffixed": True, "protocol": {"kind": name}} for name in judges}
    about = {"class": "X", "ceiling": True, **(model or {})}
    return ModelFigures(config, {"judges": said, "model": about}, 0).metrics(rows)


def row(category, **said):
    return {"category": category, "source_name": "", "rows": {"j": said}, "prompt": "p"}


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
    edit = {**row("style"), "chance": {}, "ceiling": {}, "of_source": {}}
    found = figures({"edits": [edit], "prompts": [row("a")]})
    assert found["absent"]["editing.of_source"].startswith("the pairs have no true results")
    assert "name a --benchmark" in found["absent"]["text_to_image.right"] == found["absent"]["editing.score"]
    true = {**edit, **{name: {"rows": {"j": {"psnr": 1.0}}} for name in ("chance", "ceiling", "of_source")}}
    found = figures({"edits": [true]}, model={"ceiling": False})
    assert found["editing"]["of_source"] == {"psnr_j": 1.0} and "of_reconstructions" not in found["editing"]
    assert "no autoencoder" in found["absent"]["editing.of_reconstructions"]
