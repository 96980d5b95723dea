"""Bytes that a run keeps or is told, and what reads them: see parsers.py."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from tests.chaos.picture_bytes import picture_bytes


@functools.cache
def _config_text() -> bytes:
    from pipelines.config.compose import compose_config, to_yaml

    return to_yaml(compose_config(["preset=tiny"])).encode()


def configs() -> list[bytes]:
    return [_config_text(), b"seed: 1\nsource: {kind: scenes}\n"]


def read_config(data: bytes, folder: Path) -> str:
    """A configuration that a run kept."""
    from pipelines.config.compose import load_config

    load_config(data.decode(), "config.yaml")
    return "read"


def overrides() -> list[bytes]:
    return [
        b"preset=tiny\nseed=3",
        b"source=urls\nsource.path=x",
        b"curate.min_words=4",
        b"generator.training.steps=5",
        b"seed=${seed}",
        b"tokenizer.model={space: rae}",
        b"store='${oc.env:HOME}'",
        b"a.b.c=[1,2,{x: y}]",
        b"preset=demo,tiny",
        b"~seed",
        b"+x=1",
    ]


def read_overrides(data: bytes, folder: Path) -> str:
    """What stands on the command line, one `key=value` a line."""
    from pipelines.config.compose import compose_config

    compose_config([line for line in data.decode("utf-8", "surrogateescape").split("\n") if line][:4])
    return "read"


@functools.cache
def manifests() -> list[bytes]:
    from pipelines.store.artifacts import FileEntry, Manifest, content_digest
    from pipelines.store.files import json_bytes

    files = [FileEntry("rows/0", 4, "0" * 64), FileEntry("möwe", 5, "1" * 64)]
    manifest = Manifest(
        "measure",
        "1",
        "f1",
        content_digest(files),
        {"ingest": {"fingerprint": "i", "digest": "d"}},
        {},
        {"curate": {"min_words": 3}},
        files,
        {"input": 4, "kept": 4},
        {"share": 0.1, "worst": 1e-05},
        {"python": "3.11"},
        "r",
        "now",
        1.25,
    )
    return [json_bytes(manifest.to_json())]


def read_manifest(data: bytes, folder: Path) -> str:
    from pipelines.store.artifacts import find_artifact
    from pipelines.store.files import Store, json_bytes

    store = Store(str(folder))
    store.write_bytes("artifacts/measure/f1/manifest.json", data, durable=False)
    found = find_artifact(store, "measure", "f1")
    assert found is not None and json_bytes(found.manifest.to_json()) == data
    assert found.manifest.digest in data.decode()
    return "read"


@functools.cache
def states() -> list[bytes]:
    from components.training.checkpoints import FORMAT, state_bytes

    return [state_bytes({"format": FORMAT, "step": 3, "files": {"a": [1, "0" * 64]}, "seed": 7, "world": 1})]


def read_checkpoint_state(data: bytes, folder: Path) -> str:
    from components.training.checkpoints import parse_state, state_bytes

    assert state_bytes(parse_state(data, "checkpoint")) == data
    return "read"


@functools.cache
def requests() -> list[bytes]:
    import base64

    image = base64.b64encode(picture_bytes("PNG")).decode()
    rows: list[dict[str, Any]] = [
        {"prompt": "a red circle", "seed": 3, "num_inference_steps": 4, "guidance_scale": 2.0},
        {"prompt": "make it blue", "image": image},
        {"prompt": "", "seed": -1},
        {"prompt": ["a"], "seed": "x", "num_inference_steps": [], "guidance_scale": 1e400},
        {"prompt": "a", "image": {"b": 1}, "seed": 10**30, "image_guidance_scale": "nan"},
    ]
    return [json.dumps(row).encode() for row in rows]


def read_request(data: bytes, folder: Path) -> str:
    from pipelines.serving import read_request as read

    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        row = {
            "prompt": data.decode("utf-8", "replace"),
            "image": data.decode("latin-1"),
            "seed": data[:3].decode("latin-1"),
        }
    asked = read(row if isinstance(row, dict) else {"prompt": row})
    assert 0 <= asked["seed"] < 2**63 and asked["prompt"].strip()
    asked["prompt"].encode()
    return "read"
