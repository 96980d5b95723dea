"""What is served: one version of the model, opened, with what people and clients are told of it."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.serving import SUMS, open_pipeline

CARD = "README.md"
CALLED = re.compile(r'\bpipeline\("((?:[^"\\]|\\.)+)"(, image=)?')  # the card's own examples of how to call it


@dataclass
class Serving:
    """An opened version."""

    pipe: Any
    facts: dict[str, Any]  # what `Engine.describe` tells, without "watch"


def open_serving(model: str, store: str) -> Serving:
    """Open what a model's name means now. ValueError, in words, where it cannot be served."""
    folder = Path(model)
    pipe = open_pipeline(str(folder))
    listed = folder / SUMS
    known = listed if listed.is_file() else folder / "model_index.json"
    card = (folder / CARD).read_text("utf-8", "replace") if (folder / CARD).is_file() else ""
    called = CALLED.findall(card)
    facts = {
        "id": folder.absolute().name,
        "name": folder.absolute().name,
        "version": None,
        "alias": None,
        "digest": hashlib.sha256(known.read_bytes()).hexdigest(),
        "created": int(known.stat().st_mtime),
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
