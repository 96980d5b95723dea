"""Pictures that one core decodes for training in a second, by their size, as a ratio to PIL's bare decoder.

    python -m tests.benchmarks.decode [FOLDER]

The photos of FOLDER (default: $PIXSEM_ASSETS/photos/coco/images) as JPEG of quality 90 at several sizes, through what a
training worker does: `decode_image`, then `square` to 256 pixels. Prints the line `a + b * pixels` through the times,
which `pixsem plan` reckons its loader with (pipelines/sizing/assumptions.py).
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from components.curation.images import decode_image, encode_jpeg, square
from components.curation.options import ImageLimits

SIDE = 256
LONGER = (341, 640, 1155, 2048)  # pixels of the longer side: 87 thousand pixels to 3.1 million
ROUNDS = 5
LIMITS = ImageLimits()


def seconds(action: Callable[[bytes], object], files: list[bytes]) -> float:
    """Return this process's own time for a picture, which other load on the machine hardly changes."""
    started = time.process_time()
    for data in files:
        action(data)
    return (time.process_time() - started) / len(files)


def main() -> None:
    """Measure each size."""
    default = Path(os.environ["PIXSEM_ASSETS"], "photos/coco/images") if "PIXSEM_ASSETS" in os.environ else None
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    if folder is None:
        sys.exit("give a folder of photos, or set PIXSEM_ASSETS")
    photos = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir()) if path.suffix in (".jpg", ".png")]
    pixels, times = [], []
    for longer in LONGER:
        sizes = [tuple(max(1, round(side * longer / max(p.size))) for side in p.size) for p in photos]
        files = [
            encode_jpeg(np.asarray(p.resize(size, Image.Resampling.BICUBIC)), 90)
            for p, size in zip(photos, sizes, strict=True)
        ]
        ours = [seconds(lambda data: square(decode_image(data, LIMITS).rgb, SIDE), files) for _ in range(ROUNDS)]
        bare = [seconds(lambda data: Image.open(io.BytesIO(data)).load(), files) for _ in range(ROUNDS)]
        pixels.append(np.mean([width * height for width, height in sizes]))
        times.append(median(ours))
        ratio = median(b / o for b, o in zip(bare, ours, strict=True))
        print(f"{pixels[-1]:,.0f} pixels: {1 / times[-1]:,.0f} pictures/s per core, {ratio:.2f} of the bare decoder")
    slope, start = np.polyfit(pixels, times, 1, w=1 / np.asarray(times))
    print(f"{1e3 * start:.2f} ms a picture and {1e9 * slope:.1f} ns a pixel")


if __name__ == "__main__":
    main()
