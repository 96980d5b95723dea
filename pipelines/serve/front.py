"""The HTTP side of the service: OpenAI's images API, the page, health and metrics. It runs no model."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from pipelines.serve import images_api as api
from pipelines.serve.api_errors import HINTS, ApiError
from pipelines.serve.asking import Maker
from pipelines.serve.card_page import PICTURE, card_html
from pipelines.serve.description import Description
from pipelines.serve.http_limits import HttpLimits
from pipelines.serve.limits import Limits
from pipelines.serve.loopback import replica_on_loopback
from pipelines.serve.metrics import Metrics
from pipelines.serve.registry_events import check_signature, moves_alias

log = logging.getLogger("ray.serve")
PAGE = Path(__file__).parent / "page"
FIELDS = 64  # of a form; the API has fewer
HIDDEN = ("card",)  # of the description: it has an address of its own


@serve.deployment(ray_actor_options={"num_cpus": 0}, max_ongoing_requests=256)
@serve.ingress()
class Front:
    """The deployment that answers HTTP. `engine` is the handle of the deployment that makes pictures.

    With `api_key`, /v1 asks for it. With `webhook_secret`, MLflow may tell of a moved alias at /webhooks/mlflow.
    """

    def __init__(
        self, engine: Any, limits: Limits, api_key: str | None = None, webhook_secret: str | None = None
    ) -> None:
        replica_on_loopback()
        self.engine, self.limits, self.api_key, self.webhook_secret = engine, limits, api_key, webhook_secret

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application, as Serve wants it."""
        return make_app(self.engine, self.limits, self.api_key, self.webhook_secret)


def make_app(engine: Any, limits: Limits, api_key: str | None = None, webhook_secret: str | None = None) -> FastAPI:
    """Return the HTTP application before an engine."""
    metrics = Metrics()
    service = Service(engine, limits, metrics)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(HttpLimits, limits=limits, metrics=metrics)
    app.add_exception_handler(ApiError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_error)
    app.include_router(_images(service, api_key))
    app.include_router(_about(service, metrics, bool(api_key)))
    if webhook_secret:
        app.include_router(_webhooks(service, webhook_secret))
    app.mount("/page", StaticFiles(directory=PAGE, check_dir=False))
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, f"{request.method} {request.url.path[:100]}: {error.detail}")
    assert isinstance(error, ApiError)
    return error.response()


class Service:
    """What the routes share: the engine, its description, and the making of pictures."""

    def __init__(self, engine: Any, limits: Limits, metrics: Metrics) -> None:
        self.engine, self.limits = engine, limits
        self.maker = Maker(engine, limits, metrics)
        self.description = Description(engine)
        self.pictures: dict[tuple[str, str], bytes] = {}  # of the card, by version and name
        self.checks: set[asyncio.Task[None]] = set()

    async def answer(self, asked: api.Generation, image: bytes | None, request: Request) -> Response:
        """Return the answer to a request that was read: JSON, or a stream of events."""
        about = await self.description.now()
        api.check_served(asked, about)
        seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
        if self.limits.log_prompts:
            log.info("seed %d, %d pictures: %r", seed, asked.n, asked.prompt)
        rows = api.rows_of(asked, image, seed, request.headers.get("x-request-id", secrets.token_hex(8))[:64])
        made = self.maker.make(rows, "generation" if image is None else "edit")
        if not asked.stream:
            pictures: dict[int, dict[str, Any]] = {}
            async with aclosing(made):
                async for number, told in made:
                    if told["kind"] == "picture":
                        pictures[number] = told
            return JSONResponse(api.answer([pictures[number] for number in range(asked.n)], about["side"]))
        try:
            first = await anext(made)  # an error of the first moments has its own status
        except BaseException:
            await made.aclose()
            raise
        prefix = "image_generation" if image is None else "image_edit"

        async def lines() -> AsyncGenerator[str, None]:
            try:
                yield _line(api.event(prefix, *first, about["side"]), asked.progress)
                async for number, told in made:
                    yield _line(api.event(prefix, number, told, about["side"]), asked.progress)
            except ApiError as error:
                yield f"event: error\ndata: {json.dumps({'type': 'error', **error.body()})}\n\n"

        return EventStream(lines(), made)

    async def card_picture(self, name: str) -> bytes | None:
        """Return a picture beside the served version's card, None where there is none of this name."""
        served = (await self.description.now())["id"]
        if (served, name) not in self.pictures:
            try:
                data = await self.engine.card_picture.remote(name)
            except (RayError, RayServeException):
                raise ApiError(503, "the model has no time for it: try again.", retry_s=5) from None
            if data is None:
                return None
            self.pictures = {key: kept for key, kept in self.pictures.items() if key[0] == served}
            self.pictures[served, name] = data
        return self.pictures[served, name]

    async def check(self) -> None:
        """Have all copies look at the alias now. Where one cannot, it sees it when it looks by itself."""
        try:
            await self.engine.broadcast("check").results_async()
        except Exception as error:
            log.warning("the alias is looked at later: %s", type(error).__name__)


def _line(event: dict[str, Any], progress: bool) -> str:
    if event["type"].endswith(".progress") and not progress:
        return ": step\n\n"  # a comment of the stream: it keeps the connection
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"


class EventStream(StreamingResponse):
    """Server-sent events; the pictures are stopped however the answer ends."""

    def __init__(self, lines: AsyncGenerator[str, None], made: AsyncGenerator[Any, None]) -> None:
        super().__init__(lines, media_type="text/event-stream")
        self.lines, self.made = lines, made

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self.lines.aclose()
            await self.made.aclose()


def _images(service: Service, api_key: str | None) -> APIRouter:
    """Return the routes of OpenAI's API; they ask for the key where there is one."""

    async def check_key(request: Request) -> None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if api_key and not (kind.lower() == "bearer" and hmac.compare_digest(given.encode(), api_key.encode())):
            raise ApiError(
                401, "this service asks for an API key, and the one given is not it.", code="invalid_api_key"
            )

    router = APIRouter(prefix="/v1", dependencies=[Depends(check_key)])

    @router.post("/images/generations")
    async def generate(request: Request) -> Response:
        _want_type(request, "application/json")
        return await service.answer(api.read_asked(api.Generation, await request.body(), service.limits), None, request)

    @router.post("/images/edits")
    async def edit(request: Request) -> Response:
        _want_type(request, "multipart/form-data")
        most = 4 * service.limits.prompt_characters
        async with request.form(max_files=FIELDS, max_fields=FIELDS, max_part_size=most) as form:
            asked = api.read_asked(api.Edit, _texts(form), service.limits)
            image = await _source(form)
        api.check_picture(image, service.limits)
        return await service.answer(asked, image, request)

    @router.get("/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [_model(await service.description.now())]})

    @router.get("/models/{name:path}")
    async def model(name: str) -> Response:
        about = await service.description.now()
        api.check_model(name, about)
        return JSONResponse(_model(about))

    return router


def _want_type(request: Request, wanted: str) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != wanted:
        raise ApiError(415, f"the body's Content-Type must be {wanted}.")


def _texts(form: FormData) -> dict[str, Any]:
    """Return a form's fields but the picture."""
    texts: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in ("image", "image[]"):
            continue
        if name in texts or isinstance(value, UploadFile):
            hint = HINTS.get(name, "it is no file, and is given once")
            raise ApiError(400, f"{name[:100]} cannot be taken ({hint}).", param=name[:100], code="invalid_value")
        texts[name] = value
    return texts


async def _source(form: FormData) -> bytes:
    """Return the one picture to edit."""
    found = [*form.getlist("image"), *form.getlist("image[]")]
    if len(found) == 1 and isinstance(found[0], UploadFile):
        return await found[0].read()
    why = "is one file to edit, and there is none" if len(found) < 2 else f"is one file to edit; {len(found)} were sent"
    raise ApiError(400, f"image {why}.", param="image", code="invalid_value")


def _model(about: dict[str, Any]) -> dict[str, Any]:
    return {"id": about["id"], "object": "model", "created": about["created"], "owned_by": "pixsem"}


def _about(service: Service, metrics: Metrics, key_needed: bool) -> APIRouter:
    """Return the routes that need no key: the page and what it shows, health, metrics."""
    router = APIRouter()
    limits, description = service.limits, service.description

    @router.get("/")
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    @router.get("/about")
    async def about() -> Response:
        told = {name: value for name, value in (await description.now()).items() if name not in HIDDEN}
        names = ("n", "steps", "guidance", "previews", "prompt_characters", "picture_bytes", "body_bytes")
        told["limits"] = {name: getattr(limits, name) for name in names}
        return JSONResponse({**told, "key_needed": key_needed})

    @router.get("/card")
    async def card() -> Response:
        told = await description.now()
        return HTMLResponse(card_html(told["card"], told["id"]))

    @router.get("/card/{name}")
    async def card_picture(name: str) -> Response:
        data = await service.card_picture(name) if PICTURE.fullmatch(name) else None
        if data is None:
            raise ApiError(404, f"the card has no picture {name[:100]!r}.")
        return Response(data, media_type="image/png")

    @router.get("/healthz")
    async def health() -> Response:
        quiet = time.monotonic() - max(service.maker.heard, description.heard)
        if quiet > limits.health_s and not await description.answers(limits.health_s / 2):
            raise ApiError(503, "the model does not answer.", code="not_ready", retry_s=5)
        return JSONResponse({"status": "ok", "model": (await description.now())["id"]})

    @router.get("/metrics")
    async def figures() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _webhooks(service: Service, secret: str) -> APIRouter:
    """Return the route that MLflow tells of a moved alias."""
    router = APIRouter()

    @router.post("/webhooks/mlflow")
    async def mlflow(request: Request) -> Response:
        body = await request.body()
        check_signature(secret, request.headers, body, time.time())
        moved = moves_alias(body, (await service.description.now())["name"])
        if moved:  # opening a new version takes longer than MLflow waits for an answer
            task = asyncio.create_task(service.check())
            service.checks.add(task)
            task.add_done_callback(service.checks.discard)
        return JSONResponse({"looked": moved}, 202)

    return router
