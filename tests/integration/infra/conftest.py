"""Real servers on 127.0.0.1: Postgres from the system's packages, and moto's as the S3-compatible store."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(ready: Callable[[], bool], what: str, process: subprocess.Popen, log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, f"{what} ended with {process.returncode}:\n{log.read_text()}"
        assert time.monotonic() < end, f"{what} did not answer in {seconds} s:\n{log.read_text()}"
        time.sleep(0.2)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@contextlib.contextmanager
def running(command: list[str], log: Path, stop: signal.Signals = signal.SIGTERM, **options):
    """Run a server in a session of its own; end it, and what is left of the session."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.send_signal(stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True)
class Postgres:
    """A database that only a password opens."""

    port: int
    password: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGDATABASE": "mlflow",
            "PGUSER": "mlflow",
            "PGPASSWORD": self.password,
        }


def postgres_tool(name: str) -> str:
    found = shutil.which(name) or max(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), default=None)
    if found is None:
        pytest.skip("Postgres is not installed (Debian: apt-get install postgresql)")
    return found


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    initdb, server, psql = (postgres_tool(name) for name in ("initdb", "postgres", "psql"))
    # Postgres refuses to run as root. Its folder is of its own user then, which cannot enter pytest's.
    owner = {}
    if os.geteuid() == 0:
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("the tests run as root and there is no postgres user to run Postgres as")
        owner = {"user": account.pw_uid, "group": account.pw_gid}
    folder = Path(tempfile.mkdtemp(prefix="pixsem-postgres-"))
    try:
        password = secrets.token_hex(16)
        (folder / "password").write_text(password)
        if owner:
            for path in (folder, folder / "password"):
                os.chown(path, owner["user"], owner["group"])
        subprocess.run(
            [
                initdb, "--pgdata", str(folder / "data"), "--username", "mlflow", "--auth", "scram-sha-256",
                "--pwfile", str(folder / "password"), "--no-sync",
            ],
            check=True, capture_output=True, cwd=folder, **owner,
        )  # fmt: skip
        port = free_port()
        command = [server, "-D", str(folder / "data"), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        found = Postgres(port, password)
        environment = {**os.environ, **found.environment, "PGDATABASE": "postgres"}
        # SIGINT ends sessions too; at SIGTERM Postgres waits for them.
        with running(command, folder / "log", signal.SIGINT, cwd=folder, **owner) as process:

            def ready() -> bool:
                return subprocess.run([psql, "-c", "select 1"], env=environment, capture_output=True).returncode == 0

            wait_for(ready, "Postgres", process, folder / "log")
            subprocess.run([psql, "-c", "create database mlflow"], env=environment, check=True, capture_output=True)
            yield found
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3-compatible store, and the keys to it."""

    endpoint: str
    name: str
    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self):
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.endpoint, aws_access_key_id=self.key, aws_secret_access_key=self.secret,
            region_name="us-east-1",
        )  # fmt: skip

    def objects(self) -> list[str]:
        return [item["Key"] for item in self.client().list_objects_v2(Bucket=self.name).get("Contents", [])]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory) -> Iterator[Bucket]:
    pytest.importorskip("moto", reason="moto is not installed")
    log = tmp_path_factory.mktemp("s3") / "log"
    port = free_port()
    with running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], log) as process:
        endpoint = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(f"{endpoint}/moto-api/data.json"), "moto", process, log)
        found = Bucket(endpoint, "mlflow", "key-of-the-store", secrets.token_hex(16))
        assert make_buckets(found, found.name).stdout == "mlflow: made\n"
        yield found


def make_buckets(store: Bucket, *names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "infra" / "mlflow" / "make_buckets.py"), *names]
    return subprocess.run(command, env={**os.environ, **store.environment}, capture_output=True, text=True, timeout=120)
