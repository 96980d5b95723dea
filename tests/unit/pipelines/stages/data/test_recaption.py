"""New captions: added beside the old ones with their origin, and only by a model that is seen to see its pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.data.records import metadata_of, read_records
from components.data.samples import Record
from pipelines.config.compose import compose_config
from pipelines.config.schema import Config, Resources
from pipelines.errors import UserError
from pipelines.stages.data.caption_engines import ENGINES
from pipelines.stages.data.recaption import prove, with_captions
from pipelines.store.files import Store
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.identity import Identity, identify
from tests.unit.pipelines.stages.data.stage_chain import local_files, run_stages
from tests.unit.vision_models import tiny_models

pytestmark = pytest.mark.unit
PROMPT = "describe this picture"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """24 pictures of three colours, and models that see them: a CLIP and a LLaVA; and a LLaVA that does not."""
    made = tmp_path_factory.mktemp("colours")
    tiny_models.coloured_photos(made / "photos", 24)
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


def test_vllm_is_asked_for_one_picture_with_each_prompt_and_answers_as_drawn_here():
    wanted = [
        "recaption={engine: vllm, path: a/b, precision: bf16, batch: 16, tokens: 50, vllm: {max_model_len: 4096}}"
    ]
    settings = compose_config(["preset=tiny", *wanted]).recaption
    made = ENGINES["vllm"].config(settings, Resources(actors=2, gpus=4))
    assert (made.model_source, made.batch_size, made.concurrency) == ("a/b", 16, 2)
    kwargs = {"dtype": "bfloat16", "tensor_parallel_size": 4, "max_model_len": 4096}
    assert kwargs.items() <= made.engine_kwargs.items() and "trust_remote_code" not in made.engine_kwargs
    asked = ENGINES["vllm"].request({"picture": "data:,", "prompt": 0, "seed": 5}, settings)
    shown, text = asked["messages"][0]["content"]
    assert shown["image_url"] == {"url": "data:,"} and text["text"] == settings.prompts[0]
    assert asked["sampling_params"] == {"max_tokens": 50, "seed": 5, "temperature": 0.0, "top_p": 1.0}
    assert ENGINES["vllm"].text({"generated_text": " a\n cat "}) == "a cat"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("engine: http", "engine=http and url go together"),
        ("url: 'http://host/v1'", "engine=http and url go together"),
        ("engine: http, url: 'host:8000'", "give the address of the server's API"),
        ("engine: http, url: 'http://me:secret@host/v1'", "url holds a user or password. Leave them out"),
        ("engine: vllm, revision: main", "engine=vllm fetches no revision"),
        ("vllm: {max_model_len: 4096}", "vllm holds arguments of engine=vllm"),
        ("engine: vllm, vllm: {trust_remote_code: true}", "would run code of a repository"),
    ],
)
def test_an_engine_that_is_half_named_is_refused_in_words_without_passwords(settings, words):
    with pytest.raises(UserError) as told:
        compose_config(["preset=tiny", f"recaption={{path: a/b, {settings}}}"])
    assert words in str(told.value) and "secret" not in str(told.value)


def test_an_engine_decides_answers_and_the_one_of_before_is_no_news(tmp_path):
    store = Store(str(tmp_path))

    def identity(*more: str) -> Identity:
        named = ["preset=tiny", "measure.models={clip: {kind: image_text, path: a/c}}", "recaption.path=a/b", *more]
        config = compose_config(named)
        return identify(build_workflow(config), config, store)["recaption"]

    before = identity().config["recaption"]
    assert not {"engine", "url", "vllm"} & before.keys()
    served = [identity("recaption.engine=http", f"recaption.url=http://{host}/v1") for host in ("a", "b")]
    assert len({identity().fingerprint, *(made.fingerprint for made in served)}) == 3


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
