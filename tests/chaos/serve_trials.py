"""Requests to the service while its copies are killed, bodies are malformed, and clients are slow or leave.

    python -m tests.chaos.serve_trials --requests 1000 --kills 8 --seed 0

A tiny model behind the real service on loopback. Every request must be answered: with its pictures, or with an error in
the API's shape that its kind may get. Afterwards the queue is empty, a picture is made, nothing listens on other
interfaces, and over the last third, which nobody kills, no process of the service grows by more than GROWTH.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from tests.integration.serve.served import Served, save_model, serving

CLIENTS = 12
PATIENCE = 100.0  # seconds for an answer; after it the request is lost
GROWTH, GROWTH_MB = 1.1, 24  # the larger of both
KINDS = {"picture": 8, "edit": 3, "stream": 3, "malformed": 4, "slow": 1, "leaving": 3}
MAY_GET = {  # beside 200: a full queue, a lost copy, a time limit
    "picture": {429, 503, 504}, "edit": {429, 503, 504}, "stream": {429, 503, 504}, "slow": {408, 429, 503, 504},
    "malformed": {400, 404, 405, 413, 415, 429, 503},
}  # fmt: skip
VICTIMS = ("Engine", "Engine", "Engine", "Front")


@dataclass
class Outcome:
    """What became of the requests."""

    codes: dict[str, Counter[int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    megabytes: dict[str, tuple[float, float]] = field(default_factory=dict)  # of a process: before and after

    def lines(self) -> Iterator[str]:
        """Yield it in words."""
        yield f"killed: {dict(self.killed)}"
        for kind, codes in sorted(self.codes.items()):
            told = (f"{count} x {code or 'left'}" for code, count in sorted(codes.items()))
            yield f"{kind}: {', '.join(told)}"
        for name, (before, after) in sorted(self.megabytes.items()):
            yield f"{name}: {before:.0f} MB, later {after:.0f} MB"
        yield from (f"PROBLEM {problem}" for problem in self.problems)


def png(rng: random.Random) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (rng.randint(1, 90), rng.randint(1, 90)), rng.choice(["red", "blue"])).save(out, "PNG")
    return out.getvalue()


def asked(rng: random.Random, **more: Any) -> dict[str, Any]:
    return {
        "prompt": rng.choice(["a red circle", "make it blue", "é \U0001f600 a circle"]),
        "n": rng.choice([1, 1, 1, 2, 3]), "seed": rng.randrange(10_000), "steps": rng.randint(1, 8), **more,
    }  # fmt: skip


def picture(client: httpx.Client, rng: random.Random) -> httpx.Response:
    body = asked(rng)
    answer = client.post("/v1/images/generations", json=body)
    check_pictures(answer, body)
    return answer


def edit(client: httpx.Client, rng: random.Random) -> httpx.Response:
    body = {name: str(value) for name, value in asked(rng).items()}
    answer = client.post("/v1/images/edits", data=body, files={"image": ("a.png", png(rng), "image/png")})
    check_pictures(answer, body)
    return answer


def check_pictures(answer: httpx.Response, body: dict[str, Any]) -> None:
    if answer.status_code == 200:
        found = answer.json()["data"]
        assert [one["seed"] for one in found] == [int(body["seed"]) + number for number in range(int(body["n"]))]
        for one in found:
            Image.open(io.BytesIO(base64.b64decode(one["b64_json"]))).load()


def stream(client: httpx.Client, rng: random.Random) -> httpx.Response:
    body = asked(rng, stream=True, partial_images=rng.randint(0, 3))
    with client.stream("POST", "/v1/images/generations", json=body) as answer:
        answer.read()
    if answer.status_code == 200:
        ended = answer.text.count("event: image_generation.completed") == body["n"]
        assert ended or "event: error" in answer.text, f"a stream ends with {answer.text[-200:]!r}"
    return answer


def malformed(client: httpx.Client, rng: random.Random) -> httpx.Response:
    json_type = {"Content-Type": "application/json"}
    form_type = {"Content-Type": "multipart/form-data; boundary=x"}
    whole = json.dumps(asked(rng)).encode()
    return rng.choice([
        lambda: client.post("/v1/images/generations", content=whole[: rng.randrange(len(whole))], headers=json_type),
        lambda: client.post("/v1/images/generations", content=rng.randbytes(500), headers=json_type),
        lambda: client.post("/v1/images/generations", content=whole),
        lambda: client.post("/v1/images/generations", json={"prompt": "x", "n": rng.choice([0, 999, "two", []])}),
        lambda: client.post("/v1/images/generations", json=[["["] * 50] * 50),
        lambda: client.post("/v1/images/generations", json={"prompt": "x" * 100_000}),
        lambda: client.post("/v1/images/edits", data={"prompt": "x"}, files={"image": ("a.png", rng.randbytes(900))}),
        lambda: client.post("/v1/images/edits", content=b"--x\r\n", headers=form_type),
        lambda: client.get("/v1/models/..%2f..%2fetc%2fpasswd"),
        lambda: client.put("/v1/images/generations", content=whole),
    ])()  # fmt: skip


def slow(client: httpx.Client, rng: random.Random) -> httpx.Response:
    whole = json.dumps(asked(rng)).encode()

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(whole), 12):
            time.sleep(0.1)
            yield whole[start : start + 12]

    return client.post("/v1/images/generations", content=pieces(), headers={"Content-Type": "application/json"})


def leaving(client: httpx.Client, rng: random.Random) -> None:
    """Send a request, or a part of it, and close the connection."""
    body = json.dumps(asked(rng, steps=60, stream=rng.random() < 0.5)).encode()
    head = ["POST /v1/images/generations HTTP/1.1", "Host: x", "Content-Type: application/json"]
    whole = "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body
    with socket.create_connection((client.base_url.host, client.base_url.port), PATIENCE) as connection:
        connection.sendall(whole[: rng.choice([len(whole), len(whole), rng.randrange(len(whole))])])
        time.sleep(rng.random() * 0.5)


DO: dict[str, Callable[[httpx.Client, random.Random], httpx.Response | None]] = {
    "picture": picture, "edit": edit, "stream": stream, "malformed": malformed, "slow": slow, "leaving": leaving,
}  # fmt: skip


def one_request(url: str, number: int, seed: int, outcome: Outcome, lock: threading.Lock) -> None:
    """Make a request that follows from the seed and its number."""
    rng = random.Random(f"{seed}/{number}")
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    code, problem = 0, ""
    try:
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            answer = DO[kind](client, rng)
        if answer is not None:
            code = answer.status_code
            if code != 200 and code not in MAY_GET[kind]:
                problem = f"answered {code}: {answer.text[:200]!r}"
            elif code != 200 and set(answer.json()["error"]) != {"message", "type", "param", "code"}:
                problem = f"its error has not the API's shape: {answer.text[:200]!r}"
            elif code == 200 and kind == "malformed":
                problem = "a malformed request was answered with 200"
    except (httpx.HTTPError, OSError) as error:
        problem = f"lost: {type(error).__name__}: {error}"
    except (AssertionError, ValueError, KeyError) as error:
        problem = f"answered wrongly: {error}"
    with lock:
        outcome.codes.setdefault(kind, Counter())[code] += 1
        outcome.problems += [f"request {number} ({kind}) {problem}"] if problem else []


def processes(*names: str) -> dict[str, psutil.Process]:
    """Return the service's processes of these names."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        command = " ".join(process.cmdline()) if process.is_running() else ""
        found |= {name: process for name in names if name in command}
    return found


def megabytes() -> dict[str, float]:
    parts = ("ServeReplica:pixsem:Engine", "ServeReplica:pixsem:Front", "ProxyActor", "ServeController")
    return {name: process.memory_info().rss / 2**20 for name, process in processes(*parts).items()}


def trials(served: Served, requests: int, kills: int, seed: int) -> Outcome:
    """Make all requests; in the first two thirds copies are killed."""
    outcome, lock, rng = Outcome(), threading.Lock(), random.Random(seed)
    quiet = requests * 2 // 3
    moments = sorted(rng.sample(range(quiet), kills))

    def do(numbers: range) -> None:
        with ThreadPoolExecutor(CLIENTS) as clients:
            for _ in clients.map(lambda number: _do(number), numbers):
                pass

    def _do(number: int) -> None:
        if number in moments:
            victim = VICTIMS[moments.index(number) % len(VICTIMS)]
            for process in processes(f"ServeReplica:pixsem:{victim}").values():
                process.kill()
                outcome.killed[victim] += 1
        one_request(served.url, number, seed, outcome, lock)

    do(range(quiet))
    wait_for_health(served.url)
    do(range(quiet, quiet + (requests - quiet) // 3))  # every process has met every kind of request
    before = megabytes()
    do(range(quiet + (requests - quiet) // 3, requests))
    after = megabytes()
    outcome.megabytes = {name: (before.get(name, 0.0), size) for name, size in after.items()}
    for name, (then, now) in outcome.megabytes.items():
        if now > max(then * GROWTH, then + GROWTH_MB):
            outcome.problems.append(f"{name} grew from {then:.0f} to {now:.0f} MB")
    outcome.problems += afterwards(served)
    return outcome


def wait_for_health(url: str) -> None:
    ends = time.monotonic() + 180
    while httpx.get(f"{url}/healthz", timeout=PATIENCE).status_code != 200:
        if time.monotonic() > ends:
            raise RuntimeError("the service does not answer again")
        time.sleep(0.5)


def afterwards(served: Served) -> list[str]:
    """Return what is wrong with a service that all have left."""
    found = []
    answer = httpx.post(f"{served.url}/v1/images/generations", json={"prompt": "a red circle"}, timeout=PATIENCE)
    if answer.status_code != 200:
        found.append(f"a picture afterwards is answered with {answer.status_code}")
    time.sleep(1)
    for line in httpx.get(f"{served.url}/metrics").text.splitlines():
        if line.startswith(("pixsem_queue ", "pixsem_running ")) and float(line.split()[-1]) != 0:
            found.append(f"somebody waits for ever: {line}")
    for process in psutil.Process().children(recursive=True):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.ip.removeprefix("::ffff:") != "127.0.0.1":
                found.append(f"{process.name()} listens on {connection.laddr}")
    return found


def main() -> None:
    """Print what became of the requests; fail where there is a problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder) / "tiny")
        with serving(str(model), "", model) as served:
            began = time.monotonic()
            outcome = trials(served, chosen.requests, chosen.kills, chosen.seed)
            print("\n".join(outcome.lines()))
            print(f"{chosen.requests} requests in {time.monotonic() - began:.0f} s, {len(outcome.problems)} problems")
    raise SystemExit(bool(outcome.problems))


if __name__ == "__main__":
    main()
