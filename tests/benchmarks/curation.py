"""Samples per second per core of measure and curate, as a ratio to a bare loop that only decodes the same images.

    python -m tests.benchmarks.curation [FOLDER]

Measures scenes of 64 px, and the photos of FOLDER (default: $PIXSEM_ASSETS/photos/coco/images where set) at their own
size.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from components.curation.decide import decide
from components.curation.images import decode_image, encode_png
from components.curation.options import CurationRules, ImageLimits
from components.curation.signals import SIGNAL_SCHEMA, measure_all
from components.scenes.describe import describe
from components.scenes.options import SceneOptions
from components.scenes.render import render
from components.scenes.scene import sample_scene

ROUNDS = 5
LIMITS = ImageLimits()


def rate(action, count: int) -> float:
    """Return samples per second of this process's own time, which other load on the machine hardly changes."""
    start = time.process_time()
    action()
    return count / (time.process_time() - start)


def compare(name: str, samples: list[tuple[bytes, str]]) -> None:
    """Print the rates of measuring and deciding beside that of decoding alone, interleaved, medians of the rounds."""
    rows: list[dict] = []

    def bare() -> None:
        for data, _ in samples:
            decode_image(data, LIMITS)

    def signals() -> None:
        rows[:] = [row | {"shard": "0", "key": str(i)} for i, row in enumerate(measure_all(samples, LIMITS))]

    def decisions() -> None:
        decide({column: [row[column] for row in rows] for column in SIGNAL_SCHEMA}, CurationRules())

    signals()  # loads the language model
    rates = np.array([[rate(action, len(samples)) for action in (bare, signals, decisions)] for _ in range(ROUNDS)])
    decoding, measuring, deciding = (median(column) for column in rates.T)
    ratio = median(rates[:, 1] / rates[:, 0])
    print(
        f"{name}: {len(samples)} images; decode only {decoding:,.0f}/s, measure {measuring:,.0f}/s = {ratio:.2f} of it"
    )
    print(
        f"{name}: curate (decisions, duplicates included) {deciding:,.0f} samples/s = {deciding / measuring:.1f} "
        "times measure"
    )


def main() -> None:
    """Run on scenes, and on photos where there are some."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    scenes = [sample_scene(SceneOptions(), rng) for _ in range(1000)]
    compare("scenes 64 px", [(encode_png(render(s)), describe(s, rng)) for s in scenes])
    default = Path(os.environ["PIXSEM_ASSETS"], "photos/coco/images") if "PIXSEM_ASSETS" in os.environ else None
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    if folder is None:
        print("photos: not measured; give a folder, or set PIXSEM_ASSETS")
        return
    photos = [p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    compare(
        f"photos of {folder.name}",
        [(data, f"a photo of thing number {i} in a street") for i, data in enumerate(photos)],
    )


if __name__ == "__main__":
    main()
