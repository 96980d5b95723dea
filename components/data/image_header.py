"""What a picture's first bytes declare: format, size, bit depth, EXIF orientation. Nothing is decoded here.

Size limits must hold before a decoder allocates anything; OpenCV's own limit is fixed when it is first imported,
possibly by others. Formats not listed here do not reach OpenCV's rarer decoders at all.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_MOST_PARTS = 2**16  # chunks or segments that are looked at; no picture has so many
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF markers; C4, C8, CC are tables
_FILL = re.compile(b"\xff*")  # a marker may follow any number of these
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class ImageHeader:
    """Declared, not proven: width and height in pixels before any rotation, bits per channel, EXIF orientation 1-8."""

    format: str
    width: int
    height: int
    bits: int = 8
    orientation: int = 1


def read_header(data: bytes) -> ImageHeader | None:
    """The header of a PNG, JPEG, WebP, GIF or BMP; None where the bytes are no such picture or end before its size."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack_from("<HH", data, 6)
            return _sized("gif", width, height)
        if data[:2] == b"BM":
            return _bmp(data)
    except struct.error:
        return None
    return None


def picture_format(data: bytes) -> str | None:
    """What kind of picture bytes are, as an extension, by how they begin; None where they are no known one."""
    header = read_header(data)
    if header is not None:
        return header.format
    if data[4:8] == b"ftyp":
        brands = {data[8:12], *(data[place : place + 4] for place in range(16, min(len(data), 64), 4))}
        return "avif" if brands & {b"avif", b"avis"} else "heic" if brands & {b"heic", b"heix", b"mif1"} else None
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    return "jp2" if data[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" else None


def _sized(kind: str, width: int, height: int, bits: int = 8, orientation: int = 1) -> ImageHeader | None:
    return ImageHeader(kind, width, height, bits, orientation) if width > 0 and height > 0 else None


def _png(data: bytes) -> ImageHeader | None:
    if data[12:16] != b"IHDR":
        return None
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    orientation = 1
    position = 8
    for _ in range(_MOST_PARTS):
        if position + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"eXIf":
            orientation = _exif_orientation(data[position + 8 : position + 8 + length])
        position += 12 + length
    return _sized("png", width, height, bits, orientation)


def _jpeg(data: bytes) -> ImageHeader | None:
    position = 2
    orientation = 1
    for _ in range(_MOST_PARTS):
        position = data.find(b"\xff", position)  # decoders skip stray bytes between segments
        if position < 0:
            return None
        fill = _FILL.match(data, position)
        assert fill is not None
        position = fill.end()
        if position >= len(data):
            return None
        marker = data[position]
        position += 1
        if marker in (0xD8, 0x01) or 0xD0 <= marker <= 0xD7:
            continue  # markers without a segment
        if marker in (0xD9, 0xDA):
            return None  # pixel data or the end before any size
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _JPEG_SIZES:
            bits, height, width = struct.unpack_from(">BHH", data, position + 2)
            return _sized("jpg", width, height, bits, orientation)
        if marker == 0xE1 and data[position + 2 : position + 8] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 8 : position + length])
        position += max(length, 2)
    return None


def _webp(data: bytes) -> ImageHeader | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            return None
        width, height = struct.unpack_from("<HH", data, 26)
        return _sized("webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        signature, packed = struct.unpack_from("<BI", data, 20)
        return _sized("webp", (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1) if signature == 0x2F else None
    if kind != b"VP8X" or len(data) < 30:
        return None
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    orientation = 1
    position = 12
    for _ in range(_MOST_PARTS):
        if position + 8 > len(data):
            break
        chunk, length = struct.unpack_from("<4sI", data, position)
        if chunk == b"EXIF":
            orientation = _exif_orientation(data[position + 8 : position + 8 + length].removeprefix(b"Exif\0\0"))
        position += 8 + length + length % 2
    return _sized("webp", width, height, 8, orientation)


def _bmp(data: bytes) -> ImageHeader | None:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return _sized("bmp", width, abs(height))  # a negative height means rows from the top


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory, 1 where it is not there or makes no sense."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, offset + 2 + 12 * index)
            if tag == _ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
