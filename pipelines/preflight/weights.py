"""Whether weight files are there and whole, from their first bytes, sizes and directories alone."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from components.tokenizer.supported_models import LPIPS_HEADS, LPIPS_NETWORK, lpips_files
from pipelines.config.schema import Config
from pipelines.store.files import Store
from pipelines.store.published_weights import FETCH, INCEPTION, LPIPS, find_published, published, unreachable

MOST_HEADER = 100 * 2**20  # bytes; safetensors' own limit


def broken_weights(path: Path) -> str:
    """Say what is wrong with a safetensors file and what to do; empty where its header is right and its size is what
    that says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            header = file.read(length) if len(start) == 8 and length <= min(size, MOST_HEADER) else b""
        if start == b"version ":
            return f"{path.name} is a pointer of Git LFS, not weights. Fetch them with: git lfs pull"
        ends = [int(entry["data_offsets"][1]) for name, entry in json.loads(header).items() if name != "__metadata__"]
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}. Change its permissions, or give another folder."
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return f"{path.name} is no safetensors file, or cut short. Fetch it again."
    wanted = 8 + length + max(ends, default=0)
    return "" if size == wanted else f"{path.name} has {size:,} bytes where its header says {wanted:,}. Fetch it again."


def broken_checkpoint(path: Path) -> str:
    """Say what is wrong with a `.pth` or `.pt` file and what to do, from its first bytes, its zip directory and the
    size that is known of it; empty where nothing is.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
        size = path.stat().st_size
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}. Change its permissions, or give another."
    if start == b"version ":
        return f"{path.name} is a pointer of Git LFS, not weights. Fetch them with: git lfs pull"
    if start[:2] != b"\x80\x02" and not (start[:2] == b"PK" and zipfile.is_zipfile(path)):  # written by torch < 1.6
        return f"{path.name} is no file that torch saved, or cut short. Fetch it again."
    known = next((entry.bytes for entry in published().values() if entry.file == path.name), size)
    return "" if size == known else f"{path.name} has {size:,} bytes, the published file {known:,}. Fetch it again."


def check_weights(config: Config) -> Iterator[str]:
    """Check that weights of measures and of the perceptual loss are there and whole, or can be fetched."""
    model, judged = config.tokenizer.model, config.evaluate_tokenizer
    for key, value in (
        ("tokenizer.model.lpips_weights", model.lpips_weights if model.perceptual == "lpips" else None),
        ("evaluate_tokenizer.lpips_weights", judged.lpips_weights),
    ):
        words = _wrong_lpips(value, config.store) if value else ""
        if words:
            yield f"{key}={value}: {words}"
    if judged.inception:
        words = _wrong_inception(judged.inception, config.store)
        if words:
            yield f"evaluate_tokenizer.inception={judged.inception}: {words}"


def _wrong_lpips(value: str, store: str) -> str:
    if value == FETCH:
        return " ".join(filter(None, (unreachable(name, Store(store)) for name in LPIPS)))
    network, heads = lpips_files(value)
    if network is None:
        return f"there is no {' and no '.join(LPIPS_NETWORK)} in it. Put one there, or set the key to {FETCH}."
    if heads is None and find_published(LPIPS[1], Store(store), read=False) is None:
        return f"there is no {' and no '.join(LPIPS_HEADS)} in it. Put the one of the wheel lpips there (weights/v0.1)."
    check = {True: broken_weights, False: broken_checkpoint}
    return " ".join(filter(None, (check[f.suffix == ".safetensors"](f) for f in (network, heads) if f is not None)))


def _wrong_inception(value: str, store: str) -> str:
    if value == FETCH:
        return unreachable(INCEPTION, Store(store))
    if not Path(value).is_file():
        return f"there is no such file. Give inception-2015-12-05.pt, or set the key to {FETCH}."
    if not zipfile.is_zipfile(value):
        return "it is no TorchScript file. Give Inception's 2015 weights as TorchScript."
    return broken_checkpoint(Path(value))
