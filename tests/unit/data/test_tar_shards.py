"""Reading and writing tar shards: whatever a stranger's tar holds, every sample ends as a Record or a BadRecord."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.data.options import ShardLimits
from components.data.records import BadRecord, Record, read_records, write_records
from components.data.shard_index import ShardFiles

pytestmark = pytest.mark.unit

SAMPLES = [Record(f"{i:05d}", {"jpg": bytes([i]) * (700 + i), "txt": b"a cat", "json": b"{}"}) for i in range(4)]


def make_tar(members: list[tuple[tarfile.TarInfo | str, bytes]], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for member, data in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = link
    return info


def read(data: bytes, **limits: int) -> list[Record | BadRecord]:
    return list(read_records(io.BytesIO(data), ShardLimits(**limits)))


def outline(items: list[Record | BadRecord]) -> list[tuple[str, str]]:
    return [(item.key, item.reason if isinstance(item, BadRecord) else "whole") for item in items]


@pytest.fixture
def good_tar(tmp_path: Path) -> bytes:
    write_records(tmp_path / "good.tar", SAMPLES)
    return (tmp_path / "good.tar").read_bytes()


def test_records_read_back_as_written(tmp_path: Path) -> None:
    records = [
        Record("sub/ünïcode", {"jpg": b"x", "source.png": b"y", "txt": "möwe".encode()}),
        Record("k" * 180, {"png": b""}),
        *SAMPLES,
    ]
    assert write_records(tmp_path / "a.tar", records) == len(records)
    assert list(read_records(tmp_path / "a.tar")) == records


def test_equal_records_give_equal_bytes_whatever_the_order_of_parts(tmp_path: Path) -> None:
    write_records(tmp_path / "a.tar", SAMPLES)
    write_records(tmp_path / "b.tar", [Record(r.key, dict(reversed(r.parts.items()))) for r in SAMPLES])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_sample_that_would_not_read_back_is_not_written(tmp_path: Path) -> None:
    for key, extension in [("a.b", "jpg"), ("", "jpg"), ("../a", "jpg"), ("/a", "jpg"), ("a", "JPG"), ("a", "")]:
        with pytest.raises(ValueError, match="would not read back"):
            write_records(tmp_path / "x.tar", [Record(key, {extension: b"x"})])
    with pytest.raises(ValueError, match="is there twice"):
        write_records(tmp_path / "x.tar", [SAMPLES[0], SAMPLES[0]])


def test_webdataset_reads_our_shards_and_its_writer_makes_the_same_bytes(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    write_records(tmp_path / "ours.tar", SAMPLES)
    read_back = list(webdataset.WebDataset(str(tmp_path / "ours.tar"), shardshuffle=False, empty_check=False))
    assert [(s["__key__"], s["jpg"], s["txt"]) for s in read_back] == [
        (r.key, r.parts["jpg"], r.parts["txt"]) for r in SAMPLES
    ]
    theirs = webdataset.TarWriter(str(tmp_path / "theirs.tar"), user="", group="", mode=0o644, mtime=0)
    for record in SAMPLES:
        theirs.write({"__key__": record.key, **record.parts})
    theirs.close()
    assert (tmp_path / "ours.tar").read_bytes() == (tmp_path / "theirs.tar").read_bytes()


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_tar_cut_anywhere_gives_its_whole_samples_and_says_where_it_ends(good_tar: bytes, cut: int) -> None:
    body = len(good_tar.rstrip(b"\0"))
    end = body * cut // 40
    items = read(good_tar[:end])
    records = [item for item in items if isinstance(item, Record)]
    faults = [item for item in items if isinstance(item, BadRecord)]
    assert [fault.reason for fault in faults] == ["truncated_tar" if end >= 512 else "not_a_tar"]
    # a cut between two files of a sample leaves a sample with fewer parts, each of them whole
    for record, sample in zip(records, SAMPLES, strict=False):
        assert record.key == sample.key
        assert record.parts.items() <= sample.parts.items()


def test_truncation_names_the_member_it_cuts(good_tar: bytes) -> None:
    at = good_tar.index(b"00002.jpg") + 512 + 300
    items = read(good_tar[:at])
    assert outline(items) == [("00000", "whole"), ("00001", "whole"), ("00002", "truncated_tar")]
    assert "00002.jpg" in items[-1].detail and "300 of 702" in items[-1].detail  # type: ignore[union-attr]


def test_a_tar_without_its_end_mark_is_reported(good_tar: bytes) -> None:
    blocks = len(good_tar.rstrip(b"\0")) // 512 + 1
    assert outline(read(good_tar[: blocks * 512])) == [*((r.key, "whole") for r in SAMPLES), ("", "truncated_tar")]


def test_a_damaged_header_is_reported_not_taken_for_the_end(good_tar: bytes) -> None:
    at = good_tar.index(b"00002.jpg")
    damaged = good_tar[: at + 150] + b"\xff" + good_tar[at + 151 :]
    assert outline(read(damaged)) == [("00000", "whole"), ("00001", "whole"), ("", "corrupt_tar")]


def test_samples_behind_the_end_mark_are_reported(good_tar: bytes) -> None:
    assert outline(read(good_tar + good_tar))[-1] == ("", "data_after_end")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("../evil.jpg", "../evil"),
        ("/etc/passwd.jpg", "/etc/passwd"),
        ("a/../../b.jpg", "a/../../b"),
        ("C:/x.jpg", "C:/x"),
        ("..\\evil.jpg", ""),
    ],
)
def test_names_that_lead_out_of_the_shard_are_refused_and_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, key: str
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    items = read(make_tar([("0.jpg", b"x"), (name, b"evil"), ("1.jpg", b"y")]))
    assert outline(items) == [("0", "whole"), (key, "unsafe_member"), ("1", "whole")]
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"]
)
def test_links_and_devices_spoil_their_sample_and_no_other(kind: bytes) -> None:
    members = [("0.jpg", b"x"), ("1.txt", b"t"), (special("1.jpg", kind, "/etc/passwd"), b""), ("2.jpg", b"y")]
    assert outline(read(make_tar(members))) == [("0", "whole"), ("1", "unsafe_member"), ("2", "whole")]


def test_a_link_that_claims_a_size_does_not_hide_the_next_sample() -> None:
    link = special("1.jpg", tarfile.SYMTYPE, "0.jpg")
    link.size = 5_000_000
    data = link.tobuf(tarfile.PAX_FORMAT) + make_tar([("2.jpg", b"y")])
    assert outline(read(data)) == [("1", "unsafe_member"), ("2", "whole")]


def test_old_gnu_sparse_files_are_refused_without_reading_their_claimed_size() -> None:
    sparse = special("1.jpg", tarfile.GNUTYPE_SPARSE)
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # a block with more of the map follows
    header[483:495] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data = make_tar([("0.jpg", b"x")])[:1024] + bytes(header) + bytes(512) + make_tar([("2.jpg", b"y")])
    assert outline(read(data)) == [("0", "whole"), ("1", "unsafe_member"), ("2", "whole")]


def test_limits_on_sizes_and_counts_fail_samples_not_shards() -> None:
    big = make_tar([("0.jpg", b"x" * 5000), ("0.txt", b"t"), ("1.jpg", b"y"), ("1.txt", b"t")])
    assert outline(read(big, max_member_bytes=4999)) == [("0", "member_too_large"), ("1", "whole")]
    assert outline(read(big, max_sample_bytes=5000)) == [("0", "sample_too_large"), ("1", "whole")]
    many = make_tar([*((f"0.x{i}", b"") for i in range(9)), ("1.jpg", b"y")])
    assert outline(read(many, max_parts_per_sample=8)) == [("0", "too_many_parts"), ("1", "whole")]
    assert outline(read(many, max_members=9))[-1] == ("", "too_many_members")


def test_a_giant_claimed_size_is_neither_read_nor_trusted() -> None:
    info = tarfile.TarInfo("0.jpg")
    info.size = 2**40
    data = info.tobuf(tarfile.GNU_FORMAT) + b"x" * 2000
    assert outline(read(data)) == [("0", "truncated_tar")]
    assert outline(read(data, max_member_bytes=2**41)) == [("0", "truncated_tar")]


def test_repeated_keys_keep_the_first_and_report_the_rest() -> None:
    together = make_tar([("a.jpg", b"1"), ("a.txt", b"t"), ("a.jpg", b"2"), ("a.txt", b"u"), ("b.jpg", b"3")])
    assert outline(read(together)) == [("a", "whole"), ("a", "duplicate_key"), ("b", "whole")]
    apart = make_tar([("a.jpg", b"1"), ("b.jpg", b"3"), ("a.txt", b"t")])
    assert outline(read(apart)) == [("a", "whole"), ("b", "whole"), ("a", "unsorted_tar")]


def test_names_without_key_or_extension_or_in_broken_utf8_are_reported() -> None:
    raw = make_tar([("0.jpg", b"x"), ("\udcff\udcfe.jpg", b"y"), ("README", b"r"), (".jpg", b"z"), ("a\nb.jpg", b"n")])
    assert outline(read(raw)) == [
        ("0", "whole"),
        ("\\udcff\\udcfe", "bad_name"),
        ("README", "no_extension"),
        ("", "no_key"),
        ("a\\nb", "bad_name"),
    ]
    long = make_tar([("n" * 2000 + ".jpg", b"x"), ("1.jpg", b"y")])
    assert [reason for _, reason in outline(read(long))] == ["bad_name", "whole"]


def test_directories_and_shard_metadata_are_no_samples() -> None:
    data = make_tar(
        [(special("d", tarfile.DIRTYPE), b""), ("__info__", b"x"), ("__meta__/a.json", b"{}"), ("d/0.jpg", b"x")]
    )
    assert outline(read(data)) == [("d/0", "whole")]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_of_every_tar_format_are_read(form: int) -> None:
    name = "folder/" * 20 + "0.jpg"
    assert outline(read(make_tar([(name, b"x")], form))) == [(name.removesuffix(".jpg"), "whole")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"hello", "not_a_tar"),
        (b"<html>" * 1000, "not_a_tar"),
        (gzip.compress(make_tar([("0.jpg", b"x")]), mtime=0), "compressed_tar"),
        (b"BZh91AY" + bytes(600), "compressed_tar"),
        (b"\xfd7zXZ\x00" + bytes(600), "compressed_tar"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed_tar"),
    ],
)
def test_what_is_no_tar_is_one_reason(data: bytes, reason: str) -> None:
    assert outline(read(data)) == [("", reason)]


def test_a_tar_without_members_has_no_samples_and_no_fault() -> None:
    assert read(make_tar([])) == []


def test_chains_and_giants_of_extended_headers_end_as_a_reason() -> None:
    def extended(kind: bytes, data: bytes, size: int | None = None) -> bytes:
        info = special("x", kind)
        info.size = len(data) if size is None else size
        return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)

    chain = extended(tarfile.XHDTYPE, b"14 path=a.jpg\n") * 5000 + make_tar([("b.jpg", b"x")])
    assert outline(read(chain)) == [("a", "whole")]
    assert outline(read(extended(tarfile.GNUTYPE_LONGNAME, b"", 2**33))) == [("", "corrupt_tar")]
    for text in (b"99 path=a.jpg\n", b"xx path=a\n", b"0 path=a\n", b"12 size=-10\n", b"10 nothing\n"):
        assert outline(read(extended(tarfile.XHDTYPE, text) + make_tar([("b.jpg", b"x")])))[0] == ("", "corrupt_tar")


def test_random_damage_never_raises_and_never_invents_whole_samples(good_tar: bytes) -> None:
    rng = random.Random(7)
    originals = {(r.key, e): d for r in SAMPLES for e, d in r.parts.items()}
    for _ in range(400):
        data = bytearray(good_tar)
        at = rng.randrange(len(data) - 4000)
        block = at - at % 512
        is_header = bytes(data[block : block + 5]).isdigit()
        data[at] ^= 1 << rng.randrange(8)
        items = read(bytes(data))
        if is_header:  # headers have a checksum, so what is still read is right
            assert all(originals[i.key, e] == d for i in items if isinstance(i, Record) for e, d in i.parts.items())
            assert any(isinstance(item, BadRecord) for item in items)


def test_a_missing_file_is_the_caller_s_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no shard at .*nothing\.tar"):
        list(read_records(tmp_path / "nothing.tar"))
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(ValueError, match="no shard at"):
        list(read_records(tmp_path / "pipe.tar"))


def test_json_like_metadata_survives_the_shard_unchanged(tmp_path: Path) -> None:
    metadata = json.dumps({"a": [1, "ü"]}, ensure_ascii=False).encode()
    write_records(tmp_path / "m.tar", [Record("0", {"json": metadata})])
    (record,) = read_records(tmp_path / "m.tar")
    assert isinstance(record, Record) and record.parts["json"] == metadata


def test_threads_read_the_right_bytes_though_few_shards_stay_open(tmp_path: Path) -> None:
    names = [f"{n}.tar" for n in range(6)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([number]) * 100)
    files = ShardFiles(lambda name: tmp_path / name, kept=1)
    chosen = [n % len(names) for n in range(3000)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: files.read(names[n], 90, 10), chosen))
    assert found == [bytes([n]) * 10 for n in chosen]
    with pytest.raises(ValueError, match=r"3\.tar ends within the file at byte 95"):
        files.read("3.tar", 95, 10)
