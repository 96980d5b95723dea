"""How a server of a vision-language model is asked: what Ray's HTTP stage sends its requests through.

Ray's own session sends the requests of a batch one after another, and its errors quote a request with its picture.
This one sends them at once, tries again, bounds what it reads, and says in words what the server refused.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

import aiohttp

KEY_VARIABLE = "PIXSEM_RECAPTION_KEY"  # of the environment of every node: the server's key, and its only place
ATTEMPTS = 5  # the waits between them add up to 15 seconds
TIMEOUT = 600.0  # seconds for one answer
MOST_BYTES = 4 * 2**20  # of one reply
MOST_WORDS = 300  # characters of a server's error that are told
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)  # statuses after which the same request may succeed


class Refused(ValueError):
    """The server gave no answer; the text says why."""


class ChatSession:
    """Sends requests of a batch at once. A request is {prompt, picture, tokens, temperature, seed, model} as JSON; its
    answer is {"text": answer}.
    """

    def __init__(self, wait: float = 1.0) -> None:
        self._wait = wait  # seconds after the first failure; twice as long after each further one
        self._asked: list[asyncio.Task[Answer]] = []

    async def __aenter__(self) -> ChatSession:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        await self._session.close()

    def post(self, url: str, headers: dict[str, str], data: str) -> asyncio.Task[Answer]:
        """Send a request now, and return its answer to wait for."""
        self._asked.append(asyncio.create_task(self._answer(url, headers, json.loads(data))))
        return self._asked[-1]

    async def _answer(self, url: str, headers: dict[str, str], asked: dict[str, Any]) -> Answer:
        from components.vision_models.chat_requests import answer_of, conversation, sampling

        key = os.environ.get(KEY_VARIABLE, "").strip()
        headers = {**headers, "Authorization": f"Bearer {key}"} if key else headers
        body = {
            "model": asked["model"],
            "messages": conversation(asked["picture"], asked["prompt"]),
            **sampling(asked["tokens"], asked["temperature"], asked["seed"]),
        }
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(self._wait * 2 ** (attempt - 1))
            try:
                status, said = await self._post(url, headers, json.dumps(body))
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"{type(error).__name__} {error}".strip()
                continue
            if 200 <= status < 300:
                try:
                    return Answer(answer_of(json.loads(said)))
                except ValueError as error:
                    raise Refused(f"{url} was asked for a caption: {error}") from None
            words = " ".join(said.decode("utf-8", "replace").split())[:MOST_WORDS]
            problem = f"status {status}, {words.replace(key, '***') if key else words}"
            if status in (401, 403):
                problem += f". Set {KEY_VARIABLE} to its key, on every node"
            if status not in AGAIN:
                break
        raise Refused(f"{url} gives no caption: {problem}")

    async def _post(self, url: str, headers: dict[str, str], data: str) -> tuple[int, bytes]:
        # A redirected POST would become a GET.
        async with self._session.post(url, headers=headers, data=data, allow_redirects=False) as response:
            said = bytearray()
            async for part in response.content.iter_chunked(2**16):
                said += part
                if len(said) > MOST_BYTES:
                    raise Refused(f"{url} answers with more than {MOST_BYTES:,} bytes: it is no answer to a prompt")
            return response.status, bytes(said)


@dataclass(frozen=True)
class Answer:
    """One answer, as Ray's stage reads a response."""

    text: str
    status: int = 200

    async def __aenter__(self) -> Answer:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def json(self) -> dict[str, str]:
        """Return {"text": answer}."""
        return {"text": self.text}
