"""Captions through ray.data.llm: a server is asked once for each answer, and what it refuses is said in words."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
import ray

from components.data.records import metadata_of, read_records
from components.vision_models.chat_requests import picture_url
from pipelines.config.compose import compose_config
from pipelines.config.schema import Config
from pipelines.errors import UserError
from pipelines.stages.data.chat_session import KEY_VARIABLE, ChatSession, Refused
from tests.integration.data.caption_server import MODEL, CaptionServer
from tests.unit.pipelines.stages.data.stage_chain import local_files, run_stages
from tests.unit.vision_models import tiny_models

pytestmark = pytest.mark.integration
SECRET = "a-key-of-nobody"
PROMPTS = ("what is in this picture", "describe this picture")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """24 pictures of three colours, and a CLIP that tells them apart."""
    made = tmp_path_factory.mktemp("colours")
    tiny_models.coloured_photos(made / "photos", 24)
    tiny_models.clip_of_colours(made / "clip")
    return made


@pytest.fixture(scope="module")
def one_cpu_ray():
    """A Ray that has no room for anything to wait on anything else. Its nodes hold the server's key."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(KEY_VARIABLE, SECRET)
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture
def server():
    with CaptionServer() as made:
        yield made


def configured(photos: Path, server: CaptionServer, *more: str) -> Config:
    return compose_config(
        [
            "preset=tiny",
            "source=folder",
            f"source.path={photos}/photos",
            "curate={near_duplicate_distance: -1, min_language_confidence: 0, languages: [], max_symbol_share: 1}",
            f"measure.models={{clip: {{kind: image_text, path: {photos}/clip}}}}",
            f"recaption.path={MODEL}",
            "recaption.engine=http",
            f"recaption.url={server.url}",
            f"recaption.prompts=[{','.join(PROMPTS)}]",
            "recaption.size=32",
            "recaption.proof_samples=12",
            "execution.resources.recaption.labels={ray.io/accelerator-type: '!H999'}",
            *more,
        ]
    )


def test_every_picture_is_asked_about_once_with_its_own_seed_and_the_key_stays_out_of_the_store(
    photos, server, one_cpu_ray, tmp_path
):
    config = configured(
        photos, server, "source.samples_per_shard=24", "recaption.captions=2", "recaption.temperature=0.7"
    )
    server.delay = 0.02
    made = run_stages(tmp_path, config, "recaption")["recaption"]
    assert server.most_at_once >= 8, "a batch is sent at once"
    after = [metadata_of(r)["pixsem"] for path in local_files(made, "shards/*.tar") for r in read_records(path)]
    assert len(after) == 24
    for said in after:
        old, new = said["captions"]
        assert new == f"a {list(tiny_models.COLOURS)[int(old.split()[2]) % 3]} picture"
        assert said["caption_origins"] == ["caption", "recaption"]
    answers = 24 * len(PROMPTS) * 2
    assert made.manifest.metrics["recaption"]["captions"] == answers
    assert len({asked["seed"] for asked in server.asked}) == len(server.asked) == answers
    assert {asked["size"] for asked in server.asked} == {(32, 32, 3)}
    assert {asked["prompt"] for asked in server.asked} == set(PROMPTS)
    assert server.keys == {f"Bearer {SECRET}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(SECRET.encode() in path.read_bytes() for path in files)
    assert not local_files(made, "answers/*"), "answers are in captions/"


@pytest.mark.slow
@pytest.mark.timeout(600)  # three data sets of Ray's
def test_a_stage_that_failed_asks_for_the_missing_shards_alone(photos, server, one_cpu_ray, tmp_path):
    config = configured(photos, server, "source.samples_per_shard=12")
    of_a_shard = 12 * len(PROMPTS)
    server.refuse = lambda _: (400, b'{"error": "no room"}') if len(server.asked) >= of_a_shard else None
    with pytest.raises(UserError) as told:
        run_stages(tmp_path, config, "recaption")
    assert str(told.value) == (
        f'recaption: http failed: {server.url}/chat/completions gives no caption: status 400, {{"error": "no room"}}'
    )
    first = {asked["seed"] for asked in server.asked}
    assert len(first) == len(server.asked) == of_a_shard
    server.refuse = lambda _: None
    made = run_stages(tmp_path, config, "recaption")["recaption"]
    assert made.manifest.metrics["recaption"]["captions"] == 2 * of_a_shard
    seeds = Counter(asked["seed"] for asked in server.asked)  # of each question its own
    assert len(seeds) == 2 * of_a_shard and all(seeds[seed] == 1 for seed in first)


def asked_once(url: str) -> dict[str, str]:
    """Return what a session gives for one request, as Ray's stage asks it."""
    picture = picture_url(tiny_models.coloured("green", 0, 8))
    payload = {"model": MODEL, "prompt": "what", "picture": picture, "tokens": 5, "temperature": 0.0, "seed": 7}

    async def ask() -> dict[str, str]:
        async with ChatSession(wait=0.01) as session, await session.post(
            f"{url}/chat/completions", headers={"Content-Type": "application/json"}, data=json.dumps(payload)
        ) as response:  # fmt: skip
            return await response.json()

    return asyncio.run(ask())


def test_a_server_that_is_busy_is_asked_again(server):
    replies = iter([(503, b"starting"), (429, b"{}"), None])
    server.refuse = lambda _: next(replies)
    assert asked_once(server.url) == {"text": "a green picture"} and len(server.asked) == 1


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((503, b"starting"), "gives no caption: status 503, starting"),
        ((401, f"no such key: {SECRET}".encode()), f"status 401, no such key: ***. Set {KEY_VARIABLE}"),
        ((302, b""), "status 302"),
        ((200, b"<html>"), "was asked for a caption: Expecting value"),
        ((200, b'{"choices": []}'), "this is no answer of chat completions: {'choices': []}"),
        ((200, b'{"choices": [{"message": {"content": ["a"]}}]}'), "this is no answer of chat completions"),
        ((200, b" " * 5 * 2**20), "answers with more than 4,194,304 bytes"),
    ],
)
def test_what_a_server_refuses_is_said_in_words_without_the_key(server, reply, words, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    server.refuse = lambda _: reply
    with pytest.raises(Refused) as told:
        asked_once(server.url)
    assert words in str(told.value) and SECRET not in str(told.value) and len(str(told.value)) < 500


def test_a_server_that_is_not_there_is_named(server):
    server.server_close()
    with pytest.raises(Refused, match=rf"{server.url}/chat/completions gives no caption: ClientConnectorError"):
        asked_once(server.url)
