"""Bytes of pictures, and what reads them: see parsers.py."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from components.curation.options import ImageLimits


def picture_bytes(kind: str, size: tuple[int, int] = (24, 16), mode: str = "RGB", **options: Any) -> bytes:
    """A small picture in a file format."""
    x = np.add.outer(np.arange(size[1]) * 7, np.arange(size[0]) * 5).astype(np.uint8)
    picture = Image.fromarray(np.stack([x, x[::-1], 255 - x], -1)).convert(mode)
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


@functools.cache
def pictures() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = Image.new("RGB", (8, 8), (200, 0, 0))
    return [
        picture_bytes("PNG"),
        picture_bytes("PNG", mode="P"),
        picture_bytes("PNG", mode="LA"),
        picture_bytes("JPEG", exif=exif),
        picture_bytes("JPEG", progressive=True),
        picture_bytes("JPEG", mode="CMYK"),
        picture_bytes("WEBP"),
        picture_bytes("WEBP", lossless=True, exif=exif),
        picture_bytes("GIF", save_all=True, append_images=[frame]),
        picture_bytes("BMP"),
        picture_bytes("BMP", mode="P"),
        picture_bytes("TIFF"),
        picture_bytes("TIFF", compression="tiff_lzw"),
        picture_bytes("PPM"),
        b"P3 2 2 255 1 2 3 4 5 6 7 8 9 10 11 12",
        b"BM"
        + (1078 + 8).to_bytes(4, "little")
        + bytes(4)
        + (1078).to_bytes(4, "little")
        + (40).to_bytes(4, "little")
        + (4).to_bytes(4, "little") * 2
        + b"\1\0\x08\0"
        + (1).to_bytes(4, "little")
        + bytes(20)
        + bytes(1024)
        + b"\4\1\0\0\4\2\0\1",
    ]


def read_image(data: bytes, folder: Path) -> str:
    from components.curation.signals import measure

    row = measure(data, "a red circle", ImageLimits())
    assert bool(row["error"]) == bool(row["detail"])
    assert row["error"] or (row["width"] > 0 and row["height"] > 0 and row["pixel_hash"])
    return row["error"] or "read"


def read_image_header(data: bytes, folder: Path) -> str:
    from components.data.image_header import read_header

    header = read_header(data)
    if header is None:
        return "no header"
    assert header.width > 0 and header.height > 0 and 1 <= header.orientation <= 8
    return "read"
