"""img2dataset driven for one shard in this process: its Downloader, with our guarded transport, our checks before its
decoder, and a writer that hands samples back. Retries and the shard's files are download.py's.

Importing this module takes about 4 s (img2dataset brings wandb, albumentations, pandas and torch); import it where a
download begins.
"""

from __future__ import annotations

import io
import threading
import types
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import img2dataset.downloader
import numpy as np
import pyarrow as pa
from img2dataset.resizer import Resizer

from components.data.image_header import read_header
from components.data.network_guard import Fetcher
from components.data.options import DownloadOptions

_OPT_OUT_MESSAGE = "opted_out: the X-Robots-Tag header asks not to use the picture"
_process_lock = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What img2dataset made of one row: `error` None means success, with the picture at [offset, offset + length) of
    the spool file.
    """

    error: str | None
    offset: int = 0
    length: int = 0
    width: int | None = None
    height: int | None = None
    original_width: int | None = None
    original_height: int | None = None
    sha256: str | None = None


def download_round(
    urls: Sequence[tuple[int, str]], scratch: Path, spool: BinaryIO, options: DownloadOptions
) -> dict[int, Outcome]:
    """Download every (row number, normalised address) once. Pictures are appended to `spool`; one Outcome per row
    number.

    One round at a time per process. Raises OSError where `scratch` or the spool cannot be written.
    """
    rows_file = scratch / "rows.arrow"
    table = pa.table(
        {"url": pa.array([url for _, url in urls], pa.string()), "row": pa.array([row for row, _ in urls], pa.int64())}
    )
    with pa.OSFile(str(rows_file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    collector = _Collector(spool)
    fetcher = Fetcher(options)
    downloader = img2dataset.downloader.Downloader(
        sample_writer_class=lambda *_: collector,
        resizer=_CheckedResizer(options),
        thread_count=min(options.threads, max(1, len(urls))),
        save_caption=False,
        extract_exif=False,
        output_folder=str(scratch),
        column_list=["url", "row"],
        timeout=options.timeout_s,
        number_sample_per_shard=max(10, len(urls)),
        oom_shard_count=5,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format=options.encode_format,
        retries=0,
        user_agent_token=options.user_agent_token,
        disallowed_header_directives=list(options.opt_out_directives) if options.respect_opt_out else None,
    )
    with _guarded_transport(fetcher):
        downloader.download_shard((0, str(rows_file)))
    return collector.outcomes


@contextmanager
def _guarded_transport(fetcher: Fetcher) -> Iterator[None]:
    """For the time of one round, `urllib` inside img2dataset's downloader module is a stand-in whose urlopen is the
    fetcher's.

    img2dataset has no hook for its transport: it calls urllib.request.urlopen by that name. Installing an opener with
    urllib would change it for every other library of the process, and would still leave the standard handlers (file:,
    ftp:, proxies) in; a stand-in in that one module changes nothing elsewhere and keeps img2dataset's own header checks
    in force. The lock is needed in any case: img2dataset's resizer redirects the process's standard output while it
    decodes, which two rounds at once would leave redirected for good.
    """
    module: Any = img2dataset.downloader

    def urlopen(request: urllib.request.Request, timeout: float) -> Any:
        return fetcher.open(request)

    stand_in = types.SimpleNamespace(request=types.SimpleNamespace(Request=urllib.request.Request, urlopen=urlopen))
    with _process_lock:
        original = module.urllib
        module.urllib = stand_in
        try:
            yield
        finally:
            module.urllib = original


class _CheckedResizer(Resizer):
    """img2dataset's resizer, asked only about pictures whose declared size is bearable, and given them upright in 8
    bits.

    By itself it stores 16-bit pictures as white ones and forgets the EXIF rotation.
    """

    def __init__(self, options: DownloadOptions) -> None:
        super().__init__(
            image_size=options.image_size,
            resize_mode=options.resize_mode,
            resize_only_if_bigger=options.resize_only_if_bigger,
            encode_quality=options.quality,
            encode_format=options.encode_format,
            min_image_size=options.min_image_size,
        )
        self.max_pixels = options.max_pixels

    def __call__(self, img_stream: io.BytesIO, blurring_bbox_list: None = None) -> tuple[Any, ...]:
        data = img_stream.getvalue()
        header = read_header(data)
        if header is None:
            return _refused("not_an_image: the body is no PNG, JPEG, WebP, GIF or BMP")
        if header.width * header.height > self.max_pixels:
            return _refused(
                f"too_many_pixels: {header.width}x{header.height} declared; max_pixels is {self.max_pixels}"
            )
        if header.bits > 8 or header.orientation != 1:
            try:
                img_stream = io.BytesIO(_upright_8_bit(data))
            except (cv2.error, ValueError) as error:
                return _refused(f"decode_failed: {str(error).strip()[:200]}")
        result: tuple[Any, ...] = super().__call__(img_stream, blurring_bbox_list)
        return result


def _upright_8_bit(data: bytes) -> bytes:
    """The picture as a PNG of 8 bits a channel (full range mapped to full range, alpha kept), turned as its EXIF
    says.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("OpenCV cannot decode it")
    if image.dtype == np.uint16:
        image = np.rint(image / 257.0).astype(np.uint8)
    header = read_header(data)
    assert header is not None
    turned = _turn(image, header.orientation)
    return bytes(cv2.imencode(".png", turned, [int(cv2.IMWRITE_PNG_COMPRESSION), 1])[1].tobytes())


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Apply EXIF orientation 1-8 to an array [H, W] or [H, W, C]."""
    if orientation in (5, 6, 7, 8):
        image = np.swapaxes(image, 0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _refused(error: str) -> tuple[Any, ...]:
    return None, None, None, None, None, error


class _Collector:
    """Stands in img2dataset's place for a sample writer. Pictures go to the spool file, not to memory: shards may hold
    gigabytes.
    """

    def __init__(self, spool: BinaryIO) -> None:
        self.spool = spool
        self.outcomes: dict[int, Outcome] = {}
        self.error: OSError | None = None

    def write(self, image: bytes | None, key: str, caption: str | None, meta: dict[str, Any]) -> None:
        if image is None:
            message = str(meta["error_message"])
            self.outcomes[meta["row"]] = Outcome(_OPT_OUT_MESSAGE if "X-Robots-Tag directive" in message else message)
            return
        try:
            offset = self.spool.seek(0, io.SEEK_END)
            self.spool.write(image)
        except OSError as error:
            self.error = error  # img2dataset would print it and go on; close() raises it instead
            return
        self.outcomes[meta["row"]] = Outcome(
            error=None,
            offset=offset,
            length=len(image),
            width=meta["width"],
            height=meta["height"],
            original_width=meta["original_width"],
            original_height=meta["original_height"],
            sha256=meta["sha256"],
        )

    def close(self) -> None:
        if self.error is not None:
            raise self.error
