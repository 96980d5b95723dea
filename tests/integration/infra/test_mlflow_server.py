"""infra/mlflow for real: its own script, Postgres and an S3-compatible store, used through the registry's own code."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from components.registry.mlflow_errors import TrackingError
from components.registry.model_versions import Registry
from components.registry.tracking import Tracker
from pipelines.tracking.open_version import open_version
from tests.integration.infra.servers import (
    ROOT,
    Bucket,
    Postgres,
    answers,
    make_buckets,
    running,
    wait_for,
)
from tests.ports import free_port
from tests.unit.infra.manifests import containers, of_kind

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]
SCRIPT = ROOT / "infra" / "mlflow" / "serve.sh"


@dataclass(frozen=True)
class Server:
    uri: str
    process: psutil.Process
    admin: tuple[str, str]
    secrets: tuple[str, ...]
    environment: dict[str, str]

    def ask(self, path: str, user: tuple[str, str] | None, body: dict | None = None, **headers: str) -> tuple[int, str]:
        headers["Content-Type"] = "application/json"
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(user).encode()).decode()
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.uri}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def names_in_kubernetes() -> str:
    """Return the host names by which the server of infra/kubernetes is called, as its manifest sets them."""
    (deployment,) = of_kind("Deployment")
    (container,) = containers(deployment)
    return next(v["value"] for v in container["env"] if v["name"] == "MLFLOW_SERVER_ALLOWED_HOSTS")


@pytest.fixture(scope="module")
def server(postgres: Postgres, bucket: Bucket, tmp_path_factory) -> Iterator[Server]:
    pytest.importorskip("psycopg2", reason="the `server` extra is not installed")
    log = tmp_path_factory.mktemp("mlflow") / "log"
    port = free_port()
    admin = ("keeper", secrets.token_hex(12))
    flask_key = secrets.token_hex(16)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PG", "AWS_"))},
        **postgres.environment,
        **bucket.environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_PORT": str(port),
        "MLFLOW_WORKERS": "1",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"{names_in_kubernetes()},127.0.0.1:{port}",
        "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{bucket.name}/artifacts",
        "MLFLOW_AUTH_ADMIN_USERNAME": admin[0],
        "MLFLOW_AUTH_ADMIN_PASSWORD": admin[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": flask_key,
    }
    uri = f"http://127.0.0.1:{port}"
    with running([str(SCRIPT)], log, env=environment, cwd=log.parent) as process:
        wait_for(lambda: answers(f"{uri}/health"), "MLflow", process, log, seconds=240)
        hidden = (postgres.password, bucket.secret, admin[1], flask_key)
        yield Server(uri, psutil.Process(process.pid), admin, hidden, environment)
    words = log.read_text()
    assert not [secret for secret in hidden if secret in words], "a secret stands in the server's log"


@pytest.fixture
def as_admin(server: Server, monkeypatch) -> Server:
    """What a client needs to know: the address, a name and a password, and nothing of the store behind."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", server.admin[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.admin[1])
    return server


def search(server: Server, user: tuple[str, str] | None) -> int:
    return server.ask("/api/2.0/mlflow/experiments/search", user, {"max_results": 10})[0]


def test_nobody_gets_in_without_the_right_password(server):
    assert search(server, None) == 401
    assert search(server, (server.admin[0], "not-the-password")) == 401
    assert server.ask("/", None)[0] == 401, "the page itself"
    assert search(server, server.admin) == 200


def test_it_answers_to_its_names_and_to_no_others(server):
    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    assert server.ask(path, server.admin, Host="mlflow:5000")[0] == 200, "as Ray's pods call it in Kubernetes"
    assert server.ask(path, server.admin, Host="evil.example.org")[0] == 403
    assert server.ask("/health", None, Host="10.1.2.3:5000")[0] == 200, "as Kubernetes asks whether it lives"


def test_it_listens_on_127_0_0_1_alone_and_keeps_secrets_off_command_lines(server):
    family = [server.process, *server.process.children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    words = "\n".join(" ".join(process.cmdline()) for process in family)
    assert "mlflow" in words and not [secret for secret in server.secrets if secret in words]


def test_a_run_is_logged_to_postgres_and_its_artifacts_to_the_store(as_admin, postgres, bucket, tmp_path):
    import psycopg2

    tracker = Tracker(as_admin.uri, str(tmp_path), "pixsem")
    run = tracker.start_run("a run of ours", {"pixsem.run": "there"}, {"steps": 3})
    tracker.log_metrics(run, {"psnr": 31.5})
    note = tmp_path / "note.txt"
    note.write_text("kept in the store")
    tracker.log_artifact(run, str(note), "notes")
    tracker.finish(run, "FINISHED", None)
    assert tracker.find_run("pixsem.run", "there") == run
    connection = psycopg2.connect(
        host="127.0.0.1", port=postgres.port, dbname="mlflow", user="mlflow", password=postgres.password
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("select value from metrics where run_uuid = %s and key = 'psnr'", (run,))
        assert cursor.fetchall() == [(31.5,)]
    connection.close()
    key = next(key for key in bucket.objects() if key.endswith("notes/note.txt"))
    assert bucket.client().get_object(Bucket=bucket.name, Key=key)["Body"].read() == note.read_bytes()


def test_a_model_is_registered_and_comes_back_from_the_store_and_is_copied_to_a_node_once(
    as_admin, bucket, tmp_path, monkeypatch
):
    registry = Registry(Tracker(as_admin.uri, str(tmp_path), "pixsem"))
    run = registry._tracker.start_run("training", {}, {})
    weights = tmp_path / "pipeline"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(secrets.token_bytes(1_000_000))
    model = registry.log_model(
        run, "pixsem-generator", {"pixsem.digest": "first"}, weights, "pipelines.serving:load_generator",
        {"in": ["prompt"], "out": ["image"]},
    )  # fmt: skip
    registry.give(registry.register("pixsem-generator", model, run, {"pixsem.digest": "first"}), "champion")
    found = registry.find("models:/pixsem-generator@champion")
    got = registry.download(found, tmp_path / "downloaded")
    assert (got / "model.safetensors").read_bytes() == (weights / "model.safetensors").read_bytes()
    assert any(key.endswith("pipeline/model.safetensors") for key in bucket.objects())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", as_admin.uri)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened = open_version("models:/pixsem-generator@champion", "s3://elsewhere/store")
    copied = opened.folder / "model.safetensors"
    assert (opened.id, opened.alias, opened.digest) == (f"pixsem-generator/{found.version}", "champion", "first")
    assert copied.read_bytes() == (weights / "model.safetensors").read_bytes()
    before = copied.stat().st_ctime_ns
    assert open_version(f"models:/{opened.id}", "s3://elsewhere/store").folder == opened.folder
    assert copied.stat().st_ctime_ns == before and [p.name for p in opened.folder.parent.iterdir()] == [
        copied.parent.name
    ]


def add_user(server: Server, user: tuple[str, str], administrator: tuple[str, str]):
    names = {"NEW_USERNAME": user[0], "NEW_PASSWORD": user[1], "MLFLOW_TRACKING_URI": server.uri}
    names |= {"MLFLOW_TRACKING_USERNAME": administrator[0], "MLFLOW_TRACKING_PASSWORD": administrator[1]}
    command = [sys.executable, str(ROOT / "infra" / "mlflow" / "add_user.py")]
    return subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, timeout=120)


def test_a_second_user_reads_but_cannot_change_what_is_not_theirs(as_admin, tmp_path, monkeypatch):
    run = Tracker(as_admin.uri, str(tmp_path), "pixsem").start_run("not theirs", {}, {})
    reader = ("reader", secrets.token_hex(12))
    assert add_user(as_admin, reader, as_admin.admin).stdout == "reader may log in\n"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", reader[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", reader[1])
    theirs = Tracker(as_admin.uri, str(tmp_path), "pixsem")
    assert theirs.client.get_run(run).info.run_name == "not theirs"
    with pytest.raises(TrackingError, match=r"(?i)permission|denied|403"):
        theirs.finish(run, "FINISHED", None)


def test_a_user_who_is_there_gets_the_new_password_and_only_the_administrator_gives_it(server):
    before, after = ("rotated", secrets.token_hex(12)), ("rotated", secrets.token_hex(12))
    assert add_user(server, before, server.admin).returncode == 0
    refused = add_user(server, after, before)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr and search(server, after) == 401
    assert add_user(server, after, server.admin).returncode == 0
    assert (search(server, before), search(server, after)) == (401, 200)


def test_buckets_are_made_once(bucket):
    assert make_buckets(bucket, bucket.name, "another").stdout == "mlflow: there already\nanother: made\n"
    nowhere = make_buckets(replace(bucket, endpoint="http://127.0.0.1:9"), "x")
    assert nowhere.returncode == 1 and "127.0.0.1:9" in nowhere.stderr and "Traceback" not in nowhere.stderr


def test_a_password_that_is_wrong_for_postgres_ends_the_start_with_its_reason(server):
    environment = {**server.environment, "PGPASSWORD": "wrong", "POSTGRES_WAIT_SECONDS": "1"}
    done = subprocess.run([str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no Postgres after 1 s" in done.stderr and "password authentication failed" in done.stderr
    assert "Traceback" not in done.stderr
