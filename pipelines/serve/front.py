"""The HTTP side of the service: OpenAI's images API, the page, health and metrics. It runs no model."""

from __future__ import annotations

import asyncio
import hmac
import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from ray import serve
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from pipelines.serve import images_api as api
from pipelines.serve.answering import Service
from pipelines.serve.api_errors import HINTS, ApiError
from pipelines.serve.card_page import PICTURE, card_html
from pipelines.serve.http_limits import HttpLimits
from pipelines.serve.limits import Limits
from pipelines.serve.loopback import replica_on_loopback
from pipelines.serve.metrics import Metrics
from pipelines.serve.registry_events import check_signature, moves_alias

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
