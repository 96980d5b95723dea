"""One parser under a coverage-guided fuzzer: `python -m tests.chaos.fuzz PARSER RUNS FOLDER`. An uncaught error or a
hang ends it with exit code 77 or so.

bad_input.py starts it, a process for each parser: the fuzzer ends its process itself. FOLDER is for its corpus and what
it finds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["components", "pipelines"]):
    from tests.chaos.parsers import PARSERS


def main() -> None:
    """Fuzz."""
    name, runs = sys.argv[1], int(sys.argv[2])
    parser = next(p for p in PARSERS if p.name == name)
    scratch = Path(sys.argv[3])
    corpus = scratch / "corpus"
    corpus.mkdir()
    with atheris.instrument_imports(
        include=["components", "pipelines"]
    ):  # parsers import what they read with when they read
        for number, data in enumerate(parser.seeds()):
            (corpus / str(number)).write_bytes(data)
            try:
                parser.read(data, scratch)
            except ValueError:
                continue

    def one(data: bytes) -> None:
        try:
            parser.read(data, scratch)
        except ValueError:
            return

    # -timeout in seconds of the clock; a failing input is written where the fuzzer runs, so give it a place of its own.
    options = [
        f"-runs={runs}",
        "-max_len=8192",
        "-timeout=120",
        "-seed=1",
        "-rss_limit_mb=4096",
        f"-artifact_prefix={scratch}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
