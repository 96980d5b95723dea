"""Looking after a store: `verify` re-hashes what is committed, `gc` finds what no run needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.errors import StoreError
from pipelines.store.artifacts import MANIFEST, Artifact, damage_path, list_artifacts, note_damage
from pipelines.store.files import Store
from pipelines.store.leases import is_live
from pipelines.store.runs import Run, list_run_ids, read_run


def verify(store: Store, run: Run | None) -> dict[str, Any]:
    """Re-hash every artifact (of one run, or of the store) and name each damaged file.

    Damage is noted in the store, so that the next run makes the stage's hurt parts again.
    Returns {artifacts, files, bytes, damaged: [{stage, fingerprint, file, problem}]}.
    """
    wanted = {(n, s.fingerprint) for n, s in run.stages.items() if s.state == "done"} if run else None
    seen: set[tuple[str, str]] = set()
    files = size = 0
    damaged: list[dict[str, str]] = []
    for stage, fingerprint, artifact in list_artifacts(store):
        if wanted is not None and (stage, fingerprint) not in wanted:
            continue
        seen.add((stage, fingerprint))
        problems = problems_of(artifact)
        if isinstance(artifact, Artifact):
            files += len(artifact.manifest.files)
            size += sum(f.size for f in artifact.manifest.files)
        if problems:
            damaged += [
                {"stage": stage, "fingerprint": fingerprint, "file": f, "problem": p} for f, p in problems.items()
            ]
            note_damage(store, stage, fingerprint, problems)
        elif store.exists(damage_path(stage, fingerprint)):
            store.remove_tree(damage_path(stage, fingerprint))
    for stage, fingerprint in sorted((wanted or set()) - seen):
        damaged.append(
            {"stage": stage, "fingerprint": fingerprint, "file": "", "problem": "the whole artifact is gone"}
        )
    return {"artifacts": len(seen), "files": files, "bytes": size, "damaged": damaged}


def problems_of(artifact: Artifact | StoreError | None) -> dict[str, str]:
    """Re-hash an artifact, as `list_artifacts` gives it; return {file: what is wrong with it}."""
    if isinstance(artifact, Artifact):
        return artifact.problems(rehash=True)
    return {MANIFEST: "missing" if artifact is None else "damaged"}


@dataclass(frozen=True)
class Garbage:
    """Something no run needs: its store path, its size in bytes, and why it may go."""

    path: str
    bytes: int
    reason: str


def find_garbage(store: Store, keep_runs: int | None) -> list[Garbage]:
    """List what no run needs. With `keep_runs`, runs older than the latest so many are not counted as needing anything.

    What a live driver holds a lease on is never listed.
    """
    ids = list_run_ids(store)
    kept_ids = ids if keep_runs is None else ids[len(ids) - keep_runs :] if keep_runs else []
    runs = {run_id: read_run(store, run_id) for run_id in ids}
    kept_ids += [run_id for run_id in ids if runs[run_id].state == "running" and run_id not in kept_ids]
    needed = {(n, s.fingerprint) for i in kept_ids for n, s in runs[i].stages.items()}
    unfinished = {(n, s.fingerprint) for i in kept_ids for n, s in runs[i].stages.items() if s.state != "done"}
    found: list[Garbage] = []

    def add(path: str, reason: str) -> None:
        found.append(Garbage(path, sum(store.files(path).values()), reason))

    for run_id in ids:
        if run_id not in kept_ids:
            add(f"runs/{run_id}", f"older than the latest {keep_runs} runs")
    for stage, fingerprint, artifact in list_artifacts(store):
        if is_live(store, f"stage-{stage}-{fingerprint}"):
            continue
        if artifact is None or isinstance(artifact, StoreError):
            add(f"artifacts/{stage}/{fingerprint}", "has no readable manifest")
        elif (stage, fingerprint) not in needed:
            add(f"artifacts/{stage}/{fingerprint}", "no run refers to it")
    for stage in store.folders("work"):
        for name in store.folders(f"work/{stage}"):
            fingerprint = name.rsplit("-", 1)[0]
            if (stage, fingerprint) not in unfinished and not is_live(store, f"stage-{stage}-{fingerprint}"):
                add(f"work/{stage}/{name}", "unfinished work that no run will take up")
    for name in store.folders("trash"):
        add(f"trash/{name}", "replaced by a newer artifact")
    if not any(run.state == "running" for run in runs.values()):
        for name in store.folders("tmp"):
            add(f"tmp/{name}", "left by a killed worker")
    return found


def remove_garbage(store: Store, garbage: list[Garbage]) -> int:
    """Remove what was listed and return the bytes freed. An artifact loses its manifest first, so none is ever half
    there.
    """
    for item in garbage:
        if item.path.startswith("artifacts/"):
            store.remove_tree(f"{item.path}/manifest.json")
        store.remove_tree(item.path)
    return sum(item.bytes for item in garbage)
