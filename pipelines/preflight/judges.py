"""Judges and features that evaluate_generator is given by name: whether each can work, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.config.schema import Config
from pipelines.errors import nearest
from pipelines.judging.table import JUDGES
from pipelines.preflight.pretrained import is_path, model_folder
from pipelines.tracking.figures import encoder_slug


def check_judges(config: Config) -> Iterator[str]:
    """Check the kinds of judges, their names, and the folders that they and the features name."""
    settings, own = config.evaluate_generator, encoder_slug(config.encoder.path)
    for name, section in settings.judges.items():
        key, kind = f"evaluate_generator.judges.{name}", str(section.get("kind", ""))
        if kind not in JUDGES:
            known = ", ".join(sorted(JUDGES))
            yield f"{key}: there is no judge of kind {kind!r}{nearest(kind, list(JUDGES))}; the kinds are {known}."
        if name in (own, "reference", "inspector"):
            yield f"{key}: a judge of the pipeline's own is called {name}. Give it another name."
        yield from _check_folder(f"{key}.path", section.get("path"))
    for name, path in settings.features.items():
        key = f"evaluate_generator.features.{name}"
        if name in (own, "inception"):
            yield f"{key}: features of the pipeline's own are called {name}. Give them another name."
        yield from _check_folder(key, path)


def _check_folder(key: str, path: object) -> Iterator[str]:
    if isinstance(path, str) and is_path(path):
        yield from model_folder(key, path)[1]
