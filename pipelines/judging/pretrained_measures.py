"""Models that measures need, as the configuration names them: LPIPS, and Inception for rFID."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipelines.errors import UserError
from pipelines.store.files import Store
from pipelines.store.published_weights import FETCH, INCEPTION, LPIPS, find_published, get_published, published


def load_lpips(weights: str, store: Store) -> Any:
    """Return `components.tokenizer.lpips.Lpips` of a folder, or of the published files where `weights` is `fetch`.

    A folder without linear heads gets the published ones, which torchmetrics ships. `UserError` where files are missing
    or damaged.
    """
    from components.tokenizer.lpips import Lpips

    try:
        if weights == FETCH:
            network, heads = (get_published(name, store) for name in LPIPS)
            return Lpips.of_files(network, heads)
        return Lpips.load(weights, find_published(LPIPS[1], store))
    except ValueError as error:
        raise UserError(str(error)) from error


def load_inception(weights: str, store: Store, device: Any) -> tuple[Callable[[Any], Any], str]:
    """Return a function from pictures float `[B, 3, H, W]` in -1..1 to features `[B, 2048]`, and what the weights are:
    `published`, or the sha256 of a file that the user named.

    `UserError` where the file is missing, damaged or gives no features.
    """
    import torch

    from components.vision_models.inception import load_inception

    known = published()[INCEPTION].sha256
    fetched = weights == FETCH
    try:
        path = get_published(INCEPTION, store) if fetched else weights
        extract, digest = load_inception(path, device, known if fetched else None)
    except ValueError as error:
        raise UserError(str(error)) from error

    def features(pictures: Any) -> Any:
        return extract(((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))

    return features, "published" if digest == known else digest
