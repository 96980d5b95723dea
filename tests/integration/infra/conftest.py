"""Servers that the tests of a module share: Postgres, and a bucket of an S3-compatible store."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.infra.servers import (
    Bucket,
    Postgres,
    answers,
    make_buckets,
    postgres_tool,
    running,
    wait_for,
)
from tests.ports import free_port


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
