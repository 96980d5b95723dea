"""`key=value` as people type it: a key that holds a text takes the value as it stands, whatever it holds.

Hydra's grammar gives a meaning to much that paths are made of: `(`, `'`, `,`, `=`, `#`, `~`, and all beyond ASCII.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal

from pydantic.fields import FieldInfo

from pipelines.config.keys import fields_of, members
from pipelines.config.origins import is_choice, name_of
from pipelines.config.schema import Config

NUMBERS = (bool, int, float)


def assign(key: str, text: str) -> str:
    """Return the `key=value` that gives a key this very text."""
    return f"{key}={_quoted(text.replace('${', chr(92) + '${'))}"


def as_meant(override: str) -> str:
    """Return `key=value` in Hydra's grammar, where the value of a key that holds a text is that text.

    Quotes around it, `null`, `???`, references (`${image_size}`), and lists, dicts and numbers where the key may hold
    them keep their meaning. So do values of all other keys.
    """
    _, given, text = override.partition("=")
    name, text = name_of(override), text.strip()
    if not given or is_choice(override) or override.startswith(("+", "~")) or text in ("", "null", "???"):
        return override
    kinds, parsed = kinds_at(name.split(".")), _parsed(override)
    if kinds and str not in kinds:
        return override
    other = tuple(kinds - {str, NoneType})
    is_other = isinstance(parsed, other) or (dict in other and text[0] + text[-1] == "{}" and ":" in text)
    if _has_quotes(parsed) or is_other or (not kinds and parsed is not None):
        return override
    return f"{name}={_quoted(text)}"


def kinds_at(path: Sequence[str], kind: Any = Config) -> set[type]:
    """Return what a key of the schema may hold (str, int, float, bool, list, dict, NoneType); nothing for an unknown
    key.
    """
    if path:
        found: set[type] = set()
        for section in members(kind):
            fields = fields_of(section) or {}
            found |= kinds_at(path[1:], fields[path[0]]) if path[0] in fields else set()
        for value in _values_of_dicts(kind):
            found |= kinds_at(path[1:], value)
        return found
    kind = kind.annotation if isinstance(kind, FieldInfo) else kind
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return kinds_at((), arguments[0])
    if origin in (typing.Union, UnionType):
        return set().union(*(kinds_at((), part) for part in arguments))
    if origin is Literal:
        return {type(value) for value in arguments}
    if origin in (list, tuple, set, frozenset):
        return {list}
    if origin is dict or kind is dict or fields_of(kind) is not None:
        return {dict}
    return {kind} if kind in (str, NoneType, *NUMBERS) else set()


def _values_of_dicts(kind: Any) -> list[Any]:
    kind = kind.annotation if isinstance(kind, FieldInfo) else kind
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict:
        return [arguments[1]]
    if origin is Annotated:
        arguments = arguments[:1]
    elif origin not in (typing.Union, UnionType):
        return []
    return [value for part in arguments for value in _values_of_dicts(part)]


def made_by_braces(first: str, second: str) -> bool:
    """True for two values of one key that a shell may have made of one with braces: files of one folder."""
    paths = [Path(text.partition("=")[2]) for text in (first, second)]
    return paths[0].parent == paths[1].parent != Path() and paths[0].suffix == paths[1].suffix != ""


def _has_quotes(value: Any) -> bool:
    from hydra.core.override_parser.types import QuotedString

    return isinstance(value, QuotedString)


def _parsed(override: str) -> Any:
    """Return what Hydra reads as the value; None where that is nothing."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)._value
    except HydraException:
        return None


def _quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()
