"""Signals and decoding: odd images come out right or with a reason, hostile captions never crash."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from components.curation.image_signals import image_signals
from components.curation.images import ImageError, decode_image, encode_jpeg, encode_png
from components.curation.options import CurationRules, ImageLimits
from components.curation.signals import SIGNAL_SCHEMA, measure
from components.curation.text_signals import identify_language, normalise, text_signals

pytestmark = pytest.mark.unit
LIMITS = ImageLimits()


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient() -> np.ndarray:
    x = np.linspace(0, 255, 40, dtype=np.uint8)
    return np.stack([np.tile(x, (30, 1)), np.tile(x[::-1], (30, 1)), np.full((30, 40), 90, np.uint8)], -1)


def test_sixteen_bits_are_scaled_not_cut():
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    rgb = decode_image(saved(Image.fromarray(values), "PNG"), LIMITS).rgb
    assert abs(int(rgb[32, 0, 0]) - 128) <= 2
    assert rgb[-1, -1, 0] == 255


def test_cmyk_palette_grey_and_alpha_become_rgb():
    picture = Image.fromarray(gradient())
    for mode, kind in (("CMYK", "JPEG"), ("P", "PNG"), ("L", "PNG"), ("1", "PNG")):
        assert decode_image(saved(picture.convert(mode), kind), LIMITS).rgb.shape == (30, 40, 3)
    back = decode_image(saved(picture.convert("CMYK"), "TIFF"), LIMITS).rgb
    assert np.abs(back.astype(int) - gradient()).mean() < 3
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert (decode_image(saved(clear, "PNG"), LIMITS).rgb == 255).all()


def test_a_turned_photo_stands_upright():
    exif = Image.Exif()
    exif[274] = 6
    assert decode_image(saved(Image.fromarray(gradient()), "JPEG", exif=exif), LIMITS).rgb.shape == (40, 30, 3)


def test_animations_give_their_first_frame_and_their_number():
    frames = [Image.new("RGB", (9, 9), c) for c in ("red", "blue", "green")]
    decoded = decode_image(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), LIMITS)
    assert decoded.frames == 3
    assert tuple(decoded.rgb[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "limits", "reason"),
    [
        (b"", LIMITS, "empty_image"),
        (b"<html>no picture</html>", LIMITS, "unknown_format"),
        (encode_png(gradient())[:-40], LIMITS, "broken_image"),
        (encode_png(gradient()), ImageLimits(max_pixels=1000), "too_many_pixels"),
        (encode_png(gradient()), ImageLimits(max_bytes=50), "too_many_bytes"),
    ],
)
def test_what_cannot_be_decoded_has_its_reason(data, limits, reason):
    with pytest.raises(ImageError) as caught:
        decode_image(data, limits)
    assert caught.value.reason == reason


def test_a_bomb_is_refused_by_its_header():
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", b"x")
        + chunk(b"IEND", b"")
    )
    with pytest.raises(ImageError) as caught:
        decode_image(bomb, LIMITS)
    assert caught.value.reason == "too_many_pixels"


@pytest.mark.skipif("PIXSEM_ASSETS" not in os.environ, reason="PIXSEM_ASSETS is not set: no odd real images to try")
def test_every_odd_real_image_is_decoded_or_refused_with_a_reason():
    files = [p for p in sorted(Path(os.environ["PIXSEM_ASSETS"], "ingest/edge_cases").rglob("*")) if p.is_file()]
    assert len(files) > 150
    for path in files:
        row = measure(path.read_bytes(), "a caption of some words", LIMITS)
        assert row["error"] or row["width"] > 0


@pytest.mark.skipif("PIXSEM_ASSETS" not in os.environ, reason="PIXSEM_ASSETS is not set: no real photos to try")
def test_sound_photos_with_human_captions_are_kept():
    import json

    from components.curation.decide import decide
    from components.curation.options import CurationRules

    folder = Path(os.environ["PIXSEM_ASSETS"], "photos/coco")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    signals = [
        measure((folder / r["file_name"]).read_bytes(), r["captions"][0], LIMITS) | {"shard": "0", "key": str(i)}
        for i, r in enumerate(rows)
    ]
    columns = {name: [s[name] for s in signals] for name in SIGNAL_SCHEMA}
    assert sum(d.state == "kept" for d in decide(columns, CurationRules())) >= 0.98 * len(rows)


def test_perceptual_hashes_survive_jpeg_and_tell_pictures_apart():
    rng = np.random.default_rng(0)
    pictures = [
        np.kron(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)) for _ in range(20)
    ]
    hashes = [image_signals(b"", p)["phash"] for p in pictures]
    for picture, known in zip(pictures, hashes, strict=True):
        again = decode_image(encode_jpeg(picture, 80), LIMITS).rgb
        assert (image_signals(b"", again)["phash"] ^ known).bit_count() <= 6
    assert min((a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]) >= 10


@pytest.mark.parametrize("side", [150, 700, 1500])
def test_a_resized_or_recompressed_copy_stays_a_near_duplicate_whatever_its_size(side):
    rng, rules = np.random.default_rng(3), CurationRules()
    small = cv2.GaussianBlur(rng.integers(0, 256, (24, 31, 3)).astype(np.uint8), (0, 0), 1.5)
    picture = cv2.resize(small, (side, side * 24 // 31), interpolation=cv2.INTER_CUBIC)
    known = image_signals(b"", picture)
    height, width = picture.shape[:2]
    copies = [cv2.resize(picture, (int(width * s), int(height * s)), interpolation=cv2.INTER_AREA) for s in (0.5, 0.7)]
    copies += [cv2.resize(picture, (width * 2 - 1, height * 2 - 1)), decode_image(encode_jpeg(picture, 40), LIMITS).rgb]
    for copy in copies:
        found = image_signals(b"", copy)
        thumbnails = (np.frombuffer(one["thumbnail"], np.uint8).astype(int) for one in (known, found))
        difference = np.abs(next(thumbnails) - next(thumbnails))
        assert (found["phash"] ^ known["phash"]).bit_count() <= rules.near_duplicate_distance
        assert difference.mean() <= rules.near_duplicate_colour and difference.max() <= rules.near_duplicate_peak


def test_a_lossless_copy_in_another_format_has_the_same_pixel_hash():
    png = encode_png(gradient())
    webp = saved(Image.fromarray(gradient()), "WEBP", lossless=True)
    one = image_signals(png, decode_image(png, LIMITS).rgb)
    other = image_signals(webp, decode_image(webp, LIMITS).rgb)
    assert one["pixel_hash"] == other["pixel_hash"]
    assert one["sha256"] != other["sha256"]


def test_measuring_fills_every_column_whatever_the_sample():
    for data, caption in ((None, None), (b"x", ""), (encode_png(gradient()), "a picture of colours")):
        assert set(measure(data, caption, LIMITS)) | {"shard", "key"} == set(SIGNAL_SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        "\x00\x01\x02",
        "🙂🙃🎈",
        "a" * 1_000_000,
        "\u200b\u200f\u202e",
        "\ud800",
        "<" * 5000,
        "a." * 5000,
        "مرحبا بالعالم",
        "&" * 3000 + ";",
        "%" * 99,
    ],
)
def test_hostile_captions_have_finite_signals(text):
    for value in text_signals(text).values():
        assert isinstance(value, str) or np.isfinite(value)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a red circle to the left of a blue square", "en"),
        ("A man is doing a trick on a sidewalk curb.", "en"),
        ("ein roter Kreis links neben einem blauen Quadrat", "de"),
        ("un cercle rouge à gauche d'un carré bleu", "fr"),
        ("un triángulo verde encima de un cuadrado amarillo", "es"),
        ("красный круг слева от синего квадрата", "ru"),
        ("青い四角の左にある赤い円", "ja"),
    ],
)
def test_languages_are_identified(text, language):
    assert identify_language(text)[0] == language


def test_chinese_is_not_taken_for_english():
    assert identify_language("蓝色正方形左边的红色圆圈")[0] != "en"


def test_equal_captions_are_equal_whatever_their_spacing_and_case():
    assert normalise("  A Red\u00a0 Circle\n") == normalise("a red circle")
    assert text_signals("A  red circle")["caption_hash"] == text_signals("a red\tcircle")["caption_hash"]


def test_boilerplate_urls_and_markup_are_seen():
    assert text_signals("IMG_2034.JPG")["boilerplate"] > 0.25
    assert text_signals("buy now at www.shop.com the best price")["url_share"] > 0
    assert text_signals("a <b>red</b> circle")["markup_share"] > 0
    clean = text_signals("a small dog runs over the grass in a park")
    assert (clean["boilerplate"], clean["url_share"], clean["markup_share"], clean["symbol_share"]) == (0, 0, 0, 0)
