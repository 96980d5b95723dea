"""What the HTTP side promises beside the shapes: limits, time, lost replicas, keys, the card, metrics, the log."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from pipelines.serve.limits import Limits
from tests.unit.pipelines.serve.engines import InProcess, client, png

pytestmark = pytest.mark.unit
GENERATE = "/v1/images/generations"
JSON = {"content-type": "application/json"}
TEXT = "a prompt that nobody else may read"


def ran(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 20))


def posted(engine: InProcess, limits: Limits | None = None, **request: Any) -> Any:
    async def send() -> Any:
        async with client(engine, limits) as here:
            return await here.post(GENERATE, **request)

    return ran(send())


def figures(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_a_body_over_the_limit_is_refused_by_its_length_and_while_it_is_read():
    sent = []

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1000):
            sent.append(1)
            yield bytes(100)

    limits = Limits(body_bytes=1000)
    for content in (bytes(1001), chunks()):
        answer = posted(InProcess(), limits, content=content, headers=JSON)
        assert answer.status_code == 413 and "1,000 bytes" in answer.json()["error"]["message"]
    assert len(sent) == 11


def test_a_body_that_does_not_come_is_refused_in_time():
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    answer = posted(InProcess(), Limits(body_s=0.1), content=slow(), headers=JSON)
    assert answer.status_code == 408


def test_all_bodies_together_are_limited_and_what_was_read_is_given_back():
    limits = Limits(held_bytes=3000, body_bytes=2500)
    go = asyncio.Event()

    async def held() -> AsyncIterator[bytes]:
        yield bytes(2000)
        await go.wait()

    async def both() -> list[int]:
        async with client(InProcess(), limits) as here:
            first = asyncio.create_task(here.post(GENERATE, content=held(), headers=JSON))
            await asyncio.sleep(0.05)
            second = await here.post(GENERATE, content=bytes(2000), headers=JSON)
            go.set()
            done = await first
            third = await here.post(GENERATE, content=bytes(2400), headers=JSON)
            return [done.status_code, second.status_code, third.status_code]

    assert ran(both()) == [400, 429, 400]


def test_a_full_queue_is_429_with_when_to_try_again_and_the_other_pictures_are_stopped():
    engine = InProcess(step_s=0.01, errors=[BackPressureError(1, 1)])
    answer = posted(engine, json={"prompt": "a", "n": 4})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert 1 <= int(answer.headers["retry-after"]) <= 30 and engine.cancelled == 3


def test_pictures_that_take_too_long_are_504_and_stopped():
    engine = InProcess(step_s=5)
    answer = posted(engine, Limits(request_s=0.1), json={"prompt": "a", "n": 2})
    assert (answer.status_code, answer.json()["error"]["code"], engine.cancelled) == (504, "timeout", 2)


def test_a_client_that_leaves_stops_its_pictures():
    engine = InProcess(step_s=5)

    async def leave() -> dict[str, float]:
        async with client(engine) as here:
            gone = asyncio.create_task(here.post(GENERATE, json={"prompt": "a", "n": 3}))
            await asyncio.sleep(0.1)
            before = figures((await here.get("/metrics")).text)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            assert before["pixsem_queue"] == 3
            return figures((await here.get("/metrics")).text)

    after = ran(leave())
    assert engine.cancelled == 3 and after["pixsem_queue"] == after["pixsem_running"] == 0


def test_a_lost_replica_s_picture_is_asked_for_again_and_nothing_is_shown_twice():
    engine = InProcess(errors=[ActorDiedError()])
    body = {"prompt": "a", "seed": 5, "stream": True, "partial_images": 2}
    text = posted(engine, json=body).text
    assert text.count("event: image_generation.partial_image") == 2 and text.count("completed") == 2
    assert [row["seed"] for row in engine.rows] == [5, 5]


def test_a_picture_whose_replicas_are_all_lost_is_503_not_silence():
    answer = posted(InProcess(errors=[ActorDiedError()] * 2), Limits(retries=1), json={"prompt": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_the_engine_s_words_for_a_wrong_value_reach_the_client_and_no_others_do():
    bad = posted(InProcess(errors=[ValueError("the image cannot be read")]), json={"prompt": "a"})
    assert (bad.status_code, bad.json()["error"]["message"]) == (400, "the image cannot be read")
    broken = posted(InProcess(errors=[RuntimeError(TEXT)]), json={"prompt": "a"})
    assert broken.status_code == 500 and TEXT not in broken.text


def test_an_error_after_the_stream_began_is_its_last_event():
    engine = InProcess(errors=[ValueError("no")])
    last = posted(engine, json={"prompt": "a", "stream": True, "partial_images": 1}).text.split("\n\n")[-2]
    kind, data = last.split("\n")
    assert kind == "event: error" and json.loads(data[6:])["error"]["message"] == "no"


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer other", "Basic word", "Bearer wörd", "word"])
def test_without_the_key_the_api_is_closed_and_the_page_is_not(sent):
    async def ask() -> None:
        async with client(InProcess(), api_key="word") as here:
            wrong = {"authorization": sent.encode()}
            for answer in (
                await here.post(GENERATE, json={}, headers=wrong),
                await here.get("/v1/models", headers=wrong),
            ):
                assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert (await here.get("/v1/models", headers={"authorization": "bearer word"})).status_code == 200
            open_ones = [await here.get(path) for path in ("/about", "/card", "/healthz", "/metrics")]
            assert {one.status_code for one in open_ones} == {200} and open_ones[0].json()["key_needed"] is True

    ran(ask())


def test_a_signed_delivery_has_the_copies_look_at_the_alias_unless_it_is_old_or_of_another_model():
    def signed(body: bytes, age: int = 0) -> dict[str, Any]:
        sent = str(int(time.time()) - age)
        digest = hmac.digest(b"secret", f"1.{sent}.".encode() + body, "sha256")
        names = ("X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature")
        values = ("1", sent, f"v1,{base64.b64encode(digest).decode()}")
        return {"content": body, "headers": dict(zip(names, values, strict=True))}

    def of(name: str) -> bytes:
        return json.dumps({"entity": "model_version_alias", "action": "created", "data": {"name": name}}).encode()

    async def ask() -> list[int]:
        async with client(engine, webhook_secret="secret") as here:
            requests = (signed(of("m")), signed(of("other")), signed(of("m"), 301), signed(b"[]"), {"content": of("m")})
            return [(await here.post("/webhooks/mlflow", **request)).status_code for request in requests]

    engine = InProcess()
    assert ran(ask()) == [202, 202, 401, 400, 401] and engine.checked == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://here"}, 200),
        ({"origin": "http://evil"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin", "origin": "https://through.a.proxy"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://here"}, 403),
    ],
)
def test_pages_of_other_sites_may_not_ask_for_pictures(headers, status):
    assert posted(InProcess(), json={"prompt": "a"}, headers=headers).status_code == status


@pytest.mark.parametrize(
    "path",
    ["/page/../front.py", "/page/..%2ffront.py", "/page/%2e%2e/front.py", "/page//etc/passwd", "/card/..%2fkey.png",
     "/card/%2e%2e%2fsamples.png", "/card/other.png", "/card/model_index.json", "/webhooks/mlflow", "/docs",
     "/openapi.json"],
)  # fmt: skip
def test_no_address_leads_to_other_files(path):
    async def ask() -> Any:
        async with client(InProcess()) as here:
            return await here.get(path)

    answer = ran(ask())
    assert answer.status_code in (404, 405) and set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_the_card_is_shown_with_its_own_picture_and_without_its_scripts():
    async def ask() -> tuple[str, bytes]:
        async with client(InProcess()) as here:
            return (await here.get("/card")).text, (await here.get("/card/samples.png")).content

    page, picture = ran(ask())
    assert '<img src="card/samples.png" alt="Pictures"' in page and picture == png()
    assert page.count("<img") == 1 and "<script" not in page and 'href="javascript' not in page


def test_every_answer_forbids_foreign_scripts():
    async def ask() -> Any:
        async with client(InProcess()) as here:
            return [await here.get(path) for path in ("/card", "/nothing", "/about")]

    for answer in ran(ask()):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_metrics_count_requests_by_route_and_pictures_and_name_nothing_that_was_sent():
    async def ask() -> str:
        async with client(InProcess()) as here:
            await here.post(GENERATE, json={"prompt": TEXT, "n": 2})
            for number in range(30):
                await here.get(f"/{number}/{TEXT}")
                await here.get(f"/v1/models/{number}")
            return (await here.get("/metrics")).text

    text = ran(ask())
    found = figures(text)
    assert found['pixsem_requests_total{route="/v1/images/generations",status="200"}'] == 1
    assert found['pixsem_requests_total{route="other",status="404"}'] == 30
    assert found['pixsem_pictures_total{kind="generation"}'] == found["pixsem_batch_pictures_count"] == 2
    assert found["pixsem_picture_seconds_count"] == 2 and found["pixsem_queue"] == found["pixsem_running"] == 0
    assert TEXT not in text and len(found) < 70


@pytest.mark.parametrize("asked_for", [False, True])
def test_a_prompt_is_in_the_log_only_where_the_service_was_told_to(caplog, asked_for):
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.DEBUG, logger="ray.serve"):
            body = {"prompt": TEXT, "n": 2}
            posted(InProcess(), Limits(log_prompts=asked_for), json=body)
            posted(InProcess(errors=[ValueError(TEXT)]), Limits(log_prompts=asked_for), json=body)
            posted(InProcess(errors=[RuntimeError(TEXT)]), Limits(log_prompts=asked_for), json={**body, "x": TEXT})
    finally:
        logger.removeHandler(caplog.handler)
    assert "POST /v1/images/generations 200" in caplog.text
    assert (TEXT in caplog.text) is asked_for


def test_a_failure_of_the_service_itself_is_an_answer_and_its_log_holds_no_text(caplog):
    class Broken(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            raise KeyError(TEXT)

    async def describe() -> Any:
        return Broken()

    engine = InProcess()
    engine.describe.remote = describe
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    try:
        answer = posted(engine, json={"prompt": TEXT})
    finally:
        logger.removeHandler(caplog.handler)
    assert answer.status_code == 500 and TEXT not in caplog.text + answer.text and "KeyError at" in caplog.text


def test_health_is_503_until_the_engine_answers_and_when_it_no_longer_does():
    engine = InProcess()
    describe, silent = engine.describe.remote, asyncio.Event()

    async def wait() -> Any:
        await silent.wait()
        return await describe()

    async def ask() -> list[int]:
        async with client(engine, Limits(health_s=0.2)) as here:
            found = [(await here.get("/healthz")).status_code]
            await asyncio.sleep(0.3)
            engine.describe.remote = wait
            found.append((await here.get("/healthz")).status_code)
            silent.set()
            await asyncio.sleep(0)
            return [*found, (await here.get("/healthz")).status_code]

    assert ran(ask()) == [200, 503, 200]
