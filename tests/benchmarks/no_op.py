"""Time of a fully cached run and of `pixsem --help`, as ratios to the start of a bare Python.

python -m tests.benchmarks.no_op
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from statistics import median

ROUNDS = 7
CLI = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]


def seconds(command: list[str], folder: str) -> float:
    """Return the wall seconds of one process."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Complete a tiny run, then time it again and again."""
    with tempfile.TemporaryDirectory() as folder:
        cached = [*CLI, "run", "preset=tiny"]
        subprocess.run(cached, cwd=folder, check=True, capture_output=True)
        commands = {
            "bare python": [sys.executable, "-c", "pass"],
            "pixsem --help": [*CLI, "--help"],
            "cached run": cached,
        }
        times = {name: median(seconds(command, folder) for _ in range(ROUNDS)) for name, command in commands.items()}
    for name, value in times.items():
        print(f"{name}: {value:.2f} s, {value / times['bare python']:.0f} times a bare python")


if __name__ == "__main__":
    main()
