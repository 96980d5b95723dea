"""Sources on servers: WebDataset shards and parquet files come from HTTP, S3, a hub and commands as from a disk, and a
transfer that fails is never a shorter shard.
"""

from __future__ import annotations

import http.client
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import places, streams
from components.data.options import ParquetOptions, ShardLimits
from components.data.parquet_source import pack_parquet_shard
from components.data.places import Unreachable, describe, digest_remote, find_places
from components.data.records import Record, write_records
from components.data.row_groups import find_parquet, plan_parts
from components.data.streams import open_shard
from components.data.survey import survey_parquet, survey_shards
from components.data.webdataset_source import find_shards, normalise_shard

sys.path.insert(0, str(Path(__file__).parent))
from hub_server import TOKEN, start_hub
from picture_server import picture

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[3]


class Files(http.server.SimpleHTTPRequestHandler):
    """The files of a folder, and the usual troubles."""

    protocol_version = "HTTP/1.1"
    hits: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.hits[name] = self.hits.get(name, 0) + 1
        if name in ("cut.tar", "once.tar", "stalls.tar") and (name != "once.tar" or self.hits[name] == 1):
            data = Path(self.directory, "00000.tar").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            if name == "stalls.tar":
                time.sleep(4)
            self.close_connection = True
            return
        if name == "once.tar":
            self.path = "/00000.tar"
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards and a parquet file of the same samples."""
    made = tmp_path / "served"
    made.mkdir()
    rows = [(picture(i), f"caption {i}") for i in range(6)]
    for number in range(2):
        some = [
            Record(f"{i:04d}", {"png": rows[i][0], "txt": rows[i][1].encode(), "json": b"{}"})
            for i in range(3 * number, 3 * number + 3)
        ]
        write_records(made / f"{number:05d}.tar", some)
    table = pa.table({"image": [row[0] for row in rows], "caption": [row[1] for row in rows]})
    (made / "data").mkdir()
    pq.write_table(table, made / "data" / "train-00000-of-00001.parquet", row_group_size=2)
    return made


@pytest.fixture
def site(folder: Path) -> Iterator[str]:
    Files.hits = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Files(*given, directory=str(folder)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def shard_of(place: str, out: Path, size: int | None = None) -> list[Any]:
    return normalise_shard(place, out, ShardLimits(), size=size)


def test_shards_and_parquet_on_a_web_server_are_as_those_on_a_disk(folder: Path, site: str, tmp_path: Path) -> None:
    found = find_shards(f"{site}/{{00000..00001}}.tar")
    assert found == [f"{site}/00000.tar", f"{site}/00001.tar"] == find_shards(f"{site}/*.tar")
    about = describe(found)
    assert [entry["size"] for entry in about] == [(folder / f"0000{i}.tar").stat().st_size for i in range(2)]
    for number, place in enumerate(found):
        rows = shard_of(place, tmp_path / "out.tar", about[number]["size"])
        assert [row.status for row in rows] == ["success"] * 3 and rows[0].origin == f"0000{number}.tar:000{3 * number}"
        assert (tmp_path / "out.tar").read_bytes() == (folder / f"0000{number}.tar").read_bytes()
    survey = survey_shards(f"{site}/{{00000..00001}}.tar")
    assert survey.samples == 6 and survey.pixels == 48 * 40
    spec = f"{site}/data/train-00000-of-00001.parquet"
    (parts,) = plan_parts(find_parquet(spec), 100)
    rows = pack_parquet_shard(parts, tmp_path / "p.tar", "00000", ParquetOptions())
    assert [row.caption for row in rows] == [f"caption {i}" for i in range(6)]
    assert survey_parquet(spec, ["image"]).samples == 6


def test_a_change_on_the_server_is_noticed_by_what_it_says_of_its_files(folder: Path, site: str) -> None:
    place = f"{site}/00000.tar"
    before = digest_remote([place])
    assert before == digest_remote([place])
    os.utime(folder / "00000.tar", (1, 1))
    assert digest_remote([place]) != before
    assert digest_remote(["pipe:cat x"]) != digest_remote(["pipe:cat y"])


def test_a_failing_transfer_is_tried_again_and_never_a_shorter_shard(
    folder: Path, site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "PAUSE_S", 0.01)
    monkeypatch.setattr(streams, "STALL_S", 0.5)
    assert [row.status for row in shard_of(f"{site}/once.tar", tmp_path / "out.tar")] == ["success"] * 3
    assert Files.hits["once.tar"] == 2
    for name, said in (("cut.tar", "the transfer broke off"), ("stalls.tar", "brought nothing")):
        with pytest.raises(Unreachable, match=said):
            shard_of(f"{site}/{name}", tmp_path / "out.tar")
        assert Files.hits[name] == places.ATTEMPTS
    with pytest.raises(Unreachable, match=r"the server answered with an error"):
        shard_of(f"{site}/none.tar", tmp_path / "out.tar")
    with pytest.raises(Unreachable, match=r"ended at byte \d+ of 999999"):
        shard_of(f"{site}/00000.tar", tmp_path / "out.tar", 999_999)
    with pytest.raises(Unreachable, match=r"status"):  # an address is no shell command
        shard_of(f"{site}/x.tar'; touch {tmp_path}/pwned; '", tmp_path / "out.tar")
    assert not (tmp_path / "pwned").exists()


def test_commands_are_run_where_that_is_allowed_and_their_failure_is_one(folder: Path, tmp_path: Path) -> None:
    command = f"pipe:cat {folder}/0000{{0..1}}.tar"
    with pytest.raises(ValueError, match=r"runs a command of the shell. Set allow_pipe=true"):
        find_shards(command)
    found = find_shards(command, allow_pipe=True)
    assert found == [f"pipe:cat {folder}/0000{i}.tar" for i in range(2)]
    assert [row.status for row in shard_of(found[0], tmp_path / "out.tar")] == ["success"] * 3
    with open_shard(f"pipe:cat {folder}/00000.tar; exit 3") as stream, pytest.raises(Unreachable, match="status 3"):
        stream.read()
    with open_shard("pipe:yes") as stream:  # left early, it is ended
        assert stream.read(4) == b"y\ny\n"


def test_a_bucket_is_read_with_keys_of_the_environment(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("s3fs")
    import boto3
    from fsspec import config as fsspec_config
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert not fsspec_config.conf.get("s3")
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        files = [path for path in folder.rglob("*") if path.is_file()]
        for target, body in [("/sets", b""), *((f"/sets/{p.relative_to(folder)}", p.read_bytes()) for p in files)]:
            connection.request("PUT", target, body)
            assert connection.getresponse().read() is not None
        found = find_shards("s3://sets")
        assert found == [f"s3://sets/0000{i}.tar" for i in range(2)] == find_shards("s3://sets/{00000..00001}.tar")
        about = describe(found)
        assert all(entry["stamp"].startswith("ETag ") for entry in about)
        rows = shard_of(found[1], tmp_path / "out.tar", about[1]["size"])
        assert [row.status for row in rows] == ["success"] * 3
        assert (tmp_path / "out.tar").read_bytes() == (folder / "00001.tar").read_bytes()
        before = digest_remote(found)
        boto3.client("s3").put_object(Bucket="sets", Key="00001.tar", Body=(folder / "00000.tar").read_bytes())
        assert digest_remote(found) != before
        assert find_parquet("s3://sets") == ["s3://sets/data/train-00000-of-00001.parquet"]
        (parts,) = plan_parts(find_parquet("s3://sets/data/*.parquet"), 100)
        assert len(pack_parquet_shard(parts, tmp_path / "p.tar", "00000", ParquetOptions())) == 6
        with pytest.raises(ValueError, match=r"there is no file s3://sets/none.tar"):
            describe(find_places("s3://sets/none.tar", (".tar",)))
    finally:
        connection.close()
        server.stop()


HUB = """
import sys
from components.data.options import ParquetOptions, ShardLimits
from components.data.row_groups import find_parquet, plan_parts
from components.data.parquet_source import pack_parquet_shard
from components.data.places import describe, digest_remote
from components.data.webdataset_source import find_shards, normalise_shard
from pipelines.cli.main import main

out = sys.argv.pop(1)
parquet = find_parquet("hf://datasets/org/photos")
assert parquet == ["hf://datasets/org/photos/data/train-00000-of-00001.parquet"], parquet
assert describe(parquet)[0]["stamp"].startswith("sha256 ")
(parts,) = plan_parts(find_parquet("hf://datasets/org/photos@main/data/*.parquet"), 100)
assert len(pack_parquet_shard(parts, out + "/p.tar", "00000", ParquetOptions())) == 6
shards = find_shards("hf://datasets/org/photos/{00000..00001}.tar")
about = describe(shards)
rows = normalise_shard(shards[1], out + "/out.tar", ShardLimits(), size=about[1]["size"])
assert [row.status for row in rows] == ["success"] * 3
sys.argv = ["pixsem", "inspect", "hf://datasets/org/photos", "--count", "2"]
main()
"""


def test_a_private_data_set_of_a_hub_is_read_with_the_environments_token(folder: Path, tmp_path: Path) -> None:
    """Through huggingface_hub's own file system, against a server that answers its calls; it reads the environment when
    it is imported, hence the process.
    """
    hub = start_hub(folder)
    known = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**known, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", HUB, str(tmp_path)]
    try:
        done = subprocess.run(
            command, env={**environment, "HF_TOKEN": TOKEN}, capture_output=True, text=True, timeout=250, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert "caption: caption 0" in done.stdout and "source.path=hf://datasets/org/photos" in done.stdout
        assert (tmp_path / "out.tar").read_bytes() == (folder / "00001.tar").read_bytes()
        assert TOKEN not in done.stdout + done.stderr
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
        assert any("/resolve/" in call for call in hub.calls) and not hub.refused
        refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, cwd=tmp_path)
        assert refused.returncode != 0 and hub.refused
    finally:
        hub.shutdown()


@pytest.mark.slow
def test_a_run_from_a_hub_leaves_the_token_in_no_configuration_log_manifest_or_database(
    folder: Path, tmp_path: Path
) -> None:
    hub = start_hub(folder)
    known = {n: v for n, v in os.environ.items() if not n.startswith("HF_") and n != "MLFLOW_TRACKING_URI"}
    known |= {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}
    command = [
        sys.executable,
        "-c",
        "from pipelines.cli.main import main; main()",
        "run",
        "preset=tiny",
        "source=parquet",
    ]
    command += ["source.path=hf://datasets/org/photos", "--until", "ingest", f"store={tmp_path}/store"]
    try:
        done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=280, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert list(tmp_path.glob("store/artifacts/ingest/*/manifest.json"))
        assert TOKEN not in done.stdout + done.stderr
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
        again = subprocess.run(
            [*command, "--dry-run"], env=known, capture_output=True, text=True, timeout=280, cwd=tmp_path
        )
        assert "cached" in again.stdout, again.stdout + again.stderr
    finally:
        hub.shutdown()


def test_an_address_with_a_secret_is_refused_without_repeating_it() -> None:
    from pipelines.config.compose import compose_config
    from pipelines.errors import UserError

    for place in (
        "https://user:hunter2@host/a.tar", "https://host/a.tar?X-Amz-Signature=hunter2", "s3://key:hunter2@bucket/a.tar",
        "https://host/a.tar?token=hunter2",
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"holds (a user or password|the parameter)") as refused:
            compose_config(["preset=tiny", "source=webdataset", f'source.shards="{place}"'])
        assert "hunter2" not in str(refused.value)
    config = compose_config(["preset=tiny", "source=webdataset", "source.shards=hf://datasets/org/name@v1/a.tar"])
    assert json.loads(config.model_dump_json())["source"]["shards"].endswith("@v1/a.tar")
