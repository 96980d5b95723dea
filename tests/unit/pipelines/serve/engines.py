"""An engine in this process, with the handle's interface: plain pictures, as slowly as a test asks for."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import httpx
from PIL import Image

from pipelines.serve.front import make_app
from pipelines.serve.limits import Limits

CARD = (
    "# Card\n\n![Pictures](samples.png)\n\n![](../key.png)\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1))\n"
)


def png(colour: str = "red", side: int = 8, **settings: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, "PNG", **settings)
    return out.getvalue()


class Call:
    """What a streaming handle returns: an iterator that can be cancelled."""

    def __init__(self, told: AsyncIterator[Any], cancelled: Callable[[], None]) -> None:
        self.told, self.cancel = told, cancelled

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.told


class InProcess:
    """`errors` are raised, one a call, before a picture; `step_s` is how long each of its steps takes."""

    def __init__(self, steps: int = 3, step_s: float = 0.0, errors: list[Exception] | None = None) -> None:
        self.steps, self.step_s, self.errors = steps, step_s, list(errors or [])
        self.rows: list[dict[str, Any]] = []
        self.cancelled = self.checked = 0
        self.picture = self
        self.describe, self.card_picture = (
            SimpleNamespace(remote=method) for method in (self._describe, self._card_picture)
        )

    def options(self, stream: bool) -> InProcess:
        assert stream
        return self

    def remote(self, row: dict[str, Any]) -> Call:
        self.rows.append(row)
        return Call(self._made(row), self._cancel)

    def _cancel(self) -> None:
        self.cancelled += 1

    async def _made(self, row: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        steps = row["num_inference_steps"] or self.steps
        for step in range(1, steps + 1):
            await asyncio.sleep(self.step_s)
            yield {"kind": "progress", "step": step, "steps": steps}
            if step == 2:
                for index in range(row["previews"]):
                    yield {"kind": "preview", "index": index, "step": step, "png": png("grey")}
                if self.errors:
                    raise self.errors.pop(0)
        settings = {"seed": row["seed"], "steps": steps, "guidance_scale": row["guidance_scale"] or 6.5}
        yield {"kind": "picture", "png": png(), **settings, "model": "m/3", "batch": 1, "seconds": 0.1}

    async def _describe(self) -> dict[str, Any]:
        return {
            "id": "m/3", "name": "m", "version": "3", "alias": "champion", "created": 5, "side": 8, "edits": True,
            "card": CARD, "steps": 3, "guidance_scale": 6.5, "image_guidance_scale": 1.0,
        }  # fmt: skip

    def broadcast(self, method: str) -> Any:
        assert method == "check"
        return SimpleNamespace(results_async=self._check)

    async def _check(self) -> list[Any]:
        self.checked += 1
        return [{"refused": ""}]

    async def _card_picture(self, name: str) -> bytes | None:
        return png() if name == "samples.png" else None


def client(engine: InProcess, limits: Limits | None = None, **secrets: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(make_app(engine, limits or Limits(), **secrets), raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://here")
