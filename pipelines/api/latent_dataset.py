"""Latent shards as a torch data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import Dataset

from components.data.latent_reader import LatentDataset as Reader
from pipelines.errors import UserError
from pipelines.store.artifacts import Artifact, list_artifacts
from pipelines.store.files import Store

STAGE = "encode_latents"


class LatentDataset(Dataset[dict[str, Any]]):
    """Standardized latents from Arrow shards, memory-mapped; it can be pickled for a `DataLoader`'s workers.

    `source` is a folder of `*.arrow` (looked through to any depth), or `encode_latents` (the newest artifact in
    `store`) or `encode_latents/FINGERPRINT`. An item is `{"key", "text", "latent", "flipped"}`, of an edit also
    `"source"`: latents are float32 `[C, H, W]`. `kind` keeps captions or edits alone. `mean` and `std` `[C]` are those
    of the raw latents; `shape` is (C, H, W). Raises `ValueError`, in words, where there are no latents, or a shard is
    damaged or of another tokenizer than the first.
    """

    def __init__(
        self, source: str | Path, store: str = "./store", kind: Literal["captions", "edits"] | None = None
    ) -> None:
        paths = _shards(source, store, kind)
        if not paths:
            raise UserError(
                f"{source} holds no latent shards{f' of {kind}' if kind else ''}; make them with: pixsem run "
                f"--until {STAGE}"
            )
        self._reader = Reader(paths, None)
        spec = self._reader.spec
        self.shape: tuple[int, int, int] = spec.shape
        self.mean, self.std = torch.tensor(spec.mean), torch.tensor(spec.std)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return an item; negative indices count from the end. IndexError where there is none."""
        row = self._reader.row(index + len(self) if index < 0 else index)
        item = {"key": row.key, "text": row.text, "latent": torch.tensor(row.latent).float(), "flipped": row.flipped}
        return item if row.source is None else {**item, "source": torch.tensor(row.source).float()}


def _shards(source: str | Path, store: str, kind: str | None) -> list[Path]:
    folder = Path(source)
    if folder.is_dir():
        return sorted(
            path for path in folder.rglob("*.arrow") if kind is None or kind in path.relative_to(folder).parts
        )
    stage, _, fingerprint = str(source).partition("/")
    if stage != STAGE:
        raise UserError(f"{source} is neither a folder with *.arrow nor {STAGE} or {STAGE}/FINGERPRINT")
    opened = Store(store)
    found = [a for _, f, a in list_artifacts(opened, STAGE) if isinstance(a, Artifact) and fingerprint in ("", f)]
    if not found:
        raise UserError(f"the store {store} holds no artifact {source}; make it with: pixsem run --until {STAGE}")
    newest = max(found, key=lambda artifact: artifact.manifest.created)
    if not opened.is_local:
        raise UserError(f"the store {store} is remote: copy {opened.path(newest.path)} to a folder, and give that.")
    return [opened.local(path) for path in newest.files(f"{kind or '*'}/*.arrow")]
