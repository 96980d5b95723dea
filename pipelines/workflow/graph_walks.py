"""Ways through a workflow: stages by name, what comes before and after them, and the graph drawn as text."""

from __future__ import annotations

from collections.abc import Collection

from pipelines.errors import UserError, nearest
from pipelines.stage import Stage


def stages_named(name: str, stages: list[Stage]) -> list[str]:
    """Return the stages that a name stands for: one, or all instances of a base. `UserError` with the nearest name
    where there is none.
    """
    found = [stage.name for stage in stages if name in (stage.name, stage.base)]
    if not found:
        known = list(dict.fromkeys(known for stage in stages for known in (stage.base, stage.name)))
        raise UserError(f"no stage {name!r}{nearest(name, known)} Stages: {', '.join(known)}")
    return found


def descendants(names: Collection[str], stages: list[Stage]) -> list[str]:
    """Return the stages and every stage that depends on one of them, in order."""
    found = set(names)
    for stage in stages:
        if found & set(stage.inputs):
            found.add(stage.name)
    return [stage.name for stage in stages if stage.name in found]


def ancestors(names: Collection[str], stages: list[Stage]) -> list[str]:
    """Return the stages and every stage that one of them depends on, in order."""
    found = set(names)
    for stage in reversed(stages):
        if stage.name in found:
            found |= set(stage.inputs)
    return [stage.name for stage in stages if stage.name in found]


def draw_workflow(stages: list[Stage]) -> str:
    """Return the graph as a picture in text: each stage under its first input, other inputs named beside it."""
    lines: list[str] = []

    def draw(stage: Stage, indent: str, branch: str, below: str) -> None:
        others = f"  (and {', '.join(stage.inputs[:-1])})" if len(stage.inputs) > 1 else ""
        lines.append(f"{indent}{branch}{stage.name}{others}: {stage.summary}")
        # A stage hangs under the last of its inputs, the one that is ready latest.
        children = [s for s in stages if s.inputs and s.inputs[-1] == stage.name]
        for position, child in enumerate(children):
            last = position == len(children) - 1
            draw(child, indent + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    for stage in stages:
        if not stage.inputs:
            draw(stage, "", "", "")
    return "\n".join(lines)
