"""Bad input: malformed bytes at every parser. `python -m tests.chaos.bad_input [--count 10000] [--fuzz 20000]` prints a
summary as JSON.

`--count` inputs are made by hypothesis, in shares, and every bomb of bombs.py is read once; `--fuzz` more are found by
a coverage-guided fuzzer (atheris), each parser in a process of its own. An input is read, refused in words, or has
reasons; anything else is a crash.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.chaos.bombs import BOMBS
from tests.chaos.mutate import malformed
from tests.chaos.parsers import PARSERS, Parser

SECONDS = 10  # of processor time for one input
MEMORY = 1024  # MiB that all inputs together may add to the process's peak
ROOT = Path(__file__).resolve().parents[2]


class TooLong(BaseException):
    """An input was not read in time; no handler of the code under trial catches it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End a block after so much processor time: a busy machine slows nothing down here."""

    def stop(_number: int, _frame: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Tally:
    """What became of the inputs of one parser."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser
        self.outcomes: Counter[str] = Counter()
        self.crashes: dict[str, bytes] = {}  # words -> the shortest input that leads to them

    def take(self, data: bytes, folder: Path) -> str:
        """Read one input; return what became of it."""
        try:
            with time_limit(SECONDS):
                outcome = self.parser.read(data, folder)
        except ValueError as error:
            outcome = "refused" if str(error).strip() else "refused without a word"
        except TooLong:
            outcome = self._crash(f"over {SECONDS} s", data)
        except Exception as error:
            outcome = self._crash(f"{type(error).__name__}: {error}"[:200], data)
        self.outcomes[outcome] += 1
        return outcome

    def _crash(self, words: str, data: bytes) -> str:
        if words not in self.crashes or len(data) < len(self.crashes[words]):
            self.crashes[words] = data
        return "crashed"


def try_parser(parser: Parser, count: int, folder: Path, number: int = 0) -> Tally:
    """Read `count` malformed inputs that hypothesis makes of a parser's seeds; the same ones every time."""
    tally = Tally(parser)
    seeds = parser.seeds()
    for data in seeds:
        parser_reads(parser, data, folder)

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(malformed(seeds))
    def every_input(data: bytes) -> None:
        tally.take(data, folder)

    every_input()
    return tally


def parser_reads(parser: Parser, data: bytes, folder: Path) -> None:
    """Warm up: load what is imported on first use, which no input is to be charged for."""
    with contextlib.suppress(ValueError):
        parser.read(data, folder)


def peak_mib() -> float:
    """The most memory this process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(count: int, folder: Path, number: int = 0) -> dict[str, Any]:
    """Read `count` malformed inputs, in the parsers' shares, then the bombs; return the summary."""
    made = {p.name: try_parser(p, max(1, round(count * p.share)), folder, number) for p in PARSERS}
    before = peak_mib()
    bombed = {p.name: Tally(p) for p in PARSERS}
    bombs = {name: bombed[parser].take(make(), folder) for name, (parser, make) in BOMBS.items()}
    tallies = [*made.values(), *bombed.values()]
    return {
        "inputs": sum(tally.outcomes.total() for tally in made.values()),
        "outcomes": {name: dict(tally.outcomes.most_common()) for name, tally in made.items()},
        "bombs": bombs,
        "bombs_mib": round(peak_mib() - before),
        "wordless": sum(tally.outcomes["refused without a word"] for tally in tallies),
        "crashes": [
            {"parser": tally.parser.name, "words": words, "input": data[:400].hex()}
            for tally in tallies
            for words, data in tally.crashes.items()
        ],
    }


def fuzz(parser: str, runs: int) -> dict[str, Any]:
    """Fuzz one parser in a process of its own; return how many inputs it was given, and what it died of ('' for
    nothing).
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.chaos.fuzz", parser, str(runs), folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    found = re.findall(r"Done (\d+) runs|cov: (\d+)", done.stderr)
    executed = [int(a) for a, _ in found if a]
    covered = [int(b) for _, b in found if b]
    return {
        "inputs": executed[-1] if executed else 0, "coverage": [covered[0], covered[-1]] if covered else [],
        "died": "" if done.returncode == 0 and executed else (done.stdout + done.stderr)[-2000:],
    }  # fmt: skip


def main() -> None:
    """Run what is asked for; exit 1 where anything crashed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--count", type=int, default=10_000)
    arguments.add_argument("--fuzz", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=0)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = run(asked.count, Path(folder), asked.seed)
    if asked.fuzz:
        summary["fuzzed"] = {p.name: fuzz(p.name, max(1, round(asked.fuzz * p.share))) for p in PARSERS}
    print(json.dumps(summary, indent=1, ensure_ascii=False))
    died = [name for name, found in summary.get("fuzzed", {}).items() if found["died"]]
    sys.exit(1 if summary["crashes"] or summary["wordless"] or summary["bombs_mib"] > MEMORY or died else 0)


if __name__ == "__main__":
    main()
