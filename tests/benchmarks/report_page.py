"""How long the page of a run takes, and how large it is, with as many photographs as it shows at most.

python -m tests.benchmarks.report_page [--side 256] [--prompts 1000] [--edits 400]

Pictures are crops of scikit-image's photographs. The reference is the encoding of the same pictures alone, by Pillow.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from pipelines.gallery.judged import EDITS, PROMPTS
from pipelines.gallery.material import QUALITY
from pipelines.gallery.run_page import SINGLE, gallery_page
from pipelines.workflow.report import report
from tests.unit.pipelines.gallery.whole_run import picture_rows, png, whole_run


def crops(count: int, side: int) -> list[Image.Image]:
    """Crops of photographs, the same every time."""
    rng, photos = np.random.default_rng(0), [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    found = []
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (int(rng.integers(0, max(1, size - side))) for size in photo.shape[:2])
        found.append(Image.fromarray(photo[top : top + side, left : left + side]).resize((side, side)))
    return found


def main() -> None:
    """Print seconds and megabytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--edits", type=int, default=400)
    asked = parser.parse_args()
    photos = crops(64, asked.side)
    files = [png(photo) for photo in photos]
    rows = picture_rows(asked.prompts, asked.edits)
    for number, row in enumerate(rows):
        for name in ("picture", "source", "truth"):
            row[name] = files[number % len(files)] if row[name] else None
    with tempfile.TemporaryDirectory() as folder:
        store, run = whole_run(Path(folder), rows)
        told = report(store, run)
        times = []
        for _ in range(3):
            started = time.perf_counter(), time.process_time()
            page = gallery_page(store, run, told)
            times.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    started = time.perf_counter(), time.process_time()
    for number in range(PROMPTS + 3 * EDITS):
        photo = photos[number % len(photos)].copy()
        photo.thumbnail((SINGLE, SINGLE), Image.Resampling.LANCZOS)
        photo.save(io.BytesIO(), "WEBP", quality=QUALITY)
    alone = time.perf_counter() - started[0], time.process_time() - started[1]
    told_of = {"the page, first": times[0], "the page, again": min(times[1:]), "its pictures, encoded alone": alone}
    for words, (wall, cpu) in told_of.items():
        print(f"{words:28} {wall:6.2f} s, {cpu:6.2f} s of a core")
    print(f"{'size':28} {len(page.encode()) / 1e6:6.2f} MB, {page.count('<img ')} pictures")


if __name__ == "__main__":
    main()
