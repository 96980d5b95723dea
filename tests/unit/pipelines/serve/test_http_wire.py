"""A connection's head has limits of bytes and seconds, and connections one of number."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.responses import JSONResponse, PlainTextResponse

from pipelines.serve import http_wire

pytestmark = pytest.mark.unit
REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


@pytest.fixture
def address(monkeypatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(http_wire, "HEAD_S", 0.3)
    monkeypatch.setattr(http_wire, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(http_wire.auto, "AutoHTTPProtocol", None)
    assert [one.cls for one in http_wire.install()] == [http_wire.LostFront, http_wire.BodyBudget]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(hello, lifespan="off", log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listening.getsockname()
        server.should_exit = True
        thread.join()


def test_a_head_that_is_too_long_is_refused(address):
    with socket.create_connection(address, 10) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert wire.recv(1000).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(("before", "begun"), [(b"", b""), (b"", b"GET / HTTP/1.1\r\nHost:"), (REQUEST, b"GET /")])
def test_a_head_that_does_not_come_ends_the_connection(address, before, begun):
    with socket.create_connection(address, 10) as wire:
        wire.sendall(before)
        assert not before or wire.recv(1000).startswith(b"HTTP/1.1 200")
        wire.sendall(begun)
        began = time.monotonic()
        while wire.recv(1000):
            pass
        assert 0.2 < time.monotonic() - began < 5


def test_a_connection_that_asks_is_kept_and_one_too_many_is_closed(address):
    wires = [socket.create_connection(address, 10) for _ in range(4)]
    for wire in wires[:3]:
        for _ in range(2):
            wire.sendall(REQUEST)
            assert wire.recv(1000).startswith(b"HTTP/1.1 200")
    assert wires[3].recv(1000) == b""
    for wire in wires:
        wire.close()


def test_bodies_that_do_not_fit_together_are_given_up_and_their_room_is_free_again(monkeypatch):
    monkeypatch.setattr(http_wire, "MOST_HELD", 25)
    go = asyncio.Event()

    async def reads_and_waits(scope: Any, receive: Any, send: Any) -> None:
        await send(await receive())
        await go.wait()

    async def chunk() -> Any:
        return {"type": "http.request", "body": bytes(10), "more_body": True}

    async def crowd() -> list[str]:
        kinds: list[str] = []

        async def note(message: Any) -> None:
            kinds.append(message["type"])

        for _ in range(2):
            open_ones = [asyncio.create_task(budget({"type": "http"}, chunk, note)) for _ in range(3)]
            await asyncio.sleep(0.01)
            go.set()
            await asyncio.gather(*open_ones)
            go.clear()
        return kinds

    budget = http_wire.BodyBudget(reads_and_waits)
    assert asyncio.run(crowd()) == ["http.request", "http.request", "http.disconnect"] * 2
    assert budget.held == 0


async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    return


async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b": step\n\n", "more_body": True})


async def get(app: Any) -> httpx.Response:
    transport = httpx.ASGITransport(http_wire.LostFront(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.get("/")


def test_a_stream_whose_process_is_lost_ends_with_an_error():
    assert "event: error" in asyncio.run(get(breaks_off)).text


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (says_nothing, 503, "not_ready"),
        (PlainTextResponse("Internal Server Error", 500), 503, "not_ready"),
        (JSONResponse({"error": {"code": "own"}}, 500), 500, "own"),
    ],
)
def test_what_the_proxy_answers_for_a_lost_process_has_the_apis_shape(answer, status, code):
    told = asyncio.run(get(answer))
    assert (told.status_code, told.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in told.headers) == (status == 503)
