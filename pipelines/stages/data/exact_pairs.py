"""Exact checks of pairs that were made of scenes or drawings: their own description says what the pictures must be."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.stage import ShardContext

AGREES, WRONG_EDIT, WRONG_INSTRUCTION = "agrees", "wrong_edit", "wrong_instruction"


def exact_check(
    context: ShardContext, about: dict[str, Any], source: np.ndarray, target: np.ndarray, instruction: str
) -> str | None:
    """Return `agrees`, `wrong_edit` or `wrong_instruction`; None for a pair of photos, which have no description."""
    if "target_scene" in about:
        return _scene_check(about, source, target, instruction)
    if about.get("family") == "picture":
        return _drawing_check(context, about, source, target, instruction)
    return None


def _verdict(pictures: bool, words: bool) -> str:
    return WRONG_EDIT if not pictures else AGREES if words else WRONG_INSTRUCTION


def _scene_check(about: dict[str, Any], source: np.ndarray, target: np.ndarray, instruction: str) -> str:
    from components.scenes.instruction_claims import follows
    from components.scenes.render import render
    from components.scenes.scene import Scene

    before, after = Scene.from_dict(about["source_scene"]), Scene.from_dict(about["target_scene"])
    same = all(np.array_equal(render(scene, len(p)), p) for scene, p in ((before, source), (after, target)))
    return _verdict(same, follows(instruction, before, after))


def _drawing_check(
    context: ShardContext, about: dict[str, Any], source: np.ndarray, target: np.ndarray, instruction: str
) -> str:
    from components.pictures.composition import Composition, render
    from components.pictures.drawing_edits import follows
    from pipelines.stages.data.picture_pairs import curated_catalogue

    said = about["pixsem"]
    before, after = (Composition.from_dict(said[side]) for side in ("source", "target"))
    catalogue = curated_catalogue(context, context.task.args["curated"])
    same = all(np.array_equal(render(one, catalogue), p) for one, p in ((before, source), (after, target)))
    words = [instruction, *said["instructions"]]
    return _verdict(same, all(follows(text, about["kind"], before, after, catalogue) for text in words))
