"""Edit pairs per second and core from photos of 256 px, and how many photos a bare loop decodes in that time.

    python -m tests.benchmarks.edit_pairs [FOLDER]

Everything that `synthesize_edits` does with a photo counts: decoding, trying editors, the checks, encoding the pair as
PNG. Photos of FOLDER (default: $PIXSEM_ASSETS/photos where set), as JPEG of 256 px. Times are the process's own.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median

import cv2

from components.curation.editing.base import EditPair
from components.curation.editing.options import EditOptions
from components.curation.editing.photo import Donor
from components.curation.editing.synthesize import fit_size, generator_for, synthesize
from components.curation.images import decode_image, encode_jpeg
from components.curation.options import ImageLimits
from pipelines.stages.data.pair_parts import pair_images
from pipelines.stages.data.synthesize_edits import DONORS, PNG_LEVEL

SIDE, PHOTOS, ROUNDS = 256, 120, 3
LIMITS = ImageLimits()


def photos_of(folder: Path) -> list[bytes]:
    """Return photos as JPEG files of `SIDE` pixels, spread over the folder."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    chosen = files[:: max(1, len(files) // PHOTOS)][:PHOTOS]
    return [encode_jpeg(fit_size(decode_image(p.read_bytes(), LIMITS).rgb, SIDE), 95) for p in chosen]


def make_pairs(photos: list[bytes], outcomes: Counter[str]) -> int:
    """Make the pairs of a shard of photos and return their number."""
    donors = [Donor(str(n), decode_image(data, LIMITS).rgb) for n, data in enumerate(photos[:DONORS])]
    made = 0
    for number, data in enumerate(photos):
        rgb = decode_image(data, LIMITS).rgb
        others = [donor for donor in donors if donor.key != str(number)]
        for result in synthesize(rgb, generator_for(rgb, 0), EditOptions(), others):
            outcomes[result.kind if isinstance(result, EditPair) else f"({result.reason})"] += 1
            if isinstance(result, EditPair):
                made += 1
                pair_images(result.source, result.target, result.mask, PNG_LEVEL)
    return made


def main() -> None:
    """Run on a folder of photos."""
    default = Path(os.environ["PIXSEM_ASSETS"], "photos") if "PIXSEM_ASSETS" in os.environ else None
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    if folder is None:
        sys.exit("give a folder of photos, or set PIXSEM_ASSETS")
    cv2.setNumThreads(1)
    photos = photos_of(folder)
    make_pairs(photos[:4], Counter())  # loads what is loaded once
    rates, outcomes = [], Counter[str]()
    for _ in range(ROUNDS):
        start = time.process_time()
        for data in photos:
            decode_image(data, LIMITS)
        decoding = time.process_time() - start
        outcomes.clear()
        start = time.process_time()
        made = make_pairs(photos, outcomes)
        making = time.process_time() - start
        rates.append((made / making, len(photos) / decoding, decoding / len(photos) / (making / made)))
    pairs, decoded, ratio = (median(column) for column in zip(*rates, strict=True))
    print(f"{len(photos)} photos of {SIDE} px: {made} pairs, {pairs:.1f} pairs/s and core")
    print(f"decode only: {decoded:,.0f} photos/s; a pair takes as long as decoding {1 / ratio:.0f} photos")
    print("; ".join(f"{name} {count}" for name, count in sorted(outcomes.items())))


if __name__ == "__main__":
    main()
