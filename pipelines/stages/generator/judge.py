"""Generated pictures held to their prompts: shares that are right by category, beside chance and ceiling, by guidance
and over training. The judge knows no world: prompts, true pictures and readings are a `JudgedWorld`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluation.grids import captioned_grid, curve_figure, reconstruction_grid
from pipelines.config.schema import Config
from pipelines.judging.cases import Asked
from pipelines.stage import derive_seed
from pipelines.stages.evaluation import spread
from pipelines.stages.generator.generator_setup import snapshots
from pipelines.stages.generator.judged_world import EXACT, HELD_OUT, SINGLE, JudgedWorld
from pipelines.stages.generator.sample_sets import Maker
from pipelines.store.artifacts import Artifact

SHOWN = 24  # pictures on the grid of prompts
COLUMNS = 8  # prompts on the grid of snapshots

File = Callable[[str], Path]  # the local path of a named file of the artifact


@dataclass(frozen=True)
class Judged:
    """Prompts with what was made of them, uint8 [N, S, S, 3], what was read, and what of it is right; no readings where
    the world cannot read.
    """

    asked: list[Asked]
    pictures: np.ndarray
    readings: list[Any]
    right: list[dict[str, bool]]

    def figures(self) -> dict[str, float]:
        """Return the shares that are right."""
        return figures(self.asked, self.right)


class Judge:
    """All figures that a world can give of a generator's pictures. `rows` holds every single judgement."""

    def __init__(self, maker: Maker, world: JudgedWorld, config: Config, seed: int, absent: dict[str, str]) -> None:
        self.maker, self.world, self.settings = maker, world, config.evaluate_generator
        self.guidance, self.seed, self.absent = config.generator.guidance_scale, seed, absent
        self.rows: list[dict[str, Any]] = []
        self._main: Judged | None = None

    def prompts(self, count: int, split: str = "") -> dict[str, list[Asked]]:
        """Return up to `count` prompts of each category that the world has, of a further split where it is named."""
        made = {name: self.world.prompts(name, count, split) for name in self.world.categories}
        return {name: prompts for name, prompts in made.items() if prompts}

    def judge(self, split: str, prompts: Mapping[str, list[Asked]], guidance: float | None = None) -> Judged:
        """Make a picture for each prompt and hold it to the prompt."""
        flat = [asked for group in prompts.values() for asked in group]
        # The same noise for the same prompt in every split, so that guidance scales and checkpoints differ by nothing
        # else.
        pictures = self.maker("prompts", [asked.text for asked in flat], guidance=guidance)
        readings = [] if self.world.unjudged else self.world.read(pictures)
        right = [self.world.right(asked, reading) for asked, reading in zip(flat, readings, strict=False)]
        for i, asked in enumerate(flat):
            row = {
                "split": split, "category": asked.category, "prompt": asked.text, "right": None, "read": None,
                "guidance_scale": self.guidance if guidance is None else guidance, **asked.row,
            }  # fmt: skip
            if readings:
                row |= {"right": right[i][EXACT], "read": self.world.plain(readings[i])}
                aspects = {name: ok for name, ok in right[i].items() if name != EXACT}
                row |= {"aspects": aspects} if aspects else {}
            self.rows.append(row)
        return Judged(flat, pictures, readings, right)

    def text_to_image(self) -> dict[str, Any]:
        """Return the shares of pictures that hold exactly what was asked, with their chance and ceiling, of each
        further split, and by guidance. Without a reader there are pictures and no shares.
        """
        prompts = self.prompts(self.settings.prompts)
        if self.world.unjudged:
            self.absent["text_to_image.overall"] = self.world.unjudged
        else:
            for name in self.world.categories:
                if name not in prompts:
                    self.absent[f"text_to_image.{name}"] = self.world.no_prompts
        if not prompts:
            return {}
        main = self._main = self.judge(HELD_OUT, prompts)
        if self.world.unjudged:
            return {}
        values: dict[str, Any] = dict(main.figures())
        ring = others(len(main.asked), np.random.default_rng(derive_seed(self.seed, "chance")))
        values["chance"] = self._held_to(main.asked, [main.readings[j] for j in ring])
        true = np.stack([self.world.picture(asked) for asked in main.asked])
        values["ceiling"] = self._held_to(main.asked, self.world.read(self.maker.decoded(true)))
        for split in self.world.splits:
            further = {} if split.absent else self.prompts(split.count, split.metric)
            if further:
                values[split.metric] = self.judge(split.name, further).figures()
            else:
                self.absent[f"text_to_image.{split.metric}"] = split.absent or self.world.no_prompts
        return values | {"by_guidance": self._by_guidance(main, prompts)}

    def _held_to(self, asked: Sequence[Asked], readings: Sequence[Any]) -> dict[str, float]:
        return figures(asked, [self.world.right(a, reading) for a, reading in zip(asked, readings, strict=True)])

    def _by_guidance(self, main: Judged, prompts: Mapping[str, list[Asked]]) -> dict[str, float]:
        """The overall share at every guidance scale, of the same few prompts of each category."""
        few = {name: group[: self.settings.guidance_prompts] for name, group in prompts.items()}
        first = {id(asked) for group in few.values() for asked in group}
        kept = [(a, ok) for a, ok in zip(main.asked, main.right, strict=True) if id(a) in first]
        found = {self.guidance: figures(*zip(*kept, strict=True))["overall"]}
        for scale in self.settings.guidance_scales:
            if scale not in found:
                found[scale] = self.judge(f"guidance {scale:g}", few, scale).figures()["overall"]
        return {f"{scale:g}".replace(".", "_"): value for scale, value in sorted(found.items())}

    def convergence(self, trainings: Sequence[tuple[Artifact, dict[str, Any]]], file: File) -> dict[str, Any]:
        """Return the overall share at the snapshots of trainings that follow each other, by samples seen in all.

        Draws the shares as `convergence.png`, and the pictures of a few prompts, a row for each snapshot, as
        `convergence_pictures.png`. Without a reader the pictures are `convergence.png`.
        """
        unjudged, count = self.world.unjudged, self.settings.checkpoint_prompts
        few = self.prompts(min(count, COLUMNS) if unjudged else count)
        found: dict[int, Judged] = {}
        before = 0
        for trained, options in trainings:  # as they were trained, by their manifests
            for name in snapshots(trained) if few else ():
                self.maker.use(trained, name)
                seen = before + int(name.removeprefix("step-")) * options["batch"]
                found[seen] = self.judge(f"checkpoint at {seen} samples", few)
            before += options["steps"] * options["batch"]
        if unjudged or not found:
            self.absent["text_to_image.checkpoints"] = unjudged or "generator.snapshots kept none"
        if not found:
            return {}
        self._snapshot_grid(found, file("convergence.png" if unjudged else "convergence_pictures.png"))
        if unjudged:
            return {}
        values = {seen: judged.figures() for seen, judged in found.items()}
        curve_figure(
            {c: [(seen, each[c]) for seen, each in values.items()] for c in ("overall", *few)},
            "samples seen, text-to-image and then the mixture with edits", "share exactly right",
            file("convergence.png"),
        )  # fmt: skip
        return {"checkpoints": {str(seen): each["overall"] for seen, each in values.items()}}

    def _snapshot_grid(self, found: Mapping[int, Judged], path: Path) -> None:
        """Draw the same few prompts at every snapshot, above their true pictures."""
        import torch

        asked = next(iter(found.values())).asked
        chosen = spread(range(len(asked)), COLUMNS)
        rows = {f"{seen:,} samples": judged.pictures[chosen] for seen, judged in found.items()}
        rows["truth"] = np.stack([self.world.picture(asked[i]) for i in chosen])
        reconstruction_grid(
            [(label, torch.from_numpy(each).permute(0, 3, 1, 2).float() / 255) for label, each in rows.items()],
            [asked[i].text for i in chosen],
        ).save(path)

    def grid(self, path: Path) -> None:
        """Draw prompts with their pictures; wrong ones are marked. Beside unjudged ones stands the true picture."""
        if self._main is None:
            return
        cells: list[tuple[str, list[np.ndarray], bool | None]] = []
        for i in every(len(self._main.asked), SHOWN):
            asked, made = self._main.asked[i], self._main.pictures[i]
            if self.world.unjudged:
                cells.append((asked.text, [made, self.world.picture(asked)], None))
            else:
                cells.append((asked.text, [made], self._main.right[i][EXACT]))
        captioned_grid(cells, 4).save(path)


def figures(asked: Sequence[Asked], right: Sequence[Mapping[str, bool]]) -> dict[str, float]:
    """Return the shares that are exactly right, with `overall` their mean.

    Where the world judges aspects of single objects there is also the share of each, over the prompts that say it, and
    of `EXACT`.
    """
    values = shares([a.category for a in asked], [each[EXACT] for each in right])
    aspects: dict[str, list[bool]] = defaultdict(list)
    for a, each in zip(asked, right, strict=True):
        for name, ok in each.items() if a.category == SINGLE else ():
            aspects[name].append(ok)
    return values | ({name: float(np.mean(oks)) for name, oks in aspects.items()} if len(aspects) > 1 else {})


def others(count: int, rng: np.random.Generator) -> list[int]:
    """Return for each of `count` the number of another one, each taken once; itself only where it is alone."""
    ring = rng.permutation(count)
    return [int(i) for i in np.roll(ring, -1)[np.argsort(ring)]]


def every(count: int, shown: int) -> range:
    """Return at most `shown` of the numbers below `count`, at equal steps."""
    step = max(1, count // shown)
    return range(0, count, step)[:shown]


def shares(groups: Sequence[str], right: Sequence[bool]) -> dict[str, float]:
    """Return the share that is right in each group, and `overall`: the mean over groups, as GenEval's."""
    found: dict[str, list[bool]] = defaultdict(list)
    for group, ok in zip(groups, right, strict=True):
        found[group].append(ok)
    each = {group: float(np.mean(values)) for group, values in found.items()}
    return {"overall": float(np.mean(list(each.values()))) if each else 0.0, **each}
