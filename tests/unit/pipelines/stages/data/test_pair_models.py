"""Edit pairs before published models: the direction of a change, and a judge that is shown both pictures."""

from __future__ import annotations

import json

import pytest

from components.curation.images import encode_png
from components.curation.pairs.judge_prompt import ask, read_scores
from components.curation.pairs.options import PairJudge, PairTowers
from components.data.records import Record, write_records
from components.data.tables import read_table
from pipelines.config.compose import compose_config
from pipelines.preflight import problems
from pipelines.stage import ShardContext, ShardTask
from pipelines.stages.data.measure_pairs import measure_shard
from pipelines.store.files import Store
from tests.unit.vision_models.tiny_models import clip_of_colours, coloured, llava

pytestmark = pytest.mark.unit
PAIRS = {  # key: colours of source and target, and the colour that the instruction asks for
    "right": ("red", "blue", "blue"),
    "other": ("blue", "green", "green"),
    "wrong": ("red", "green", "blue"),
    "still": ("red", "red", "blue"),
}


def measured(folder, image_text, judge) -> dict[str, dict]:
    records = []
    for number, (key, (before, after, asked)) in enumerate(PAIRS.items()):
        about = {"caption": f"a {before} picture", "target_caption": f"a {asked} picture"}
        parts = {"source.png": encode_png(coloured(before, number)), "target.png": encode_png(coloured(after, number))}
        words = {"txt": f"a {asked} picture".encode(), "json": json.dumps(about if key != "other" else {}).encode()}
        records.append(Record(key, parts | words))
    write_records(folder / "pairs.tar", [*records, Record("broken", {"txt": b"x"})])
    store = Store(str(folder))
    store.prepare()
    limits = {"max_bytes": 2**20, "max_pixels": 10**6}
    args = {"shard": "pairs.tar", "limits": limits, "made": False, "curated": None, "image_text": image_text}
    task = ShardTask("pairs", args | {"judge": judge, "threads": 1})
    measure_shard(ShardContext(task, None, folder / "out", store, folder))
    table = read_table(folder / "out" / "signals" / "pairs.parquet")
    return {row["key"]: row for row in (dict(zip(table, v, strict=True)) for v in zip(*table.values(), strict=True))}


def test_a_change_that_goes_where_its_words_say_points_that_way_and_another_does_not(tmp_path):
    rows = measured(tmp_path, PairTowers(str(clip_of_colours(tmp_path / "clip")), batch=3), PairJudge())
    assert rows["right"]["direction"] > 0.5 > rows["wrong"]["direction"]
    assert rows["right"]["instruction_direction"] > 0.2 + rows["wrong"]["instruction_direction"]
    assert rows["other"]["direction"] is None and rows["other"]["instruction_direction"] is not None
    assert abs(rows["still"]["direction"]) < 0.01 or rows["still"]["changed_share"] == 0
    assert rows["broken"]["error"] == "no_source" and rows["broken"]["direction"] is None


def test_a_judge_sees_both_pictures_and_what_it_does_not_score_is_null(tmp_path):
    rows = measured(tmp_path, PairTowers(), PairJudge(str(llava(tmp_path / "llava")), batch=2, tokens=4, size=32))
    answers = {key: row["judge_answer"] for key, row in rows.items()}
    assert answers.pop("broken") is None and all(isinstance(answer, str) for answer in answers.values())
    assert all(row["judge_compliance"] is None for row in rows.values())


@pytest.mark.parametrize(
    ("answer", "scores"),
    [
        ('{"compliance": 9, "realism": 7.5, "preservation": 10, "technical": 0}', (0.9, 0.75, 1.0, 0.0)),
        ("```json\n{'Compliance': 8/10,\n 'realism':6, 'preservation' : 7, 'technical':5}```", (0.8, 0.6, 0.7, 0.5)),
        ("Compliance: **4**\nRealism: 11\nPreservation: none", (0.4, None, None, None)),
        ("I cannot judge that.", (None,) * 4),
        ("", (None,) * 4),
    ],
)  # fmt: skip
def test_scores_are_read_from_whatever_a_judge_answers(answer, scores):
    assert tuple(read_scores(answer).values()) == scores
    assert "make it blue" in ask("make it blue") and '{"compliance"' in ask("{x}")


def test_a_threshold_without_its_model_is_refused_before_the_run():
    tiny = ["preset=tiny", "curate_pairs.min_direction=0.1", "curate_pairs.min_judge=0.5"]
    found = problems(compose_config(tiny), ["curate_pairs"])
    assert [line.split(":")[0] for line in found] == ["curate_pairs.min_direction", "curate_pairs.min_judge"]
    named = ["measure_pairs.image_text.path=a/b", "measure_pairs.judge.path=/nowhere/at/all"]
    (line,) = problems(compose_config([*tiny, *named]), ["measure_pairs"])
    assert line.startswith("measure_pairs.judge.path")
