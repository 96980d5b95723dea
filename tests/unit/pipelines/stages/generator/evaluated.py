"""A whole evaluation in this process: a world, a maker and judges, through shards and the files that they write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.config.schema import Config
from pipelines.judging.judge import Judge
from pipelines.judging.reference import Reference
from pipelines.stages.generator.evaluation_figures import Evaluation
from pipelines.stages.generator.picture_rows import read_rows, write_features, write_pictures
from pipelines.stages.generator.picture_shards import Studio
from pipelines.stages.generator.picture_sheet import Section, Sheet, sections_of
from pipelines.stages.generator.world_reader import WorldReader


def pieces(
    config: Config, world: Any, maker: Any, captions: Any = None, judges: Sequence[Judge] = (), features: Any = None,
    own: Any = None, snapshots: Any = None,
) -> tuple[Studio, list[Section]]:  # fmt: skip
    """Return a studio and the sections that it makes."""
    reader = [] if world.unjudged else [WorldReader(world)]
    sheet = Sheet(config, world, captions, 0)
    reference = Reference(features or {}, None, {})
    studio = Studio(sheet, maker, [*reader, reference, *judges], features or {}, 2.0, own)
    count = len(captions.prompts("captions", 10**6)) if captions else 0
    return studio, sections_of(config, type(world).sizes(config), count, snapshots or {})


def evaluate(
    folder: Path, config: Config, world: Any, maker: Any, size: int = 4, only: tuple[str, ...] = (), **rest: Any
) -> Evaluation:
    """Make every section, or those of the splits `only`, in shards of `size` pictures, and return the evaluation of
    their files.
    """
    studio, sections = pieces(config, world, maker, **rest)
    rows: dict[str, list[dict[str, Any]]] = {}
    features: dict[str, list[Path]] = {}
    for number, section in enumerate(sections):
        for first in range(0, section.most if not only or section.split in only else 0, size):
            made = studio.make(section, first, min(first + size, section.most))
            if made.rows:
                path = folder / f"{number}-{first:05d}.parquet"
                write_pictures(path, made.rows)
                rows.setdefault(section.split, []).extend(read_rows([path]))
            if made.features:
                path = folder / f"{number}-{first:05d}.npz"
                write_features(path, made.features)
                features.setdefault(section.split, []).append(path)
    return Evaluation(config, type(world), rows, features, studio.protocol(), list(rest.get("snapshots") or ()), 0)
