"""Time of the measure stage with one Ray worker and with two, as a ratio.

    python -m tests.benchmarks.scaling [SAMPLES]

Runs the real command line; the stage's own seconds are taken from its report, without Ray's start.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

COMMAND = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]


def pixsem(folder: str, *args: str) -> str:
    """Run the command line in a folder and return what it printed."""
    return subprocess.run([*COMMAND, *args], cwd=folder, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Measure the same shards twice, forced."""
    count = sys.argv[1] if len(sys.argv) > 1 else "16000"
    with tempfile.TemporaryDirectory() as folder:
        source = ["preset=scenes", f"source.count={count}", "source.samples_per_shard=500"]
        pixsem(folder, "run", *source, "--until", "ingest")
        seconds = {}
        for workers in (1, 2):
            settings = [*source, f"cluster.num_cpus={workers}", "--until", "measure", "--force", "measure", "--json"]
            report = json.loads(pixsem(folder, "run", *settings))
            seconds[workers] = next(s["seconds"] for s in report["stages"] if s["name"] == "measure")
    print(
        f"measure, {count} samples: 1 worker {seconds[1]:.1f} s, 2 workers {seconds[2]:.1f} s: "
        f"{seconds[1] / seconds[2]:.2f} times as fast"
    )


if __name__ == "__main__":
    main()
