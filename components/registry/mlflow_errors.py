"""Errors of MLflow in one sentence each, with what to do. Nothing here imports MLflow."""

from __future__ import annotations

import re

from components.registry.database import database_path

# Words in an error's text (lower case) and the sentence for them. The first that matches counts.
SENTENCES = (
    (
        ("not a database", "malformed"),
        "is no readable database: it is damaged. Move it away, and a new one is made.",
    ),
    (
        ("out-of-date database schema", "can't locate revision"),
        "has the schema of another MLflow version. Upgrade it with `mlflow db upgrade`, or use the MLflow that "
        "made it.",
    ),
    (
        ("database is locked",),
        "is locked by another process. Wait for it, or end it; `fuser` on the file names it.",
    ),
    (
        ("disk is full", "no space left"),
        "cannot be written to: the disk is full: make room, then run again.",
    ),
    (
        ("readonly database", "unable to open database", "permission denied", "is a directory"),
        "cannot be opened for writing. Check the path and its permissions, or set tracking.uri to another.",
    ),
    (
        ("error 401", "error 403", "unauthenticated", "permission_denied"),
        "does not let you in. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
    ),
    (
        ("max retries exceeded", "connection", "refused", "timed out"),
        "does not answer. Start the server, or set tracking.uri to another.",
    ),
)


class TrackingError(ValueError):
    """MLflow cannot be written to; the text says why and what to do."""


def tracking_error(uri: str, error: Exception) -> TrackingError:
    """Return the error for people. Credentials in addresses are left out."""
    if isinstance(error, ModuleNotFoundError):
        return TrackingError(
            f"MLflow at {without_credentials(uri)} keeps its files where the package {error.name} is needed: "
            "install it, or set MLFLOW_TRACKING_URI to a server that stores them itself"
        )
    text = " ".join(without_credentials(str(error)).split())
    low = text.lower()
    path = database_path(uri)
    if path is not None and not path.exists() and ("unable to open database" in low or "readonly database" in low):
        return TrackingError(
            f"MLflow at {uri} is not there any more, or cannot be made: look for {path.parent}, which may have "
            "been moved, removed or unmounted, and at its permissions; then run again."
        )
    said = next((sentence for words, sentence in SENTENCES if any(word in low for word in words)), None)
    return TrackingError(f"MLflow at {without_credentials(uri)} {said or f'failed: {text[:400]}'}")


def without_credentials(text: str) -> str:
    """Return a text whose addresses have no `user:password@` in them."""
    return re.sub(r"://[^/\s]+@", "://", text)
