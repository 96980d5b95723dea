"""`pixsem serve` as people call it: mistakes in words before anything is started, one line when it answers, and no
process left when it is stopped.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration.serve.served import save_model
from tests.ports import free_port

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "serve"]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def refused(*arguments: str) -> str:
    done = subprocess.run([*COMMAND, *arguments], env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    return done.stderr


def test_a_model_that_is_not_there_is_said_before_anything_starts(tmp_path):
    assert "is neither a folder nor models:/NAME@ALIAS" in refused("no-such-model", "--store", str(tmp_path))


def test_a_taken_port_is_said_before_anything_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 cannot be used" in refused(str(tmp_path), "--port", str(port))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_when_it_answers_and_leaves_no_process_when_it_is_stopped(tmp_path, number):
    model, port = save_model(tmp_path / "tiny"), free_port()
    command = [*COMMAND, str(model), "--port", str(port)]
    with subprocess.Popen(
        command, env=environment(PIXSEM_API_KEY="secret"), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line == f"http://127.0.0.1:{port}  tiny; stop with Ctrl-C\n", line + process.stderr.read()
            url, body = f"http://127.0.0.1:{port}/v1/images/generations", {"prompt": "a red circle"}
            assert httpx.post(url, json=body, timeout=60).status_code == 401  # the key of the environment
            headers = {"Authorization": "Bearer secret"}
            assert httpx.post(url, json=body, headers=headers, timeout=60).status_code == 200
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            assert process.wait(60) == 0 and process.stderr.read().splitlines()[-1] == "stopped"
        finally:
            process.kill()
    ends = time.monotonic() + 30
    while left := [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < ends, left
        time.sleep(0.2)


@pytest.mark.slow
def test_a_model_that_cannot_be_opened_is_said_in_words(tmp_path):
    model = save_model(tmp_path / "tiny")
    weights = model / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    told = refused(str(model), "--port", str(free_port()))
    assert "the service cannot be started" in told and "cannot be loaded" in told
