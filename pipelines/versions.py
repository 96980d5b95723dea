"""Which code made an artifact: versions of pixsem, Python and the libraries whose output ends in files, and the
commit.
"""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMMIT_FILE = ".commit"  # beside code that was shipped without its history
LIBRARIES = ("ray", "pyarrow", "webdataset", "img2dataset", "numpy", "pillow", "opencv-python-headless")


def library_version(name: str) -> str:
    """Return an installed distribution's version, or `absent`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


@functools.cache
def versions() -> dict[str, str]:
    """Return {name: version}; `git` is the commit of the checkout the code runs from, or `absent`."""
    found = {"pixsem": library_version("pixsem"), "python": platform.python_version(), "git": git_commit()}
    return found | {name: library_version(name) for name in LIBRARIES}


def git_commit() -> str:
    """Return the checkout's commit, with `+changes` where files differ from it; `absent` where the code is from
    none.
    """
    root = Path(__file__).resolve().parents[1]
    if (root / COMMIT_FILE).is_file():
        return (root / COMMIT_FILE).read_text()
    if not (root / ".git").exists():
        return "absent"
    try:
        result = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "absent"
    return result.stdout.strip()
