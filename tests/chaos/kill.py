"""The whole chain, killed with `kill -9` at seeded random moments, resumed, and compared with a run that nobody killed.

    python -m tests.chaos.kill --trials 50 --seed 0

A trial starts from a copy of the uninterrupted run's store from which the artifacts of a few stages in a row are gone,
and from the MLflow database as it was before anything was registered. What was made from the missing artifacts stays:
it is only taken where they come out with the same bytes again, else those stages would run anew and their hashes show
it. So a trial costs a few stages instead of fourteen, and its moment may still fall into any of them, into Ray's start,
or into the registration.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.chaos.checks import (
    artifact_digests,
    lease_problems,
    missing,
    mlflow_problems,
    registry_problems,
    run_problems,
)
from tests.integration.pipelines.conftest import Pixsem, kill, processes

CHAIN = ("preset=tiny", "source.count=80", "source.samples_per_shard=20")
STAGES = (
    "ingest", "measure", "curate", "synthesize_edits", "measure_pairs", "curate_pairs", "index", "train_encoder",
    "train_semantic", "train_tokenizer", "encode_latents", "index_latents", "evaluate_tokenizer", "train_generator",
    "train_editor", "evaluate_generator", "register",
)  # fmt: skip
VICTIMS = ("driver", "worker", "training worker", "raylet", "all")
EARLY = "early.db"  # MLflow's database before anything was registered
QUIET = 30.0  # seconds in which the processes of an ended run must be gone


@dataclass(frozen=True)
class Plan:
    """What a trial does. All of it follows from the seed and the trial's number."""

    number: int
    removed: tuple[str, ...]
    victims: tuple[str, ...]  # in the order of preference: not every one exists at every moment
    from_start: bool  # the moment is counted from the driver's start, else from the first missing stage's
    share: float  # of the time that the uninterrupted run took for it
    at_once: bool  # resumed at once, else when the killed run's processes are gone


@dataclass
class Row:
    """What a trial found."""

    number: int
    removed: tuple[str, ...]
    victim: str = ""
    running: tuple[str, ...] = ()
    committed: int = 0
    lost: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def line(self) -> str:
        """The row of the table."""
        said = "; ".join(
            [*(f"lost {n}" for n in self.lost), *(f"differs {n}" for n in self.mismatches), *self.problems]
        )
        where = ",".join(self.running) or "between stages"
        return (
            f"{self.number:>5}  {self.victim or 'none':<16} {where:<34} {self.committed:>3}  {self.seconds:6.0f} s  "
            f"{said or 'whole'}"
        )


def draw_plan(seed: int, number: int, stages: tuple[str, ...] = STAGES, span: int = 2) -> Plan:
    """Return the plan of a trial. The first missing stage goes round all stages, so that few trials reach many."""
    order = list(stages)
    random.Random(f"stages-{seed}").shuffle(order)
    draw = random.Random(f"trial-{seed}-{number}")
    first = stages.index(order[number % len(order)])
    others = list(VICTIMS)
    draw.shuffle(others)
    return Plan(
        number, stages[first : first + draw.randint(1, span)], tuple(others), draw.random() < 0.2,
        draw.uniform(0.0, 1.2), draw.random() < 0.5,
    )  # fmt: skip


class Trials:
    """Trials against one reference store."""

    def __init__(self, folder: Path, patience: float = 600.0, chain: tuple[str, ...] = CHAIN) -> None:
        self.folder, self.patience, self.chain = folder, patience, chain
        self.reference = self._pixsem(folder / "reference")
        if not (self.reference.store / "done").exists():
            self._make_reference()
        self.wanted = artifact_digests(self.reference.store)
        (run,) = self.reference.store.glob("runs/*/took.json")
        self.took: dict[str, float] = json.loads(run.read_text())

    def _pixsem(self, folder: Path) -> Pixsem:
        folder.mkdir(parents=True, exist_ok=True)
        made = Pixsem(folder)
        made.patience = self.patience
        return made

    def _make_reference(self) -> None:
        store = self.reference.store
        if not (store / EARLY).exists():
            shutil.rmtree(store, ignore_errors=True)
            self.reference("run", *self.chain, "--until", "ingest")
            shutil.copy(store / "mlflow.db", store / EARLY)
        started = time.monotonic()
        self.reference("run", *self.chain)
        run = self.reference.json("status")
        took = {name: state["seconds"] for name, state in run["stages"].items()}
        took["start"] = max(1.0, time.monotonic() - started - sum(took.values()))
        (store / "runs" / run["id"] / "took.json").write_text(json.dumps(took))
        (store / "done").touch()

    def run(self, plan: Plan) -> Row:
        """Do one trial in a folder of its own, which is removed where all was well."""
        started = time.monotonic()
        row = Row(plan.number, plan.removed)
        pixsem = self._pixsem(self.folder / f"trial-{plan.number}")
        self._prepare(pixsem, plan)
        driver = pixsem.start("run", *self.chain)
        self._wait_for_moment(pixsem, driver, plan)
        row.running = self._running(pixsem)
        before = artifact_digests(pixsem.store)
        row.committed = len(before)
        if driver.poll() is None:
            row.victim = strike(pixsem, driver, plan.victims)
        self._end(pixsem, driver, row)
        row.lost = missing(before, artifact_digests(pixsem.store))
        if not plan.at_once:
            self._expect_quiet(pixsem, row, "after the killing")
        self._resume(pixsem, row, killed=driver.returncode != 0)
        self._expect_quiet(pixsem, row, "after the resumed run")
        row.lost += [name for name in missing(before, artifact_digests(pixsem.store)) if name not in row.lost]
        after = artifact_digests(pixsem.store)
        row.mismatches = sorted(n for n in {*after, *self.wanted} if after.get(n) != self.wanted.get(n))
        run_id = max(p.parent.name for p in pixsem.store.glob("runs/*/config.yaml"))
        row.problems += [
            *run_problems(pixsem.store, run_id), *lease_problems(pixsem.store), *mlflow_problems(pixsem.store, run_id),
            *self._damage(pixsem),
        ]  # fmt: skip
        if "register" in {name.partition("/")[0] for name in self.wanted}:
            digests = {d for n, d in self.wanted.items() if n.partition("/")[0] in ("train_tokenizer", "register")}
            row.problems += registry_problems(pixsem.store, digests)
        row.seconds = time.monotonic() - started
        if not (row.lost or row.mismatches or row.problems):
            shutil.rmtree(pixsem.folder)
        return row

    def _prepare(self, pixsem: Pixsem, plan: Plan) -> None:
        shutil.copytree(
            self.reference.store, pixsem.store, dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("tmp", "mlartifacts", "registrations", "mlflow.db", "runs", "done"),
        )  # fmt: skip
        (pixsem.store / EARLY).rename(pixsem.store / "mlflow.db")
        with closing(sqlite3.connect(pixsem.store / "mlflow.db")) as database, database:
            database.execute("update experiments set artifact_location = ?", (f"{pixsem.store}/mlartifacts",))
        for stage in plan.removed:
            shutil.rmtree(pixsem.store / "artifacts" / stage)

    def _wait_for_moment(self, pixsem: Pixsem, driver: subprocess.Popen[str], plan: Plan) -> None:
        first = plan.removed[0]
        if not plan.from_start:
            wait(lambda: driver.poll() is not None or first in self._running(pixsem), self.patience)
        seconds = plan.share * self.took["start" if plan.from_start else first]
        end = time.monotonic() + seconds
        wait(lambda: driver.poll() is not None or time.monotonic() > end, seconds + 1)

    def _running(self, pixsem: Pixsem) -> tuple[str, ...]:
        found = []
        for path in pixsem.store.glob("runs/*/run.json"):
            stages = json.loads(path.read_text())["stages"]
            found += [name for name, state in stages.items() if state["state"] == "running"]
        return tuple(found)

    def _end(self, pixsem: Pixsem, driver: subprocess.Popen[str], row: Row) -> None:
        try:
            _, said = driver.communicate(timeout=self.patience)
        except subprocess.TimeoutExpired:
            row.problems.append(f"the driver hangs after its {row.victim} was killed")
            kill([driver.pid])
            driver.communicate()
            return
        if "Traceback" in said and row.victim not in ("driver", "all"):
            row.problems.append(f"the driver ended in a traceback: {said.strip().splitlines()[-1][:200]}")

    def _resume(self, pixsem: Pixsem, row: Row, killed: bool) -> None:
        if not killed:
            return
        # Killed before it had written its record, a run is none: it is started again.
        begun = list(pixsem.store.glob("runs/*/run.json"))
        try:
            done = pixsem("resume", code=None) if begun else pixsem("run", *self.chain, code=None)
        except subprocess.TimeoutExpired:
            row.problems.append("resume did not end")
            kill(processes(str(pixsem.folder)))
            return
        if done.returncode:
            row.problems.append(f"resume ended with {done.returncode}: {done.stderr.strip()[-300:]}")

    def _expect_quiet(self, pixsem: Pixsem, row: Row, when: str) -> None:
        if not wait(lambda: not processes(str(pixsem.folder)), QUIET):
            left = processes(str(pixsem.folder))
            row.problems.append(f"{len(left)} processes are left {when}: {', '.join(names(left))}")
            kill(left)

    def _damage(self, pixsem: Pixsem) -> list[str]:
        damaged = pixsem.json("verify", code=None)["damaged"]
        return [f"damaged: {d['stage']}/{d['file']}: {d['problem']}" for d in damaged]


def strike(pixsem: Pixsem, driver: subprocess.Popen[str], victims: tuple[str, ...]) -> str:
    """Kill the first of the victims that there is; return which."""
    titles = {"training worker": "ray::train-", "worker": "ray::"}
    for victim in victims:
        if victim in ("driver", "all"):
            kill([driver.pid] if victim == "driver" else [driver.pid, *processes(str(pixsem.folder))])
            return victim
        found = {pid: name for pid in processes(str(pixsem.folder)) for name in names([pid])}
        if victim == "raylet":
            hit = [pid for pid, name in found.items() if name.rpartition("/")[2] == "raylet"]
        else:
            busy = [pid for pid, name in found.items() if name.startswith(titles[victim]) and name != "ray::IDLE"]
            hit = sorted(busy)[:1]
        if hit:
            kill(hit)
            return victim
    raise AssertionError("there is always a driver")


def names(pids: list[int]) -> list[str]:
    """What processes call themselves, without their arguments."""
    found = []
    for pid in pids:
        try:
            said = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        except OSError:
            continue
        found.append(said.split()[0] if said else "?")
    return found


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; False where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def summary(rows: list[Row]) -> dict[str, object]:
    """Return {trials, killed, lost, mismatches, problems, rows}."""
    return {
        "trials": len(rows),
        "killed": sum(bool(row.victim) for row in rows),
        "lost": sum(len(row.lost) for row in rows),
        "mismatches": sum(len(row.mismatches) for row in rows),
        "problems": sum(len(row.problems) for row in rows),
        "rows": [asdict(row) for row in rows],
    }


def main() -> None:
    """Do the trials, print a line for each and the summary as JSON; exit 1 where anything was lost, differs or is out
    of order.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial, to repeat or to go on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--span", type=int, default=2, help="most stages in a row that a trial makes anew")
    parser.add_argument("--folder", type=Path, help="where stores are kept, the reference for a next time")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds after which a command counts as hanging")
    parser.add_argument("--chain", nargs="+", default=CHAIN, help="what is run, e.g. preset=tiny source=pictures_tiny")
    parser.add_argument("--stages", nargs="+", default=STAGES, help="of which a trial makes some anew, in their order")
    asked = parser.parse_args()
    folder = (asked.folder or Path(tempfile.mkdtemp(prefix="pixsem-kill-"))).absolute()
    trials = Trials(folder, asked.patience, tuple(asked.chain))
    print("trial  killed           while running                      committed  time     found", flush=True)
    rows = []
    for number in range(asked.first, asked.first + asked.trials):
        rows.append(trials.run(draw_plan(asked.seed, number, tuple(asked.stages), asked.span)))
        print(rows[-1].line, flush=True)
    found = summary(rows)
    print(json.dumps(found, indent=1))
    raise SystemExit(any(found[name] for name in ("lost", "mismatches", "problems")))


if __name__ == "__main__":
    main()
