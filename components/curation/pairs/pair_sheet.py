"""Contact sheets of edit pairs: source, mask, target, instruction, reason; as one PNG and one self-contained page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from components.curation.sheet import CELL, PAPER, by_label, png, thumbnail, wrap

GAP = 4  # pixels between thumbnails
STYLE = (
    "body{font:14px sans-serif;margin:24px}figure{display:inline-block;width:320px;margin:6px;vertical-align:top}"
    "figure img{margin-right:4px;background:#ececec}figcaption{font-size:12px;overflow-wrap:anywhere}small{color:#666}"
)


@dataclass(frozen=True)
class PairRow:
    """One pair on a sheet: its name, what was decided and why, its instruction, and its pictures' bytes (may be broken,
    or empty where there is none).
    """

    name: str
    state: str
    reason: str
    detail: str
    instruction: str
    source: bytes
    mask: bytes
    target: bytes

    @property
    def pictures(self) -> tuple[bytes, ...]:
        """The pictures that there are; a pair without a mask has two."""
        return (self.source, self.mask, self.target) if self.mask else (self.source, self.target)


def pairs_page(rows: Sequence[PairRow], totals: dict[str, int]) -> str:
    """Return one HTML page with no outside parts. `totals` counts all pairs of each reason. All text is escaped."""
    parts = [f"<!doctype html><meta charset=utf-8><title>edit pairs</title><style>{STYLE}</style><h1>Edit pairs</h1>"]
    for label, group in by_label(rows).items():
        parts.append(f"<h2>{html.escape(label)} <small>{totals.get(label, len(group)):,}</small></h2>")
        for row in group:
            shown = "".join(
                f"<img src='data:image/png;base64,{base64.b64encode(png(thumbnail(data))).decode()}' alt=''>"
                for data in row.pictures
            )
            parts.append(
                f"<figure>{shown}<figcaption>{html.escape(row.instruction[:300])}<br><small>{html.escape(row.name)}"
                f"<br>{html.escape(row.detail)}</small></figcaption></figure>"
            )
    return "\n".join(parts)


def pairs_png(rows: Sequence[PairRow], totals: dict[str, int]) -> bytes:
    """Return a PNG with a heading for every reason, and under it its pairs, three a line."""
    width, height = 3 * (CELL + GAP) + 16, CELL + 44
    groups = by_label(rows)
    lines = sum(1 + -(-len(group) // 3) for group in groups.values())
    sheet = Image.new("RGB", (3 * width, 8 + len(groups) * 26 + (lines - len(groups)) * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    heading, small = ImageFont.load_default(15), ImageFont.load_default(12)
    top = 4
    for label, group in groups.items():
        draw.text((8, top + 4), f"{label}: {totals.get(label, len(group)):,}", fill=(20, 20, 20), font=heading)
        top += 26
        for number, row in enumerate(group):
            left, line = (number % 3) * width + 8, top + (number // 3) * height
            for column, data in enumerate(row.pictures):
                sheet.paste(thumbnail(data), (left + column * (CELL + GAP), line))
            draw.multiline_text((left, line + CELL + 4), wrap(row.instruction, 48), fill=(20, 20, 20), font=small)
        top += -(-len(group) // 3) * height
    return png(sheet)
