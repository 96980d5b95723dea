"""What is served: one version of the model, opened, with what people and clients are told of it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from pipelines.serving import open_pipeline
from pipelines.tracking.open_version import Opened

CARD = "README.md"
CALLED = re.compile(r'\bpipeline\("((?:[^"\\]|\\.)+)"(, image=)?')  # the card's own examples of how to call it


@dataclass(frozen=True)
class Serving:
    """An opened version."""

    pipe: Any
    facts: dict[str, Any]  # what `Engine.describe` tells, without "watch"


def open_serving(opened: Opened) -> Serving:
    """Load a version. ValueError, in words, where it cannot be served."""
    pipe = open_pipeline(str(opened.folder))
    path = opened.folder / CARD
    card = path.read_text("utf-8", "replace") if path.is_file() else ""
    called = CALLED.findall(card)
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
        "examples": {
            "prompts": [text for text, edits in called if not edits],
            "instructions": [text for text, edits in called if edits],
        },
    }
    return Serving(pipe, facts)
