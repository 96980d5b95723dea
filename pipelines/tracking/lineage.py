"""From a registered version back to the shards it was made from."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.stage import base_of
from pipelines.store.artifacts import find_artifact

if TYPE_CHECKING:
    from pipelines.tracking.registering import Registrar


def trace(registrar: Registrar, model: str) -> dict[str, Any]:
    """Return a version's tags, the stages behind it, latest first, and the input shards with their SHA-256.

    A stage whose artifact is gone from the store stands there as `missing`; what lies behind it is known by its
    fingerprint alone.
    """
    version = registrar.registry.find(model)
    if "pixsem.fingerprints" not in version.tags:
        raise UserError(f"{version.name}/{version.version} was not registered by pixsem: it has no lineage")
    stages: list[dict[str, Any]] = []
    shards: list[dict[str, Any]] = []
    fingerprints = json.loads(version.tags["pixsem.fingerprints"])
    needed = _behind(registrar, version.tags["pixsem.stage"], fingerprints)
    for name in needed:
        artifact = find_artifact(registrar.store, name, fingerprints[name])
        row: dict[str, Any] = {"stage": name, "fingerprint": fingerprints[name], "missing": artifact is None}
        if artifact is not None:
            manifest = artifact.manifest
            row |= {"digest": manifest.digest, "inputs": sorted(manifest.inputs), "counts": manifest.counts}
            if base_of(name) == "ingest":
                source = {"source": found} if (found := name.partition("@")[2]) else {}
                shards += [
                    {
                        "path": registrar.store.path(f"{artifact.path}/{f.path}"),
                        "bytes": f.size,
                        "sha256": f.sha256,
                        **source,
                    }
                    for f in manifest.files
                    if f.path.startswith("shards/")
                ]
        stages.append(row)
    tags = {
        name.removeprefix("pixsem."): value for name, value in version.tags.items() if name != "pixsem.fingerprints"
    }
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "tags": tags,
        "stages": stages,
        "shards": shards,
    }


def _behind(registrar: Registrar, stage: str, fingerprints: dict[str, str]) -> list[str]:
    """Return the stage and what it was made from, as far as the store knows, nearest first."""
    order, waiting = [], [stage]
    while waiting:
        name = waiting.pop(0)
        if name in order:
            continue
        order.append(name)
        artifact = find_artifact(registrar.store, name, fingerprints[name])
        if artifact is not None:
            waiting += [n for n in artifact.manifest.inputs if n in fingerprints]
    return order


def trace_text(value: dict[str, Any]) -> str:
    """Return a lineage for people."""
    tags = value["tags"]
    lines = [f"{value['name']}/{value['version']} {' '.join(value['aliases'])}".rstrip()]
    lines += [
        f"  {name:<18} {tags[name]}"
        for name in ("git_commit", "tokenizer_version", "store", "data", "evaluation")
        if name in tags
    ]
    width = max([18, *(len(row["stage"]) for row in value["stages"])])
    lines.append("made by, from the last stage to the first")
    for row in value["stages"]:
        made = (
            "gone from the store"
            if row["missing"]
            else f"digest {row['digest'][:16]}, of {', '.join(row['inputs']) or 'the source'}"
        )
        lines.append(f"  {row['stage']:<{width}} {row['fingerprint']}  {made}")
    of_each = Counter(shard.get("source", "") for shard in value["shards"])
    shares = ", ".join(f"{count} of {source}" for source, count in sorted(of_each.items()) if source)
    lines.append(f"input shards: {len(value['shards'])}{f' ({shares})' if shares else ''}")
    lines += [f"  {shard['sha256']}  {shard['bytes']:>10,}  {shard['path']}" for shard in value["shards"]]
    return "\n".join(lines)
