"""MLflow's own page, started in the foreground on an address of this machine, and ended with all its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from types import FrameType

from components.registry.mlflow_errors import without_credentials

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # SIGHUP: the terminal was closed
PORT = 5000  # MLflow's own
GRACE = 10.0  # seconds to end in before the server is killed
# Telemetry is network traffic; the jobs are eight processes that score traces, of which we have none.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def serve_ui(
    tracking_uri: str,
    artifact_root: str,
    host: str = "127.0.0.1",
    port: int | None = None,
    pages: Mapping[str, str] | None = None,
) -> int:
    """Serve MLflow's page until Ctrl-C, SIGTERM or SIGHUP; return 0 then, else the server's exit code.

    `port` None: 5000, or the next that is free. `pages` are what to look at -> its address below the server's; they are
    printed. Raises ValueError where the given port is taken, or where the tracking URI is a server with a page of its
    own. All the server's processes end with it.
    """
    if tracking_uri.startswith(("http://", "https://")):
        raise ValueError(f"{without_credentials(tracking_uri)} is an MLflow server already: open it in a browser")
    if port is None:
        port = _free_port(host)
    else:
        check_port(host, port)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--default-artifact-root", artifact_root]
    # The URI may hold a password: the environment is not listed to other users, a command line is.
    environment = {**os.environ, **QUIET, "MLFLOW_BACKEND_STORE_URI": tracking_uri}
    stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        # Only noted: waiting here would wait for the lock that the interrupted wait below holds.
        nonlocal stopped
        stopped = True

    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        told = [f"  {what:<17} http://{host}:{port}/{address}" for what, address in (pages or {}).items()]
        print("\n".join([f"MLflow on http://{host}:{port} (Ctrl-C ends it)", *told]), flush=True)
        # A session of its own, so that the server and its workers can be ended together.
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            while not stopped and process.poll() is None:
                time.sleep(0.1)
        finally:
            code = process.poll()
            _end(process)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if stopped or code is None else code


def _free_port(host: str) -> int:
    """Return the first free port from MLflow's own on, and say which where it is another."""
    for port in range(PORT, PORT + 100):
        with contextlib.suppress(ValueError):
            check_port(host, port)
            if port != PORT:
                print(f"port {PORT} of {host} is taken: this is on port {port}", flush=True)
            return port
    raise ValueError(f"no port of {host} from {PORT} to {PORT + 99} can be used: give one with --port")


def check_port(host: str, port: int) -> None:
    """Refuse a port that cannot be listened on. ValueError, in words."""
    if not 1 <= port <= 65535:
        raise ValueError(f"port {port} does not exist: give one from 1 to 65535 with --port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ValueError(f"port {port} of {host} cannot be used ({error.strerror}): give another with --port") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server's whole process group, kindly first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(process, number):
            return
        end = time.monotonic() + GRACE
        while time.monotonic() < end:
            time.sleep(0.05)
            if not _signal_group(process, 0):
                return


def _signal_group(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to every process of the group (0 only asks); return whether any is left."""
    process.poll()  # reaps the leader, which would stay in the group as a zombie
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True
