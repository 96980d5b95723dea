"""What is served: one version of the model, opened, with what people and clients are told of it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.serve.card_page import PICTURE
from pipelines.serving import open_pipeline
from pipelines.tracking.examples import read_examples
from pipelines.tracking.open_version import Opened

CARD = "README.md"


@dataclass(frozen=True)
class Serving:
    """An opened version."""

    pipe: Any
    folder: Path
    facts: dict[str, Any]  # what `Engine.describe` tells, without "watch"

    def card_picture(self, name: str) -> bytes | None:
        """Return a PNG that lies beside the card; None where there is none of this bare name."""
        path = self.folder / name
        return path.read_bytes() if PICTURE.fullmatch(name) and path.is_file() else None


def open_serving(opened: Opened) -> Serving:
    """Load a version. ValueError, in words, where it cannot be served."""
    pipe = open_pipeline(str(opened.folder))
    path = opened.folder / CARD
    card = path.read_text("utf-8", "replace") if path.is_file() else ""
    facts = {
        "id": opened.id,
        "name": opened.name,
        "version": opened.version,
        "alias": opened.alias,
        "digest": opened.digest,
        "created": opened.created,
        "opened": int(time.time()),
        "side": int(pipe.vae.config.image_size),
        "steps": pipe.config["num_inference_steps"],
        "guidance_scale": pipe.config["guidance_scale"],
        "image_guidance_scale": pipe.config["image_guidance_scale"],
        "edits": True,
        "card": re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL).strip(),
        "examples": read_examples(opened.folder),
    }
    return Serving(pipe, opened.folder, facts)
