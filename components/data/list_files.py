"""Files with rows (csv, tsv, json, jsonl, parquet, txt) as a stream of dicts, and lists of files from folders, globs
and braces.

What the columns mean is the caller's. A row that cannot be read is a RowFault in its place, never lost and never an
exception.
"""

from __future__ import annotations

import contextlib
import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from components.data import tables
from components.data.delimited import Form, find_encoding, find_form, open_text, rows_of

LIST_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")
USUAL = {".csv": Form("utf-8-sig", ",", True), ".tsv": Form("utf-8-sig", "\t", False)}
MOST_SAID = 3  # files whose form is said
_ROWS_FOR_NAMES = 1000  # a field absent from the first rows of a jsonl file counts as missing


@dataclass(frozen=True)
class RowFault:
    """A row that could not be read, and why."""

    detail: str


@dataclass(frozen=True)
class ListFormat:
    """What a csv or tsv file does not say itself."""

    column_names: tuple[str, ...] = ()  # for files without a header row
    quoted: bool | None = None  # None: as the file shows it


def expand_paths(spec: str | Path, suffixes: Sequence[str]) -> list[Path]:
    """The files meant by a path, a folder (its files with one of `suffixes`), a glob or braces ("{00000..00009}.tar"),
    sorted by name.

    Raises ValueError where that is no file at all, or a file named in braces is not there.
    """
    text = str(spec)
    path = Path(text)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes and p.is_file())
        what = f"the folder {text} has no {' or '.join(suffixes)} file"
    elif "{" in (pattern := _below(text)[1]):
        import braceexpand

        start = glob.escape(_below(text)[0])
        found = [Path(p) for part in braceexpand.braceexpand(pattern) for p in _glob_or_self(start + part)]
        missing = [str(p) for p in found if not p.is_file()]
        if missing:
            raise ValueError(f"{text} names {len(missing)} files that are not there, first {missing[0]}")
        what = f"nothing matches {text}"
    else:
        escaped = glob.escape(_below(text)[0]) + pattern
        found = sorted(Path(p) for p in glob.glob(escaped, recursive=True) if Path(p).is_file())
        what = f"no file matches {text}" if glob.has_magic(text) else f"there is no file or folder {text}"
    if not found:
        raise ValueError(f"{what}; give a file, a folder or a pattern")
    return found


def _below(text: str) -> tuple[str, str]:
    """Cut a pattern behind the folders that are there: they are meant as they are called, whatever their characters."""
    parts = text.split("/")
    for count in range(len(parts) - 1, 0, -1):
        start = "/".join(parts[:count])
        if start and Path(start).is_dir():
            return f"{start}/", "/".join(parts[count:])
    return "", text


def _glob_or_self(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True)) or [pattern]


def read_rows(path: Path, columns: Sequence[str], form: ListFormat) -> Iterator[tuple[int, dict[str, Any] | RowFault]]:
    """(line or row number from 1, {column: value} with the `columns` asked for) for every row of the file, as a stream.

    Raises ValueError for a missing column (naming those there, and the nearest) and for a file that is none of the
    known kinds.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(path, columns)
    elif suffix in (".csv", ".tsv"):
        yield from _delimited_rows(path, columns, form)
    elif suffix == ".jsonl":
        yield from _jsonl_rows(path, columns)
    elif suffix == ".json":
        yield from _json_rows(path, columns)
    else:
        raise ValueError(f"{path} is none of the lists that can be read: {', '.join(LIST_SUFFIXES)}")


def field_names(path: Path, form: ListFormat) -> list[str]:
    """The columns of a list file, as far as its first rows show them. Raises ValueError as read_rows does."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return tables.column_names(path)
    if suffix in (".csv", ".tsv"):
        found = find_form(path, form.quoted)
        with open_text(path, found) as file:
            return list(form.column_names) or _header_row(path, rows_of(file, found))
    if suffix == ".jsonl":
        return _jsonl_names(path) or []
    return _object_names(_json_content(path))


def unusual_forms(paths: Sequence[Path], quoted: bool | None = None) -> str:
    """How csv and tsv files were read that are not written as usual: `a.csv: utf-16, separated by tabs, quotes`;
    empty where all are.
    """
    said = []
    for path in paths:
        usual = USUAL.get(path.suffix.lower())
        if usual is not None and (found := find_form(path, quoted)) != usual:
            said.append(f"{path.name}: {found.words()}")
    return "; ".join(said[:MOST_SAID]) + (f"; and {len(said) - MOST_SAID} more" if len(said) > MOST_SAID else "")


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | RowFault]]:
    number = 0
    for batch in tables.iter_table(path, columns):
        for values in zip(*(batch[name] for name in columns), strict=True):
            number += 1
            yield number, {column: _text(value) for column, value in zip(columns, values, strict=True)}


def _text(value: Any) -> Any:
    """Older writers of parquet store texts as plain bytes."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def _delimited_rows(
    path: Path, columns: Sequence[str], form: ListFormat
) -> Iterator[tuple[int, dict[str, Any] | RowFault]]:
    found = find_form(path, form.quoted)
    with open_text(path, found) as file:
        rows = rows_of(file, found)
        names = list(form.column_names) or _header_row(path, rows)
        if not names:
            return
        for column in columns:
            if column not in names:
                hint = "" if form.column_names else "; if its first row is data, name the columns with column_names"
                hint += "" if found == USUAL.get(path.suffix.lower()) else f"; it was read as {found.words()}"
                raise ValueError(tables.missing_column(path, column, names) + hint)
        wanted = [(column, names.index(column)) for column in columns]
        for number, values in rows:
            if isinstance(values, str):
                yield number, RowFault(f"line {number}: {values}")
            elif len(values) != len(names):
                yield number, RowFault(f"{len(values)} fields where the file has {len(names)} columns")
            else:
                yield number, {column: values[index] for column, index in wanted}


def _header_row(path: Path, rows: Iterator[tuple[int, list[str] | str]]) -> list[str]:
    _, names = next(rows, (0, []))
    if isinstance(names, str):
        raise ValueError(f"the header row of {path} cannot be read: {names}")
    return names


def _jsonl_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | RowFault]]:
    _need_columns(path, columns, _jsonl_names(path))
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, RowFault(f"no JSON: {type(error).__name__}: {error}")
                continue
            if not isinstance(row, dict):
                yield number, RowFault(f"a JSON {type(row).__name__}, not an object")
                continue
            yield number, {column: row.get(column) for column in columns}


def _jsonl_names(path: Path) -> list[str] | None:
    """The fields of the file's first rows, in order of appearance; None where no row there can be read."""
    if (encoding := find_encoding(path)) != "utf-8-sig":
        raise ValueError(f"{path} is {encoding}: save it as utf-8")
    names: dict[str, None] = {}
    with path.open("rb") as file:
        for line in islice(file, _ROWS_FOR_NAMES):
            with contextlib.suppress(ValueError, RecursionError):  # the rows themselves are reported by the caller
                row = json.loads(line)
                names.update(dict.fromkeys(row) if isinstance(row, dict) else {})
    return list(names) or None


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any] | RowFault]]:
    content = _json_content(path)
    _need_columns(path, columns, _object_names(content) or None)
    for number, row in enumerate(content, start=1):
        if isinstance(row, dict):
            yield number, {column: row.get(column) for column in columns}
        else:
            yield number, RowFault(f"a JSON {type(row).__name__}, not an object")


def _json_content(path: Path) -> list[Any]:
    """A JSON array of objects, or COCO's {images, annotations}: one row per image, its captions together in
    `captions`.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}; for one object a line name it .jsonl") from error
    if isinstance(content, dict) and all(isinstance(content.get(name), list) for name in ("images", "annotations")):
        return _coco_rows(content)
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a JSON array of objects, or COCO's images and annotations")
    return content


def _object_names(content: list[Any]) -> list[str]:
    return list(dict.fromkeys(name for row in content if isinstance(row, dict) for name in row))


def _coco_rows(content: dict[str, Any]) -> list[Any]:
    licences = {_id(entry, "id"): entry for entry in content.get("licenses") or [] if isinstance(entry, dict)}
    captions: dict[str, list[str]] = {}
    for annotation in content["annotations"]:
        if isinstance(annotation, dict) and isinstance(annotation.get("caption"), str):
            captions.setdefault(_id(annotation, "image_id"), []).append(annotation["caption"].strip())
    rows: list[Any] = []
    for image in content["images"]:
        if not isinstance(image, dict):
            rows.append(image)  # its row says that it is none
            continue
        texts = captions.get(_id(image, "id"), [])
        licence = licences.get(_id(image, "license"), {})
        rows.append({**image, "caption": next(iter(texts), None), "captions": texts, "license_url": licence.get("url")})
    return rows


def _id(entry: dict[str, Any], name: str) -> str:
    """An id as it is compared: any JSON value, and 1 is not "1"."""
    return json.dumps(entry.get(name), sort_keys=True)


def _need_columns(path: Path, columns: Sequence[str], names: list[str] | None) -> None:
    for column in columns:
        if names is not None and column not in names:
            raise ValueError(tables.missing_column(path, column, names))
