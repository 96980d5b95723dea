"""Questions about a picture as OpenAI's chat completions, which servers of vision-language models speak."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from components.vision_models.vision_language import clean_answer

QUALITY = 95  # of the JPEG that a picture travels as


def picture_url(rgb: np.ndarray) -> str:
    """Return a picture, uint8 [H, W, 3], as a data URL of a JPEG with its colours at full resolution."""
    from PIL import Image

    made = io.BytesIO()
    Image.fromarray(rgb).save(made, "JPEG", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(made.getvalue()).decode()}"


def conversation(picture: str, prompt: str) -> list[dict[str, Any]]:
    """Return the messages that ask a prompt about the picture of a data URL."""
    shown = {"type": "image_url", "image_url": {"url": picture}}
    return [{"role": "user", "content": [shown, {"type": "text", "text": prompt}]}]


def sampling(tokens: int, temperature: float, seed: int) -> dict[str, Any]:
    """Return how an answer is drawn, as `VisionLanguage.answer` draws: at temperature 0 it is the most likely text."""
    drawn = {"temperature": temperature, "top_p": 0.95 if temperature else 1.0}
    return {"max_tokens": tokens, "seed": seed % 2**31, **drawn}  # 31 bits: some servers take no more


def answer_of(reply: Any) -> str:
    """Return the answer of a chat completion, on one line; it may be empty. ValueError, in words, where it is none."""
    try:
        said = reply["choices"][0]["message"]["content"]
        if said is None or isinstance(said, str):
            return clean_answer(said or "")
    except (KeyError, IndexError, TypeError):
        pass  # told below, as any other shape is
    raise ValueError(f"this is no answer of chat completions: {clean_answer(str(reply))[:200]}")
