"""The service on real Ray Serve, asked by the real OpenAI client and by others who mean no good."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from tests.unit.pipelines.serve.test_images_api import bomb

pytestmark = pytest.mark.integration
SECRET = "a secret of the webhook"
LONG = {"prompt": "a red circle", "n": 10, "extra_body": {"steps": 250}}


@pytest.fixture(scope="module")
def client(served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none", base_url=f"{served.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def narrow(served) -> Iterator[str]:
    """A front of the same engine with a key, a webhook, and limits that are soon reached."""
    with served.front(api_key="word", webhook_secret=SECRET, request_s=0.2, body_s=1.0, body_bytes=100_000) as url:
        yield url


def picture(data: str | None) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data or "")))


def source(side: int = 32) -> tuple[str, bytes, str]:
    out = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(out, "JPEG")
    return "source.jpg", out.getvalue(), "image/jpeg"


def figure(url: str, name: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_the_client_gets_its_pictures_each_of_its_own_seed_and_the_same_again(client):
    first, again = (client.images.generate(prompt="a red circle", n=3, extra_body={"seed": 5}) for _ in range(2))
    made = [one.b64_json for one in first.data]
    assert made == [one.b64_json for one in again.data] and len(set(made)) == 3
    assert [one.seed for one in first.data] == [5, 6, 7]
    assert [picture(one).size for one in made] == [(32, 32)] * 3 and first.size == "32x32"
    assert picture(made[1]).text["seed"] == "6"


def test_the_client_s_stream_shows_the_picture_forming(client):
    told = list(
        client.images.generate(
            prompt="a red circle", n=2, stream=True, partial_images=2, extra_body={"steps": 6, "progress": True}
        )
    )
    kinds = [event.type.partition(".")[2] for event in told]
    assert {kind: kinds.count(kind) for kind in kinds} == {"progress": 12, "partial_image": 4, "completed": 2}
    partial = next(event for event in told if event.type.endswith("partial_image"))
    last = [event for event in told if event.type.endswith("completed")]
    assert picture(partial.b64_json).size == (32, 32) and partial.b64_json not in {event.b64_json for event in last}
    assert kinds.index("partial_image") < kinds.index("completed")


def test_the_client_edits_a_picture(client):
    asked = {"prompt": "make it blue", "extra_body": {"seed": 3, "steps": 4, "image_guidance_scale": 1.5}}
    made = client.images.edit(image=source(), size="32x32", **asked)
    assert picture(made.data[0].b64_json).size == (32, 32)
    streamed = list(client.images.edit(image=[source(50)], stream=True, partial_images=1, **asked))
    assert [event.type for event in streamed] == ["image_edit.partial_image", "image_edit.completed"]


def test_the_client_finds_the_model_that_is_served(client):
    (only,) = client.models.list().data
    assert client.models.retrieve(only.id) == only and only.id == "tiny"
    assert client.images.generate(prompt="a red circle", model=only.id).data


def test_the_client_raises_its_own_errors_with_our_words(client):
    edit, generate = client.images.edit, client.images.generate
    for call, kind, param, word in (
        (lambda: generate(prompt="a", size="1024x1024"), openai.BadRequestError, "size", "32x32"),
        (lambda: generate(prompt="a", n=11), openai.BadRequestError, "n", "10"),
        (lambda: generate(prompt="a", response_format="url"), openai.BadRequestError, "response_format", "b64"),
        (lambda: generate(prompt="a", model="../tiny"), openai.NotFoundError, "model", "tiny is"),
        (lambda: client.models.retrieve("../../etc"), openai.NotFoundError, "model", "not served"),
        (lambda: edit(image=[source(), source()], prompt="a"), openai.BadRequestError, "image", "2 were"),
        (lambda: edit(image=b"x", prompt="a"), openai.BadRequestError, "image", "no PNG"),
        (lambda: edit(image=source(200)[1][:-50], prompt="a"), openai.BadRequestError, None, "cannot be read"),
        (lambda: edit(image=bomb(60_000, 60_000), prompt="a"), openai.BadRequestError, "image", "pixels"),
        (lambda: edit(image=source(), mask=source(), prompt="a"), openai.BadRequestError, "mask", "masks"),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert caught.value.param == param and word in caught.value.message, caught.value


def test_the_key_opens_the_api_and_nothing_else_needs_it(narrow):
    with openai.OpenAI(api_key="wrong", base_url=f"{narrow}/v1") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with openai.OpenAI(api_key="word", base_url=f"{narrow}/v1") as friend:
        assert [one.id for one in friend.models.list()] == ["tiny"]
    assert [httpx.get(narrow + path).status_code for path in ("/healthz", "/about", "/metrics", "/card")] == [200] * 4


def test_the_page_and_its_files_are_served(served):
    kinds = {"/": "text/html", "/page/app.js": "text/javascript", "/page/style.css": "text/css"}
    for path, kind in kinds.items():
        answer = httpx.get(served.url + path)
        assert answer.headers["content-type"].startswith(kind) and answer.headers["cache-control"] == "no-cache"
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_the_card_shows_the_picture_that_lies_beside_it(served):
    page = httpx.get(f"{served.url}/card").text
    assert "<h1>A tiny model</h1>" in page and 'src="card/samples.png"' in page and "library_name" not in page
    found = httpx.get(f"{served.url}/card/samples.png")
    assert found.content == (served.model_folder / "samples.png").read_bytes()
    assert found.headers["content-type"] == "image/png"


def test_a_body_over_the_limit_is_refused_however_it_comes(served, narrow):
    def chunks() -> Iterator[bytes]:
        for _ in range(2000):
            yield bytes(65536)

    sent = {"content-type": "application/json", "authorization": "Bearer word"}
    for content in (bytes(100_001), chunks()):
        answer = httpx.post(f"{narrow}/v1/images/generations", content=content, headers=sent, timeout=30)
        assert answer.status_code == 413 and answer.json()["error"]["message"].count("100,000") == 1
    answer = httpx.post(
        f"{served.url}/v1/images/generations", content=b"{", headers={**sent, "content-encoding": "gzip"}
    )
    assert answer.status_code == 415


def test_a_body_that_comes_too_slowly_is_refused_in_time(narrow):
    host, port = narrow.split("/")[2].split(":")
    path, began = narrow.split(port)[1], time.monotonic()
    with socket.create_connection((host, int(port)), 30) as wire:
        head = f"POST {path}/v1/images/generations HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer word\r\n"
        wire.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{".encode())
        answer = wire.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408") and 0.9 < time.monotonic() - began < 15


def test_a_head_without_an_end_is_refused(served):
    host, port = served.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), 30) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n" + b"X-Filler: " + b"x" * 200_000)
        assert wire.recv(4096).startswith(b"HTTP/1.1 400")


def test_pictures_that_take_too_long_are_504(narrow):
    friend = openai.OpenAI(api_key="word", base_url=f"{narrow}/v1")
    with friend, pytest.raises(openai.InternalServerError) as caught:
        friend.images.generate(**LONG)
    assert caught.value.status_code == 504 and caught.value.code == "timeout"
    assert figure(narrow, 'pixsem_requests_total{route="/v1/images/generations",status="504"}') == 1  # not asked again


@pytest.mark.parametrize(
    "path",
    ["/page/../front.py", "/page/..%2ffront.py", "/page/%2e%2e/%2e%2e/serving.py", "//etc/passwd", "/card/../README.md",
     "/card/..%2fREADME.md", "/card/model_index.json", "/v1/models/../../etc/passwd", "/%00"],
)  # fmt: skip
def test_no_path_leads_out(served, path):
    host, port = served.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), 30) as wire:  # clients would tidy the path
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")) and len(answer) < 2000


def test_a_crowd_beyond_the_queue_is_told_to_come_again_and_nobody_waits_in_vain(served):
    async def crowd() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as many:
            body = {"prompt": "a red circle", "n": 10, "steps": 15}
            return await asyncio.gather(
                *(many.post(f"{served.url}/v1/images/generations", json=body) for _ in range(20))
            )

    answers = asyncio.run(crowd())
    found = {status: [one for one in answers if one.status_code == status] for status in (200, 429)}
    assert found[200] and found[429] and len(found[200]) + len(found[429]) == len(answers)
    assert all(len(one.json()["data"]) == 10 for one in found[200])
    assert all(int(one.headers["retry-after"]) >= 1 for one in found[429])
    assert all(one.json()["error"]["type"] == "rate_limit_error" for one in found[429])
    assert figure(served.url, "pixsem_queue") == figure(served.url, "pixsem_running") == 0


def test_a_client_that_leaves_frees_the_model(served, client):
    batch = {**LONG, "n": served.limits.batch}
    began = time.monotonic()
    client.images.generate(**batch)
    whole = time.monotonic() - began
    made, after = figure(served.url, "pixsem_pictures_total"), []
    for _ in range(3):
        with client.images.generate(**batch, stream=True) as stream:
            next(stream.response.iter_bytes())  # its first step is done
        left = time.monotonic()
        client.images.generate(prompt="a red circle")
        after.append(time.monotonic() - left)
    assert min(after) < whole / 2
    assert figure(served.url, "pixsem_running") == 0 and figure(served.url, "pixsem_pictures_total") == made + 3


def test_mlflow_s_own_delivery_is_taken_and_no_other(served, narrow, monkeypatch):
    from mlflow.entities.webhook import Webhook, WebhookAction, WebhookEntity, WebhookEvent
    from mlflow.webhooks import delivery

    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    event = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
    session = delivery._get_or_create_webhook_session()

    def send(secret: str | None, name: str) -> tuple[int, Any]:
        hook = Webhook("1", "hook", f"{narrow}/webhooks/mlflow", [event], 0, 0, secret=secret)
        answer = delivery._send_webhook_request(
            hook, {"name": name, "alias": "champion", "version": "1"}, event, session
        )
        return answer.status_code, answer.json().get("looked")

    assert send(SECRET, "tiny") == (202, True) and send(SECRET, "other") == (202, False)
    assert send("another", "tiny") == send(None, "tiny") == (401, None)
    assert httpx.post(f"{served.url}/webhooks/mlflow", content=b"{}").status_code == 404


def test_no_word_of_a_request_is_in_any_log(served, client):
    import ray

    word = "zanzibar"
    client.images.generate(prompt=f"a red {word}")
    client.images.edit(image=source(), prompt=f"make it {word}")
    for asked in ({"size": f"{word}x1"}, {"model": word}, {"n": 11}, {"user": word, "extra_body": {word: word}}):
        with pytest.raises(openai.APIStatusError):
            client.images.generate(prompt=word, **asked)
    with pytest.raises(openai.BadRequestError):
        client.images.edit(image=source(200)[1][:-50], prompt=word)
    httpx.post(f"{served.url}/v1/images/generations", content=f'{{"prompt": "{word}"'.encode())
    httpx.get(f"{served.url}/{word}?prompt={word}")
    logs = Path(ray._private.worker.global_worker.node.get_session_dir_path()) / "logs"
    texts = {path: path.read_text("utf-8", "replace") for path in logs.rglob("*") if path.is_file()}
    assert any("POST /v1/images/generations 200" in text for text in texts.values())
    assert [path for path, text in texts.items() if word in text] == []


def test_the_command_line_gets_the_pictures_that_it_makes_by_itself(served, tmp_path):
    from pipelines.cli.local_pictures import LocalPictures
    from pipelines.cli.server_pictures import ServerPictures

    path = tmp_path / "source.jpg"
    path.write_bytes(source()[1])
    rows = [{"prompt": text, "seed": seed} for text in ("a red circle", "make it blue") for seed in (3, 4)]
    for image in (None, path):
        theirs = [picture(base64.b64encode(png).decode()) for png in ServerPictures(served.url, None).make(rows, image)]
        ours = [
            picture(base64.b64encode(png).decode())
            for png in LocalPictures(str(served.model_folder), "", 1).make(rows, image)
        ]
        assert [one.text for one in theirs] == [one.text for one in ours]
        for one, other in zip(theirs, ours, strict=True):  # of batches of other sizes
            assert np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).max() <= 1
