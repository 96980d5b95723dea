"""What the service takes and answers, in the shapes of the installed OpenAI client, and every refusal in words."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import random
import struct
import zlib
from typing import Any

import pytest
from openai.types import ImageEditStreamEvent, ImageGenStreamEvent, ImagesResponse, Model
from PIL import Image
from pydantic import TypeAdapter

from pipelines.serve.limits import Limits
from tests.unit.pipelines.serve.engines import InProcess, client, png

pytestmark = pytest.mark.unit
GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"
USAGE = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "input_tokens_details": dict.fromkeys(
    ("image_tokens", "text_tokens"), 0)}  # fmt: skip


def asked(path: str, engine: InProcess | None = None, limits: Limits | None = None, **request: Any) -> Any:
    """Send one request; return the answer."""

    async def send() -> Any:
        async with client(engine or InProcess(), limits) as here:
            return await here.request(request.pop("method", "POST"), path, **request)

    return asyncio.run(send())


def refused(status: int, param: str | None, word: str, path: str, **request: Any) -> None:
    answer = asked(path, **request)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), error
    assert set(error) == {"message", "type", "param", "code"} and word in error["message"], error


def events(text: str) -> list[dict[str, Any]]:
    blocks = [block.split("\n") for block in text.split("\n\n") if block and not block.startswith(":")]
    assert all(len(block) == 2 and block[0] == "event: " + json.loads(block[1][6:])["type"] for block in blocks)
    return [json.loads(block[1][6:]) for block in blocks]


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it has this many pixels."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000)))]
    chunks = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def source(data: bytes, name: str = "image") -> list[Any]:
    return [(name, ("source.png", data, "image/png"))]


def test_pictures_come_in_the_client_s_shape_each_with_its_own_seed():
    engine = InProcess()
    answer = asked(GENERATE, engine, json={"prompt": "a red circle", "n": 3, "seed": 2**63 - 2, "guidance_scale": 2})
    made = ImagesResponse.model_validate(answer.json())
    assert [Image.open(io.BytesIO(base64.b64decode(one.b64_json or ""))).size for one in made.data or []] == [
        (8, 8)
    ] * 3
    seeds = [one["seed"] for one in answer.json()["data"]]
    assert seeds == [2**63 - 2, 2**63 - 1, -(2**63)] == [row["seed"] for row in engine.rows]
    assert {row["prompt"] for row in engine.rows} == {"a red circle"} and engine.rows[0]["guidance_scale"] == 2
    assert (made.size, made.output_format, answer.json()["model"]) == ("8x8", "png", "m/3")


def test_without_a_seed_each_request_draws_its_own_and_tells_it():
    first, second = (asked(GENERATE, json={"prompt": "a"}).json()["data"][0]["seed"] for _ in range(2))
    assert first != second


def test_a_stream_s_events_are_the_client_s_and_every_one_says_which_picture_it_is_of():
    text = asked(GENERATE, json={"prompt": "a", "n": 2, "stream": True, "partial_images": 2, "progress": True}).text
    told = events(text)
    mine = [event for event in told if event["type"].endswith("progress")]
    assert sorted((event["index"], event["step"], event["steps"]) for event in mine) == [
        (index, step, 3) for index in (0, 1) for step in (1, 2, 3)
    ]
    theirs = [event for event in told if event not in mine]
    for event in theirs:  # token counts are of models that have them: ours leave `usage` out
        TypeAdapter(ImageGenStreamEvent).validate_python({"usage": USAGE, **event})
    partial = sorted((e["index"], e["partial_image_index"]) for e in theirs if e["type"].endswith("partial_image"))
    assert partial == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [event["type"] for event in told].count("image_generation.completed") == 2


def test_progress_is_told_only_where_it_is_asked_for():
    told = events(asked(GENERATE, json={"prompt": "a", "stream": True}).text)
    assert [event["type"] for event in told] == ["image_generation.completed"]


def test_an_edit_takes_one_source_under_either_name_and_streams_edit_events():
    for name in ("image", "image[]"):
        engine = InProcess()
        form = {"prompt": "make it blue", "seed": "4", "image_guidance_scale": "1.5", "stream": "true"}
        told = events(asked(EDIT, engine, data=form, files=source(png(), name)).text)
        TypeAdapter(ImageEditStreamEvent).validate_python({"usage": USAGE, **told[-1]})
        assert engine.rows[0]["image"] == png() and engine.rows[0]["image_guidance_scale"] == 1.5
        assert told[-1]["seed"] == 4


@pytest.mark.parametrize(
    ("param", "value", "word"),
    [
        ("prompt", None, "required"),
        ("prompt", " \n", "no text"),
        ("prompt", "x" * 4001, "4,000"),
        ("prompt", 5, "string"),
        ("n", 0, "greater than"),
        ("n", 11, "the most is 10"),
        ("n", 1.5, "integer"),
        ("size", "1024x1024", "m/3 makes 8x8"),
        ("seed", 2**63, "less than"),
        ("steps", 251, "the most is 250"),
        ("steps", 10**400, "the most is 250"),
        ("guidance_scale", 51, "the most is 50"),
        ("guidance_scale", -1, "greater than"),
        ("partial_images", 4, "the most is 3"),
        ("response_format", "url", "no addresses are made"),
        ("output_format", "webp", "PNG"),
        ("background", "transparent", "no transparent"),
        ("style", "vivid", "not known"),
        ("image_guidance_scale", 1, "not known"),
        ("stream", "maybe", "boolean"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_words_that_name_its_field(param, value, word):
    refused(400, param, word, GENERATE, json={"prompt": "a", param: value})


def test_what_clients_send_by_habit_changes_nothing():
    habits = {"quality": "high", "background": "auto", "moderation": "low", "user": "u", "size": "8x8", "n": None}
    names = ("m/3", "m", "m@champion", "models:/m@champion", "models:/m/3", None)
    assert {asked(GENERATE, json={"prompt": "a", **habits, "model": name}).status_code for name in names} == {200}


@pytest.mark.parametrize("name", ["gpt-image-1", "../../etc/passwd", "models:/m/../../x", "m/4", "m@", "", "\x00"])
def test_another_model_or_a_path_in_its_name_is_not_found(name):
    refused(404, "model", "m/3 is", GENERATE, json={"prompt": "a", "model": name})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"[" * 100_000, b'{"prompt": NaN}', b'{"prompt": "\\ud800"}', b"\xff"]
)
def test_a_body_that_is_no_request_is_refused(body):
    answer = asked(GENERATE, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_guidance_that_is_no_number_is_refused():
    body = b'{"prompt": "a", "guidance_scale": Infinity}'
    refused(400, "guidance_scale", "finite", GENERATE, content=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    ("files", "form", "status", "param", "word"),
    [
        ([], {}, 400, "image", "there is none"),
        (source(png()) * 2, {}, 400, "image", "2 were sent"),
        (source(png()) + source(png(), "image[]"), {}, 400, "image", "2 were sent"),
        (source(png()) + source(png(), "mask"), {}, 400, "mask", "no masks"),
        (source(png()) + source(png(), "prompt"), {}, 400, "prompt", "no file"),
        (source(b""), {}, 400, "image", "no PNG"),
        (source(b"GIF89a" + bytes(100)), {}, 400, "image", "no PNG"),
        (source(bomb(60_000, 60_000)), {}, 400, "image", "pixels"),
        (source(bomb(9_000, 9_000)), {}, 400, "image", "pixels"),
        (source(png(side=3000, compress_level=0)), {}, 413, "image", "8,388,608"),
        (source(png()), {"input_fidelity": "high"}, 400, "input_fidelity", "image_guidance_scale"),
        (source(png()), {"prompt": "x" * 20_000}, 400, None, "exceeded"),
        (source(png()), {"image": "text"}, 400, "image", "2 were sent"),
    ],
)
def test_an_edit_without_exactly_one_picture_that_can_be_read_is_refused(files, form, status, param, word):
    limits = Limits(body_bytes=2**26)
    refused(
        status, param, word, EDIT, limits=limits, files=files or {"model": (None, "m")}, data={"prompt": "a", **form}
    )


def test_a_field_that_is_given_twice_is_refused():
    refused(400, "n", "once", EDIT, data={"prompt": "a", "n": ["1", "2"]}, files=source(png()))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (GENERATE, "text/plain"),
        (GENERATE, ""),
        (GENERATE, "multipart/form-data; boundary=x"),
        (EDIT, "application/json"),
    ],
)
def test_another_content_type_is_refused(path, kind):
    refused(415, None, "Content-Type", path, content=b'{"prompt": "a"}', headers={"content-type": kind})


def test_a_compressed_body_is_refused_before_it_is_opened():
    body = gzip.compress(b'{"prompt": "' + bytes(10**6) + b'"}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refused(415, None, "compressed", GENERATE, content=body, headers=headers)


def test_the_model_is_listed_and_found_by_its_name_alone():
    listed = asked("/v1/models", method="GET").json()["data"]
    assert [Model.model_validate(one).id for one in listed] == ["m/3"]
    assert asked("/v1/models/m/3", method="GET").json() == listed[0]
    refused(404, "model", "not served", "/v1/models/..%2f..%2fetc", method="GET")


def test_a_damaged_request_is_refused_or_answered_and_never_a_failure():
    draw = random.Random(3)
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    form = part % (b"prompt", b"", b"a") + part % (b"image", b'; filename="a.png"', png()) + b"--x--\r\n"
    kinds = {GENERATE: "application/json", EDIT: "multipart/form-data; boundary=x"}
    whole = {GENERATE: b'{"prompt": "a", "n": 2, "seed": 1, "size": "8x8", "guidance_scale": 2.5}', EDIT: form}

    def damaged(body: bytes) -> bytes:
        at, end = draw.randrange(len(body)), draw.randrange(len(body))
        other = bytes(draw.randrange(256) for _ in range(draw.randrange(4)))
        return draw.choice([body[:at] + other + body[at + 1 :], body[:at] + body[end:], body[:at] + body[end:] + other])

    async def send() -> set[int]:
        found = set()
        async with client(InProcess(), Limits(body_s=5)) as here:
            for path in (GENERATE, EDIT) * 100:
                body = damaged(whole[path])
                answer = await here.post(path, content=body, headers={"content-type": kinds[path]})
                assert answer.status_code == 200 or set(answer.json()["error"]) == {"message", "type", "param", "code"}
                found.add(answer.status_code)
        return found

    assert asyncio.run(send()) == {200, 400}
