"""Sizes, depths and rotations are read from headers alone, as a full decoder finds them; hostile headers give none."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from components.data.image_header import ImageHeader, read_header

pytestmark = pytest.mark.unit

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP"]


def picture(kind: str, size: tuple[int, int] = (37, 21), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_size_is_read_and_no_beginning_of_a_file_raises(kind: str) -> None:
    data = picture(kind)
    header = read_header(data)
    assert header is not None and (header.width, header.height) == (37, 21)
    for end in range(min(len(data), 400)):
        partial = read_header(data[:end])
        assert partial is None or (partial.width, partial.height) == (37, 21)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"exif": Image.Exif(), "quality": 50}])
def test_every_kind_of_webp_is_read(options: dict[str, object]) -> None:
    header = read_header(picture("WEBP", (300, 7), **options))
    assert header is not None and (header.width, header.height) == (300, 7)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_rotation_is_read(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    header = read_header(picture(kind, exif=exif))
    assert header is not None and header.orientation == orientation


def test_a_decompression_bomb_shows_its_size_without_being_decoded() -> None:
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 16, 6, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
    assert read_header(bomb) == ImageHeader("png", 2**31 - 1, 2**31 - 1, 16)


def test_what_is_no_picture_has_no_header() -> None:
    for data in (
        b"",
        b"<html>",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"GIF89a",
        b"BM",
        b"RIFF1234WEBP",
        b"%PDF-1.4",
        b"\xff\xd8" + b"\xff" * 99,
    ):
        assert read_header(data) is None


def test_random_damage_never_raises() -> None:
    rng = random.Random(3)
    for kind in FORMATS:
        data = picture(kind)
        for _ in range(300):
            damaged = bytearray(data)
            for _ in range(3):
                damaged[rng.randrange(min(len(damaged), 200))] = rng.randrange(256)
            header = read_header(bytes(damaged))
            assert header is None or (header.width > 0 and header.height > 0)


def test_real_odd_pictures_have_the_size_their_decoder_finds() -> None:
    assets = os.environ.get("PIXSEM_ASSETS")
    if not assets:
        pytest.skip("PIXSEM_ASSETS is not set")
    compared = 0
    for path in sorted(Path(assets, "ingest", "edge_cases").rglob("*")):
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"):
            continue
        header = read_header(path.read_bytes())
        try:
            with Image.open(path) as image:
                size = image.size
                image.load()
        except Exception:
            continue  # broken on purpose: any answer will do that is no exception
        assert header is not None and (header.width, header.height) == size, path
        compared += 1
    assert compared > 100
