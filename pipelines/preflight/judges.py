"""Judges and features that evaluations are given by name: whether each can work, before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.config.schema import Config
from pipelines.errors import UserError
from pipelines.judging.table import check_judge
from pipelines.preflight.pretrained import is_path, model_folder
from pipelines.tracking.figures import encoder_slug


def check_judges(config: Config) -> Iterator[str]:
    """Check the judges and features of evaluate_generator."""
    settings = config.evaluate_generator
    yield from check_named(settings.judges, settings.features, encoder_slug(config.encoder.path))


def check_named(
    judges: Mapping[str, Any], features: Mapping[str, str], own: str, where: str = "evaluate_generator.judges."
) -> Iterator[str]:
    """Check the kinds of judges, their options, their names, and the folders that they and the features name. `own` is
    how figures of the pipeline's own image-text model are called, `where` what a judge's key starts with.
    """
    for name, section in judges.items():
        key = f"{where}{name}"
        try:
            check_judge(section)
        except UserError as error:
            yield f"{key}: {error}"
        if name in (own, "reference", "inspector"):
            yield f"{key}: a judge of the pipeline's own is called {name}. Give it another name."
        for option in ("path", "colours"):
            yield from _check_folder(f"{key}.{option}", section.get(option))
    for name, path in features.items():
        key = f"evaluate_generator.features.{name}"
        if name in (own, "inception"):
            yield f"{key}: features of the pipeline's own are called {name}. Give them another name."
        yield from _check_folder(key, path)


def _check_folder(key: str, path: object) -> Iterator[str]:
    if isinstance(path, str) and is_path(path):
        yield from model_folder(key, path)[1]
