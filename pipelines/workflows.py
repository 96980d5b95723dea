"""The workflows: which stages a configuration asks for, and in what order. Built when asked for, never at import."""

from __future__ import annotations

from pipelines.errors import UserError, nearest
from pipelines.stage import Stage


def build_workflow() -> list[Stage]:
    """Return the stages of the pipeline, each after its inputs."""
    return [
        Stage(
            name="ingest",
            version="1",
            function="pipelines.stages.ingest:run",
            external="pipelines.stages.ingest:source_digests",
            config=("seed", "source"),
            summary="bring every source into WebDataset shards",
        ),
        Stage(
            name="measure",
            version="1",
            function="pipelines.stages.measure:run",
            config=("measure",),
            inputs=("ingest",),
            summary="one row of signals per sample, no decision",
        ),
        Stage(
            name="curate",
            version="1",
            function="pipelines.stages.curate:run",
            config=("curate",),
            inputs=("ingest", "measure"),
            summary="keep or drop every sample, with its reason",
        ),
        Stage(
            name="synthesize_edits",
            version="1",
            function="pipelines.stages.synthesize_edits:run",
            config=("seed", "measure", "synthesize_edits"),
            inputs=("curate",),
            summary="(source, instruction, target, mask) from curated samples",
        ),
    ]


def check_stage_name(name: str, stages: list[Stage]) -> str:
    """Return the name, or raise `UserError` with the nearest one."""
    known = [stage.name for stage in stages]
    if name not in known:
        raise UserError(f"no stage {name!r}{nearest(name, known)} Stages: {', '.join(known)}")
    return name


def descendants(name: str, stages: list[Stage]) -> list[str]:
    """Return the stage and every stage that depends on it, in order."""
    found = {name}
    for stage in stages:
        if found & set(stage.inputs):
            found.add(stage.name)
    return [stage.name for stage in stages if stage.name in found]


def ancestors(name: str, stages: list[Stage]) -> list[str]:
    """Return the stage and every stage it depends on, in order."""
    found = {name}
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
