"""`--server`: pictures asked of the service's HTTP side, on a real port, with an engine in this process."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from PIL import Image
from ray.serve.exceptions import BackPressureError

from pipelines.cli.server_pictures import ServerPictures
from pipelines.serve.front import make_app
from pipelines.serve.limits import Limits
from tests.unit.pipelines.serve.engines import InProcess, png

pytestmark = pytest.mark.unit


@contextmanager
def answering(engine: InProcess, api_key: str = "", **limits) -> Iterator[str]:
    app = make_app(engine, Limits(**limits), api_key)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def rows(prompts: tuple[str, ...], count: int, **settings) -> list[dict]:
    return [{"prompt": text, "seed": 5 + n, **settings} for text in prompts for n in range(count)]


def test_pictures_come_in_order_from_requests_that_the_service_takes(tmp_path):
    engine = InProcess()
    asked = rows(("a cat", "a dog"), 5, num_inference_steps=2, guidance_scale=None)
    with answering(engine, n=2) as url:
        made = list(ServerPictures(url + "/v1/", "m/3").make(asked, None))
    assert len(made) == 10 and all(Image.open(io.BytesIO(data)).format == "PNG" for data in made)
    told = {(row["prompt"], row["seed"], row["num_inference_steps"]) for row in engine.rows}
    assert told == {(row["prompt"], row["seed"], 2) for row in asked}


def test_a_picture_to_edit_is_sent_as_it_is(tmp_path):
    engine, source = InProcess(), tmp_path / "source.png"
    source.write_bytes(png("blue"))
    with answering(engine) as url:
        asked = rows(("make it red",), 2, num_inference_steps=3, image_guidance_scale=1.5)
        assert len(list(ServerPictures(url, None).make(asked, source))) == 2
    assert {(row["image"], row["image_guidance_scale"]) for row in engine.rows} == {(source.read_bytes(), 1.5)}


def test_a_full_queue_is_waited_for():
    engine = InProcess(errors=[BackPressureError(1, 1)])
    with answering(engine) as url:
        assert len(list(ServerPictures(url, None).make(rows(("a cat",), 1), None))) == 1
    assert len(engine.rows) == 2


def test_the_key_is_the_environments_and_its_lack_is_told(monkeypatch):
    with answering(InProcess(), api_key="secret") as url:
        monkeypatch.setenv("PIXSEM_API_KEY", "secret")
        assert len(list(ServerPictures(url, None).make(rows(("a cat",), 1), None))) == 1
        monkeypatch.setenv("PIXSEM_API_KEY", "other")
        with pytest.raises(ValueError, match="asks for a key: set PIXSEM_API_KEY") as refused:
            next(ServerPictures(url, None).make(rows(("a cat",), 1), None))
        assert "other" not in str(refused.value)
    monkeypatch.setenv("PIXSEM_API_KEY", "secret\n")
    with pytest.raises(ValueError, match="characters that no key has"):
        ServerPictures("http://here", None)


def test_what_the_service_refuses_or_does_not_answer_is_told_in_words():
    with answering(InProcess()) as url:
        with pytest.raises(ValueError, match=r"answers 404: the model 'other' is not served here; m/3 is"):
            next(ServerPictures(url, "other").make(rows(("a cat",), 1), None))
        with pytest.raises(ValueError, match="answers 400: steps is 10,000; the most is 250"):
            next(ServerPictures(url, None).make(rows(("a cat",), 1, num_inference_steps=10_000), None))
        with pytest.raises(ValueError, match=r"answers 404|is no pixsem serve"):
            next(ServerPictures(url + "/nothing", None).make(rows(("a cat",), 1), None))
    with pytest.raises(ValueError, match=r"does not answer .*pixsem serve"):
        next(ServerPictures(url, None).make(rows(("a cat",), 1), None))
