"""Downloads one shard of a URL list: rounds of img2dataset with retries, then the shard's tar and its table with one
row per input row.

How one address is fetched is network_guard.py's, how img2dataset is driven img2dataset_engine.py's (imported when a
download begins).
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from components.data.ingest_rows import IngestRow, SourceRow, count_reasons, failed_row, write_ingest_table
from components.data.options import DownloadOptions
from components.data.records import write_records
from components.data.samples import Record, encode_metadata
from components.data.web_rules import FetchError, normalise_url

if TYPE_CHECKING:
    from components.data.img2dataset_engine import Outcome

RETRYABLE = frozenset(
    (
        "timeout",
        "connection_failed",
        "dns_unavailable",
        "incomplete_body",
        "empty_body",
        "bad_answer",
        *tuple(f"http_{code}" for code in (408, 425, 429, 500, 502, 503, 504)),
    )
)
_REASONS = RETRYABLE | {
    *(
        "private_address",
        "refused_scheme",
        "refused_redirect",
        "too_many_redirects",
        "bad_url",
        "dns_not_found",
        "tls_failed",
    ),
    *("opted_out", "too_large", "not_an_image", "too_many_pixels", "decode_failed"),
}
_HTTP_REASON = re.compile(r"http_[0-9]{3}")


@dataclass(frozen=True)
class DownloadResult:
    """Counts of one downloaded shard: total = succeeded + failed, and `reasons` adds up to failed."""

    shard_name: str
    total: int
    succeeded: int
    failed: int
    reasons: dict[str, int]
    tar_path: str
    table_path: str
    attempts: int  # fetches made, all rounds together
    seconds: float


def download_shard(
    rows: Sequence[SourceRow], shard_name: str, out_dir: str | Path, options: DownloadOptions
) -> DownloadResult:
    """Download all rows into `out_dir`/NAME.tar (key.jpg, key.txt, key.json, in key order) and NAME.parquet
    (INGEST_SCHEMA, in row order).

    Both files appear whole, the table last. Failed rows whose reason is in RETRYABLE are tried again up to
    options.retries times. Rows that carry a reason already are failed without a fetch. Raises ValueError for repeated
    or impossible keys, OSError where `out_dir` cannot be written; never for what the network gives.
    """
    started = time.monotonic()
    keys = [row.key for row in rows]
    if len(set(keys)) != len(keys):
        raise ValueError(f"shard {shard_name}: keys are repeated; every row needs its own")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    scratch = out / f".{shard_name}.download"
    shutil.rmtree(scratch, ignore_errors=True)  # left by a run that was killed
    scratch.mkdir()
    try:
        with (scratch / "pictures").open("w+b") as spool:
            urls, early = _fetchable(rows)
            outcomes, attempts = _rounds(urls, scratch, spool, options)
            results = [
                _ingest_row(row, early.get(i), outcomes.get(i), attempts.get(i, 0)) for i, row in enumerate(rows)
            ]
            order = sorted((i for i, row in enumerate(results) if row.status == "success"), key=lambda i: keys[i])
            write_records(scratch / "shard.tar", _records(rows, order, outcomes, spool, options))
        write_ingest_table(scratch / "shard.parquet", results)
        tar_path, table_path = out / f"{shard_name}.tar", out / f"{shard_name}.parquet"
        os.replace(scratch / "shard.tar", tar_path)
        os.replace(scratch / "shard.parquet", table_path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return DownloadResult(
        shard_name=shard_name,
        total=len(rows),
        succeeded=len(order),
        failed=len(rows) - len(order),
        reasons=count_reasons(results),
        tar_path=str(tar_path),
        table_path=str(table_path),
        attempts=sum(attempts.values()),
        seconds=time.monotonic() - started,
    )


def _fetchable(rows: Sequence[SourceRow]) -> tuple[dict[int, str], dict[int, tuple[str, str]]]:
    """({row number: normalised address}, {row number: (reason, detail)} of rows that need no fetch to fail)."""
    urls: dict[int, str] = {}
    early: dict[int, tuple[str, str]] = {}
    for index, row in enumerate(rows):
        if row.reason:
            early[index] = (row.reason, row.detail)
        elif not row.url:
            early[index] = ("no_url", "the row has no address")
        else:
            try:
                urls[index] = normalise_url(row.url)
            except FetchError as error:
                early[index] = (error.reason, error.detail)
    return urls, early


def _rounds(
    urls: dict[int, str], scratch: Path, spool: BinaryIO, options: DownloadOptions
) -> tuple[dict[int, Outcome], dict[int, int]]:
    """The last outcome and the number of attempts of every row."""
    outcomes: dict[int, Outcome] = {}
    attempts = dict.fromkeys(urls, 0)
    todo = list(urls)
    if todo:
        # albumentations, which img2dataset imports, asks the network for its newest version unless told not to
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        from components.data.img2dataset_engine import download_round
    for turn in range(options.retries + 1):
        if not todo:
            break
        if turn:
            time.sleep(options.backoff_s * 2 ** (turn - 1))
        found = download_round([(index, urls[index]) for index in todo], scratch, spool, options)
        for index in todo:
            attempts[index] += 1
            if index in found:
                outcomes[index] = found[index]
            else:
                outcomes.pop(index, None)
        todo = [
            i for i in todo if i in found and found[i].error is not None and _reason(found[i].error)[0] in RETRYABLE
        ]
    return outcomes, attempts


def _reason(error: str | None) -> tuple[str, str]:
    """(reason, detail) from an error text: ours says its reason first, img2dataset's own are few."""
    text = (error or "").strip()
    reason, _, detail = text.partition(": ")
    if reason in _REASONS or _HTTP_REASON.fullmatch(reason):
        return reason, detail
    if text == "image too small":
        return "too_small", "a side is shorter than min_image_size"
    return "decode_failed", text


def _ingest_row(row: SourceRow, early: tuple[str, str] | None, outcome: Outcome | None, attempts: int) -> IngestRow:
    if early is not None:
        return failed_row(row, *early)
    if outcome is None:
        return failed_row(row, "not_reported", "img2dataset gave no outcome; its own message is in the log", attempts)
    if outcome.error is not None:
        return failed_row(row, *_reason(outcome.error), attempts)
    return IngestRow(
        key=row.key,
        origin=row.origin,
        url=row.url,
        caption=row.caption,
        status="success",
        reason="",
        detail="",
        attempts=attempts,
        width=outcome.width,
        height=outcome.height,
        sha256=outcome.sha256,
    )


def _records(
    rows: Sequence[SourceRow], order: list[int], outcomes: dict[int, Outcome], spool: BinaryIO, options: DownloadOptions
) -> Iterator[Record]:
    """The samples in key order: threads finish in any order, shards must not show it."""
    for index in order:
        row, outcome = rows[index], outcomes[index]
        spool.seek(outcome.offset)
        parts = {
            options.encode_format: spool.read(outcome.length),
            "json": encode_metadata(_metadata(row, outcome)),
        }
        if row.caption is not None:
            parts["txt"] = row.caption.encode()
        yield Record(row.key, parts)


def _metadata(row: SourceRow, outcome: Outcome) -> dict[str, Any]:
    """img2dataset's fields, then the list's own columns (as source_NAME where the name is taken)."""
    own: dict[str, Any] = {
        "url": row.url,
        "caption": row.caption,
        "key": row.key,
        "status": "success",
        "error_message": None,
        "width": outcome.width,
        "height": outcome.height,
        "original_width": outcome.original_width,
        "original_height": outcome.original_height,
        "sha256": outcome.sha256,
    }
    return own | {(f"source_{name}" if name in own else name): value for name, value in row.metadata.items()}
