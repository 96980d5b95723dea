"""Contact sheets of edit pairs: source, mask, target, instruction, reason, as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from components.curation.sheet import CELL, PAPER, by_label, png, thumbnail, wrap

GAP = 4  # pixels between thumbnails


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
