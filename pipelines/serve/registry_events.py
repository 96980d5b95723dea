"""MLflow's webhooks: whether a delivery is signed with our secret, and whether it is of the served model's alias."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

from pipelines.serve.api_errors import ApiError

FRESH_S = 300.0  # a signed delivery may be repeated by who saw it; older ones are refused


def check_signature(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Refuse what MLflow did not sign with `secret`: HMAC-SHA256 of "delivery.timestamp.body", as
    `mlflow.webhooks.delivery` makes it.
    """
    delivery, sent = headers.get("x-mlflow-delivery-id", ""), headers.get("x-mlflow-timestamp", "")
    signed = f"{delivery}.{sent}.".encode() + body
    digest = base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest())
    given = headers.get("x-mlflow-signature", "").encode("utf-8", "replace")
    if not hmac.compare_digest(b"v1," + digest, given):
        raise ApiError(401, "the delivery is not signed with this service's PIXSEM_WEBHOOK_SECRET.")
    if not sent.isascii() or not sent.isdigit() or abs(now - int(sent[:18])) > FRESH_S:
        raise ApiError(401, f"the delivery is older than {FRESH_S:g} seconds, or the clocks differ.")


def moves_alias(body: bytes, name: str) -> bool:
    """Whether a delivery says that an alias of the registered model `name` was set or taken away. ApiError for what is
    none of MLflow's.
    """
    try:
        told = json.loads(body)
        return told["entity"] == "model_version_alias" and told["data"]["name"] == name
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ApiError(400, "this is no delivery of MLflow's model registry.") from None
