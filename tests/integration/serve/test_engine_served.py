"""The engine behind Ray Serve: pictures of all who wait share a batch, who leaves frees it, a moved alias leaves no
gap, and nothing listens on other interfaces.
"""

from __future__ import annotations

import base64
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from pipelines.serve.limits import LOOPBACK
from pipelines.serving import make_picture, open_pipeline
from tests.integration.serve.served import serving
from tests.integration.serve.small_registry import CHAMPION, SmallRegistry

pytestmark = pytest.mark.integration
MOST = 1000  # steps that the engine itself takes
BATCH, QUEUED = 4, 4


@pytest.fixture(scope="module")
def models(tmp_path_factory, empty_mlflow) -> SmallRegistry:
    models = SmallRegistry(tmp_path_factory.mktemp("serve") / "store", empty_mlflow)
    for seed in range(2):
        models.add(seed)
    models.promote(models.registry.version("pixsem-generator", "1"))
    return models


@pytest.fixture(scope="module")
def served(models):
    with serving(CHAMPION, str(models.store), models.store / "pipeline-0", batch=BATCH, queued=QUEUED) as found:
        yield found


def ask(served, **row):
    return served.engine.options(stream=True).picture.remote({"prompt": "a red circle", "seed": 0, **row})


def post(served, **asked):
    body = {"prompt": "a red circle", "seed": 1, **asked}
    return httpx.post(f"{served.url}/v1/images/generations", json=body, timeout=60)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def test_pictures_of_all_who_wait_share_a_batch_and_are_those_of_their_seeds(served):
    calls = [ask(served, seed=seed, progress=False) for seed in range(BATCH)]
    made = [list(call)[-1] for call in calls]
    assert max(picture["batch"] for picture in made) > 1
    pipe = open_pipeline(str(served.model_folder))
    for seed, picture in enumerate(made):
        alone = np.asarray(make_picture(pipe, {"prompt": "a red circle", "seed": seed})).astype(int)
        assert picture["seed"] == seed and abs(pixels(picture["png"]) - alone).max() <= 1


def test_who_leaves_frees_the_engine_for_who_comes(served):
    began = time.monotonic()
    list(ask(served, num_inference_steps=MOST // 20))
    a_twentieth = time.monotonic() - began
    leaving = ask(served, num_inference_steps=MOST)
    assert next(iter(leaving))["step"] == 1
    leaving.cancel()
    began = time.monotonic()
    list(ask(served, num_inference_steps=1))
    assert time.monotonic() - began < 10 * a_twentieth


def test_the_client_of_a_stream_that_leaves_frees_the_engine(served):
    body = {"prompt": "a red circle", "steps": 250, "stream": True, "n": BATCH}
    with httpx.stream("POST", f"{served.url}/v1/images/generations", json=body, timeout=60) as answer:
        began, lines = time.monotonic(), answer.iter_lines()
        for _ in range(20 * BATCH):  # lines of the first steps
            next(lines)
        seconds_of_some = time.monotonic() - began
    began = time.monotonic()
    list(ask(served, num_inference_steps=1))
    assert time.monotonic() - began < 10 * seconds_of_some + 1


def test_what_more_than_the_queue_holds_is_refused_and_the_rest_is_answered(served):
    with ThreadPoolExecutor(40) as clients:
        answers = list(clients.map(lambda seed: post(served, seed=seed, steps=60), range(40)))
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {200, 429} and codes.count(200) >= BATCH + QUEUED
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status_code == 429)
    assert post(served).status_code == 200


def test_a_moved_alias_leaves_no_gap(served, models):
    seen, ended = [], threading.Event()

    def client() -> None:
        while not ended.is_set():
            answer = post(served)
            seen.append((answer.status_code, answer.json().get("model"), answer.json()["data"][0]["b64_json"]))

    with ThreadPoolExecutor(2) as clients:
        asking = [clients.submit(client) for _ in range(2)]
        models.promote(models.registry.version("pixsem-generator", "2"))
        while not seen or seen[-1][1] != "pixsem-generator/2":
            time.sleep(0.2)
            assert not any(one.done() for one in asking)
        ended.set()
        for one in asking:
            one.result()
    assert {code for code, _, _ in seen} == {200}
    assert [model for _, model, _ in seen] == sorted(model for _, model, _ in seen)  # never back to the old one
    first, second = (
        pixels(base64.b64decode(next(png for _, model, png in seen if model == f"pixsem-generator/{number}")))
        for number in (1, 2)
    )
    assert abs(first - second).max() > 1  # the new weights made it
    while (about := httpx.get(f"{served.url}/about").json())["version"] != "2":  # it is fetched once a second
        time.sleep(0.2)
    assert about["watch"]["refused"] == ""


def test_nothing_listens_on_other_interfaces(served):
    processes = psutil.Process().children(recursive=True)
    heard = {
        connection.laddr.ip.removeprefix("::ffff:")
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert len(processes) > 4 and heard == {LOOPBACK}
