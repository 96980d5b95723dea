"""Pictures of the scenes world held to what was asked for: prompts by category, edits by kind, each beside its chance
and its ceiling.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluation.editing import inside_residue, object_trace, outside_psnr
from components.evaluation.grids import curve_figure
from components.scenes.edits import Edit, change_mask, sample_edit
from components.scenes.inspect import inspect
from components.scenes.options import CATEGORIES
from components.scenes.prompts import Prompt, holds, sample_prompts
from components.scenes.render import render
from components.scenes.scene import TONES, Scene, same_scene, sample_scene
from pipelines.config.schema import Config, ScenesSource
from pipelines.stage import derive_seed
from pipelines.stages.generator.generator_setup import snapshots
from pipelines.stages.generator.sample_sets import Maker
from pipelines.store.artifacts import Artifact

GRID = 8  # pictures of each category, and edits of each kind, on the grids
# share of a removed object's own difference from what is behind it: more is a ghost, beside what the tokenizer leaves
GHOST = 0.05


@dataclass(frozen=True)
class EditCase:
    """A source scene, what is to be done to it, and the pictures."""

    scene: Scene
    edit: Edit
    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray


class SceneJudge:
    """All figures that the inspector can give of a generator. `rows` holds every single judgement."""

    def __init__(self, maker: Maker, config: Config, seed: int, absent: dict[str, str]) -> None:
        assert isinstance(config.source, ScenesSource)
        self.maker, self.config, self.settings = maker, config, config.evaluate_generator
        self.options, self.seed, self.absent = config.source.scene, seed, absent
        self.rows: list[dict[str, Any]] = []
        self._pool = ThreadPoolExecutor(2)
        self._shown: list[tuple[str, np.ndarray, bool]] = []
        self._edited: list[tuple[EditCase, np.ndarray, bool]] = []

    def _rng(self, *what: object) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, *what))

    def _read(self, pictures: np.ndarray) -> list[Scene]:
        return [found.scene for found in self._pool.map(lambda p: inspect(p, self.options), pictures)]

    def _read_edits(self, pictures: np.ndarray, cases: list[EditCase]) -> list[Scene]:
        """Read results of edits; tones are looked for only where the edit is one."""
        tones = [tuple(TONES) if case.edit.kind == "tone" else ("none",) for case in cases]
        return [found.scene for found in self._pool.map(lambda p, t: inspect(p, self.options, t), pictures, tones)]

    def prompts(self, count: int, held_out: bool = False) -> dict[str, list[Prompt]]:
        """Return `count` prompts of each category that the world has; of a held-out combination each, with
        `held_out`.
        """
        made = {
            name: sample_prompts(self.options, name, count, self._rng("prompts", name, held_out), held_out)
            for name in CATEGORIES
        }
        return {name: prompts for name, prompts in made.items() if prompts}

    def judge(
        self, split: str, prompts: dict[str, list[Prompt]], guidance: float | None = None
    ) -> tuple[dict[str, float], list[Scene]]:
        """Make a picture for each prompt; return the shares that are exactly right, with `overall` their mean, and what
        was read.
        """
        flat = [prompt for group in prompts.values() for prompt in group]
        # The same noise for the same prompt in every split, so that guidance scales and checkpoints differ by nothing
        # else.
        pictures = self.maker("prompts", [prompt.text for prompt in flat], guidance=guidance)
        scenes = self._read(pictures)
        right = [holds(prompt, scene) for prompt, scene in zip(flat, scenes, strict=True)]
        for prompt, scene, ok in zip(flat, scenes, right, strict=True):
            self.rows.append(
                {"split": split, "category": prompt.category, "prompt": prompt.text, "right": ok,
                 "guidance_scale": self.config.generator.guidance_scale if guidance is None else guidance,
                 "read": scene.to_dict(), "truth": prompt.scene.to_dict()}
            )  # fmt: skip
        if split == "held out prompts":
            self._shown = list(zip([prompt.text for prompt in flat], pictures, right, strict=True))
        return shares([prompt.category for prompt in flat], right), scenes

    def text_to_image(self) -> dict[str, Any]:
        """Return the shares of pictures that hold exactly what was asked: of fresh scenes of seen combinations, with
        their chance and ceiling, of combinations that no training picture holds, and by guidance.
        """
        prompts = self.prompts(self.settings.prompts)
        flat = [prompt for group in prompts.values() for prompt in group]
        found, scenes = self.judge("held out prompts", prompts)
        values: dict[str, Any] = dict(found)
        right = [holds(prompt, scene) for prompt, scene in zip(flat, scenes, strict=True)]
        categories = [prompt.category for prompt in flat]
        by_chance = [holds(flat[i], scenes[j]) for i, j in enumerate(others(len(flat), self._rng("chance")))]
        values["chance"] = shares(categories, by_chance)
        true = np.stack([render(prompt.scene, self.config.image_size) for prompt in flat])
        best = self._read(self.maker.decoded(true))
        values["ceiling"] = shares(categories, [holds(prompt, scene) for prompt, scene in zip(flat, best, strict=True)])
        for name in CATEGORIES:
            if name not in prompts:
                self.absent[f"text_to_image.{name}"] = "source.scene has no scenes of which a caption says such a thing"
        if self.options.held_out:
            values["unseen"] = self.judge("unseen combinations", self.prompts(self.settings.unseen_prompts, True))[0]
        else:
            self.absent["text_to_image.unseen"] = "source.scene.held_out keeps no combination out of training"
        few = {name: group[: self.settings.guidance_prompts] for name, group in prompts.items()}
        own = self.config.generator.guidance_scale
        first = {id(prompt) for group in few.values() for prompt in group}
        kept = [(prompt.category, ok) for prompt, ok in zip(flat, right, strict=True) if id(prompt) in first]
        by_guidance = {own: shares(*zip(*kept, strict=True))["overall"]}
        for scale in self.settings.guidance_scales:
            if scale not in by_guidance:
                by_guidance[scale] = self.judge(f"guidance {scale:g}", few, scale)[0]["overall"]
        values["by_guidance"] = {f"{s:g}".replace(".", "_"): value for s, value in sorted(by_guidance.items())}
        return values

    def convergence(self, trainings: Sequence[tuple[Artifact, dict[str, Any]]], figure: Path) -> dict[str, Any]:
        """Return the overall share at the snapshots of trainings that follow each other, by samples seen in all, and
        draw it.
        """
        few = self.prompts(self.settings.checkpoint_prompts)
        found: dict[int, dict[str, float]] = {}
        before = 0
        for trained, options in trainings:  # as they were trained, by their manifests
            for name in snapshots(trained):
                self.maker.use(trained, name)
                seen = before + int(name.removeprefix("step-")) * options["batch"]
                found[seen] = self.judge(f"checkpoint at {seen} samples", few)[0]
            before += options["steps"] * options["batch"]
        if not found:
            self.absent["text_to_image.checkpoints"] = "generator.snapshots kept none"
            return {}
        curve_figure(
            {c: [(seen, values[c]) for seen, values in found.items()] for c in ("overall", *few)},
            "samples seen, text-to-image and then the mixture with edits", "share exactly right", figure,
        )  # fmt: skip
        return {"checkpoints": {str(seen): values["overall"] for seen, values in found.items()}}

    def editing(self) -> dict[str, Any]:
        """Return by kind the share of edits whose result holds exactly the edited scene, and what became of the rest of
        the picture.

        A removal is no success where more is left of the object, whatever the inspector reads, than `GHOST` of its own
        difference from what is behind it, and than twice what the tokenizer leaves (95th percentile): a ghost.
        """
        kinds = self.config.synthesize_edits.scene_kinds
        cases = [case for kind in kinds for case in self._cases(kind)]
        made_kinds = {case.edit.kind for case in cases}
        for kind in kinds:
            if kind not in made_kinds:
                self.absent[f"editing.{kind}"] = "scenes of source.scene allow no such edit"
        if not cases:
            return {}
        sources, targets = (np.stack([getattr(case, name) for case in cases]) for name in ("source", "target"))
        made = self.maker("edits", [case.edit.instruction for case in cases], sources)
        scenes = self._read_edits(made, cases)
        exact = [same_scene(scene, case.edit.target) for scene, case in zip(scenes, cases, strict=True)]
        values: dict[str, Any] = {}
        kept = self.maker.decoded(targets)
        removed = [i for i, case in enumerate(cases) if case.edit.kind == "remove"]
        residues: dict[int, float] = {}
        if removed:
            residue = [inside_residue(made[i], cases[i].target, cases[i].mask) for i in removed]
            floor = [inside_residue(kept[i], cases[i].target, cases[i].mask) for i in removed]
            whole = [inside_residue(cases[i].source, cases[i].target, cases[i].mask) for i in removed]
            limits = [max(2 * float(np.percentile(floor, 95)), GHOST * object_itself) for object_itself in whole]
            ghosts = [left > limit for left, limit in zip(residue, limits, strict=True)]
            values["remove_by_the_inspector_alone"] = float(np.mean([exact[i] for i in removed]))
            for i, ghost in zip(removed, ghosts, strict=True):
                exact[i] = exact[i] and not ghost
            residues = dict(zip(removed, residue, strict=True))
            values["removal_residue"] = float(np.mean(residue))
            values["removal_residue_of_reconstructions"] = float(np.mean(floor))
            values["removal_residue_of_source"] = float(np.mean(whole))
            values["removal_ghosts"] = float(np.mean(ghosts))
            traces = [object_trace(made[i], cases[i].source, cases[i].target, cases[i].mask) for i in removed]
            values["removal_trace"] = float(np.mean(np.abs(traces)))
        by_kind = shares([case.edit.kind for case in cases], exact)
        values["success"] = by_kind.pop("overall")
        values |= by_kind
        values["copy_source"] = float(np.mean([same_scene(case.scene, case.edit.target) for case in cases]))
        values["chance"] = float(
            np.mean(
                [
                    same_scene(scenes[j], cases[i].edit.target)
                    for i, j in enumerate(others(len(cases), self._rng("edit chance")))
                ]
            )
        )
        ceiling = self._read_edits(kept, cases)
        values["ceiling"] = float(np.mean([same_scene(s, c.edit.target) for s, c in zip(ceiling, cases, strict=True)]))
        values["preservation_psnr"] = _mean_psnr(made, cases)
        values["preservation_psnr_of_reconstructions"] = _mean_psnr(self.maker.decoded(sources), cases)
        for i, (case, scene, ok) in enumerate(zip(cases, scenes, exact, strict=True)):
            self.rows.append(
                {"split": "edits", "category": case.edit.kind, "prompt": case.edit.instruction, "right": ok,
                 "guidance_scale": self.config.generator.guidance_scale, "read": scene.to_dict(),
                 "source": case.scene.to_dict(), "truth": case.edit.target.to_dict(), "residue": residues.get(i)}
            )  # fmt: skip
        self._edited = list(zip(cases, made, exact, strict=True))
        return {name: value for name, value in values.items() if value is not None}

    def _cases(self, kind: str) -> list[EditCase]:
        rng, size = self._rng("edits", kind), self.config.image_size
        found: list[EditCase] = []
        for _ in range(20 * self.settings.edits):
            if len(found) == self.settings.edits:
                break
            scene = sample_scene(self.options, rng)
            edit = sample_edit(scene, self.options, rng, (kind,))
            if edit is not None:
                mask = change_mask(scene, edit.target, size)
                found.append(EditCase(scene, edit, render(scene, size), render(edit.target, size), mask))
        return found

    def grids(self, generated: Path, edits: Path) -> None:
        """Draw prompts with their pictures, and edits between source and truth; wrong ones are marked."""
        from components.evaluation.grids import captioned_grid

        each = max(1, len(self._shown) // (GRID * 3))
        shown = self._shown[::each][: GRID * 3]
        captioned_grid([(text, [picture], ok) for text, picture, ok in shown], 4).save(generated)
        if self._edited:
            each = max(1, len(self._edited) // (GRID * 2))
            cells = [
                (case.edit.instruction, [case.source, picture, case.target], ok)
                for case, picture, ok in self._edited[::each][: GRID * 2]
            ]
            captioned_grid(cells, 2).save(edits)


def others(count: int, rng: np.random.Generator) -> list[int]:
    """Return for each of `count` the number of another one, each taken once; itself only where it is alone."""
    ring = rng.permutation(count)
    return [int(i) for i in np.roll(ring, -1)[np.argsort(ring)]]


def shares(groups: Sequence[str], right: Sequence[bool]) -> dict[str, float]:
    """Return the share that is right in each group, and `overall`: the mean over groups, as GenEval's."""
    found: dict[str, list[bool]] = defaultdict(list)
    for group, ok in zip(groups, right, strict=True):
        found[group].append(ok)
    each = {group: float(np.mean(values)) for group, values in found.items()}
    return {"overall": float(np.mean(list(each.values()))) if each else 0.0, **each}


def _mean_psnr(made: np.ndarray, cases: list[EditCase]) -> float | None:
    """The mean over pictures of the PSNR outside the mask, against the source; edits of the whole picture have no
    outside.
    """
    found = [outside_psnr(picture, case.source, case.mask) for picture, case in zip(made, cases, strict=True)]
    numbers = [value for value in found if value is not None]
    return float(np.mean(numbers)) if numbers else None
