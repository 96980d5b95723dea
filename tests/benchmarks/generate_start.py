"""Time of `pixsem generate` from the shell's line to the saved picture, as a ratio to the imports of its libraries.

    python -m tests.benchmarks.generate_start [STORE] [--rounds N]

One step is sampled, so that it is the start that is measured. STORE is a store with a champion; without it, a tiny
pipeline's folder is made. Other work on the machine stretches the seconds on the clock: then read those of the CPU.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLI = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]
REFERENCE = "import torch, diffusers, transformers"


def seconds(command: list[str], folder: str) -> tuple[float, float]:
    """Return the CPU's seconds (of all threads, in the program and in the kernel) and the clock's of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, time.perf_counter() - start


def main() -> None:
    """Time all commands in turns; the least of each counts, which other work has disturbed least."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.store:
            model = ["--store", str(Path(asked.store).absolute())]
        else:
            from tests.unit.generator.worlds import pipeline

            pipeline().save_pretrained(f"{folder}/model")
            model = ["--model", f"{folder}/model"]
        made = [*CLI, "generate", "a red circle", "--steps", "1", "--out", "made.png", *model]
        commands = {
            f'python -c "{REFERENCE}"': [sys.executable, "-c", REFERENCE],
            "pixsem generate": made,
            "pixsem edit": [*CLI, "edit", "made.png", "make it blue", "--steps", "1", "--out", "edited.png", *model],
        }
        seconds(made, folder)  # once for the disk, and for the picture to edit
        times = [{name: seconds(command, folder) for name, command in commands.items()} for _ in range(asked.rounds)]
    least = {name: tuple(min(turn[name][kind] for turn in times) for kind in (0, 1)) for name in commands}
    base = next(iter(least.values()))
    for name, (cpu, clock) in least.items():
        print(f"{name}: {cpu:.2f} s of CPU ({cpu / base[0]:.2f}), {clock:.2f} s ({clock / base[1]:.2f})")


if __name__ == "__main__":
    main()
