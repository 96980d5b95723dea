"""Edits held to their true results: pixels, features, and whether a result is nearer to its target than its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from components.evaluation.editing import outside_psnr
from pipelines.judging.cases import EditCase
from pipelines.judging.judge import EDITS, Judge, Row
from pipelines.judging.named_features import Extract

if TYPE_CHECKING:
    from torch import Tensor

# (made, truth), float32 [B, 3, S, S] in 0..1 -> distances [B]
Distance = Callable[["Tensor", "Tensor"], "Tensor"]


class Reference(Judge):
    """Rows of `psnr` (dB), `ssim` and, with its weights, `lpips` to the target; `preservation_psnr`, outside the mask
    to the source, where there is a mask; for each of `features`: `similarity_F` to the target, `nearer_target_F` (than
    to the source), and `direction_F`, the cosine of the change with the wanted change.
    """

    judges: ClassVar[tuple[str, ...]] = (EDITS,)
    suffixed: ClassVar[bool] = False
    name = "reference"

    def __init__(self, features: Mapping[str, Extract], lpips: Distance | None, about: Mapping[str, Any]) -> None:
        self._features, self._lpips, self._about = features, lpips, dict(about)
        self._of: tuple[Sequence[EditCase], np.ndarray, np.ndarray] | None = None

    def protocol(self) -> dict[str, Any]:
        """Return the features, and how they and LPIPS are computed."""
        return {"kind": "reference", **self._about}

    def judge_edits(self, cases: Sequence[EditCase], pictures: np.ndarray) -> list[Row]:
        """Return the row of each result."""
        from components.evaluation.editing import direction, feature_similarity, nearer_to_target
        from components.evaluation.reconstruction import SSIM_WINDOW, picture_psnr, picture_ssim

        if not cases:
            return []
        sources, targets = self._pictures(cases)
        made, truth = _pixels(pictures), _pixels(targets)
        columns: dict[str, Sequence[Any]] = {"psnr": picture_psnr(truth, made).tolist()}
        if min(pictures.shape[1:3]) >= SSIM_WINDOW:
            # One by one: on a CPU the convolutions of a batch take five times as long.
            columns["ssim"] = [picture_ssim(a, b).item() for a, b in zip(truth.split(1), made.split(1), strict=True)]
        if self._lpips is not None:
            columns["lpips"] = [float(d) for a, b in zip(made.split(16), truth.split(16), strict=True)
                                for d in self._lpips(a, b)]  # fmt: skip
        columns["preservation_psnr"] = [
            None if case.mask is None else outside_psnr(picture, case.source, case.mask)
            for case, picture in zip(cases, pictures, strict=True)
        ]
        for name, extract in self._features.items():
            of_source, of_made, of_target = extract(sources), extract(pictures), extract(targets)
            columns[f"similarity_{name}"] = feature_similarity(of_made, of_target)
            columns[f"nearer_target_{name}"] = nearer_to_target(of_source, of_made, of_target)
            columns[f"direction_{name}"] = direction(of_source, of_made, of_target)
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _pictures(self, cases: Sequence[EditCase]) -> tuple[np.ndarray, np.ndarray]:
        """Return sources and targets; the same arrays for the same cases, so that their features are taken once."""
        if self._of is None or self._of[0] is not cases:
            self._of = cases, np.stack([c.source for c in cases]), np.stack([c.target for c in cases])
        return self._of[1:]


def _pixels(pictures: np.ndarray) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
