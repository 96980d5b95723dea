"""MLflow's page: a real server on this machine's own address, gone without a trace when stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from components.registry.tracking import Tracker
from components.registry.ui import serve_ui
from tests.ports import free_port

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[3]


def get(url: str, data: dict | None = None) -> bytes:
    body = json.dumps(data).encode() if data is not None else None
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


# Ctrl-C and kill, and a terminal that is closed.
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_the_page_answers_lists_the_runs_and_leaves_no_processes(tmp_path, number, capsys):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = Tracker(uri, str(tmp_path / "artifacts"), "pixsem")
    tracker.finish(tracker.start_run("a run of ours", {}, {}), "FINISHED", None)
    port = free_port()
    code = (
        f"from components.registry.ui import serve_ui; raise SystemExit(serve_ui({uri!r}, {str(tmp_path)!r}, "
        f"port={port}))"
    )
    environment = {**os.environ, "PIXSEM_TEST_FOLDER": str(tmp_path)}
    server = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment)
    try:
        end = time.monotonic() + 90
        while True:
            try:
                page = get(f"http://127.0.0.1:{port}/")
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < end and server.poll() is None, "the server did not answer"
                time.sleep(0.3)
        assert b"MLflow" in page
        api = f"http://127.0.0.1:{port}/api/2.0/mlflow"
        experiment = json.loads(get(f"{api}/experiments/get-by-name?experiment_name=pixsem"))["experiment"][
            "experiment_id"
        ]
        runs = json.loads(get(f"{api}/runs/search", {"experiment_ids": [experiment]}))["runs"]
        assert [r["info"]["run_name"] for r in runs] == ["a run of ours"]
        through = Tracker(f"http://127.0.0.1:{port}", str(tmp_path / "artifacts"), "pixsem")
        through.finish(through.start_run("through the server", {"pixsem.run": "s"}, {}), "FINISHED", None)
        assert through.find_run("pixsem.run", "s") == tracker.find_run("pixsem.run", "s") is not None
        assert capsys.readouterr().out == "", "MLflow must not print into the output of --json"
    finally:
        server.send_signal(number)
        code = server.wait(timeout=40)
    assert code == 0
    left = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"PIXSEM_TEST_FOLDER={tmp_path}".encode() in path.read_bytes():
                left.append(path)
        except OSError:
            continue
    assert left == []


def test_a_server_is_not_served_again_and_an_impossible_port_is_refused(tmp_path):
    with pytest.raises(ValueError, match="open it in a browser") as caught:
        serve_ui("http://user:secret@host:5000", str(tmp_path))
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="1 to 65535"):
        serve_ui("sqlite:///x.db", str(tmp_path), port=70000)


def test_a_taken_port_is_refused_with_what_to_do(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ValueError, match="give another with --port"):
            serve_ui("sqlite:///x.db", str(tmp_path), port=taken.getsockname()[1])
