"""Files to drawings: SVG by resvg, PNG and WebP by OpenCV, to square cut-outs with alpha. What is broken, too large or
reaches outside its own file is refused with a reason.
"""

from __future__ import annotations

import io
import warnings
import xml.parsers.expat
from collections import defaultdict

import cv2
import numpy as np
import resvg_py
from PIL import Image

SUFFIXES = (".svg", ".png", ".webp")
EMBEDDED = ("data:image/png", "data:image/jpeg", "data:image/webp")  # pictures inside an SVG
MAX_BYTES = 4 * 2**20  # of one file
MAX_SIDE = 4096  # pixels, of one raster file
MAX_ELEMENTS = 20_000  # of an SVG, with what `use` repeats


class DrawingError(ValueError):
    """A file that cannot be drawn: `reason` is snake_case, the text is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def draw(data: bytes, suffix: str, size: int) -> np.ndarray:
    """Return a file's drawing as RGBA uint8 [size, size, 4], centred, its alpha not premultiplied.

    Drawn at twice the size and shrunk by area, so that thin lines do not flicker. Raises DrawingError.
    """
    if len(data) > MAX_BYTES:
        raise DrawingError("too_many_bytes", f"the file has {len(data):,} bytes; {MAX_BYTES:,} are read")
    if suffix not in SUFFIXES:
        raise DrawingError("unknown_format", f"{suffix or 'no suffix'} is none of {', '.join(SUFFIXES)}")
    if suffix == ".svg":
        data = _rendered(data, 2 * size)
    else:
        _check_size(data)
    rgba = _decoded(data)
    if not rgba[..., 3].any():
        raise DrawingError("empty_drawing", "every pixel is transparent")
    return _fitted(rgba, size)


def _rendered(data: bytes, side: int) -> bytes:
    text = check_svg(data)
    try:
        # Both sides: by the width alone a tall picture has as many rows as its author likes.
        return bytes(resvg_py.svg_to_bytes(svg_string=text, width=side, height=side, skip_system_fonts=True))
    except ValueError as error:
        raise DrawingError("broken_svg", f"resvg cannot draw it: {error}"[:300]) from error


def check_svg(data: bytes) -> str:
    """Return an SVG's text if it is safe to draw. Raises DrawingError.

    Refused: a document type (entities may grow without bound), references to anything but the file's own elements and
    embedded pictures (resvg reads local files), and more elements than MAX_ELEMENTS once `use` is followed.
    """
    found = _Elements()
    parser = xml.parsers.expat.ParserCreate()
    parser.StartDoctypeDeclHandler = found.doctype
    parser.StartElementHandler = found.start
    parser.EndElementHandler = found.end
    try:
        parser.Parse(data, True)
        text = data.decode("utf-8-sig")
    except xml.parsers.expat.ExpatError as error:
        raise DrawingError("broken_svg", f"it is no XML: {error}") from error
    except UnicodeDecodeError as error:
        raise DrawingError("broken_svg", f"it is not utf-8: byte {error.start}") from error
    except RecursionError as error:
        raise DrawingError("svg_bomb", "its elements are nested too deeply") from error
    found.check()
    return text


class _Elements:
    """Counts an SVG's elements by their `id`, with what `use` repeats."""

    def __init__(self) -> None:
        self._open: list[str] = []  # the id of each open element, "" without one
        self._own: dict[str, int] = defaultdict(int)  # id -> elements inside it, itself included
        self._uses: dict[str, list[str]] = defaultdict(list)  # id -> ids that are repeated inside it
        self._depth = 0

    def doctype(self, name: str, system: str | None, public: str | None, internal: bool) -> None:
        # Editors write a plain one (`<!DOCTYPE svg PUBLIC ...>`); one with declarations can define entities.
        if internal:
            raise DrawingError("svg_bomb", "its document type declares entities, which is not read")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append(attributes.get("id", ""))
        inside = {"", *self._open}
        for key in inside:
            self._own[key] += 1
        if self._own[""] > MAX_ELEMENTS or len(self._open) > 200:
            raise DrawingError("svg_bomb", f"it has over {MAX_ELEMENTS:,} elements, or over 200 in one another")
        for attribute, value in attributes.items():
            if attribute.rpartition(":")[2] != "href":
                continue
            if value.startswith("#"):
                for key in inside if name.rpartition(":")[2] == "use" else ():
                    self._uses[key].append(value[1:])
            elif not value.startswith(EMBEDDED) and name.rpartition(":")[2] != "a":
                raise DrawingError("outside_reference", f"it refers to {value[:80]!r}, which is outside the file")

    def end(self, name: str) -> None:
        self._open.pop()

    def check(self) -> None:
        """Raise DrawingError where following `use` gives too many elements, or never ends."""
        sizes: dict[str, int] = {}

        def size(key: str, above: tuple[str, ...]) -> int:
            if key in above:
                raise DrawingError("svg_bomb", f"its element {key!r} repeats itself")
            if key not in sizes:
                found = self._own[key]
                for used in self._uses.get(key, ()):
                    found += size(used, (*above, key))
                    if found > MAX_ELEMENTS:
                        raise DrawingError("svg_bomb", f"with what `use` repeats it has over {MAX_ELEMENTS:,} elements")
                sizes[key] = found
            return sizes[key]

        size("", ())


def _check_size(data: bytes) -> None:
    """Raise DrawingError where a PNG or WebP is larger than is read, by its header: nothing is decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of large pictures, which are refused here
            width, height = Image.open(io.BytesIO(data), formats=("PNG", "WEBP")).size
    except Image.DecompressionBombError as error:
        raise DrawingError("too_many_pixels", str(error)) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise DrawingError("broken_image", "it is no PNG or WebP that can be read") from error
    if max(width, height) > MAX_SIDE:
        raise DrawingError("too_many_pixels", f"it is {width} x {height}; {MAX_SIDE} a side are read")


def _decoded(data: bytes) -> np.ndarray:
    """Return a PNG or WebP as RGBA uint8 [H, W, 4]. Raises DrawingError."""
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:
        raise DrawingError("broken_image", f"it cannot be decoded: {error}"[:300]) from error
    if values is None:
        raise DrawingError("broken_image", "it is no picture that can be decoded")
    if values.dtype == np.uint16:
        values = (values // 257).astype(np.uint8)
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    alpha = values[..., 3:] if values.shape[2] == 4 else np.full((*values.shape[:2], 1), 255, np.uint8)
    return np.concatenate([values[..., 2::-1], alpha], axis=2)


def _fitted(rgba: np.ndarray, size: int) -> np.ndarray:
    """Return a picture shrunk or enlarged to fit a square of `size`, centred on transparent ground."""
    height, width = rgba.shape[:2]
    scale = size / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    values = rgba.astype(np.float32)
    values[..., :3] *= values[..., 3:] / 255  # colours of transparent pixels must not bleed into the edge
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    values = cv2.resize(values, inner, interpolation=how).clip(0, 255)
    top, left = (size - inner[1]) // 2, (size - inner[0]) // 2
    square = np.zeros((size, size, 4), np.float32)
    square[top : top + inner[1], left : left + inner[0]] = values
    square[..., :3] = np.where(square[..., 3:] > 0, square[..., :3] * 255 / np.maximum(square[..., 3:], 1e-3), 0)
    return np.rint(square.clip(0, 255)).astype(np.uint8)
