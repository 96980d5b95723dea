"""Edits held to their instructions: shares that are right by kind, beside chance and ceiling, and what became of the
rest of the picture. Cases and readings are a `JudgedWorld`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluation.editing import inside_residue, object_trace, outside_psnr
from components.evaluation.grids import captioned_grid
from pipelines.judging.cases import EditCase
from pipelines.stage import derive_seed
from pipelines.stages.generator.judge import Judge, every, others, shares

SHOWN = 16  # edits on the grid
# share of a removed object's own difference from what is behind it: more is a ghost, beside what the tokenizer leaves
GHOST = 0.05


class EditJudge:
    """All figures that a world can give of a generator's edits. Single judgements are added to the judge's `rows`."""

    def __init__(self, judge: Judge) -> None:
        self.maker, self.world, self.seed = judge.maker, judge.world, judge.seed
        self.guidance, self.count = judge.guidance, judge.settings.edits
        self.absent, self.rows = judge.absent, judge.rows
        self._shown: list[tuple[EditCase, np.ndarray, bool | None]] = []

    def cases(self) -> list[EditCase]:
        """Return the edits that are judged, kind by kind."""
        return [case for kind in self.world.edit_kinds for case in self.world.edits(kind, self.count)]

    def editing(self) -> dict[str, Any]:
        """Return by kind the share of edits whose result is exactly the edited picture, and what became of the rest of
        it. Without a reader there are results and no shares.

        A removal is no success where more is left of the object, whatever the reader says, than `GHOST` of its own
        difference from what is behind it, and than twice what the tokenizer leaves (95th percentile): a ghost.
        """
        cases = self.cases()
        made_kinds = {case.kind for case in cases}
        if self.world.unjudged:
            self.absent["editing.success"] = self.world.unjudged
        else:
            missing = [kind for kind in self.world.edit_kinds if kind not in made_kinds]
            missing += [name for name, kinds in self.world.edit_groups.items() if not made_kinds & set(kinds)]
            self.absent |= {f"editing.{name}": self.world.no_edits for name in missing}
        if not cases:
            return {}
        made = self.maker("edits", [case.instruction for case in cases], np.stack([case.source for case in cases]))
        if self.world.unjudged:
            self._keep(cases, made, [None] * len(cases), [None] * len(cases), {})
            return {}
        return self._judged(cases, made)

    def _judged(self, cases: list[EditCase], made: np.ndarray) -> dict[str, Any]:
        world = self.world
        readings = world.read_edits(made, cases)
        kept = self.maker.decoded(np.stack([case.target for case in cases]))
        right = [world.edited_right(case, reading) for case, reading in zip(cases, readings, strict=True)]
        values, residues, ghosts = removals(cases, made, kept)
        if residues:
            values["remove_by_the_inspector_alone"] = float(np.mean([right[i] for i in residues]))
            right = [ok and i not in ghosts for i, ok in enumerate(right)]
        by_kind = shares([case.kind for case in cases], right)
        values["success"] = by_kind.pop("overall")
        values |= by_kind
        for name, kinds in world.edit_groups.items():
            of_group = [ok for case, ok in zip(cases, right, strict=True) if case.kind in kinds]
            values |= {name: float(np.mean(of_group))} if of_group else {}
        values["copy_source"] = float(np.mean([world.source_right(case) for case in cases]))
        ring = others(len(cases), np.random.default_rng(derive_seed(self.seed, "edit chance")))
        values["chance"] = self._share(cases, [readings[j] for j in ring])
        values["ceiling"] = self._share(cases, world.read_edits(kept, cases))
        values["preservation_psnr"] = mean_psnr(made, cases)
        sources = self.maker.decoded(np.stack([case.source for case in cases]))
        values["preservation_psnr_of_reconstructions"] = mean_psnr(sources, cases)
        self._keep(cases, made, readings, right, residues)
        return {name: value for name, value in values.items() if value is not None}

    def _share(self, cases: Sequence[EditCase], readings: Sequence[Any]) -> float:
        return float(np.mean([self.world.edited_right(c, reading) for c, reading in zip(cases, readings, strict=True)]))

    def _keep(
        self,
        cases: list[EditCase],
        made: np.ndarray,
        readings: Sequence[Any],
        right: Sequence[bool | None],
        residues: dict[int, float],
    ) -> None:
        for i, (case, ok) in enumerate(zip(cases, right, strict=True)):
            read = None if ok is None else self.world.plain(readings[i])
            self.rows.append(
                {"split": "edits", "category": case.kind, "prompt": case.instruction, "right": ok,
                 "guidance_scale": self.guidance, "read": read, "residue": residues.get(i), **case.row}
            )  # fmt: skip
        self._shown = [(cases[i], made[i], right[i]) for i in every(len(cases), SHOWN)]

    def grid(self, path: Path) -> None:
        """Draw edits between source and truth; wrong ones are marked."""
        cells = [(case.instruction, [case.source, made, case.target], ok) for case, made, ok in self._shown]
        if cells:
            captioned_grid(cells, 2).save(path)


def removals(
    cases: Sequence[EditCase], made: np.ndarray, kept: np.ndarray
) -> tuple[dict[str, Any], dict[int, float], set[int]]:
    """Return what is left of removed objects: figures, each removal's residue, and which of them are ghosts.

    `made` and `kept` are uint8 [N, S, S, 3]: the results, and the true ones through the latent space.
    """
    removed = [
        (i, c.source, c.target, c.mask) for i, c in enumerate(cases) if c.kind == "remove" and c.mask is not None
    ]
    if not removed:
        return {}, {}, set()
    residue = {i: inside_residue(made[i], target, mask) for i, _, target, mask in removed}
    floor = [inside_residue(kept[i], target, mask) for i, _, target, mask in removed]
    whole = {i: inside_residue(source, target, mask) for i, source, target, mask in removed}
    limit = 2 * float(np.percentile(floor, 95))
    ghosts = {i for i, left in residue.items() if left > max(limit, GHOST * whole[i])}
    traces = [object_trace(made[i], source, target, mask) for i, source, target, mask in removed]
    values = {
        "removal_residue": float(np.mean(list(residue.values()))),
        "removal_residue_of_reconstructions": float(np.mean(floor)),
        "removal_residue_of_source": float(np.mean(list(whole.values()))),
        "removal_ghosts": len(ghosts) / len(removed),
        "removal_trace": float(np.mean(np.abs(traces))),
    }
    return values, residue, ghosts


def mean_psnr(made: np.ndarray, cases: Sequence[EditCase]) -> float | None:
    """Return the mean over pictures of the PSNR outside the mask, against the source, None where no picture has an
    outside: edits of the whole picture, and those whose mask is not known.
    """
    found = [
        outside_psnr(picture, case.source, case.mask)
        for picture, case in zip(made, cases, strict=True)
        if case.mask is not None
    ]
    numbers = [value for value in found if value is not None]
    return float(np.mean(numbers)) if numbers else None
