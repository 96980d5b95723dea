"""Whether a safetensors file is whole, from its header alone."""

from __future__ import annotations

import json
from pathlib import Path

MOST_HEADER = 100 * 2**20  # bytes; safetensors' own limit


def broken_weights(path: Path) -> str:
    """Say what is wrong with a safetensors file and what to do; empty where its header is right and its size is what
    that says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            header = file.read(length) if len(start) == 8 and length <= min(size, MOST_HEADER) else b""
        if start == b"version ":
            return f"{path.name} is a pointer of Git LFS, not weights. Fetch them with: git lfs pull"
        ends = [int(entry["data_offsets"][1]) for name, entry in json.loads(header).items() if name != "__metadata__"]
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}. Change its permissions, or give another folder."
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return f"{path.name} is no safetensors file, or cut short. Fetch it again."
    wanted = 8 + length + max(ends, default=0)
    return "" if size == wanted else f"{path.name} has {size:,} bytes where its header says {wanted:,}. Fetch it again."
