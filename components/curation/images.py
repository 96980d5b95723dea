"""Decoding of untrusted images into RGB, and encoding. No signals, no decisions."""

from __future__ import annotations

import functools
import importlib.util
import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from components.curation.options import ImageLimits

MAX_SIDE = (
    65535  # JPEG's own; PIL's decoder of packed BMPs takes 255 rows at once for two bytes, so a row must not be huge
)
MAX_SCANNED = (
    20 * 10**9
)  # pixels times scans: each scan of a progressive JPEG, a few bytes, costs a pass over all its pixels
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF")
PLUGINS = {"HEIF": "pillow_heif"}  # format -> the package that reads it, where it is installed
# What PIL's decoders raise on damaged files; anything else is an error of ours.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    ZeroDivisionError,
)


class ImageError(ValueError):
    """An image that cannot be had: `reason` in snake_case, `detail` for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image: `rgb` uint8 [H, W, 3], upright, alpha on white; `mode` and `frames` as the file has them."""

    rgb: np.ndarray
    format: str
    mode: str
    frames: int


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Those of FORMATS that the installed Pillow and its plug-ins read."""
    Image.init()
    for package in PLUGINS.values():
        if importlib.util.find_spec(package) is not None:
            importlib.import_module(package).register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def decode_image(data: bytes, limits: ImageLimits) -> DecodedImage:
    """Decode the first frame. Raises `ImageError` (`empty_image`, `too_many_bytes`, `too_many_pixels`,
    `unknown_format`, `broken_image`).
    """
    if not data:
        raise ImageError("empty_image", "the image has no bytes")
    if len(data) > limits.max_bytes:
        raise ImageError("too_many_bytes", f"{len(data):,} bytes, at most {limits.max_bytes:,} are read")
    with warnings.catch_warnings():
        # PIL warns of odd metadata and of large pictures; the first do no harm, the second are refused below.
        warnings.simplefilter("ignore")
        try:
            picture = Image.open(io.BytesIO(data), formats=readable_formats())
        except UnidentifiedImageError:
            known = ", ".join(readable_formats())
            raise ImageError("unknown_format", f"none of {known}; HEIC needs the package pillow-heif") from None
        except Image.DecompressionBombError as error:
            raise ImageError("too_many_pixels", str(error)) from None
        except DECODE_ERRORS as error:
            raise ImageError("broken_image", _text(error)) from None
        pixels = picture.width * picture.height
        if pixels > limits.max_pixels or max(picture.size) > MAX_SIDE:
            raise ImageError(
                "too_many_pixels",
                f"{picture.width} x {picture.height}, at most {limits.max_pixels:,} pixels are decoded, "
                f"{MAX_SIDE:,} a side",
            )
        if picture.format == "JPEG" and pixels * (scans := data.count(b"\xff\xda")) > MAX_SCANNED:
            raise ImageError("too_many_scans", f"{picture.width} x {picture.height} pixels in {scans:,} scans")
        if not picture.width or not picture.height:
            raise ImageError("broken_image", "a side of zero pixels")
        try:
            # Phones keep depth or brightness as further pictures of an MPO: it is no animation.
            frames = 1 if picture.format == "MPO" else int(getattr(picture, "n_frames", 1))
            mode = picture.mode
            ImageOps.exif_transpose(picture, in_place=True)  # loads it, and copies no picture that is upright
            rgb = np.asarray(_to_rgb(picture))
        except DECODE_ERRORS as error:
            raise ImageError("broken_image", _text(error)) from None
    return DecodedImage(rgb, str(picture.format), mode, frames)


def _text(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Return any mode as 8-bit RGB: 16 bits scaled, alpha on white."""
    if picture.mode in ("RGB",) and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray(np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, picture).convert("RGB")
    if picture.mode == "LAB":
        transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(picture, transform)
        assert converted is not None
        return converted
    # PIL itself undoes the inversion of Adobe's CMYK files.
    return picture.convert("RGB")


def square(rgb: np.ndarray, side: int) -> np.ndarray:
    """Return a picture, uint8 [H, W, 3], resized (bicubic, antialiased) by its shorter side and cropped at the centre
    to [side, side, 3].
    """
    height, width = rgb.shape[:2]
    if (height, width) == (side, side):
        return rgb
    short = min(height, width)
    left, top = (width - short) / 2, (height - short) / 2
    picture = Image.fromarray(rgb).resize(
        (side, side), Image.Resampling.BICUBIC, box=(left, top, left + short, top + short)
    )
    return np.asarray(picture)


def reduced(rgb: np.ndarray, side: int) -> np.ndarray:
    """Return a picture, uint8 [H, W, 3], resized (bicubic, antialiased) so that its longer side is `side`; a
    smaller one as it is.
    """
    height, width = rgb.shape[:2]
    longer = max(height, width)
    if longer <= side:
        return rgb
    size = max(1, round(width * side / longer)), max(1, round(height * side / longer))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))


def encode_png(rgb: np.ndarray, level: int = 6) -> bytes:
    """Return a picture, uint8 [H, W, 3] or [H, W], as PNG; the same bytes every time. `level` is zlib's, 0-9."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """Return a picture, uint8 [H, W, 3], as JPEG of a quality 1-95."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
