"""The keys of the schema: which there are, which of a configuration's it lacks, and the nearest to a misspelt one."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipelines.config.newer_keys import GONE
from pipelines.config.schema import Config
from pipelines.errors import nearest


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as {dotted key: leaf}; an empty dict is a leaf."""
    if not isinstance(values, dict) or not values:
        return {prefix: values} if prefix else {}
    return {
        k: v
        for name, value in values.items()
        for k, v in flatten(value, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def source_kinds() -> list[str]:
    """Return the kinds of sources that the schema has."""
    return list(_sources())


def _sources() -> dict[str, Any]:
    sections = members(Config.model_fields["source"])
    return {str(typing.get_args(section.model_fields["kind"].annotation)[0]): section for section in sections}


def unknown_keys(values: Any, kind: Any, prefix: str = "") -> list[tuple[str, list[str]]]:
    """Return (dotted unknown key, dotted known keys beside it) for every key of `values` that the type `kind` lacks."""
    fields = fields_of_value(kind, values)
    if fields is None or not isinstance(values, dict):
        return []
    found = []
    for name, value in values.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        if name not in fields:
            found.append((key, [f"{prefix}.{k}" if prefix else k for k in fields]))
        else:
            found += unknown_keys(value, fields[name], key)
    return found


def nearest_key(key: str, beside: list[str]) -> str:
    """Return `; did you mean 'x'?`: the same name elsewhere in its section, else a key beside it that is spelt alike,
    else one of the tree. Of a key that other kinds of source have, return which.
    """
    if key in GONE:
        return f"; it is gone, write {GONE[key]}"
    whole = all_keys(Config)
    *path, last = key.split(".")
    of_source = path == ["source"] or (len(path) == 2 and path[0] == "sources")
    others = [kind for kind, section in _sources().items() if of_source and last in section.model_fields]
    if others:
        return f"; it belongs to source={' or source='.join(others)}"
    names = [k.rpartition(".")[2] for k in whole]
    alike = last if last in names else next(iter(difflib.get_close_matches(last, names, 1, cutoff=0.8)), "")
    same_name = [k for k, name in zip(whole, names, strict=True) if name == alike]
    ranked = sorted(same_name, key=lambda k: (-len(set(path) & set(k.split("."))), k.count("."), k))
    if ranked and path and alike == last and ranked[0].startswith(f"{path[0]}."):
        return f"; did you mean '{ranked[0]}'?"
    return nearest(key, beside) or (f"; did you mean '{ranked[0]}'?" if ranked else "")


def all_keys(kind: Any, prefix: str = "") -> list[str]:
    """Return every dotted key of a section's type, those of each member of a union."""
    found = []
    for part in members(kind):
        for name, inner in (fields_of(part) or {}).items():
            key = f"{prefix}.{name}" if prefix else name
            found += [key, *all_keys(inner, key)]
    return list(dict.fromkeys(found))


def fields_of_value(kind: Any, values: Any) -> dict[str, Any] | None:
    """Return {field: type} of a section's type, choosing the member of a union by its `kind`; None for a leaf."""
    kinds = members(kind)
    if (values_of := _values_of(kind)) is not None:
        return dict.fromkeys(values, values_of) if isinstance(values, dict) else None
    if len(kinds) > 1:
        wanted = values.get("kind") if isinstance(values, dict) else None
        kinds = [k for k in kinds if wanted in typing.get_args(k.model_fields["kind"].annotation)]
    return fields_of(kinds[0]) if kinds else None


def members(kind: Any) -> list[Any]:
    """Return the types that hold fields: one, or each of a union of sections; none for a leaf."""
    if isinstance(kind, FieldInfo):
        kind = kind.annotation
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [member for part in typing.get_args(kind) for member in members(part)]
    return [kind] if isinstance(kind, type) and fields_of(kind) is not None else []


def _values_of(kind: Any) -> Any:
    """Return the type of the values where a type maps names to sections; None for another."""
    if isinstance(kind, FieldInfo):
        kind = kind.annotation
    value = typing.get_args(kind)[1] if typing.get_origin(kind) is dict else None
    return value if members(value) else None


def fields_of(kind: Any) -> dict[str, Any] | None:
    """Return {field: type} of a section or an options class; None for another type."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return dict(kind.model_fields)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    return None
