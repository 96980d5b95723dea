"""pixsem submit: what it refuses at once, how it follows a job, and real runs through the job server of a local Ray
head.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import Pixsem, wait_for

from pipelines.versions import git_commit
from tests.integration.serve.served import save_model
from tests.ports import free_port

pytestmark = pytest.mark.integration
TOKEN = "0123456789abcdef" * 4
SMALL = ["preset=tiny", "source.count=80", "source.samples_per_shard=10", "--until", "curate"]
SECRET = "open-sesame-4711"


@contextlib.contextmanager
def answering(code: int, body: bytes = b"no"):
    """A server that gives every question one answer; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def alone(tmp_path) -> Pixsem:
    """The command line where no store is."""
    pixsem = Pixsem(tmp_path)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS"):
        pixsem.environment.pop(name, None)
    return pixsem


def refused(pixsem: Pixsem, *args: str) -> str:
    done = pixsem("submit", *args, code=2)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_what_cannot_be_on_a_cluster_is_refused_before_the_cluster_is_asked(alone):
    nowhere = ["--address", f"http://127.0.0.1:{free_port()}"]
    shared = f"store={alone.folder}/shared"
    assert "is a folder of this machine" in refused(alone, *nowhere, "preset=tiny")
    assert "did you mean 'curate.min_words'?" in refused(alone, *nowhere, shared, "curate.min_word=3")
    assert "no stage 'curat'; did you mean 'curate'?" in refused(alone, *nowhere, shared, "--until", "curat")
    assert "cluster.address and cluster.num_cpus are not for submit" in refused(
        alone, *nowhere, shared, "cluster.address=auto"
    )
    assert "--env MISSING_HERE: it is not set here" in refused(alone, *nowhere, shared, "--env", "MISSING_HERE")
    assert "give one of them alone" in refused(alone, *nowhere, "--follow", "a", "--stop", "a")
    assert "--serve '--gpu 1': No such option: --gpu" in refused(alone, *nowhere, shared, "--serve", "--gpu 1")
    assert "with --serve there is none" in refused(alone, *nowhere, shared, "--serve", "", "--until", "curate")
    unreachable = refused(alone, *nowhere, shared, "--no-install", "preset=tiny")
    assert unreachable.startswith("pixsem: no Ray job server can be reached at http://127.0.0.1:")
    assert unreachable.count("\n") == 1
    assert "give the address of the cluster's job server" in refused(
        alone, "--address", "ray://host:10001", "--follow", "a"
    )


def test_a_refused_token_and_another_kind_of_server_are_told_in_words(alone):
    with answering(401) as address:
        assert "wants a token and none was sent. Give the cluster's token with RAY_AUTH_TOKEN" in refused(
            alone, "--address", address, "--stop", "a"
        )
    alone.environment["RAY_AUTH_TOKEN"] = TOKEN
    with answering(403) as address:
        said = refused(alone, "--address", address, "--stop", "a")
    assert "wants a token and did not take the one that was sent" in said
    assert TOKEN not in said
    with answering(200, b"<html>") as address:
        assert "does not do it" in refused(alone, "--address", address, "--stop", "a")


JOB_SERVER = '''
import asyncio, json, sys
from aiohttp import web

LINES = [f"line {i}\\n" for i in range(6)]
seen = {"tails": 0}

def details():
    done = seen["tails"] > 2
    return {"type": "SUBMISSION", "status": "FAILED" if done else "RUNNING", "entrypoint": "x", "message": "over",
            "metadata": {"pixsem.store": "s3://bucket/run"}, "driver_exit_code": 7 if done else None}

async def tail(request):
    """The log from its beginning: the first connection breaks in the middle, the second ends before the job does."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    seen["tails"] += 1
    for line in LINES[: 2 * seen["tails"]]:
        await socket.send_str(line)
    if seen["tails"] == 1:
        request.transport.abort()
        return socket
    await socket.close()
    return socket

async def job(request):
    if request.match_info["job"] != "known":
        return web.Response(status=404, text="no such job")
    return web.json_response(details())

async def main():
    app = web.Application()
    version = {"version": "4", "ray_version": "2.60.0", "ray_commit": ""}
    app.router.add_get("/api/version", lambda _: web.json_response(version))
    app.router.add_get("/api/jobs/{job}", job)
    app.router.add_get("/api/jobs/{job}/logs/tail", tail)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
'''


def test_following_goes_on_over_lost_connections_without_a_line_twice_and_ends_as_the_job_did(alone):
    server = subprocess.Popen([sys.executable, "-c", JOB_SERVER], stdout=subprocess.PIPE, text=True)
    try:
        address = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        done = alone("submit", "--address", address, "--follow", "known", code=7)
        assert done.stdout == "".join(f"line {i}\n" for i in range(6))
        assert "job known: failed; pixsem report --store s3://bucket/run" in done.stderr
        assert "knows no job other" in refused(alone, "--address", address, "--follow", "other")
    finally:
        server.kill()
        server.wait()


class Head:
    """A Ray head with its job server, which asks for a token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        python = Path(sys.executable).parent
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RAY_ADDRESS")}
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PATH": f"{python}:{os.environ['PATH']}"}
        self._log = (folder / "head.log").open("w")
        self._process = subprocess.Popen(
            [
                str(python / "ray"),
                "start",
                "--head",
                "--block",
                "--disable-usage-stats",
                "--port=0",
                "--num-cpus=2",
                "--include-dashboard=true",
                "--dashboard-host=127.0.0.1",
                f"--dashboard-port={port}",
                "--dashboard-agent-listen-port=0",
                f"--ray-client-server-port={free_port()}",
                "--min-worker-port=0",
                "--max-worker-port=0",
                "--node-ip-address=127.0.0.1",
                f"--temp-dir={folder}/ray",
                "--object-store-memory=100000000",
            ],
            env=environment,
            cwd=folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        wait_for(self._answers, 200)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "head.log").read_text()
        request = urllib.request.Request(f"{self.address}/api/version", headers={"Authorization": f"Bearer {TOKEN}"})
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except OSError:
            return False

    def logs(self) -> dict[str, str]:
        """Every file that Ray wrote of what it did."""
        return {
            str(p): p.read_text(errors="replace") for p in self.folder.glob("ray/session_2*/logs/**/*") if p.is_file()
        }

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=60)
        self._log.close()


@pytest.fixture(scope="module")
def head():
    pytest.importorskip(
        "aiohttp_cors", reason="Ray's job server is not installed; bring it with: pip install -e '.[cluster]'"
    )
    folder = Path(tempfile.mkdtemp(prefix="px", dir="/tmp"))  # short: Ray's socket paths have a limit
    running = Head(folder)
    try:
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder)


@pytest.fixture
def submit(head, fresh):
    """Submit to the head, with an empty shared store; the settings are `fresh`'s."""
    fresh.environment |= {"RAY_AUTH_TOKEN": TOKEN, "PIXSEM_SECRET": SECRET}
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_API_SERVER_ADDRESS"):
        fresh.environment.pop(name, None)
    fresh.environment["RAY_ADDRESS"] = "http://127.0.0.1:1"  # of another cluster: --address has the last word
    fresh.submit = ["submit", "--address", head.address]
    fresh.there = ["--no-install", f"store={fresh.store}"]
    return fresh


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_is_handed_over_followed_and_read_from_the_shared_store(head, submit, finished, tmp_path):
    mine = tmp_path / "mine" / "preset"
    mine.mkdir(parents=True)
    (mine / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - tiny\n")
    tracked = tmp_path / "tracked.db"
    submit.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tracked}"
    named = ["--env", "PIXSEM_SECRET", "--env", "MLFLOW_TRACKING_URI"]
    settings = ["preset=mine", *SMALL[1:], "--config-dir", str(mine.parent), *named]
    done = submit(*submit.submit, *submit.there, *settings)
    assert "curate: done in" in done.stdout
    assert f"pixsem report --store {submit.store}" in done.stderr
    report = submit.json("report", "--store", str(submit.store))
    assert (report["state"], report["preset"]) == ("completed", "mine")
    assert tracked.is_file()  # the driver had the variable, and no other place to write to
    # The same bytes as a run on this machine, made by the code that was sent along.
    expected = {
        name: digest
        for name, digest in finished.digests().items()
        if name.split("/")[0] in ("ingest", "measure", "curate")
    }
    assert submit.digests() == expected
    manifest = json.loads(next(submit.store.glob("artifacts/curate/*/manifest.json")).read_text())
    assert manifest["versions"]["git"] == git_commit()
    # Where the artifacts stand, nothing runs, there or here.
    again = submit(*submit.submit, *submit.there, *settings)
    assert "curate: cached" in again.stdout
    assert all(row["cached"] for row in submit.json("run", "--dry-run", f"store={submit.store}", *SMALL))
    written = {**head.logs(), **{str(p): p.read_text(errors="replace") for p in submit.store.rglob("*") if p.is_file()}}
    assert len(written) > 20
    assert [name for name, text in written.items() if SECRET in text or TOKEN in text] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_variables_named_with_env_reach_every_kind_of_worker(head, submit, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "ask.py").write_text(
        "import hashlib, os, ray\n"
        "def told(): return hashlib.sha256(os.environ['PIXSEM_SECRET'].encode()).hexdigest()\n"
        "class Worker:\n"
        "    def told(self): return told()\n"
        "ray.init()\n"
        "actor = ray.remote(Worker).options(runtime_env={'env_vars': {'OMP_NUM_THREADS': '1'}}).remote()\n"
        "print('TOLD', *{ray.get(ray.remote(told).remote()), ray.get(actor.told.remote())})\n"
    )
    code = (
        "import sys; from pathlib import Path\n"
        "from pipelines.config.compose import compose_config; from pipelines.submit.jobs import JobServer, Request\n"
        "class Question(Request):\n"
        "    def entrypoint(self): return 'python config_dir/ask.py'\n"
        "address, folder, secret = sys.argv[1:]\n"
        "server = JobServer(address)\n"
        "config = compose_config(['store=/nowhere'])\n"
        "job = server.submit(Question(config, [], Path(folder), None, [], [], {'PIXSEM_SECRET': secret}))\n"
        "sys.exit(server.follow(job, sys.stdout.write))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, head.address, str(tmp_path / "mine"), SECRET],
        env=submit.environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert f"TOLD {hashlib.sha256(SECRET.encode()).hexdigest()}\n" in done.stdout, done.stdout + done.stderr
    assert [name for name, text in head.logs().items() if SECRET in text] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_failed_run_fails_the_command_and_its_log_is_in_the_store(submit):
    (submit.store / "work").mkdir()
    (submit.store / "work" / "ingest").write_text("in the way")
    done = submit(*submit.submit, *submit.there, *SMALL, code=1)
    assert "ingest: failed" in done.stdout
    log = next(submit.store.glob("runs/*/logs/ingest.log")).read_text()
    assert "working_dir_files" in log  # workers, too, ran the code that was sent along
    mistaken = submit(*submit.submit, *submit.there, "source=folder", "source.path=/nowhere", code=2)
    assert "there is no folder" in mistaken.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_outlives_its_client_is_followed_again_and_stops_with_a_checkpoint(submit):
    settings = [
        "preset=tiny",
        *SMALL[1:3],
        "encoder.training.steps=100000",
        "encoder.training.checkpoint_every=20",
        "--until",
        "train_encoder",
    ]
    client = submit.start(*submit.submit, *submit.there, *settings)
    wait_for(lambda: list(submit.store.glob("artifacts/ingest/*/manifest.json")), 300)
    os.kill(client.pid, signal.SIGKILL)
    _, said = client.communicate()
    job = said.split("job ")[1].split()[0]

    def checkpoints() -> list[str]:
        return sorted(p.parent.name for p in submit.store.glob("work/train_encoder/*/checkpoints/step-*/state.json"))

    wait_for(checkpoints, 400)
    assert submit.json("status", "--store", str(submit.store))["state"] == "running"
    follower = submit.start(*submit.submit, "--follow", job)
    assert "ingest: done" in "".join(follower.stdout.readline() for _ in range(8))  # from the beginning
    os.kill(follower.pid, signal.SIGINT)
    _, said = follower.communicate(timeout=60)
    assert follower.returncode == 130
    assert "detached; the job goes on." in said
    assert f"--follow {job}" in said and f"--stop {job}" in said
    before = checkpoints()
    wait_for(lambda: checkpoints() != before, 120)  # it does go on
    stopped = submit(*submit.submit, "--stop", job)
    assert f"job {job}: stopped" in stopped.stderr
    assert submit.json("status")["state"] == "interrupted"
    assert "training stopped with a checkpoint" in next(submit.store.glob("runs/*/logs/train_encoder.log")).read_text()
    assert list(submit.store.glob("leases/*.json")) == []
    assert "had ended already: stopped" in submit(*submit.submit, "--stop", job).stderr
    assert submit(*submit.submit, "--follow", job, code=143).returncode == 143


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_is_served_on_the_cluster_until_the_job_is_stopped(submit, tmp_path):
    model, port = save_model(tmp_path / "tiny"), free_port()
    submit.environment["PIXSEM_API_KEY"] = SECRET
    told = submit(
        *submit.submit, *submit.there, "--serve", f"{model} --port {port}", "--env", "PIXSEM_API_KEY", "--no-follow"
    )
    job = told.stdout.strip()

    def models(key: str) -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/models", headers={"Authorization": f"Bearer {key}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    wait_for(lambda: models(SECRET) == 200, 300)
    assert models("another") == 401
    submit(*submit.submit, "--stop", job)
    wait_for(lambda: models(SECRET) == 0, 60)
