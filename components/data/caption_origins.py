"""Several captions of one picture, each with its origin: gathered from columns, fields and parts, and kept in the json
part as `pixsem.captions` and `pixsem.caption_origins`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.data.samples import BadRecord

PRIVATE = "pixsem"  # the key of the json part that is ours
MAX_CAPTIONS = 256  # of one picture
MAX_CAPTION = 100_000  # characters


@dataclass(frozen=True)
class Captions:
    """The captions of one picture, in order. The first is the one that its txt part holds."""

    texts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    @property
    def first(self) -> str | None:
        """The caption that counts where there may be only one; None where there is none."""
        return self.texts[0] if self.texts else None


def gather_captions(key: str, values: Mapping[str, Any]) -> Captions | BadRecord:
    """The captions in {origin: value}, in order. A value is a text, a list of such values, or a dict of them, whose
    keys are added to the origin (`long.en`). Empty texts and None are none; anything else is a BadRecord
    (bad_caption).
    """
    found: list[tuple[str, str]] = []
    for origin, value in values.items():
        problem = _collect(origin, value, found)
        if problem:
            return BadRecord(key, "bad_caption", problem)
    if len(found) > MAX_CAPTIONS:
        return BadRecord(key, "bad_caption", f"it has {len(found)} captions; the limit is {MAX_CAPTIONS}")
    return Captions(tuple(text for text, _ in found), tuple(origin for _, origin in found))


def _collect(origin: str, value: Any, found: list[tuple[str, str]], depth: int = 0) -> str:
    """Add the texts of a value; return what is wrong with it, or "" where nothing is."""
    if value is None:
        return ""
    if isinstance(value, str):
        if any(0xD800 <= ord(c) <= 0xDFFF for c in value):
            return f"{origin}: the caption is not utf-8"
        if len(value) > MAX_CAPTION:
            return f"{origin}: the caption has {len(value)} characters; the limit is {MAX_CAPTION}"
        if text := value.strip():
            found.append((text, origin))
        return ""
    if isinstance(value, list | tuple) and depth < 3:
        return next((p for item in value if (p := _collect(origin, item, found, depth + 1))), "")
    if isinstance(value, dict) and depth < 3:
        named = ((f"{origin}.{name}", item) for name, item in value.items() if isinstance(item, str | list | dict))
        return next((p for name, item in named if (p := _collect(name, item, found, depth + 1))), "")
    return f"{origin}: the caption is {type(value).__name__}, not text"


def without_captions(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata without the captions of `with_captions`, for a sample that is given another caption."""
    ours = metadata.get(PRIVATE)
    if not isinstance(ours, dict):
        return metadata
    rest = {name: value for name, value in ours.items() if name not in ("captions", "caption_origins")}
    kept = {name: value for name, value in metadata.items() if name != PRIVATE}
    return {**kept, PRIVATE: rest} if rest else kept


def with_captions(metadata: dict[str, Any], captions: Captions, named: bool) -> dict[str, Any]:
    """Metadata with the captions in it, where there are several, or where `named` says that their origins were asked
    for. What a source itself has under our key is kept as `source_pixsem`, unless it is a dict as we write it.
    """
    if not captions.texts or (len(captions.texts) == 1 and not named):
        return metadata
    theirs = metadata.get(PRIVATE)
    kept = {k: v for k, v in metadata.items() if k != PRIVATE}
    if theirs is not None and not isinstance(theirs, dict):
        kept[f"source_{PRIVATE}"] = theirs
        theirs = None
    ours = {"captions": list(captions.texts), "caption_origins": list(captions.origins)}
    return {**kept, PRIVATE: {**(theirs or {}), **ours}}
