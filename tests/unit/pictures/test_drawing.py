"""Files to cut-outs: every format with its alpha, and what is broken, too large or hostile refused with a reason."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.pictures import draw_apart
from components.pictures.draw import MAX_BYTES, MAX_SIDE, SUFFIXES, DrawingError, draw
from components.pictures.draw_apart import Drawer
from tests.unit.pictures.drawings import PACKAGED, drawing

pytestmark = pytest.mark.unit
SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 72 72">%s</svg>'
RECT = '<rect width="72" height="72" fill="#ff8000"/>'
# Each mask repeats the next ten times: minutes of drawing in a file of two kilobytes.
MASKS = "".join(
    f'<mask id="m{n}">' + f'<rect width="72" height="72" fill="white" mask="url(#m{n + 1})"/>' * 10 + "</mask>"
    for n in range(6)
)
MASK_BOMB = SVG % (MASKS + '<mask id="m6"/><rect width="72" height="72" mask="url(#m0)"/>')


def svg(inside: str) -> bytes:
    return (SVG % inside).encode()


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(width: int, height: int, pixels: bytes = bytes(100)) -> bytes:
    """Return a PNG of one bit a pixel that says how large it is, whatever it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def quarters() -> Image.Image:
    """Return a picture of four colours, of which one is half and one is wholly transparent."""
    values = np.zeros((8, 8, 4), np.uint8)
    values[:4, :4], values[:4, 4:], values[4:, :4] = (200, 40, 20, 255), (20, 160, 60, 128), (10, 20, 230, 255)
    return Image.fromarray(values)


def test_an_svg_is_drawn_on_transparent_ground():
    found = draw(svg('<circle cx="36" cy="36" r="30" fill="#ff8000"/>'), ".svg", 48)
    assert found.shape == (48, 48, 4) and found.dtype == np.uint8
    assert found[24, 24].tolist() == [255, 128, 0, 255]
    assert found[0, 0].tolist() == [0, 0, 0, 0]
    edge = found[(found[..., 3] > 40) & (found[..., 3] < 255)]
    assert len(edge) and np.abs(edge[:, :3].astype(int) - [255, 128, 0]).max() <= 3  # no dark rim


def test_every_size_shows_the_same_drawing():
    small, large = (drawing("1F3C3", size)[2].astype(float) for size in (32, 64))
    premultiplied = [each[..., :3] * each[..., 3:] / 255 for each in (small, large)]
    halved = premultiplied[1].reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(premultiplied[0] - halved).mean() < 2


@pytest.mark.parametrize(("kind", "suffix", "options"), [("PNG", ".png", {}), ("WEBP", ".webp", {"lossless": True})])
def test_png_and_webp_keep_their_alpha(kind, suffix, options):
    assert suffix in SUFFIXES
    found = draw(encoded(quarters(), kind, **options), suffix, 8)
    assert found[0, 0].tolist() == [200, 40, 20, 255] and found[7, 0].tolist() == [10, 20, 230, 255]
    assert np.abs(found[0, 7].astype(int) - [20, 160, 60, 128]).max() <= 1
    assert found[7, 7, 3] == 0


def test_a_picture_that_is_no_square_is_fitted_and_centred():
    found = draw(encoded(Image.new("RGBA", (40, 20), (9, 90, 200, 255)), "PNG"), ".png", 20)
    assert (found[5:15] == (9, 90, 200, 255)).all() and not found[:5].any() and not found[15:].any()
    wide = draw(svg(RECT).replace(b"0 0 72 72", b"0 0 72 144"), ".svg", 16)
    assert (wide[1:7, :, 3] > 0).sum() == 6 * 8 and (wide[..., 3] > 0).any(1).sum() <= 9


@pytest.mark.parametrize(
    ("picture", "middle"),
    [
        (Image.new("L", (9, 9), 77), [77, 77, 77, 255]),
        (Image.new("LA", (9, 9), (77, 128)), [77, 77, 77, 128]),
        (Image.new("1", (9, 9), 1), [255, 255, 255, 255]),
        (Image.fromarray(np.full((9, 9), 257 * 60, np.uint16)), [60, 60, 60, 255]),
        (Image.new("RGB", (9, 9), (1, 2, 3)), [1, 2, 3, 255]),
        (Image.new("P", (9, 9), 0), [0, 0, 0, 255]),
    ],
    ids=["grey", "grey and alpha", "one bit", "16 bit", "rgb", "palette"],
)
def test_any_kind_of_png_is_read(picture, middle):
    assert draw(encoded(picture, "PNG"), ".png", 16)[8, 8].tolist() == middle


def test_the_transparent_colour_of_a_palette_is_transparent():
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([9, 9, 9, 255, 0, 0])
    picture.paste(1, (0, 0, 8, 4))
    found = draw(encoded(picture, "PNG", transparency=0), ".png", 8)
    assert found[0, 0].tolist() == [255, 0, 0, 255] and found[7, 7, 3] == 0


REPEATED = "".join(f'<g id="g{n}">' + f'<use href="#g{n + 1}"/>' * 10 + "</g>" for n in range(9))


@pytest.mark.parametrize(
    ("data", "suffix", "reason"),
    [
        (b"", ".svg", "broken_svg"),
        (svg(RECT)[:-9], ".svg", "broken_svg"),
        (svg(RECT) + b"<", ".svg", "broken_svg"),
        (svg("&nothing;"), ".svg", "broken_svg"),
        (svg(RECT).replace(b"rect", b"r\xe9ct"), ".svg", "broken_svg"),
        (SVG.encode("utf-16"), ".svg", "broken_svg"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="0" height="0"/>', ".svg", "broken_svg"),
        (b"<html><body>404</body></html>", ".svg", "broken_svg"),
        (svg(""), ".svg", "empty_drawing"),
        (svg('<rect width="9" height="9" fill="none"/>'), ".svg", "empty_drawing"),
        (b'<!DOCTYPE svg [<!ENTITY a "aaa">]>' + svg("<text>&a;</text>"), ".svg", "svg_bomb"),
        (b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + svg("&a;"), ".svg", "svg_bomb"),
        (svg(REPEATED + f'<g id="g9">{RECT}</g><use href="#g0"/>'), ".svg", "svg_bomb"),
        (svg(REPEATED.replace("href", "xlink:href") + '<g id="g9"/>'), ".svg", "svg_bomb"),
        (svg('<g id="a"><use href="#a"/></g>'), ".svg", "svg_bomb"),
        (svg('<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>'), ".svg", "svg_bomb"),
        (svg("<g>" * 5000 + "</g>" * 5000), ".svg", "svg_bomb"),
        (svg(RECT * 30_000), ".svg", "svg_bomb"),
        (svg('<image href="https://example.org/a.png"/>'), ".svg", "outside_reference"),
        (svg('<use xlink:href="other.svg#a"/>'), ".svg", "outside_reference"),
        (svg('<image href="data:image/svg+xml;base64,PHN2Zy8+"/>'), ".svg", "outside_reference"),
        (b"", ".png", "broken_image"),
        (encoded(quarters(), "PNG")[:60], ".png", "broken_image"),
        (encoded(quarters(), "WEBP")[:30], ".webp", "broken_image"),
        (encoded(quarters().convert("RGB"), "JPEG"), ".png", "broken_image"),
        (encoded(Image.new("RGBA", (8, 8)), "PNG"), ".png", "empty_drawing"),
        (encoded(Image.new("L", (MAX_SIDE + 1, 2)), "PNG"), ".png", "too_many_pixels"),
        (encoded(Image.new("L", (MAX_SIDE + 1, 2)), "WEBP"), ".webp", "too_many_pixels"),
        (png_of(30_000, 30_000), ".png", "too_many_pixels"),
        (png_of(2**31 - 1, 2**31 - 1), ".png", "too_many_pixels"),
        (svg(RECT) + b" " * MAX_BYTES, ".svg", "too_many_bytes"),
        (encoded(quarters(), "PNG"), ".gif", "unknown_format"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_reason(data, suffix, reason):
    with pytest.raises(DrawingError) as found:
        draw(data, suffix, 32)
    assert found.value.reason == reason and str(found.value)


def test_a_reference_to_a_local_file_is_refused_and_not_read(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG"))
    for name in ("href", "xlink:href"):
        for where in (secret, secret.as_uri(), "secret.png"):
            with pytest.raises(DrawingError, match="outside the file") as found:
                draw(svg(f'<image {name}="{where}" width="72" height="72"/>'), ".svg", 32)
            assert found.value.reason == "outside_reference"
    styled = draw(svg(f'<style>@import url("{secret}");rect{{fill:url({secret})}}</style>{RECT}'), ".svg", 32)
    assert not (styled[..., :3] == (1, 2, 3)).all(-1).any()


def test_what_well_meant_files_hold_is_drawn():
    inner = base64.b64encode(encoded(Image.new("RGB", (8, 8), (1, 2, 200)), "PNG")).decode()
    embedded = draw(svg(f'<image href="data:image/png;base64,{inner}" width="72" height="72"/>'), ".svg", 32)
    assert embedded[16, 16].tolist() == [1, 2, 200, 255]
    doctype = b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
    linked = svg(f'<a href="https://example.org"><g id="a">{RECT}</g></a><use href="#a"/><use href="#a"/>')
    for data in (doctype + svg(RECT), b"\xef\xbb\xbf" + svg(RECT), linked):
        assert draw(data, ".svg", 32)[16, 16].tolist() == [255, 128, 0, 255]


def test_a_picture_a_hundred_thousand_times_as_tall_as_wide_takes_no_memory():
    tall = svg(RECT).replace(b"0 0 72 72", b"0 0 1 100000")
    try:
        assert draw(tall, ".svg", 32).shape == (32, 32, 4)
    except DrawingError as error:
        assert error.reason == "empty_drawing"  # a hundredth of a pixel wide


def test_a_process_of_its_own_draws_the_same_and_names_the_same_reasons():
    data = (PACKAGED / "1F3C3-1F3FB.svg").read_bytes()
    with Drawer(32) as drawer:
        assert np.array_equal(drawer.draw(data, ".svg"), draw(data, ".svg", 32))
        with pytest.raises(DrawingError, match="no XML") as found:
            drawer.draw(data[:-20], ".svg")
        assert found.value.reason == "broken_svg"
        assert np.array_equal(drawer.draw(data, ".svg"), draw(data, ".svg", 32))


def test_a_drawing_that_would_take_minutes_is_given_up_and_the_next_one_is_drawn(monkeypatch):
    with Drawer(32) as drawer:
        drawer.draw(svg(RECT), ".svg")
        monkeypatch.setattr(draw_apart, "SECONDS", 0.5)
        with pytest.raises(DrawingError, match=r"longer than 0\.5 s") as found:
            drawer.draw(MASK_BOMB.encode(), ".svg")
        assert found.value.reason == "too_costly"
        monkeypatch.undo()
        assert drawer.draw(svg(RECT), ".svg")[16, 16].tolist() == [255, 128, 0, 255]


def test_a_drawing_that_would_take_gigabytes_ends_no_more_than_its_process():
    side = 24_000  # 70 kB of file, and 2.3 GB of RGBA
    inner = base64.b64encode(png_of(side, side, bytes(side * (1 + side // 8)))).decode()
    with Drawer(32) as drawer:
        with pytest.raises(DrawingError, match="ended the process"):
            drawer.draw(svg(f'<image href="data:image/png;base64,{inner}" width="72" height="72"/>'), ".svg")
        assert drawer.draw(svg(RECT), ".svg")[16, 16].tolist() == [255, 128, 0, 255]
