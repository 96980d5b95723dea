"""The front page's picture, from a run of the demo: its prompts and its edits side by side.

`python -m tests.benchmarks.front_picture [STORE]` takes the latest run of a store and writes `tests/results/front.png`.
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


def main() -> None:
    store = Store(sys.argv[1] if len(sys.argv) > 1 else "./store")
    artifacts = run_artifacts(store, read_run(store, list_run_ids(store)[-1]))
    pictures = []
    for name in ("generated.png", "edits.png"):
        (path,) = artifacts["evaluate_generator"].files(name)
        pictures.append(Image.open(io.BytesIO(store.read_bytes(path))).convert("RGB"))
    width = sum(picture.width for picture in pictures) + GAP
    whole = Image.new("RGB", (width, max(picture.height for picture in pictures)), PAPER)
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width + GAP
    whole.quantize(128, dither=Image.Dither.NONE).save(
        Path(__file__).parents[1] / "results" / "front.png", optimize=True
    )
    print(f"{whole.size} pixels, of run {list_run_ids(store)[-1]}")


if __name__ == "__main__":
    main()
