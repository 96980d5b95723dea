"""Which code makes each stage's artifact: digests of the syntax trees of the component rooms and stage files that it
uses.

What a stage uses is its import closure, read from the source: imports at any depth, and `module:name` references in
strings. Comments, docstrings and formatting are no part of a digest, and neither is the version of Python.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pipelines.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
USED = (
    "components",
    "pipelines.judging",
    "pipelines.stages",
    "pipelines.training",
)  # whose code decides what comes out
REFERENCE = re.compile(r"^((?:components|pipelines)(?:\.\w+)+):\w+$")
CACHE = Path(__file__).parent / "__pycache__"
OLDER_CODE = "made by older code of "


def code_of(stages: list[Stage]) -> dict[str, dict[str, str]]:
    """Return {stage: {room: digest}}; a room is a folder such as `components/tokenizer`.

    Cached beside Python's own byte code, under the digest of all source files as they lie there.
    """
    sources = _sources()
    functions = sorted({stage.function for stage in stages})
    key = hashlib.sha256(json.dumps([functions, {m: s for m, (_, s) in sources.items()}]).encode()).hexdigest()[:24]
    cache = CACHE / f"code-{key}.json"
    try:
        found = dict(json.loads(cache.read_text("utf-8")))
        return {stage.name: found[stage.function] for stage in stages}
    except (OSError, ValueError, KeyError):  # not there, or damaged: made again below
        found = {function: _rooms(function.partition(":")[0], sources) for function in functions}
    _keep(cache, json.dumps(found, sort_keys=True))
    return {stage.name: found[stage.function] for stage in stages}


def changed_rooms(made_by: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return the rooms whose code is not that of an artifact; none where the artifact is older than this record."""
    if not made_by:
        return []
    return sorted(room for room in made_by.keys() | now.keys() if made_by.get(room) != now.get(room))


def _keep(cache: Path, text: str) -> None:
    """Write the cache where that is allowed; without it, the next process computes the same again."""
    part = cache.with_suffix(f".{os.getpid()}")
    try:
        CACHE.mkdir(exist_ok=True)
        for old in CACHE.glob("code-*.json"):
            old.unlink(missing_ok=True)
        part.write_text(text, "utf-8")
        part.replace(cache)
    except OSError:
        return


def _sources() -> dict[str, tuple[Path, str]]:
    """Return {module: (file, sha256 of its bytes)} of all that may be used."""
    found = {}
    for package in USED:
        for path in sorted((ROOT / package.replace(".", "/")).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[module] = (path, hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def _rooms(module: str, sources: dict[str, tuple[Path, str]]) -> dict[str, str]:
    used, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in used or name not in sources:
            continue
        used.add(name)
        waiting += _facts(*sources[name])[1]
    rooms: dict[str, list[str]] = {}
    for name in sorted(used):
        path = sources[name][0]
        rooms.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(f"{name} {_facts(*sources[name])[0]}")
    return {room: hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] for room, lines in sorted(rooms.items())}


@functools.cache
def _facts(path: Path, content: str) -> tuple[str, tuple[str, ...]]:
    """Return the digest of a module's syntax tree, and the modules that it refers to. `content` is the sha256 of its
    bytes.
    """
    tree = ast.parse(path.read_bytes())
    digest = hashlib.sha256()
    for part in _parts(tree):
        digest.update(part.encode())
    return digest.hexdigest(), tuple(_referred(tree))


def _parts(node: ast.AST) -> Iterator[str]:
    """Yield a tree as text, less its docstrings; what is empty is left out, as versions of Python differ in which
    fields there are.
    """
    yield f"({type(node).__name__}"
    for name, value in ast.iter_fields(node):
        values = value if isinstance(value, list) else [value]
        if name == "body" and isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            values = values[1:] if ast.get_docstring(node, clean=False) is not None else values
        if value is None or values == []:
            continue
        yield f" {name}:"
        for item in values:
            if isinstance(item, ast.AST):
                yield from _parts(item)
            else:
                yield f" {item!r}"
    yield ")"


def _referred(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := REFERENCE.match(node.value)):
            yield match.group(1)
