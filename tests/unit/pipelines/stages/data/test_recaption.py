"""New captions: added beside the old ones with their origin, and only by a model that is seen to see its pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from components.data.records import metadata_of, read_records
from components.data.samples import Record
from pipelines.config.compose import compose_config
from pipelines.config.schema import Config
from pipelines.errors import UserError
from pipelines.stages.data.recaption import prove, with_captions
from pipelines.workflow.graph import build_workflow
from tests.unit.pipelines.stages.data.stage_chain import local_files, run_stages
from tests.unit.vision_models import tiny_models

pytestmark = pytest.mark.unit
PROMPT = "describe this picture"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """24 pictures of three colours, and models that see them: a CLIP and a LLaVA; and a LLaVA that does not."""
    made = tmp_path_factory.mktemp("colours")
    (made / "photos").mkdir()
    with (made / "photos" / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "text"])
        for n in range(24):
            colour = list(tiny_models.COLOURS)[n % 3]
            Image.fromarray(tiny_models.coloured(colour, 100 + n, 40)).save(made / "photos" / f"{n:02d}.png")
            rows.writerow([f"{n:02d}.png", f"photo number {n} of the camera"])
    tiny_models.clip_of_colours(made / "clip")
    tiny_models.llava_of_colours(made / "llava", PROMPT)
    tiny_models.llava(made / "blind", blind=True)
    return made


def configured(folder: Path, model: str = "llava", *more: str) -> Config:
    return compose_config(
        [
            "preset=tiny",
            "source=folder",
            f"source.path={folder}/photos",
            "source.samples_per_shard=12",
            "curate={near_duplicate_distance: -1, min_language_confidence: 0, languages: [], max_symbol_share: 1}",
            f"measure.models={{clip: {{kind: image_text, path: {folder}/clip}}}}",
            f"recaption.path={folder}/{model}",
            f"recaption.prompts=[{PROMPT}]",
            "recaption.tokens=5",
            "recaption.batch=5",
            "recaption.proof_samples=12",
            *more,
        ]
    )


def test_each_sample_gets_its_caption_beside_the_old_one_with_both_origins(folder, tmp_path):
    made = run_stages(tmp_path, configured(folder), "recaption")
    before = [r for path in local_files(made["curate"], "shards/*.tar") for r in read_records(path)]
    after = [r for path in local_files(made["recaption"], "shards/*.tar") for r in read_records(path)]
    assert [r.key for r in after] == [r.key for r in before] and len(after) == 24
    for old, new in zip(before, after, strict=True):
        assert {k: v for k, v in new.parts.items() if k != "json"} == {
            k: v for k, v in old.parts.items() if k != "json"
        }
        said = metadata_of(new)["pixsem"]
        first, second = said["captions"]
        number = int(first.split()[2])
        assert second == f"a {list(tiny_models.COLOURS)[number % 3]} picture"
        assert said["caption_origins"] == ["caption", "recaption"]
    metrics = made["recaption"].manifest.metrics["recaption"]
    assert metrics["captions"] == 24 and metrics["empty"] == 0
    assert metrics["proof"]["own"] > metrics["proof"]["other"] + 0.1


def test_a_model_that_does_not_see_its_pictures_ends_the_stage_in_words(folder, tmp_path):
    with pytest.raises(UserError, match="fit other pictures as well as their own"):
        run_stages(tmp_path, configured(folder, "blind"), "recaption")


def test_a_proof_needs_pairs_and_a_gain_that_chance_does_not_give():
    rows = [{"own": [0.5] * 10, "other": [0.1] * 10}]
    assert prove(rows, "vlm", "clip")["pairs"] == 10
    with pytest.raises(UserError, match="a proof that the model sees them needs 8"):
        prove([{"own": [0.5] * 3, "other": [0.1] * 3}], "vlm", "clip")
    with pytest.raises(UserError, match="fit other pictures as well"):
        prove([{"own": [0.5, 0.1] * 5, "other": [0.1, 0.5] * 5}], "vlm", "clip")


def test_captions_that_are_there_stay_and_none_is_added_twice():
    record = Record(
        "a",
        {
            "png": b"x",
            "txt": b"old",
            "json": b'{"pixsem": {"captions": ["old", "alt"], "caption_origins": ["caption", "alt"]}}',
        },
    )
    said = metadata_of(with_captions(record, ["new", "old"]))["pixsem"]
    assert said["captions"] == ["old", "alt", "new"] and said["caption_origins"] == ["caption", "alt", "recaption"]
    bare = with_captions(Record("a", {"png": b"x", "json": b"no json"}), ["new"])
    assert bare.parts["txt"] == b"new" and metadata_of(bare)["unreadable_metadata"] == "no json"
    assert metadata_of(bare)["pixsem"]["captions"] == ["new"]


def test_recaptioned_samples_stand_in_for_curated_ones(folder):
    stages = {stage.name: stage for stage in build_workflow(configured(folder))}
    assert stages["recaption"].inputs == ("curate",)
    readers = [name for name, stage in stages.items() if "curate" in stage.inputs]
    assert readers == ["recaption"]
    assert "recaption" in stages["index"].inputs and "recaption" in stages["encode_latents"].inputs
