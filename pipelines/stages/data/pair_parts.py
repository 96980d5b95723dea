"""What one attempt at an edit pair gives, and a pair's pictures as parts of a record."""

from __future__ import annotations

from typing import Any

# (row of the attempt, parts of the pair, what its json says beside); no parts: no pair came of it
Made = tuple[dict[str, str], dict[str, bytes], dict[str, Any]]


def pair_images(source: Any, target: Any, mask: Any, level: int = 6) -> dict[str, bytes]:
    """Return a pair's pictures as a record's parts: uint8 [H, W, 3] twice, and the mask, bool [H, W], or None.

    `level` is PNG's. Of photos 2 is 2.5 times as fast as 6, for 7 % more bytes.
    """
    import numpy as np

    from components.curation.images import encode_png

    parts = {"source.png": encode_png(source, level), "target.png": encode_png(target, level)}
    if mask is None:
        return parts
    changed = np.repeat((mask.astype(np.uint8) * 255)[..., None], 3, axis=2)
    return parts | {"mask.png": encode_png(changed)}
