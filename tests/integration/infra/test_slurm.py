"""infra/slurm/pixsem.sbatch with a real Ray: on Slurm itself where it is installed, and on stand-ins for its
commands.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.infra.slurm import RealSlurm, StandIn, environment_of, left_processes

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["slurm", "stand-in"])
def allocation(request, tmp_path_factory) -> Iterator[RealSlurm | StandIn]:
    if request.param == "slurm" and (missing := RealSlurm.missing()):
        pytest.skip(f"not installed: {missing} (Debian: apt-get install slurm-wlm)")
    made = (RealSlurm if request.param == "slurm" else StandIn)(tmp_path_factory.mktemp(request.param))
    with made.up():
        yield made


def ray_folders(log: str) -> set[Path]:
    return {Path(name) for name in re.findall(r"/tmp/ray-\d+", log)}


@pytest.fixture(autouse=True)
def no_folder_of_ray_stays(allocation):
    yield
    for folder in ray_folders((allocation.folder / "log").read_text()):
        shutil.rmtree(folder, ignore_errors=True)


def nothing_is_left(folder: Path) -> bool:
    end = time.monotonic() + 30  # Slurm ends what a step leaves behind a moment after the job
    while left_processes(folder) and time.monotonic() < end:
        time.sleep(0.5)
    return left_processes(folder) == []


def test_a_run_on_two_nodes_completes_and_takes_ray_down(allocation, tmp_path):
    command = ["run", "preset=tiny", "source.count=40", "source.samples_per_shard=10", "--until", "curate"]
    job = allocation.submit(environment_of(tmp_path), 2, *command, f"store={tmp_path / 'store'}")
    assert job.wait() == 0, job.log
    assert "Ray on 2 nodes, head n1 (127.0.0.1:" in job.log and "completed in" in job.log
    (manifest,) = (tmp_path / "store" / "artifacts" / "curate").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["counts"]["input"] == 40
    assert nothing_is_left(tmp_path)
    (folder,) = ray_folders(job.log)
    assert not folder.exists(), "Ray's own folder stays only where something failed"


NODES_AND_STRANGERS = f"""
{sys.executable} - <<'END'
import os, ray
ray.init(logging_level="ERROR")
print("nodes", sum(node["Alive"] for node in ray.nodes()), "cpus", ray.cluster_resources()["CPU"])
END
for token in "" wrong; do
    RAY_AUTH_TOKEN=$token {sys.executable} -c 'import ray; ray.init(); print("a stranger is in")' >&2 \\
        || echo "refused $token"
done
exit 7
"""


def test_pixsem_has_all_nodes_nobody_without_the_token_has_any_and_its_code_is_the_jobs(allocation, tmp_path):
    home = {"HOME": str(tmp_path)}  # where a token of the user's own might lie
    job = allocation.submit(environment_of(tmp_path, pixsem=NODES_AND_STRANGERS) | home, 2, "run")
    assert job.wait() == 7, job.log
    assert "nodes 2 cpus 4.0" in job.log
    assert job.log.count("refused") == 2 and "a stranger is in" not in job.log
    assert "ended with code 7; Ray's logs are in /tmp/ray-" in job.log
    assert nothing_is_left(tmp_path)


def test_a_head_that_does_not_start_ends_the_job_with_its_words(allocation, tmp_path):
    job = allocation.submit(environment_of(tmp_path, ray="echo the disk is full >&2; exit 1"), 1, "run")
    assert job.wait() == 2, job.log
    assert "the disk is full" in job.log and "Ray's head on n1 ended while starting" in job.log
    assert nothing_is_left(tmp_path)


def test_a_node_that_does_not_join_ends_the_job_with_the_count(allocation, tmp_path):
    ray = f'[[ "$*" == *--head* ]] || exec sleep 600\nexec {sys.executable} -m ray.scripts.scripts "$@"'
    environment = environment_of(tmp_path, ray=ray) | {"PIXSEM_START_SECONDS": "60"}
    job = allocation.submit(environment, 2, "run")
    assert job.wait() == 1, job.log
    assert "1 of 2 nodes joined Ray in time" in job.log
    assert nothing_is_left(tmp_path)


SAVES = """
trap 'echo saving; sleep 2; echo saved; exit 143' TERM
echo training
while true; do sleep 1; done
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_pixsem_saves_when_it_is_stopped_and_is_queued_again_when_the_time_was_up(allocation, tmp_path, number):
    environment = environment_of(tmp_path, pixsem=SAVES) | {"PIXSEM_REQUEUE": "1"}
    job = allocation.submit(environment, 1, "run")
    job.until("training")
    job.send(number)
    job.wait()
    assert "saving\nsaved" in job.log and "ended with code 143" in job.log
    assert job.queued_again() == (number == signal.SIGUSR1)
    allocation.clear()
    assert nothing_is_left(tmp_path)
