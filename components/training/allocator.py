"""An allocator that keeps its pages, for workers that train. Standard library only: it is set up before a worker starts."""

from __future__ import annotations

from pathlib import Path

KEEP_PAGES = "dirty_decay_ms:-1,muzzy_decay_ms:-1"  # jemalloc: freed pages stay with the process


def allocator_environment(library: Path | None) -> dict[str, str]:
    """Environment of a worker whose allocator is jemalloc and keeps its pages; {} where the library is not there.

    glibc's gives freed pages back and asks for them again at every step, which can cost a training loop a factor of ten.
    """
    if library is None or not library.exists():
        return {}
    return {"LD_PRELOAD": str(library), "MALLOC_CONF": KEEP_PAGES}
