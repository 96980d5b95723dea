"""Contact sheets: pictures of kept and dropped samples by reason, and of edit pairs, as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from components.curation.images import ImageError, decode_image
from components.curation.options import ImageLimits

CELL = 96  # side of a thumbnail, pixels
LABEL = 210  # width of the reason's column, pixels
WHITE = (255, 255, 255)
PAPER = (236, 236, 236)  # of sheets, so that white pictures and masks show


@dataclass(frozen=True)
class SheetRow:
    """One sample on a sheet: its name, what was decided and why, its caption, its image's bytes (may be broken)."""

    name: str
    state: str
    reason: str
    detail: str
    caption: str
    image: bytes


class Decided(Protocol):
    """What a row of any sheet says of its decision."""

    @property
    def state(self) -> str:
        """Kept, dropped or failed."""
        ...

    @property
    def reason(self) -> str:
        """Why; empty for a kept one."""
        ...


Row = TypeVar("Row", bound=Decided)


def thumbnail(data: bytes) -> Image.Image:
    """Return a thumbnail on white; a crossed grey square for what cannot be decoded."""
    cell = Image.new("RGB", (CELL, CELL), WHITE)
    try:
        picture = Image.fromarray(decode_image(data, ImageLimits()).rgb)
    except ImageError:
        draw = ImageDraw.Draw(cell)
        draw.rectangle((4, 4, CELL - 5, CELL - 5), outline=(170, 170, 170))
        draw.line((4, 4, CELL - 5, CELL - 5), fill=(170, 170, 170))
        draw.line((CELL - 5, 4, 4, CELL - 5), fill=(170, 170, 170))
        return cell
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    cell.paste(picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS), (0, 0))
    return cell


def by_label(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return rows by reason, kept ones first."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda r: (r.state != "kept", r.reason)):
        groups.setdefault(row.reason or row.state, []).append(row)
    return groups


def contact_sheet_png(rows: Sequence[SheetRow], totals: dict[str, int]) -> bytes:
    """Return a PNG with a line of thumbnails for every reason. `totals` counts all samples of each reason."""
    groups = by_label(rows)
    columns = max((len(g) for g in groups.values()), default=1)
    sheet = Image.new("RGB", (LABEL + columns * (CELL + 6), max(1, len(groups)) * (CELL + 6) + 6), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for line, (label, group) in enumerate(groups.items()):
        top = 6 + line * (CELL + 6)
        draw.text((8, top + 8), f"{label}\n{totals.get(label, len(group)):,}", fill=(20, 20, 20), font=font)
        for column, row in enumerate(group):
            sheet.paste(thumbnail(row.image), (LABEL + column * (CELL + 6), top))
    return png(sheet)


def pairs_sheet_png(pairs: Sequence[tuple[str, bytes, bytes, bytes]]) -> bytes:
    """Return a PNG of edit pairs: source, mask, target and instruction, three pairs a line."""
    width = 3 * (CELL + 4) + 16
    lines = max(1, -(-len(pairs) // 3))
    sheet = Image.new("RGB", (3 * width, lines * (CELL + 44)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for index, (instruction, *pictures) in enumerate(pairs):
        left, top = (index % 3) * width + 8, (index // 3) * (CELL + 44) + 6
        for column, data in enumerate(pictures):
            sheet.paste(thumbnail(data), (left + column * (CELL + 4), top))
        draw.multiline_text((left, top + CELL + 4), wrap(instruction, 48), fill=(20, 20, 20), font=font)
    return png(sheet)


def wrap(text: str, width: int) -> str:
    """Return a text in at most two lines of `width` characters."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines[:2])


def png(picture: Image.Image) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()
