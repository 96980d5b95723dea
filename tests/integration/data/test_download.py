"""img2dataset through our guard against a real server: every row ends downloaded or failed with its reason, whatever
the web does.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_server import Handler, Server, picture, start_server
from PIL import Image

from components.data.download import DownloadResult, download_shard
from components.data.ingest_rows import SourceRow
from components.data.options import DownloadOptions
from components.data.records import Record, read_records
from components.data.tables import read_table

pytestmark = pytest.mark.integration

GOOD = 200
LIMITS = DownloadOptions(
    timeout_s=1.5,
    retries=1,
    backoff_s=0.05,
    threads=16,
    image_size=32,
    min_image_size=8,
    max_bytes=2**20,
    max_pixels=10**6,
    max_redirects=3,
    allow_private_networks=True,
)
# path -> (status or reason, attempts)
ODD = {
    "/missing": ("http_404", 1),
    "/flaky/1": ("success", 2),
    "/flaky/2": ("success", 2),
    "/always500": ("http_503", 2),
    "/drip": ("timeout", 2),
    "/drip_header": ("timeout", 2),
    "/silent": ("timeout", 2),
    "/html": ("not_an_image", 1),
    "/huge_declared": ("too_large", 1),
    "/huge_endless": ("too_large", 1),
    "/redirect_endless": ("success", 1),
    "/broken": ("decode_failed", 1),
    "/bomb": ("too_many_pixels", 1),
    "/sixteen": ("success", 1),
    "/rotated": ("success", 1),
    "/cmyk": ("success", 1),
    "/tiny": ("too_small", 1),
    "/empty": ("empty_body", 2),
    "/short": ("incomplete_body", 2),
    "/hang_up": ("connection_failed", 2),
    "/to_good": ("success", 1),
    "/to_localhost": ("success", 1),
    "/loop": ("too_many_redirects", 1),
    "/chain/1": ("too_many_redirects", 1),
    "/to_file": ("refused_redirect", 1),
    "/to_ftp": ("refused_scheme", 1),
    "/noai": ("opted_out", 1),
    "/noindex": ("opted_out", 1),
    "/other_bot": ("success", 1),
    "/ü x.png?q=ä": ("success", 1),
}


@dataclass(frozen=True)
class Downloaded:
    rows: list[SourceRow]
    result: DownloadResult
    table: dict[str, list[Any]]
    samples: dict[str, Record]
    base: str
    agents: set[str]

    def row_of(self, path: str) -> int:
        return [row.url for row in self.rows].index(self.base + path)

    def image_of(self, path: str) -> np.ndarray:
        record = self.samples[self.rows[self.row_of(path)].key]
        return np.asarray(Image.open(io.BytesIO(record.parts["jpg"])).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = start_server()
    yield server
    server.shutdown()
    server.server_close()


def base_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def good_rows(server: Server, count: int) -> list[SourceRow]:
    kinds = ("png", "jpg", "webp")
    return [
        SourceRow(f"{i:09d}", f"list.csv:{i}", f"{base_of(server)}/good/{i}.{kinds[i % 3]}", f"picture {i}", {"n": i})
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def downloaded(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Downloaded:
    out = tmp_path_factory.mktemp("download")
    rows = good_rows(server, GOOD)
    rows += [
        SourceRow(
            f"{GOOD + i:09d}", f"list.csv:{GOOD + i}", base_of(server) + path, f"odd {path}", {"sha256": "theirs"}
        )
        for i, path in enumerate(ODD)
    ]
    rows += [
        SourceRow("000009000", "list.csv:1", None, None, {}, "bad_row", "3 fields where the file has 2 columns"),
        SourceRow("000009001", "list.csv:2", "file:///etc/passwd", "x", {}),
        SourceRow("000009002", "list.csv:3", "http://127.0.0.1:1/closed.png", "x", {}),
    ]
    result = download_shard(rows, "00000", out, LIMITS)
    samples = list(read_records(out / "00000.tar"))
    assert all(isinstance(sample, Record) for sample in samples)
    records = {s.key: s for s in samples if isinstance(s, Record)}
    assert sorted(p.name for p in out.iterdir()) == ["00000.parquet", "00000.tar"]
    return Downloaded(rows, result, read_table(out / "00000.parquet"), records, base_of(server), set(Handler.agents))


def test_every_row_is_accounted_for_and_counts_add_up(downloaded: Downloaded) -> None:
    result, table = downloaded.result, downloaded.table
    assert table["key"] == [row.key for row in downloaded.rows]
    assert table["url"] == [row.url for row in downloaded.rows]
    assert result.total == len(downloaded.rows) == result.succeeded + result.failed
    assert sum(result.reasons.values()) == result.failed == table["status"].count("failed")
    assert list(downloaded.samples) == [k for k, s in zip(table["key"], table["status"], strict=True) if s == "success"]
    assert all(reason for reason, s in zip(table["reason"], table["status"], strict=True) if s == "failed")
    assert result.attempts == sum(table["attempts"])


def test_good_pictures_of_all_formats_arrive_whole_in_img2dataset_s_layout(downloaded: Downloaded) -> None:
    assert downloaded.table["status"][:GOOD] == ["success"] * GOOD
    for index, row in enumerate(downloaded.rows[:GOOD]):
        parts = downloaded.samples[row.key].parts
        assert set(parts) == {"jpg", "txt", "json"}
        assert parts["txt"].decode() == row.caption
        metadata = json.loads(parts["json"])
        assert metadata["url"] == row.url and metadata["n"] == index and metadata["original_width"] == 48
        image = Image.open(io.BytesIO(parts["jpg"]))
        assert image.size == (downloaded.table["width"][index], downloaded.table["height"][index]) == (38, 32)
        colour = np.asarray(image)[20:, 20:].mean((0, 1))
        assert np.abs(colour - [index * 37 % 200, index * 91 % 200, index * 13 % 200]).max() < 12
    assert downloaded.table["sha256"][0] == hashlib.sha256(picture(0)).hexdigest()


@pytest.mark.parametrize("path", ODD)
def test_what_goes_wrong_on_the_web_ends_as_its_reason(downloaded: Downloaded, path: str) -> None:
    index, (wanted, attempts) = downloaded.row_of(path), ODD[path]
    table = downloaded.table
    got = table["status"][index] if wanted == "success" else table["reason"][index]
    assert (got, table["attempts"][index]) == (wanted, attempts), table["detail"][index]


def test_rows_that_cannot_be_fetched_fail_without_a_fetch(downloaded: Downloaded) -> None:
    last = slice(-3, None)
    assert downloaded.table["reason"][last] == ["bad_row", "refused_scheme", "connection_failed"]
    assert downloaded.table["attempts"][last] == [0, 0, 2]


def test_a_column_of_the_list_never_replaces_a_field_of_ours(downloaded: Downloaded) -> None:
    record = downloaded.samples[downloaded.rows[downloaded.row_of("/other_bot")].key]
    metadata = json.loads(record.parts["json"])
    assert metadata["source_sha256"] == "theirs" and metadata["sha256"] == hashlib.sha256(picture(1)).hexdigest()


def test_deep_and_turned_and_cmyk_pictures_look_right(downloaded: Downloaded) -> None:
    assert np.abs(downloaded.image_of("/sixteen") - 0x40).max() <= 2
    turned = downloaded.image_of("/rotated")
    assert turned.shape[0] > turned.shape[1]
    assert turned[:4, -4:].min() > 220 and turned[:4, :4].max() < 220
    red = downloaded.image_of("/cmyk").mean((0, 1))
    assert red[0] > 200 and red[1] < 120 and red[2] < 120


def test_the_crawler_says_who_it_is(downloaded: Downloaded) -> None:
    assert all(agent.startswith("pixsem/") for agent in downloaded.agents)


def test_the_same_rows_give_the_same_bytes(server: Server, tmp_path: Path) -> None:
    rows = good_rows(server, 40)
    for name in ("a", "b"):
        download_shard(rows, "00000", tmp_path / name, LIMITS)
    for file in ("00000.tar", "00000.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_private_networks_are_refused_unless_allowed_and_nothing_reaches_them(server: Server, tmp_path: Path) -> None:
    port = server.server_address[1]
    hosts = ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"]
    rows = [SourceRow(f"{i:09d}", "x", f"http://{h}:{port}/secret", "x", {}) for i, h in enumerate(hosts)]
    result = download_shard(rows, "00000", tmp_path, DownloadOptions(retries=1, backoff_s=0, timeout_s=5))
    assert result.reasons == {"private_address": len(hosts)} and result.attempts == len(hosts)
    assert Handler.hits["/secret"] == 0


@pytest.mark.parametrize(
    ("encode_format", "resize_mode", "size"),
    [("png", "no", (48, 40)), ("webp", "center_crop", (32, 32)), ("jpg", "border", (32, 32))],
)
def test_formats_and_resize_modes_are_img2dataset_s(
    server: Server, tmp_path: Path, encode_format: Any, resize_mode: Any, size: tuple[int, int]
) -> None:
    options = DownloadOptions(
        allow_private_networks=True, image_size=32, encode_format=encode_format, resize_mode=resize_mode
    )
    download_shard(good_rows(server, 3), "00007", tmp_path, options)
    for record in read_records(tmp_path / "00007.tar"):
        assert isinstance(record, Record)
        image = Image.open(io.BytesIO(record.parts[encode_format]))
        assert image.size == size
        if resize_mode == "border":
            assert np.asarray(image)[0].min() > 240


def test_a_shard_whose_rows_all_fail_is_an_empty_tar_and_a_full_table(server: Server, tmp_path: Path) -> None:
    rows = [SourceRow("000000000", "x", f"{base_of(server)}/missing", "x", {})]
    result = download_shard(rows, "00001", tmp_path, LIMITS)
    assert (result.succeeded, result.failed, result.reasons) == (0, 1, {"http_404": 1})
    assert list(read_records(tmp_path / "00001.tar")) == []
    assert download_shard([], "00002", tmp_path, LIMITS).total == 0


def test_repeated_keys_are_the_caller_s_error(tmp_path: Path) -> None:
    row = SourceRow("0", "x", "http://ex.org/", "x", {})
    with pytest.raises(ValueError, match="keys are repeated"):
        download_shard([row, row], "00000", tmp_path, LIMITS)
