"""How large a source's pictures are, in pixels and in bytes of a tar, where its own files do not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.data.options import DownloadOptions
from pipelines.config.schema import Config
from pipelines.config.source_kinds import UrlsSource
from pipelines.sizing.assumptions import ASPECT, INSTRUCTION_BYTES, PHOTO_PIXELS, PICTURE_BYTES_PER_PIXEL

if TYPE_CHECKING:
    from components.data.survey import Survey


def picture_pixels(config: Config, found: Survey) -> float:
    """Return the pixels of a photo as ingest stores it."""
    if isinstance(config.only_source, UrlsSource):
        return downloaded_pixels(config.only_source.download)
    return found.pixels or PHOTO_PIXELS


def sample_bytes(config: Config, found: Survey, pixels: float) -> float:
    """Return what a sample takes in a tar."""
    from components.data.sizes import CAPTION_BYTES, METADATA_BYTES, tar_sample_bytes

    if found.sample_bytes is not None:
        return found.sample_bytes
    source = config.only_source
    stored = source.download.encode_format if isinstance(source, UrlsSource) else "jpg"
    picture = pixels * PICTURE_BYTES_PER_PIXEL[stored]
    pictures = (picture, picture) if source.holds_pairs else (picture,)
    return tar_sample_bytes((*pictures, CAPTION_BYTES, METADATA_BYTES))


def downloaded_pixels(download: DownloadOptions) -> float:
    """Return the pixels of a photo as img2dataset fits it to `image_size`."""
    square = download.image_size**2
    return {
        "no": PHOTO_PIXELS,
        "keep_ratio": square * ASPECT,
        "keep_ratio_largest": square / ASPECT,
        "center_crop": square,
        "border": square,
    }[download.resize_mode]


def edited_pixels(pixels: float, config: Config) -> float:
    """Return the pixels of an edit of a photo."""
    return min(pixels, config.synthesize_edits.photos.max_side**2 / ASPECT)


def photo_pair_bytes(pixels: float, config: Config) -> float:
    """Return what an edit of a photo takes: source and target as PNG, shrunk to `max_side`; the mask hardly counts."""
    from components.data.sizes import METADATA_BYTES, tar_sample_bytes

    picture = edited_pixels(pixels, config) * PICTURE_BYTES_PER_PIXEL["png"]
    return tar_sample_bytes((picture, picture, 0.02 * picture, INSTRUCTION_BYTES, METADATA_BYTES))
