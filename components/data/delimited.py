"""csv and tsv files as people have them: encoding, separator and quoting are found out, and a quote that is not closed
costs one row. What the columns mean is the caller's.
"""

from __future__ import annotations

import codecs
import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

SEPARATORS = (",", "\t", ";", "|")
NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
LOOKED_AT = 2**20  # characters of a file from which its form is found out
MOST_LINES = 200  # of one row; a quote that is open for longer was never closed
MOST_CHARACTERS = csv.field_size_limit()  # of one field
TOO_LONG = f"it cannot be read: a field has over {MOST_CHARACTERS} characters"
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Form:
    """How a delimited file is written."""

    encoding: str
    separator: str
    quoted: bool
    newline: str = "\n"  # as `open` takes it; "": lines end with a carriage return alone

    def words(self) -> str:
        """`utf-16, separated by tabs, no quotes`."""
        return f"{self.encoding}, separated by {NAMES[self.separator]}, {'quotes' if self.quoted else 'no quotes'}"


def find_encoding(path: Path) -> str:
    """The encoding of a text file, by its first bytes: a mark, or the zeros of utf-16; else utf-8."""
    with path.open("rb") as file:
        start = file.read(4096)
    for mark, name in MARKS:
        if start.startswith(mark):
            return name
    if len(start) > 3 and b"\0" in start:
        even, odd = start[0::2].count(0), start[1::2].count(0)
        if min(even, odd) * 4 < max(even, odd):
            return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8-sig"


def find_form(path: Path, quoted: bool | None = None) -> Form:
    """How a file is written. Its extension says the separator unless its first line has only another one; fields of a
    tsv are quoted where only so every row has the header's fields. `quoted`: said by the user.
    """
    encoding = find_encoding(path)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        text = file.read(LOOKED_AT)
    newline = "\n" if "\n" in text or "\r" not in text else ""
    lines = [f"{line}\n" for line in text.split("\n" if newline else "\r")]
    header = lines[0] if lines else ""
    others = [separator for separator in SEPARATORS if separator in header]
    separator = others[0] if len(others) == 1 else usual
    if quoted is None:
        quoted = separator != "\t" or _is_quoted(lines[:-1] if len(lines) > 1 else lines, separator)
    return Form(encoding, separator, quoted, newline)


def open_text(path: Path, form: Form) -> TextIO:
    """Bytes that are no text become lone surrogates, so that one bad row does not end the list: its reader fails it."""
    errors = "surrogateescape" if form.encoding.startswith("utf-8") else "replace"
    return path.open(encoding=form.encoding, errors=errors, newline=form.newline)


def rows_of(lines: Iterator[str], form: Form) -> Iterator[tuple[int, list[str] | str]]:
    """(number of its last line, fields) of every row, or (its line, what is wrong with it). An empty line is no row.

    A quote that is never closed, or closed within a field, costs the row that it stands in: the lines after it are read
    as rows of their own.
    """
    waiting: deque[str] = deque()
    number = 0  # of the line that was taken last

    def more() -> str | None:
        return waiting.popleft() if waiting else next(lines, None)

    while (line := more()) is not None:
        number += 1
        if not line.strip("\r\n"):
            continue
        if not form.quoted or '"' not in line:
            yield number, _fields(line, form)
            continue
        taken = [line]
        while (found := _strict(taken, form.separator)) is None and len(taken) < MOST_LINES:
            following = more()
            if following is None:
                break
            taken.append(following)
        if found:
            number += len(taken) - 1
            yield number, found
            continue
        waiting.extendleft(reversed(taken[1:]))
        if len(taken) == 1 and found is not None:
            yield number, _fields(line, form)  # a quote within a field, as people write inches
        else:
            yield number, "a quote is opened and not closed as it should be: the lines after it are read as rows"


def _fields(line: str, form: Form) -> list[str] | str:
    if not form.quoted or '"' not in line:
        fields = _plain(line, form.separator)
        return fields if len(line) <= MOST_CHARACTERS or max(map(len, fields)) <= MOST_CHARACTERS else TOO_LONG
    try:
        return next(csv.reader([line], delimiter=form.separator), [])
    except csv.Error as error:
        return f"it cannot be read: {error}"


def _strict(lines: list[str], separator: str) -> list[str] | None:
    """The fields of a row of several lines; None while a quote is open, [] where quotes are no csv's."""
    try:
        rows = list(csv.reader(lines, delimiter=separator, strict=True))
    except csv.Error as error:
        return None if "unexpected end of data" in str(error) else []
    return rows[0] if len(rows) == 1 else []


def _is_quoted(lines: list[str], separator: str) -> bool:
    """True where the lines hold quotes, and reading them as such gives every row the header's fields."""
    if not any('"' in line for line in lines):
        return False
    wanted = len(_plain(lines[0], separator))
    quoted = Form("", separator, True)
    rows = [fields for _, fields in islice(rows_of(iter(lines), quoted), len(lines))]
    fits = sum(isinstance(row, list) and len(row) == wanted for row in rows)
    plain = [len(_plain(line, separator)) == wanted for line in lines if line.strip("\r\n")]
    starts = sum(any(field.startswith('"') for field in _plain(line, separator)) for line in lines)
    return bool(starts) and fits == len(rows) and (not all(plain) or _all_closed(lines, separator))


def _plain(line: str, separator: str) -> list[str]:
    return line.rstrip("\r\n").split(separator)


def _all_closed(lines: list[str], separator: str) -> bool:
    """True where every field that begins with a quote ends with one."""
    fields = [field for line in lines for field in _plain(line, separator) if field.startswith('"')]
    return all(len(field) > 1 and field.endswith('"') for field in fields)
