"""An allocator that keeps its pages, for workers that train. Standard library only: it is set up before a worker
starts.
"""

from __future__ import annotations

from pathlib import Path

# jemalloc: pages stay with the process while they are in use again within seconds; one arena, large extents used again.
KEEP_PAGES = "dirty_decay_ms:10000,muzzy_decay_ms:-1,narenas:1,lg_extent_max_active_fit:20"


def allocator_environment(library: Path | None) -> dict[str, str]:
    """Environment of a worker whose allocator is jemalloc and keeps its pages; {} where the library is not there.

    glibc's gives freed pages back and asks for them again at every step, which can cost a training loop a factor of
    ten.
    """
    if library is None or not library.exists():
        return {}
    return {"LD_PRELOAD": str(library), "MALLOC_CONF": KEEP_PAGES}
