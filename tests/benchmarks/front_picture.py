"""The front page's picture, from a run of the demo: the first rows of its prompts and of its edits, side by side.

`python -m tests.benchmarks.front_picture [STORE]` takes the latest run of a store and writes `tests/results/front.png`.
What the grids show is every n-th prompt and edit, so nothing is chosen by hand.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from pipelines.store.files import Store
from pipelines.store.runs import list_run_ids, read_run
from pipelines.workflow.report import run_artifacts

GAP = 24  # pixels between the two grids
PAPER = (236, 236, 236)
ROWS = {"generated.png": (4, 6), "edits.png": (5, 8)}  # rows that are shown, of those there are


def main() -> None:
    store = Store(sys.argv[1] if len(sys.argv) > 1 else "./store")
    run = list_run_ids(store)[-1]
    artifacts = run_artifacts(store, read_run(store, run))
    pictures = []
    for name, (shown, rows) in ROWS.items():
        (path,) = artifacts["evaluate_generator"].files(name)
        whole = Image.open(io.BytesIO(store.read_bytes(path))).convert("RGB")
        pictures.append(whole.crop((0, 0, whole.width, whole.height * shown // rows)))
    width = sum(picture.width for picture in pictures) + GAP
    front = Image.new("RGB", (width, max(picture.height for picture in pictures)), PAPER)
    left = 0
    for picture in pictures:
        front.paste(picture, (left, 0))
        left += picture.width + GAP
    target = Path(__file__).parents[1] / "results" / "front.png"
    front.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {front.width} x {front.height} pixels, of run {run}")


if __name__ == "__main__":
    main()
