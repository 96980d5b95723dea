"""What a page is made of: a run, its report, its artifacts, and pictures small enough for one page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PIL import Image

from components.curation.images import ImageError, decode_image
from components.curation.options import ImageLimits
from pipelines.stage import base_of, fetched
from pipelines.store.artifacts import Artifact, find_artifact
from pipelines.store.files import Store
from pipelines.store.runs import Run

LOSSLESS = 96  # longer side, pixels, up to which a picture is kept exactly: small drawings suffer from compression
QUALITY = 80
LIMITS = ImageLimits()


@dataclass(frozen=True)
class Picture:
    """A picture on the page: a data: URI and its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass
class Material:
    """A run with `report`, what `pixsem report --json` says of it. `left_out` says what the page does not show."""

    store: Store
    run: Run
    report: dict[str, Any]
    left_out: list[str] = field(default_factory=list)

    @cached_property
    def artifacts(self) -> dict[str, Artifact]:
        """The committed artifacts of the run's stages, in the order of the stages."""
        done = {name: state for name, state in self.run.stages.items() if state.state == "done"}
        found = {name: find_artifact(self.store, name, state.fingerprint) for name, state in done.items()}
        return {name: artifact for name, artifact in found.items() if artifact is not None}

    @property
    def metrics(self) -> dict[str, Any]:
        """The run's figures, nested."""
        return dict(self.report["metrics"])

    def instances(self, base: str) -> dict[str, Artifact]:
        """Return the artifacts of a stage and of its instances."""
        return {name: artifact for name, artifact in self.artifacts.items() if base_of(name) == base}

    def read(self, path: str) -> bytes | None:
        """Return a file of the store; None where it is gone or damaged, which the page then says."""
        try:
            with fetched(self.store, path) as local:
                return local.read_bytes()
        except (ValueError, OSError) as error:
            self.left_out.append(f"{path}: {error}")
            return None


@dataclass
class Album:
    """Re-encodes pictures as WebP until `room` bytes of page are used up; `refused` counts those after that, and those
    that cannot be decoded.
    """

    room: int
    side: int  # longer side of what is shown, pixels
    refused: int = 0

    def add(self, data: bytes | None) -> Picture | None:
        """Return a picture's file for the page; None where there is none, or no room for it."""
        return self.keep(self.shrunk(data)) if data else None

    def shrunk(self, data: bytes) -> Image.Image | None:
        """Return a picture's file as small as the page shows it; None where it cannot be decoded."""
        try:
            picture = Image.fromarray(decode_image(data, LIMITS).rgb)
        except ImageError:
            self.refused += 1
            return None
        picture.thumbnail((self.side, self.side), Image.Resampling.LANCZOS)
        return picture

    def keep(self, picture: Image.Image | None) -> Picture | None:
        """Return a picture for the page; None from the first on for which there is no room."""
        if picture is None:
            return None
        if not self.room:
            self.refused += 1
            return None
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", lossless=max(picture.size) <= LOSSLESS, quality=QUALITY)
        uri = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        if len(uri) > self.room:
            self.room = 0
            self.refused += 1
            return None
        self.room -= len(uri)
        return Picture(uri, *picture.size)


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers below `count`, at equal steps, with the first and the last."""
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / max(1, most - 1)) for place in range(most)})
