"""The errors a user can cause, and how they are worded: what was wrong, where, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend. The command line prints its text and no traceback."""


class StoreError(UserError):
    """The artifact store cannot be read or written, or holds something damaged."""


class Stopped(UserError):
    """Training stopped on request, with a checkpoint: its stage is resumable."""


class Interrupted(Exception):
    """The driver was asked to stop (Ctrl-C or SIGTERM); `signal_number` says by which signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def one_line(error: BaseException, limit: int = 600) -> str:
    """Return the error's text on one line of at most `limit` characters, with its type where it was not worded for people."""
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, UserError) and type(error) is not ValueError:
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= limit else text[: limit - 1] + "…"
