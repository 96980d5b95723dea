"""Registered versions by name: `models:/NAME@ALIAS` and `models:/NAME/VERSION`, and finding one in MLflow's sqlite
file without MLflow, whose import takes seconds. Standard library only.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from components.registry.database import database_uri, read_only
from components.registry.mlflow_errors import tracking_error

CHAMPION = "champion"
SCHEME = "models:/"
MODELS = "select name from registered_models order by name"
VERSIONS = """select version, source, creation_time, description from model_versions
    where name = ? and current_stage != 'Deleted_Internal' order by version"""
ALIASES = "select alias, version from registered_model_aliases where name = ? order by alias"
TAGS = "select key, value from model_version_tags where name = ? and version = ?"
LOCATION = "select artifact_location from logged_models where model_id = ?"


@dataclass(frozen=True)
class Version:
    """One registered version."""

    name: str
    version: str
    aliases: tuple[str, ...]
    tags: dict[str, str] = field(default_factory=dict)
    source: str = ""
    created: int = 0  # milliseconds since 1970
    description: str = ""

    @property
    def figures(self) -> dict[str, float]:
        """The figures it was judged by."""
        return dict(json.loads(self.tags.get("pixsem.figures", "{}")))


def parse_reference(uri: str) -> tuple[str, str, str]:
    """Return (name, alias, number) of a reference; either alias or number is empty. ValueError where it names no
    version.
    """
    rest = uri.removeprefix(SCHEME)
    name, _, alias = rest.partition("@")
    if alias:
        return name, alias, ""
    name, _, number = rest.partition("/")
    if not name or not number:
        raise ValueError(
            f"{uri} names no version: write {SCHEME}{name or 'NAME'}@{CHAMPION} or {SCHEME}{name or 'NAME'}/1"
        )
    return name, "", number


def check_name(name: str, known: Sequence[str]) -> str:
    """Return the name of a registered model. ValueError, with the nearest name, where it is none of those known."""
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    none = f"registered are: {', '.join(known) or 'none yet; make one with pixsem run'}"
    raise ValueError(f"no model {name!r} is registered; {f'did you mean {near[0]}?' if near else none}")


def choose(uri: str, versions: Sequence[Version]) -> Version:
    """Return the one of a model's versions that a reference names. ValueError where it is none of them."""
    name, alias, number = parse_reference(uri)
    for version in versions:
        if alias in version.aliases if alias else number == version.version:
            return version
    if alias:
        raise ValueError(f"no version of {name} is its {alias} yet. See what there is with: pixsem models")
    have = ", ".join(version.version for version in versions) or "none"
    raise ValueError(f"{name} has no version {number}; it has {have}")


def find_in_database(path: Path, uri: str) -> Version:
    """Return the version that a reference names in MLflow's sqlite file; its source is where its files are, never
    another reference. ValueError where there is none, `TrackingError` where the file cannot be read.
    """
    name, _, _ = parse_reference(uri)
    try:
        with contextlib.closing(read_only(path)) as connection:
            if not connection.execute("select 1 from sqlite_master where name = 'registered_models'").fetchone():
                check_name(name, [])
            check_name(name, [known for (known,) in connection.execute(MODELS)])
            aliases = connection.execute(ALIASES, (name,)).fetchall()
            rows = connection.execute(VERSIONS, (name,)).fetchall()
            versions = [
                Version(name, str(number), tuple(alias for alias, of in aliases if of == number), {}, *row)
                for number, *row in rows
            ]
            found = choose(uri, versions)
            tags = dict(connection.execute(TAGS, (name, int(found.version))))
            source = found.source
            if source.startswith(SCHEME):
                logged = connection.execute(LOCATION, (source.removeprefix(SCHEME),)).fetchone()
                source = logged[0] if logged else source
    except sqlite3.Error as error:
        raise tracking_error(database_uri(path), error) from error
    return Version(name, found.version, found.aliases, tags, source, found.created, found.description or "")
