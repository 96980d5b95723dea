"""Damage: bit flips, truncations and swaps over everything a store holds. `python -m tests.chaos.damage` prints a
summary as JSON.

A trial hurts one file, or swaps the contents of two, in a real store of `preset=tiny`. What `pixsem verify` uses must
name each, and no reader may give wrong data without a word: the check of whoever opens an artifact's file, a
checkpoint's own hashes, and, on top, what a format's reader notices by itself. `--resumes` more trials hurt up to three
files and really resume: exactly the hurt shards, and what is made of all of a stage's shards together, are made again,
to the same bytes.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.training.checkpoints import Checkpoints, describe
from pipelines.errors import StoreError, UserError
from pipelines.store.artifacts import MANIFEST, Artifact, find_artifact
from pipelines.store.files import Store
from pipelines.store.maintenance import problems_of, verify
from pipelines.store.verified_read import fetch_checked

CHAIN = ("preset=tiny", "source.count=80", "source.samples_per_shard=10")
KINDS = {  # in this order: the first that matches counts
    "manifest": "artifacts/*/manifest.json",
    "record": "artifacts/*/records/*.json",
    "shard": "artifacts/*.tar",
    "latents": "artifacts/*.arrow",
    "table": "artifacts/*.parquet",
    "model": "artifacts/*.safetensors",
    "checkpoint": "checkpoints/*",
    "other": "artifacts/*",
}


@dataclass
class Trial:
    """What was done to which files."""

    how: str
    kind: str
    paths: list[str]

    @property
    def words(self) -> str:
        return f"{self.how}: {', '.join(self.paths)}"


@dataclass
class Tally:
    """Trials of the first kind, and what nobody noticed."""

    trials: Counter[str] = field(default_factory=Counter)
    named: int = 0
    refused: int = 0
    noticed_by_format: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)


def kind_of(path: str) -> str:
    """Return a file's kind, '' for one that is not hurt here."""
    return next((kind for kind, pattern in KINDS.items() if fnmatch.fnmatch(path, pattern)), "")


def files_by_kind(root: Path) -> dict[str, list[str]]:
    """Return {kind: paths relative to the root} of all that may be hurt."""
    found: dict[str, list[str]] = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if kind := kind_of(name):
            found.setdefault(kind, []).append(name)
    return found


def hurt(root: Path, files: dict[str, list[str]], rng: random.Random, kinds: list[str]) -> Trial:
    """Flip a bit of a file, cut it, or swap it with another of its kind whose bytes differ."""
    kind = rng.choice(kinds)
    path = root / rng.choice(files[kind])
    data = path.read_bytes()
    others = [name for name in files[kind] if (root / name).read_bytes() != data]
    how = rng.choice(["flip", "cut", "swap"] if others else ["flip", "cut"])
    names = [path.relative_to(root).as_posix()]
    if how == "swap":
        names.append(rng.choice(others))
        path.write_bytes((root / names[1]).read_bytes())
        (root / names[1]).write_bytes(data)
    elif how == "flip" and data:
        bit = rng.randrange(8 * len(data))
        path.write_bytes(data[: bit // 8] + bytes([data[bit // 8] ^ (1 << bit % 8)]) + data[bit // 8 + 1 :])
    else:
        path.write_bytes(data[: rng.randrange(max(1, len(data)))] if data else b"\0")
        how = "cut" if data else "grown"
    return Trial(how, kind, names)


def artifact_of(store: Store, path: str) -> tuple[str, str, str]:
    """Return (stage, fingerprint, file) of a path in `artifacts/`."""
    _, stage, fingerprint, name = path.split("/", 3)
    return stage, fingerprint, name


def named(store: Store, path: str) -> bool:
    """True where what `pixsem verify` does with an artifact names this file of it."""
    stage, fingerprint, name = artifact_of(store, path)
    try:
        found: Artifact | StoreError | None = find_artifact(store, stage, fingerprint)
    except StoreError as error:
        found = error
    return name in problems_of(found)


def refused(store: Store, path: str, scratch: Path) -> bool:
    """True where opening the file as a stage does ends in words."""
    stage, fingerprint, name = artifact_of(store, path)
    try:
        if name == MANIFEST:
            find_artifact(store, stage, fingerprint)
        else:
            fetch_checked(store, path, scratch)
    except StoreError as error:
        return bool(str(error))
    return False


def read_alone(path: Path, kind: str) -> Any:
    """Read a file by its format's reader alone, without its artifact's hashes; raises ValueError for what it
    notices.
    """
    if kind == "latents":
        from components.data.latent_reader import LatentDataset

        dataset = LatentDataset([path], None)
        return [(row.key, row.text) for row in (dataset.row(n) for n in range(len(dataset)))]
    if kind == "shard":
        from components.data.records import BadRecord, read_records

        records = list(read_records(path))
        if any(isinstance(record, BadRecord) for record in records):
            raise ValueError("a sample is bad")
        return records
    from components.data.tables import read_table

    return read_table(path)


def hurt_and_look(store: Store, count: int, rng: random.Random) -> Tally:
    """Hurt files one trial after the other, look who notices, and mend them from a copy."""
    root = store.local("")
    files = files_by_kind(root)
    kinds = [kind for kind in KINDS if files.get(kind)]
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good"
        shutil.copytree(
            root, good, ignore=lambda at, names: [n for n in names if n in ("mlruns", "mlartifacts", "tmp")]
        )
        truth: dict[str, Any] = {}
        for _ in range(count):
            trial = hurt(root, files, rng, kinds)
            tally.trials[f"{trial.kind}, {trial.how}"] += 1
            if trial.kind == "checkpoint":
                seen = checkpoint_passed_over(root, trial)
                ok = opened = seen
            else:
                ok = all(named(store, path) for path in trial.paths)
                opened = all(refused(store, path, Path(folder)) for path in trial.paths)
                if trial.kind in ("latents", "shard", "table"):
                    _read_alone(root, good, trial, truth, tally)
            tally.named += ok
            tally.refused += opened
            if not (ok and opened):
                tally.missed.append(f"{'not named' if not ok else 'opened'}: {trial.words}")
            for path in trial.paths:
                shutil.copyfile(good / path, root / path)
        shutil.rmtree(root / "damaged", ignore_errors=True)
    return tally


def _read_alone(root: Path, good: Path, trial: Trial, truth: dict[str, Any], tally: Tally) -> None:
    """Count what the format's own reader notices. Of latents, all that is not latents itself must be."""
    path = trial.paths[0]
    if path not in truth:
        truth[path] = read_alone(good / path, trial.kind)
    try:
        found = read_alone(root / path, trial.kind)
    except ValueError:
        tally.noticed_by_format[f"{trial.kind}: refused"] += 1
        return
    same = found == truth[path]
    tally.noticed_by_format[f"{trial.kind}: {'read as it was' if same else 'read as something else'}"] += 1
    if trial.kind == "latents" and trial.how != "swap" and not same:
        tally.missed.append(f"read as something else: {trial.words}")


def checkpoint_passed_over(root: Path, trial: Trial) -> bool:
    """True where the newest checkpoint that is taken is none of the hurt ones."""
    found = Checkpoints(root / "checkpoints", keep=10).latest()
    steps = {path.split("/")[1] for path in trial.paths}
    return found is None or found[0].name not in steps


def add_checkpoints(store: Store) -> None:
    """Put two checkpoints of real weights into the store, beside its artifacts."""
    weights = sorted(store.local("artifacts").rglob("*.safetensors"))[:2]
    checkpoints = Checkpoints(store.local("checkpoints"), keep=2)
    for step in (3, 6):
        aside = checkpoints.aside(step)
        for number, path in enumerate(weights):
            (aside / "model").mkdir(parents=True, exist_ok=True)
            (aside / "model" / f"{number}.bin").write_bytes(step.to_bytes(4, "little") + path.read_bytes())
        written = [describe(aside, path) for path in sorted((aside / "model").iterdir())]
        files = {name: entry for entries in written for name, entry in entries.items()}
        checkpoints.commit(step, files, {"seed": 7, "world": 1})


def made_store(folder: Path, ready: Path | None, until: str | None) -> Store:
    """Return a store with one completed run: a copy of a ready one, or made here."""
    from pipelines.config.compose import compose_config
    from pipelines.workflow.launch import run_new

    path = folder / "store"
    if ready is not None:
        shutil.copytree(ready, path)
        return Store(str(path))
    store = Store(str(path))
    run = run_new(store, compose_config([*CHAIN, f"store={path}"]), until, [], quiet=True)
    if run.state != "completed":
        raise UserError(f"the run that everything starts from {run.state}")
    return store


def prove(store: Store, trials: int, resumes: int, seed: int) -> dict[str, Any]:
    """Run the trials on a store and return the summary."""
    rng = random.Random(seed)
    add_checkpoints(store)
    tally = hurt_and_look(store, trials, rng)
    left = verify(store, None)["damaged"]
    shutil.rmtree(store.local("checkpoints"))
    summary = {
        "trials": tally.trials.total(),
        "named": tally.named,
        "refused": tally.refused,
        "missed": tally.missed,
        "by kind": dict(sorted(tally.trials.items())),
        "by the format alone": dict(sorted(tally.noticed_by_format.items())),
        "left damaged": left,
    }
    if resumes:
        from tests.chaos.resuming import resume_trials

        summary |= resume_trials(store, resumes, rng)
    return summary


def main() -> None:
    """Run what is asked for; exit 1 where anything was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resumes", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--store", type=Path, help="a store with a completed run, which is copied; made here if left out"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = prove(made_store(Path(folder), asked.store, None), asked.trials, asked.resumes, asked.seed)
    print(json.dumps(summary, indent=1, ensure_ascii=False))
    sys.exit(1 if summary["missed"] or summary["left damaged"] or summary.get("wrong") else 0)


if __name__ == "__main__":
    main()
