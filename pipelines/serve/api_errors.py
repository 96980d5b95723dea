"""Errors of the service, in the shape of OpenAI's API."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# What is said of a field beside what is wrong with its value.
HINTS = {
    "response_format": "pictures are sent in the answer, as b64_json; no addresses are made",
    "output_format": "pictures are PNG files",
    "output_compression": "PNG files lose nothing",
    "background": "pictures have no transparent parts",
    "mask": "no masks are read: say in the prompt what to change",
    "input_fidelity": "image_guidance_scale says how close to the source the result stays",
    "style": "say it in the prompt",
}


class ApiError(Exception):
    """An answer that is an error: `status` is HTTP's, `param` the field that is wrong, `retry_s` when to try again."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry_s = status, message, param, code, retry_s

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON, which is an event's in a stream."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the answer."""
        headers = {} if self.retry_s is None else {"Retry-After": str(self.retry_s)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status in (408, 413):
            headers["Connection"] = "close"  # the rest of the body is not read
        if self.status == 504:
            headers["X-Should-Retry"] = "false"  # OpenAI's clients would ask for as much again
        return JSONResponse(self.body(), self.status, headers)


def in_words(error: ValidationError) -> ApiError:
    """Return the error of the first wrong field. Its text holds no value that was sent."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = str(first["loc"][0])[:100] if first["loc"] else None
    message = "this field is not known" if first["type"] == "extra_forbidden" else first["msg"]
    hint = f" ({HINTS[param]})" if param in HINTS else ""
    return ApiError(400, f"{param or 'the body'}: {message}{hint}.", param=param, code="invalid_value")
