"""A sample and what its parts mean: its picture, its caption, its metadata. Reading and writing tars is
records.py's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm", "pgm",
                    "jfif", "jpe", "heic", "heif", "mpo")  # fmt: skip


Part = TypeVar("Part")


@dataclass(frozen=True)
class Record:
    """One whole sample: `parts` maps an extension (lower case, no leading dot, may hold dots) to the file's bytes."""

    key: str
    parts: dict[str, bytes]


@dataclass(frozen=True)
class BadRecord:
    """A sample that cannot be used, or (key is "") a fault of the whole shard; `reason` is snake_case, `detail` for
    people.
    """

    key: str
    reason: str
    detail: str


def image_part(record: Record) -> tuple[str, bytes] | None:
    """(extension, bytes) of the sample's picture, or None. Of several, the first in the order of IMAGE_EXTENSIONS."""
    for extension in IMAGE_EXTENSIONS:
        if extension in record.parts:
            return extension, record.parts[extension]
    return None


def side_part(parts: Mapping[str, Part], side: str) -> tuple[str, Part] | None:
    """(extension, part) of one picture of an edit pair (`source`, `target` or `mask`), or None where there is none.

    `parts` maps an extension such as `source.png` to its bytes, or to whatever stands for them.
    """
    for extension in IMAGE_EXTENSIONS:
        if f"{side}.{extension}" in parts:
            return extension, parts[f"{side}.{extension}"]
    return None


def caption_of(record: Record, field: str | None = None) -> str | BadRecord | None:
    """The caption in the `txt` part (or in the json part's `field`, where given), stripped; None where there is none or
    it is empty.

    A BadRecord (bad_caption, bad_metadata) where it is there and cannot be read.
    """
    if field is not None:
        metadata = metadata_of(record)
        if isinstance(metadata, BadRecord):
            return metadata
        return caption_from_value(record.key, metadata.get(field))
    data = record.parts.get("txt")
    if data is None:
        return None
    try:
        return data.decode("utf-8-sig").strip() or None
    except UnicodeDecodeError as error:
        return BadRecord(record.key, "bad_caption", f"the caption is not utf-8: byte {error.start} of {len(data)}")


def caption_from_value(key: str, value: object) -> str | BadRecord | None:
    """A caption from a table's or a JSON field's value: text, or a list of texts whose first one counts."""
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None:
        return None
    if not isinstance(value, str):
        return BadRecord(key, "bad_caption", f"the caption is {type(value).__name__}, not text")
    if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        return BadRecord(key, "bad_caption", "the caption is not utf-8")
    return value.strip() or None


def metadata_of(record: Record) -> dict[str, Any] | BadRecord:
    """The dict in the `json` part ({} where there is none); a BadRecord (bad_metadata) where it is no JSON object."""
    data = record.parts.get("json")
    if data is None:
        return {}
    try:
        metadata = json.loads(data)
    except RecursionError:
        return BadRecord(record.key, "bad_metadata", "its JSON is nested too deeply")
    except ValueError as error:
        return BadRecord(record.key, "bad_metadata", f"its JSON cannot be read: {error}")
    if not isinstance(metadata, dict):
        return BadRecord(record.key, "bad_metadata", f"its JSON is a {type(metadata).__name__}, not an object")
    return metadata


def encode_metadata(metadata: dict[str, Any]) -> bytes:
    """A sample's `json` part: utf-8, keys in the order given, byte-identical for equal input."""
    try:
        text = json.dumps(metadata, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:  # what tables hold and JSON does not: not a number, infinity
        text = json.dumps(_finite(metadata), ensure_ascii=False, default=_plain, allow_nan=False)
    return text.encode("utf-8", "backslashreplace")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> Any:
    """JSON form of what tables hold besides JSON's own types."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)
