"""Two ways to have an allocation of two nodes on one machine: Slurm itself, and stand-ins for its commands where it is
not installed.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.integration.infra.servers import ROOT, running, wait_for
from tests.ports import free_port

SCRIPT = ROOT / "infra" / "slurm" / "pixsem.sbatch"

CONFIGURATION = """
ClusterName=pixsem
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/none
CredType=cred/none
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=10
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES State=UP
"""

SRUN = """#!/usr/bin/env bash
# A step of an allocation whose nodes are all this machine: as many copies as there are tasks.
count=1
while [[ $1 == --* ]]; do
    [[ $1 != --ntasks=* ]] || count=${1#*=}
    shift
done
export SLURM_CPUS_ON_NODE=2 SLURM_LAUNCH_NODE_IPADDR=127.0.0.1
set -m
for ((node = 1; node <= count; node++)); do
    SLURMD_NODENAME=n$node "$@" &
    tasks+=($!)
done
trap 'kill -TERM "${tasks[@]/#/-}" 2>/dev/null' TERM
code=0
for task in "${tasks[@]}"; do
    while true; do
        wait "$task"
        ended=$?
        kill -0 "$task" 2>/dev/null || break
    done
    ((ended == 0)) || code=$ended
done
exit "$code"
"""

SCONTROL = """#!/usr/bin/env bash
case $1 in
    show) printf '%s\\n' n1 n2 | head -n "$SLURM_JOB_NUM_NODES" ;;
    requeue) echo "$2" > "$REQUEUED" ;;
esac
"""


class Job:
    """A submitted job: what it says, how it ends, and whether it waits to run again."""

    def __init__(
        self, log: Path, poll: Callable[[], int | None], send: Callable[[int], None], queued: Callable[[], bool]
    ):
        self._log, self._poll, self.send, self.queued_again = log, poll, send, queued

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def until(self, words: str, seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while words not in self.log:
            assert time.monotonic() < end and self._poll() is None, f"{words!r} was never said:\n{self.log}"
            time.sleep(0.2)

    def wait(self, seconds: float = 280) -> int:
        end = time.monotonic() + seconds
        while (code := self._poll()) is None:
            assert time.monotonic() < end, f"the job did not end:\n{self.log}"
            time.sleep(0.2)
        return code


class RealSlurm:
    """A controller and two nodes of Slurm's own on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._configuration = folder, folder / "slurm.conf"

    @staticmethod
    def missing() -> str:
        """Return what of Slurm is not installed."""
        return ", ".join(name for name in ("slurmctld", "slurmd", "sbatch") if _tool(name) is None)

    @contextlib.contextmanager
    def up(self) -> Iterator[RealSlurm]:
        (self.folder / "state").mkdir()
        controller, first, second = free_port(), free_port(), free_port()
        host = socket.gethostname().partition(".")[0]
        self._configuration.write_text(
            CONFIGURATION.format(
                host=host, controller=controller, first=first, second=second, user=getpass.getuser(), folder=self.folder
            )
        )
        environment = {**os.environ, "SLURM_CONF": str(self._configuration)}
        with contextlib.ExitStack() as stack:
            servers = {"controller": [_tool("slurmctld"), "-D"]}
            servers |= {node: [_tool("slurmd"), "-D", "-N", node] for node in ("n1", "n2")}
            for name, command in servers.items():
                server = stack.enter_context(running(command, self.folder / name, env=environment))
            wait_for(lambda: self._nodes() == ["idle", "idle"], "Slurm", server, self.folder / "controller")
            yield self

    def submit(self, environment: dict[str, str], nodes: int, *command: str) -> Job:
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        done = self._run(
            "sbatch", "--parsable", f"--nodes={nodes}", f"--output={log}", str(SCRIPT), *command, **environment
        )
        number = done.strip()

        def state() -> dict[str, str]:
            words = self._run("scontrol", "--oneliner", "show", "job", number).split()
            return dict(word.partition("=")[::2] for word in words)

        def poll() -> int | None:
            now = state()
            # One that is queued again has ended, too.
            if now["JobState"] in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING") and now["Restarts"] == "0":
                return None
            return int(now["ExitCode"].partition(":")[0])

        def send(number_: int) -> None:
            self._run("scancel", "--batch", f"--signal={signal.Signals(number_).name}", number)

        self._cancel = lambda: self._run("scancel", number)
        return Job(log, poll, send, lambda: state()["JobState"] == "PENDING")

    def clear(self) -> None:
        """Take what is queued again out of the queue."""
        self._cancel()

    def _nodes(self) -> list[str]:
        return self._run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()

    def _run(self, *command: str, check: bool = True, **environment: str) -> str:
        known = {**os.environ, **environment, "SLURM_CONF": str(self._configuration)}
        done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


class StandIn:
    """Slurm's commands, played by two scripts; the job is a process of ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def up(self) -> Iterator[StandIn]:
        (self.folder / "bin").mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)
        self._stack = contextlib.ExitStack()
        with self._stack:
            yield self

    def submit(self, environment: dict[str, str], nodes: int, *command: str) -> Job:
        log, requeued = self.folder / "log", self.folder / "requeued"
        requeued.unlink(missing_ok=True)
        known = {
            **os.environ,
            **environment,
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "n[1-2]",
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_SUBMIT_DIR": os.getcwd(),
            "REQUEUED": str(requeued),
        }
        known["PATH"] = f"{self.folder / 'bin'}:{known['PATH']}"
        process = self._stack.enter_context(running([str(SCRIPT), *command], log, env=known))
        return Job(log, process.poll, process.send_signal, requeued.exists)

    def clear(self) -> None:
        """There is no queue."""


def _tool(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def environment_of(folder: Path, **programs: str) -> dict[str, str]:
    """Return the environment of a job whose virtual environment has these programs before the real ones; all in
    `folder`.
    """
    (folder / "venv" / "bin").mkdir(parents=True)
    pixsem = f'exec {sys.executable} -c "from pipelines.cli.main import main; main()" "$@"'
    for name, text in {"pixsem": pixsem, **programs}.items():
        path = folder / "venv" / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PIXSEM_VENV": str(folder / "venv"),
        "PIXSEM_HEAD_ADDRESS": "127.0.0.1",
        "PIXSEM_TEST_FOLDER": str(folder),
    }


def left_processes(folder: Path) -> list[str]:
    """Return the command lines of processes that a job left running."""
    left = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"PIXSEM_TEST_FOLDER={folder}".encode() in (path / "environ").read_bytes():
                left.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return left
