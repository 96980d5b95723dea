"""MLflow's own page, started in the foreground on an address of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from types import FrameType


def serve_ui(tracking_uri: str, artifact_root: str, host: str = "127.0.0.1", port: int = 5000) -> int:
    """Serve MLflow's page until Ctrl-C or SIGTERM; return 0 then, else the server's exit code.

    Raises ValueError where the port is taken. All the server's processes end with it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(
                f"port {port} of {host} cannot be used ({error.strerror}): give another with --port"
            ) from None
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", tracking_uri, "--default-artifact-root", artifact_root]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    print(f"MLflow on http://{host}:{port} (Ctrl-C ends it)", flush=True)
    # A session of its own, so that the server and its workers can be ended together.
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        _end(process)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        _end(process)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if stopped else code


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
