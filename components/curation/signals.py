"""All signals of one sample that need no model: one table of what is measured, and its columns.

A new signal is a file with a function of a `Sample`, an entry in `SIGNALS`, and, where samples are to be dropped by it,
a rule in `decide.RULES` with its threshold in `options.CurationRules`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from components.curation.image_signals import IMAGE_SCHEMA, image_signals
from components.curation.images import DecodedImage, ImageError, decode_image
from components.curation.options import ImageLimits
from components.curation.text_signals import TEXT_SCHEMA, text_signals


@dataclass(frozen=True)
class Sample:
    """What a signal is measured of."""

    data: bytes | None  # the picture's file; None: the sample has none
    decoded: DecodedImage | None  # the picture; None: there is none, or it cannot be decoded
    caption: str | None


@dataclass(frozen=True)
class Signal:
    """One function and the columns it fills. What it leaves out of them is null."""

    columns: dict[str, str]  # name -> type, as `components.data.tables` writes them
    measure: Callable[[Sample], dict[str, Any]]
    reads_picture: bool = True  # False: of the caption alone


def _of_image(sample: Sample) -> dict[str, Any]:
    if sample.decoded is None or sample.data is None:
        return NO_IMAGE | {"bytes": len(sample.data or b"")}
    decoded = sample.decoded
    known = {"bytes": len(sample.data), "format": decoded.format, "mode": decoded.mode, "frames": decoded.frames}
    return known | image_signals(sample.data, decoded.rgb)


BATCH = 64  # samples whose files are in memory at once
NO_IMAGE: dict[str, Any] = {
    "bytes": 0,
    "format": "",
    "mode": "",
    "frames": 0,
    "width": 0,
    "height": 0,
    "aspect": 0.0,
    "sha256": "",
    "pixel_hash": "",
    "phash": 0,
    "thumbnail": b"",
    "contrast": 0.0,
    "sharpness": 0.0,
}
SIGNALS: dict[str, Signal] = {
    "image": Signal(IMAGE_SCHEMA, _of_image),
    "text": Signal(TEXT_SCHEMA, lambda sample: text_signals(sample.caption), reads_picture=False),
}
SIGNAL_SCHEMA = {
    "shard": "string",
    "key": "string",
    "error": "string",
    "detail": "string",
    **{name: kind for signal in SIGNALS.values() for name, kind in signal.columns.items()},
}


def measure(data: bytes | None, caption: str | None, limits: ImageLimits) -> dict[str, Any]:
    """Return the signals of a sample (`SIGNAL_SCHEMA` less shard and key).

    Where the image cannot be decoded, `error` and `detail` say why and its signals are empty.
    """
    return next(measure_all([(data, caption)], limits))


def measure_all(samples: Iterable[tuple[bytes | None, str | None]], limits: ImageLimits) -> Iterator[dict[str, Any]]:
    """Yield `measure` of each sample. Pictures of some samples come first and their captions after them: a language
    model between two pictures would drive the decoder out of the processor's caches, and the other way round.
    """
    samples = iter(samples)
    while batch := list(itertools.islice(samples, BATCH)):
        rows = [_of_picture(data, caption, limits) for data, caption in batch]
        for row, (data, caption) in zip(rows, batch, strict=True):
            sample = Sample(data, None, caption)
            for signal in SIGNALS.values():
                if not signal.reads_picture:
                    row |= dict.fromkeys(signal.columns) | signal.measure(sample)
            yield row


def _of_picture(data: bytes | None, caption: str | None, limits: ImageLimits) -> dict[str, Any]:
    """Return the signals that need the picture."""
    decoded, error, detail = None, "", ""
    if data is None:
        error, detail = "no_image", "the sample holds no image"
    else:
        try:
            decoded = decode_image(data, limits)
        except ImageError as problem:
            error, detail = problem.reason, problem.detail
    sample = Sample(data, decoded, caption)
    row: dict[str, Any] = {"error": error, "detail": detail}
    for signal in SIGNALS.values():
        if signal.reads_picture:
            row |= dict.fromkeys(signal.columns) | signal.measure(sample)
    return row
