"""A folder of checkpoints: written aside and renamed, checked by hash before they are read, the last K kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

STATE = "state.json"
FORMAT = 2
LOG = logging.getLogger(__name__)


class TrainingFailed(ValueError):
    """Training cannot go on: a loss that is no number, or a checkpoint that does not fit. Says step, keys, what to
    do.
    """


class Checkpoints:
    """Checkpoints `step-NNNNNNNN` of one run. A folder without a `state.json` that matches its files is none."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep
        folder.mkdir(parents=True, exist_ok=True)

    def aside(self, step: int) -> Path:
        """The folder in which a checkpoint is written before it counts."""
        return self.folder / f".partial-step-{step:08d}"

    def path(self, step: int) -> Path:
        """The folder of a step's whole checkpoint."""
        return self.folder / f"step-{step:08d}"

    def commit(self, step: int, files: dict[str, list[Any]], state: dict[str, Any]) -> Path:
        """Make the folder written aside a checkpoint of these files (as of `describe`), and drop those beyond the last
        K. One rank calls it.
        """
        aside = self.aside(step)
        with (aside / STATE).open("wb") as handle:
            handle.write(state_bytes({"format": FORMAT, "step": step, "files": files, **state}))
            handle.flush()
            os.fsync(handle.fileno())
        final = self.path(step)
        if final.exists():  # the same step, written by an earlier attempt
            shutil.rmtree(final)
        aside.rename(final)
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(old))
        return final

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, oldest first."""
        found = [path.name[5:] for path in self.folder.glob("step-*") if (path / STATE).exists()]
        return sorted(int(name) for name in found if name.isdigit())

    def latest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest whole checkpoint and its state; damaged ones are passed over, and the log says so."""
        for step in reversed(self.steps()):
            path = self.path(step)
            try:
                return path, read_state(path)
            except ValueError as error:
                LOG.warning("checkpoint passed over: %s", error)
        return None

    def clear_aside(self) -> None:
        """Remove what an interrupted attempt left half written."""
        for path in self.folder.glob(".partial-*"):
            shutil.rmtree(path)


def state_bytes(state: dict[str, Any]) -> bytes:
    """Return a state as the text of its file, with a checksum of itself."""
    text = json.dumps(state, sort_keys=True)
    return json.dumps({**state, "checksum": hashlib.sha256(text.encode()).hexdigest()}, sort_keys=True).encode()


def parse_state(data: bytes, where: str) -> dict[str, Any]:
    """Return what `state_bytes` was given; ValueError, in words, for anything else."""
    try:
        state = json.loads(data)
        if state["format"] != FORMAT:
            raise ValueError(f"{where} is in format {state['format']}; this pixsem reads format {FORMAT}.")
        state.pop("checksum")
        if state_bytes(state) != data:
            raise ValueError(f"{where}: its state was changed after it was written.")
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{where} has no state that can be read: {error!r}.") from error
    return dict(state)


def read_state(path: Path) -> dict[str, Any]:
    """Return a checkpoint's state; ValueError, in words, where a file of it is missing or changed."""
    try:
        state = parse_state((path / STATE).read_bytes(), str(path))
        for name, (size, digest) in state["files"].items():
            file = path / name
            if not file.exists() or file.stat().st_size != size or _sha256(file) != digest:
                raise ValueError(f"{path}: {name} is missing or was changed after it was written.")
    except OSError as error:
        raise ValueError(f"{path} is no whole checkpoint: {error!r}.") from error
    return state


def check_resumable(state: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raise `TrainingFailed` where a checkpoint was made under other conditions than it would go on under."""
    for name, value in now.items():
        if state.get(name) == value:
            continue
        if name == "world":
            raise TrainingFailed(
                f"{path} was written by {state.get('world')} workers, and there are {value} now. Resume with "
                f"{state.get('world')} workers, or start the stage anew with --force."
            )
        raise TrainingFailed(
            f"{path} was written with {name}={state.get(name)}, and it is {value} now: start the stage anew with "
            "--force."
        )


def describe(folder: Path, file: Path) -> dict[str, list[Any]]:
    """Return a file's entry in the state: its name below the folder, and its size and hash."""
    return {file.relative_to(folder).as_posix(): [file.stat().st_size, _sha256(file)]}


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
