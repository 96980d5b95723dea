"""Every source ends in curated shards, with every input sample accounted for, bad ones included."""

from __future__ import annotations

import csv
import http.server
import io
import json
import tarfile
import threading

import numpy as np
import pytest
from PIL import Image

from components.data.records import Record, read_records, write_records
from components.data.tables import read_table
from pipelines.config.compose import compose_config
from tests.unit.pipelines.stages.data.stage_chain import local_files, run_stages

pytestmark = pytest.mark.integration
CAPTIONS = [
    f"a photo of the {n} thing that stands near the old house" for n in ("first", "second", "third", "fourth", "fifth")
]


def photo(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.ones((32, 32, 1), np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(blocks).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


class Site(http.server.BaseHTTPRequestHandler):
    """Pictures at /0.jpg to /4.jpg, and the usual troubles."""

    def do_GET(self) -> None:
        name = self.path.strip("/")
        if name == "moved":
            self.send_response(302)
            self.send_header("Location", "/4.jpg")
            self.end_headers()
            return
        if name == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if name == "optout":
            self.send_header("X-Robots-Tag", "noai")
        self.end_headers()
        self.wfile.write(b"<html>" if name == "page" else photo(int(name[0])) if name[0].isdigit() else photo(9))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def rows_of(paths) -> dict[str, list]:
    """Return the rows of tables, one after another, as {column: list}."""
    merged: dict[str, list] = {}
    for path in sorted(paths):
        for name, values in read_table(path).items():
            merged.setdefault(name, []).extend(values)
    return merged


def test_a_url_list_is_downloaded_curated_and_edited_with_every_row_accounted_for(fresh, site):
    names = ["0.jpg", "1.jpg", "2.jpg", "moved", "missing", "page", "optout"]
    with (fresh.folder / "list.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["url", "caption"])
        writer.writerows([f"{site}/{name}", CAPTIONS[i % 5]] for i, name in enumerate(names))
    settings = ["source=urls", "source.path=list.csv", "source.samples_per_shard=4", "source.download.retries=0"]
    fresh("run", *settings, "source.download.allow_private_networks=true", "--until", "synthesize_edits")
    rows = rows_of(fresh.store.glob("artifacts/ingest/*/rows/*.parquet"))
    assert rows["status"] == ["success"] * 4 + ["failed"] * 3
    assert rows["reason"][4] == "http_404"
    assert rows["reason"][6] == "opted_out"
    metrics = fresh.json("report")["metrics"]
    assert metrics["ingest"]["input"] == 7
    assert metrics["curation"]["kept"] == 4
    assert metrics["edits"]["pairs"] >= 4
    # The same list again, without the permission: another configuration, and nothing is fetched.
    settings[1] = f"source.path={fresh.folder / 'list.csv'}"
    refused = run_stages(fresh.folder / "refused", compose_config(settings), "ingest")["ingest"]
    assert set(rows_of(local_files(refused, "rows/*.parquet"))["reason"]) >= {"private_address"}


@pytest.mark.slow
def test_a_changed_list_is_noticed_and_an_unchanged_one_is_cached(fresh, site):
    path = fresh.folder / "list.tsv"
    path.write_text(f"url\tcaption\n{site}/0.jpg\t{CAPTIONS[0]}\n")
    settings = [
        "source=urls",
        "source.path=list.tsv",
        "source.download.allow_private_networks=true",
        "--until",
        "ingest",
    ]
    fresh("run", *settings)
    assert fresh.json("run", *settings, "--dry-run")[0]["cached"]
    path.write_text(path.read_text() + f"{site}/1.jpg\t{CAPTIONS[1]}\n")
    assert fresh.json("run", *settings, "--dry-run")[0]["reasons"] == ["source files changed"]


def test_hostile_shards_end_as_rows_with_reasons_and_nothing_escapes(tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    good = [Record(f"{i:04d}", {"jpg": photo(i), "txt": CAPTIONS[i].encode(), "json": b"{}"}) for i in range(3)]
    write_records(shards / "00000.tar", good)
    whole = (shards / "00000.tar").read_bytes()
    (shards / "00001.tar").write_bytes(whole[: len(whole) // 2])
    with tarfile.open(shards / "00002.tar", "w") as tar:
        for name in ("../escaped.jpg", "/tmp/escaped.txt", "fine.jpg", "fine.txt", "lonely.txt"):
            data = photo(4) if name.endswith("jpg") else CAPTIONS[4].encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (shards / "00003.tar").write_bytes(b"this is no tar at all" * 100)
    config = compose_config(["source=webdataset", f"source.shards={shards}"])
    made = run_stages(tmp_path / "store", config, "curate")
    for artifact in made.values():
        counts = artifact.manifest.counts
        assert counts["kept"] + counts["dropped"] + counts["failed"] == counts["input"]
    reasons = set(rows_of(local_files(made["ingest"], "rows/*.parquet"))["reason"])
    assert reasons >= {"truncated_tar", "unsafe_member", "not_a_tar", "no_picture"}
    assert not list(tmp_path.rglob("escaped*"))
    kept = [r.key for p in sorted(local_files(made["curate"], "shards/*.tar")) for r in read_records(p)]
    assert set(kept) >= {"0002", "fine"}


def test_a_folder_with_a_captions_file_is_taken_and_every_line_accounted_for(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.jpg").write_bytes(photo(i))
    (folder / "broken.jpg").write_bytes(photo(3)[:200])
    lines = [{"file_name": f"{i}.jpg", "text": CAPTIONS[i]} for i in range(3)]
    lines += [
        {"file_name": "gone.jpg", "text": "x"},
        {"file_name": "../outside.jpg", "text": "x"},
        {"file_name": "broken.jpg", "text": CAPTIONS[4]},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    made = run_stages(tmp_path / "store", compose_config(["source=folder", f"source.path={folder}"]), "curate")
    assert made["ingest"].manifest.metrics["ingest"]["failed_by_reason"] == {"no_picture": 1, "unsafe_path": 1}
    counted = {"input": 4, "kept": 3, "dropped": 0, "failed": 1, "by_reason": {"broken_image": 1}}
    assert made["curate"].manifest.metrics["curation"].items() >= counted.items()
