"""Pictures made in this process, by a model that is opened for them."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.serve.version import Serving


class LocalPictures:
    """Makes pictures with a model's folder or registered version, several at a time."""

    def __init__(self, model: str, store: str, batch: int) -> None:
        self.model, self.store, self.batch = model, store, batch

    def make(self, rows: Sequence[dict[str, Any]], image: Path | None) -> Iterator[bytes]:
        """Yield the PNG of each row. ValueError, in words, for what cannot be made: before the model is opened, where
        that can be known.
        """
        from pipelines.cli.picture_progress import progress
        from pipelines.serve.making import Job, Told, make
        from pipelines.serving import read_picture, read_request

        source = read_picture(image.read_bytes(), str(image)) if image else None
        jobs = [Job({**read_request(row, number), "image": source}) for number, row in enumerate(rows)]
        with progress(len(jobs)) as told_of:
            serving = _open(self.model, self.store)
            for first in range(0, len(jobs), self.batch):
                batch = jobs[first : first + self.batch]
                pngs: dict[Job, bytes] = {}

                def tell(told: Told, first: int = first, batch: list[Job] = batch, pngs: Any = pngs) -> None:
                    for job, news in told.items():
                        if isinstance(news, ValueError):
                            raise news
                        if isinstance(news, Exception):
                            raise UserError(f"the model failed: {news}. A smaller --batch takes less memory.")
                        if news["kind"] == "picture":
                            pngs[job] = news["png"]
                        else:
                            told_of(first + len(batch) * news["step"] / news["steps"])

                make(serving, batch, tell)
                yield from (pngs[job] for job in batch)


def _open(model: str, store: str) -> Serving:
    """Open a model. The collector of cycles rests meanwhile: it would look again and again through all that is
    imported, for a quarter of the time.
    """
    from pipelines.tracking.open_version import open_version

    opened = open_version(model, store)
    gc.disable()
    try:
        _import_pipeline()
        from pipelines.serve.version import open_serving

        return open_serving(opened)
    finally:
        gc.freeze()
        gc.enable()


def _import_pipeline() -> None:
    """Import the pipeline's classes, without what is a sixth of the time and not used: scipy.stats, which schedulers of
    diffusers ask for as `scipy.stats` where they make a beta schedule. scipy imports it at that moment by itself.
    """
    with contextlib.ExitStack() as after:
        if "scipy.stats" not in sys.modules:
            sys.modules["scipy.stats"] = ModuleType("scipy.stats")
            after.callback(sys.modules.pop, "scipy.stats")
        import components.generator.pipeline  # noqa: F401
