"""A folder of checkpoints: written aside and renamed, checked by hash before they are read, the last K kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

STATE = "state.json"
AVERAGE = "average.safetensors"  # which the first rank alone keeps
FORMAT = 2
LOG = logging.getLogger(__name__)
_OF_RANK = re.compile(r"zero_pp_rank_(\d+)_")  # in DeepSpeed's names of what each rank writes

Bring = Callable[[str, list[str]], None]  # makes these files of a checkpoint, by its name, be in the local folder
Gather = Callable[[Any], list[Any]]  # a value of this rank: those of all ranks


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

    def latest(
        self,
        rank: int | None = None,
        gather: Gather = lambda value: [value],
        bring: Bring = lambda checkpoint, names: None,
    ) -> tuple[Path, dict[str, Any]] | None:
        """The newest whole checkpoint and its state; damaged ones are passed over, and the log says so.

        With `rank`, only what that rank reads is brought and compared. All ranks call it together, and all pass over
        what is damaged for one.
        """
        for step in sorted(set.intersection(*map(set, gather(self.steps()))), reverse=True):
            path, state, problem = self.path(step), None, "it is damaged for another worker"
            try:
                state = read_state(path)
                names = [name for name in state["files"] if rank is None or is_read_by(name, rank)]
                bring(path.name, names)
                check_files(path, state, names)
            except (ValueError, FileNotFoundError) as error:
                if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                    raise  # a store that cannot be reached holds nothing damaged
                state, problem = None, str(error)
            if all(gather(state is not None)) and state is not None:
                return path, state
            LOG.warning("checkpoint %s passed over: %s", path, problem)
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
    """Return a checkpoint's state; ValueError, in words, where it is missing or changed."""
    try:
        state = parse_state((path / STATE).read_bytes(), str(path))
    except OSError as error:
        raise ValueError(f"{path} is no whole checkpoint: {error!r}.") from error
    outside = [name for name in state["files"] if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:  # a rank that fetches them would write there
        raise ValueError(f"{path} names a file outside its folder: {outside[0]}.")
    return state


def check_files(path: Path, state: dict[str, Any], names: Iterable[str]) -> None:
    """Raise ValueError, in words, where one of these files of a checkpoint is missing or changed."""
    for name in names:
        file, (size, digest) = path / name, state["files"][name]
        try:
            whole = file.stat().st_size == size and _sha256(file) == digest
        except OSError as error:
            raise ValueError(f"{path} is no whole checkpoint: {error!r}.") from error
        if not whole:
            raise ValueError(f"{path}: {name} is missing or was changed after it was written.")


def is_read_by(name: str, rank: int) -> bool:
    """Whether a rank that resumes reads this file: its own or a shared one. The average is the first rank's."""
    owner = _OF_RANK.search(name)
    return int(owner[1]) == rank if owner else rank == 0 or name != AVERAGE


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
