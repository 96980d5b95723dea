"""Small inputs that would unpack to gigabytes or be read for hours, each with the parser they are for: {name: (parser,
make)}.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from collections.abc import Callable

from tests.chaos.picture_bytes import picture_bytes


def png(width: int, height: int, *extra: tuple[bytes, bytes], rows: bytes = b"") -> bytes:
    """A grey PNG that declares a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*e) for e in extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def packed_bmp(width: int, height: int, commands: bytes) -> bytes:
    """A BMP of 8-bit run lengths."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(commands), 0, 0, 1078) + head + bytes(1024) + commands


def jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG of 7,000 x 7,000 pixels, its last scan many times over."""
    data = bytearray(picture_bytes("JPEG", (32, 32), "L", progressive=True))
    at = data.index(b"\xff\xc2")
    data[at + 5 : at + 9] = struct.pack(">HH", 7000, 7000)
    last = data.rindex(b"\xff\xda")
    return bytes(data[:-2] + data[last:-2] * scans + b"\xff\xd9")


def webp_canvas() -> bytes:
    """An animated WebP whose canvas is as large as the format allows."""
    picture = picture_bytes("WEBP")[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\xff\x3f\0" + b"\xff\x3f\0"
    frame = bytes(12) + b"\0\0\0\0" + picture
    body = canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6) + b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def gif_of_frames(count: int) -> bytes:
    """A GIF with a frame in 23 bytes."""
    frame = b"!\xf9\x04\0\0\0\0\0," + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0" + bytes(6) + frame * count + b";"


def tar_of(size: int, pax: bool) -> bytes:
    """A tar whose first member claims a size and has none of it."""
    info = tarfile.TarInfo("0.png")
    info.size = size
    if not pax:
        return info.tobuf(tarfile.GNU_FORMAT)
    info.size, info.pax_headers = 0, {"size": str(size)}
    return info.tobuf(tarfile.PAX_FORMAT)


def zipped_text(kind: bytes, name: bytes) -> tuple[bytes, bytes]:
    """A PNG chunk in which a quarter of a gigabyte of zeros is packed."""
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()
    return kind, name + b"\0\0" + packed


def gz_bomb() -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        for _ in range(256):
            file.write(bytes(2**20))
    return out.getvalue()


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "PNG of 400 million pixels": ("image", lambda: png(20_000, 20_000, rows=zlib.compress(bytes(2**20)))),
    "PNG of 2^62 pixels": ("image", lambda: png(2**31 - 1, 2**31 - 1)),
    "PNG of one row": ("image", lambda: png(40_000_000, 1, rows=zlib.compress(bytes(40_000_001)))),
    "PNG with 256 MiB of packed text": (
        "image",
        lambda: png(4, 4, zipped_text(b"zTXt", b"a"), rows=zlib.compress(bytes(20))),
    ),
    "PNG with 256 MiB of packed colour profile": (
        "image",
        lambda: png(4, 4, zipped_text(b"iCCP", b"a"), rows=zlib.compress(bytes(20))),
    ),
    "WebP canvas of 268 million pixels": ("image", webp_canvas),
    "GIF screen of 4 billion pixels": (
        "image",
        lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + gif_of_frames(1)[10:],
    ),
    "GIF of 300,000 frames": ("image", lambda: gif_of_frames(300_000)),
    "BMP that skips 255 rows of 40 million pixels": (
        "image",
        lambda: packed_bmp(40_000_000, 1, b"\0\2\0\xff\0\xff\0\1"),
    ),
    "PPM of 10 billion pixels": ("image", lambda: b"P6 100000 100000 255\n" + bytes(100)),
    "JPEG of 2,000 scans": ("image", lambda: jpeg_of_scans(2000)),
    "JPEG with 4 million bytes between its segments": ("image header", lambda: b"\xff\xd8" + bytes(4_000_000)),
    "JPEG of 500,000 empty segments": ("image header", lambda: b"\xff\xd8" + b"\xff\xe0\0\2" * 500_000),
    "tar member of 4 terabytes": ("tar", lambda: tar_of(2**42, pax=False)),
    "tar member of 10^18 bytes, by pax": ("tar", lambda: tar_of(10**18, pax=True)),
    "gzip of 256 MiB for a tar": ("tar", gz_bomb),
    "JSON nested 100,000 deep": ("url list", lambda: b"2" + b"[" * 100_000),
    "JSON line nested 100,000 deep": ("url list", lambda: b"3" + b'{"url":' * 100_000),
    "csv field of 40 MB": ("url list", lambda: b"0url,caption\n" + b"a" * 40_000_000),
    "caption of at signs": ("caption", lambda: b"a@" * 2048),
    "caption of hyphens": ("caption", lambda: b"a-" * 2048),
    "caption of letters that unfold": ("caption", lambda: "ﷺ".encode() * 4096),
    "manifest nested 100,000 deep": ("manifest", lambda: b'{"a":' * 100_000),
    "prompt of 2 million characters": ("request", lambda: b'{"prompt": "' + b"a " * 1_000_000 + b'"}'),
}
