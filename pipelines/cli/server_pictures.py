"""Pictures asked of a running `pixsem serve`, through OpenAI's images API."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx

from pipelines.errors import UserError

KEY = "PIXSEM_API_KEY"
AT_ONCE = 4  # requests that are open: the service makes pictures of several in one batch
TRIES = 8  # of a request that the service has no room for
LONGEST_WAIT = 30.0  # seconds between two of them
TIMEOUT = httpx.Timeout(600.0, connect=10.0)  # seconds; the service's own limit is shorter
MOST_BYTES = 512 * 2**20  # of an answer
AGAIN = (429, 503)
# Names of a row's settings in the API.
NAMES = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance_scale",
    "image_guidance_scale": "image_guidance_scale",
}


class ServerPictures:
    """Asks a service for pictures. `model` None: whatever it serves."""

    def __init__(self, address: str, model: str | None) -> None:
        self.address, self.model = address.rstrip("/").removesuffix("/v1"), model
        if not self.address.startswith(("http://", "https://")):
            raise UserError(f"--server {address} is no address: write one as http://127.0.0.1:8000")
        self.key = os.environ.get(KEY, "")
        if not self.key.isascii() or not self.key.isprintable():
            raise UserError(f"{KEY} in the environment holds characters that no key has: look for a line's end in it")

    def make(self, rows: Sequence[dict[str, Any]], image: Path | None) -> Iterator[bytes]:
        """Yield the PNG of each row, in their order. ValueError, in words, where the service gives none."""
        from pipelines.cli.picture_progress import progress

        source = image.read_bytes() if image else None
        with progress(len(rows)) as told_of, asyncio.Runner() as runner:
            answers = self._answers(rows, source)
            made = 0

            async def following() -> list[bytes] | None:
                return await anext(answers, None)

            try:
                while (pictures := runner.run(following())) is not None:
                    made += len(pictures)
                    told_of(made)
                    yield from pictures
            finally:
                runner.run(answers.aclose())

    async def _answers(self, rows: Sequence[dict[str, Any]], source: bytes | None) -> AsyncGenerator[list[bytes], None]:
        """Yield the pictures of each request, in their order; several requests are open at the same time."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        async with httpx.AsyncClient(base_url=self.address, headers=headers, timeout=TIMEOUT) as client:
            about = await self._send(client, client.build_request("GET", "/about"))
            most = about.get("limits", {}).get("n") if isinstance(about, dict) else None
            if not isinstance(most, int):
                raise UserError(f"what answers at {self.address} is no pixsem serve")
            places = asyncio.Semaphore(AT_ONCE)
            tasks = [asyncio.create_task(self._ask(client, places, some, source)) for some in _requests(rows, most)]
            try:
                for task in tasks:
                    yield await task
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(
        self, client: httpx.AsyncClient, places: asyncio.Semaphore, rows: list[dict[str, Any]], source: bytes | None
    ) -> list[bytes]:
        asked = {"prompt": rows[0]["prompt"], "n": len(rows), "seed": rows[0]["seed"], "model": self.model}
        asked |= {name: rows[0].get(key) for key, name in NAMES.items()}
        asked = {name: value for name, value in asked.items() if value is not None}
        async with places:
            for attempt in range(1, TRIES + 1):
                if source is None:
                    request = client.build_request("POST", "/v1/images/generations", json=asked)
                else:
                    fields = {name: str(value) for name, value in asked.items()}
                    files = {"image": ("image", source, "application/octet-stream")}
                    request = client.build_request("POST", "/v1/images/edits", data=fields, files=files)
                answer = await self._send(client, request, again=attempt < TRIES)
                if not isinstance(answer, float):
                    return self._pictures(answer, len(rows))
                await asyncio.sleep(min(LONGEST_WAIT, answer))
        raise AssertionError("the last try is answered or fails")

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request, again: bool = False) -> Any:
        """Return the JSON of an answer; with `again`, the seconds to wait before the next try where the service has no
        room now. `UserError` for anything else.
        """
        try:
            response = await client.send(request, stream=True)
            try:
                body = bytearray()
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise UserError(f"the answer of {self.address} is over {MOST_BYTES:,} bytes, and not read")
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            said = str(error) or type(error).__name__
            raise UserError(
                f"{self.address} does not answer ({said}). Look at the address, or start one: pixsem serve"
            ) from None
        if again and response.status_code in AGAIN:
            wait = response.headers.get("retry-after", "")
            return float(wait) if wait.isascii() and wait.isdigit() else 1.0
        try:
            answer = httpx.Response(200, content=bytes(body)).json()
        except ValueError:
            answer = None
        if response.status_code != 200 or answer is None:
            raise UserError(self._refused(response.status_code, answer))
        return answer

    def _refused(self, status: int, answer: Any) -> str:
        """Return, in words, why the service made nothing."""
        error = answer.get("error") if isinstance(answer, dict) else None
        said = str(error.get("message", ""))[:500] if isinstance(error, dict) else ""
        if status == 401:
            return f"{self.address} asks for a key: set {KEY} to it ({said or 'none was taken'})"
        return f"{self.address} answers {status}: {said}" if said else f"{self.address} answers {status}, without words"

    def _pictures(self, answer: Any, count: int) -> list[bytes]:
        try:
            found = [base64.b64decode(one["b64_json"], validate=True) for one in answer["data"]]
        except (TypeError, KeyError, binascii.Error):
            found = []
        if len(found) != count or not all(png.startswith(b"\x89PNG\r\n\x1a\n") for png in found):
            raise UserError(f"the answer of {self.address} does not hold the {count} PNG pictures that were asked for")
        return found


def _requests(rows: Sequence[dict[str, Any]], most: int) -> Iterator[list[dict[str, Any]]]:
    """Divide rows into requests: of one prompt, with seeds that follow each other, at most `most` in each."""
    for _, group in groupby(rows, key=lambda row: row["prompt"]):
        some: list[dict[str, Any]] = []
        for row in group:
            if some and (len(some) == most or row["seed"] != some[-1]["seed"] + 1):
                yield some
                some = []
            some.append(row)
        yield some
