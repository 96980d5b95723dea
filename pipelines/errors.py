"""The errors a user can cause, and how they are worded: what was wrong, where, what to do."""

from __future__ import annotations

import difflib
import errno
import traceback
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user can mend. The command line prints its text and no traceback."""


class StoreError(UserError):
    """The artifact store cannot be read or written, or holds something damaged."""


class StoreUnreachable(StoreError, OSError):
    """A remote store does not answer, or refuses: an OSError like a disk's."""


class Stopped(UserError):
    """Training stopped on request, with a checkpoint: its stage is resumable."""


class Interrupted(Exception):
    """The driver was asked to stop (Ctrl-C or SIGTERM); `signal_number` says by which signal, `again` what goes on from
    here.
    """

    def __init__(self, signal_number: int, again: str = "pixsem resume") -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number, self.again = signal_number, again


ON_DISK = {
    errno.ENOSPC: "the disk is full: make room",
    errno.EDQUOT: "the disk quota is used up: make room",
    errno.EFBIG: "files may not grow so large here: raise the limit",
    errno.EROFS: "the file system is read-only: mount it for writing, or give another store with store=PATH",
    errno.EACCES: "permission is denied: change it, or give another path",
    errno.EPERM: "it is not permitted: change that, or give another path",
    errno.EIO: "the disk cannot be read or written: look at its health",
    errno.ESTALE: "the file system went away: mount it again",
}


def in_words(error: BaseException) -> str:
    """Return the error's text; what a disk refuses with its path and what to do."""
    if isinstance(error, OSError) and error.errno in ON_DISK:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{ON_DISK[error.errno]}. What is committed is kept; then go on with: pixsem resume"
    return str(error)


def places(error: BaseException) -> str:
    """Return where an error arose, call by call, without its text: that may hold some of a request's."""
    return "".join(traceback.format_tb(error.__traceback__))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def one_line(error: BaseException, limit: int = 600) -> str:
    """Return the error's text on one line of at most `limit` characters, with its type where it was not worded for
    people.
    """
    words = in_words(error)
    text = " ".join(words.split()) or type(error).__name__
    if words == str(error) and not isinstance(error, UserError) and type(error) is not ValueError:
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= limit else text[: limit - 1] + "…"
