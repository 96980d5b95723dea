"""Damage that is mended: files of a real store are hurt, and `resume` makes exactly what was hurt again, to the same
bytes.
"""

from __future__ import annotations

import os
import random
from typing import Any

import ray

from pipelines.store.artifacts import MANIFEST, Artifact, Manifest, list_artifacts
from pipelines.store.files import Store, json_bytes, sha256_file
from pipelines.store.maintenance import verify
from pipelines.workflow.launch import load_run, resume_run
from tests.chaos.damage import artifact_of, files_by_kind, hurt

TRAINING = ("train_encoder", "train_semantic", "train_tokenizer", "train_generator", "train_editor")


def states(store: Store) -> dict[str, tuple[int, int]]:
    """Return {path: (inode, time of writing)} of the files of all artifacts: a file that was kept has the same."""
    return {
        f"{artifact.path}/{name}": (stat.st_ino, stat.st_mtime_ns)
        for _, _, artifact in list_artifacts(store) if isinstance(artifact, Artifact)
        for name in store.files(artifact.path) if (stat := os.stat(store.local(f"{artifact.path}/{name}")))
    }  # fmt: skip


def must_be_made_again(
    manifests: dict[str, Manifest], records: dict[str, list[dict[str, Any]]], hurt_paths: set[str]
) -> set[str]:
    """Return the paths that a resume must write anew: those of hurt shards, and of hurt artifacts what belongs to no
    one shard.
    """
    again: set[str] = set()
    for folder, manifest in manifests.items():
        inside = {p.removeprefix(f"{folder}/") for p in hurt_paths if p.startswith(f"{folder}/")}
        if not inside:
            continue
        again.add(f"{folder}/{MANIFEST}")
        kept: set[str] = set()
        for record in records[folder]:
            own = {f["path"] for f in record["files"]} | {f"records/{record['name']}.json"}
            if not own & inside and MANIFEST not in inside:
                kept |= own
        again |= {f"{folder}/{entry.path}" for entry in manifest.files if entry.path not in kept}
    return again


def resume_trials(store: Store, count: int, rng: random.Random) -> dict[str, Any]:
    """Hurt up to three files, verify, resume and compare, again and again; return {resumes, retrained, wrong}."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    wrong: list[str] = []
    retrained = 0
    try:
        for number in range(count):
            artifacts = {a.path: a.manifest for _, _, a in list_artifacts(store) if isinstance(a, Artifact)}
            records = {
                folder: [store.read_json(f"{folder}/{n}") for n in store.files(folder) if n.startswith("records/")]
                for folder in artifacts
            }
            training = number % 10 == 9  # those take long
            files = {
                kind: chosen
                for kind, names in files_by_kind(store.local("")).items()
                if kind != "checkpoint" and (chosen := [n for n in names if (n.split("/")[1] in TRAINING) == training])
            }
            trials = [hurt(store.local(""), files, rng, sorted(files)) for _ in range(rng.randint(1, 3))]
            before = states(store)
            damaged = {f"artifacts/{d['stage']}/{d['fingerprint']}/{d['file']}" for d in verify(store, None)["damaged"]}
            paths = {path for trial in trials for path in trial.paths}
            # Two trials may meet on one file and undo each other; what is hurt is what verify and the bytes say, and
            # both must agree.
            really = {p for p in paths if differs(store, artifacts, p)}
            # Where the manifest itself is hurt, nothing says any more what the files beside it were: it alone is named.
            alone = {p.removesuffix(MANIFEST) for p in really if p.endswith(f"/{MANIFEST}")}
            really = {p for p in really if p.endswith(f"/{MANIFEST}") or not p.startswith(tuple(alone))}
            run, config = load_run(store, None)
            state = resume_run(store, run, config, None, quiet=True).state
            after = {a.path: a.manifest for _, _, a in list_artifacts(store) if isinstance(a, Artifact)}
            made = {path for path, seen in states(store).items() if before.get(path) != seen}
            expected = must_be_made_again(artifacts, records, really)
            words = "; ".join(trial.words for trial in trials)
            retrained += training
            if damaged != really:
                wrong.append(f"verify named {sorted(damaged)}, hurt were {sorted(really)} ({words})")
            if state != "completed" or {p: m.digest for p, m in after.items()} != {
                p: m.digest for p, m in artifacts.items()
            }:
                wrong.append(f"other content after the resume, which {state} ({words})")
            if made != expected:
                wrong.append(
                    f"made again {sorted(made - expected)}, not made again {sorted(expected - made)} ({words})"
                )
            if verify(store, None)["damaged"]:
                wrong.append(f"still damaged ({words})")
    finally:
        ray.shutdown()
    return {"resumes": count, "of them retrained": retrained, "wrong": wrong}


def differs(store: Store, artifacts: dict[str, Manifest], path: str) -> bool:
    """True where a file is not as its artifact's manifest, read before anything was hurt, says."""
    stage, fingerprint, name = artifact_of(store, path)
    manifest = artifacts[f"artifacts/{stage}/{fingerprint}"]
    if name == MANIFEST:
        return store.read_bytes(path) != json_bytes(manifest.to_json())
    return sha256_file(store.local(path)) != next(entry.sha256 for entry in manifest.files if entry.path == name)
