"""A folder of pictures with a captions file or .txt side files: which samples it has, and packing them into shards.

Nothing outside the folder is read, whatever the captions file says.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.data.caption_origins import gather_captions, with_captions
from components.data.image_header import read_header
from components.data.ingest_rows import IngestRow, ShardList, SourceRow, dropped_row, failed_row, split_rows
from components.data.list_files import ListFormat, RowFault, field_names, read_rows
from components.data.options import FolderOptions, caption_columns
from components.data.records import Record, write_records
from components.data.samples import IMAGE_EXTENSIONS, BadRecord, caption_from_value, encode_metadata

CAPTIONS_FILES = tuple(f"metadata.{suffix}" for suffix in ("jsonl", "csv", "tsv", "parquet", "json"))

OTHER_FILE = "other_file"  # dropped: what is neither picture nor caption


def find_captions_file(folder: str | Path, options: FolderOptions) -> Path | None:
    """The captions file configured, else the folder's only metadata.{jsonl,csv,tsv,parquet,json}, else None.

    Raises ValueError where the configured one is missing, or there are several.
    """
    found = find_captions_files(folder, options)
    return found[0] if found else None


def find_captions_files(folder: str | Path, options: FolderOptions) -> list[Path]:
    """The captions file configured, else the metadata.{jsonl,csv,tsv,parquet,json} of the folder and of every folder
    below it, as sets with splits have them; the paths in each count from its own folder. ValueError as of
    `find_captions_file`.
    """
    root = _need_folder(folder)
    if options.captions_file is not None:
        path = root / options.captions_file
        if not path.is_file():
            raise ValueError(f"there is no captions file {path}; captions_file is a path inside the folder")
        return [path]
    by_folder: dict[Path, list[Path]] = {}
    for path in _walk(root, options).captions:
        by_folder.setdefault(path.parent, []).append(path)
    for place, found in by_folder.items():
        if len(found) > 1:
            names = " and ".join(sorted((path.name for path in found), key=CAPTIONS_FILES.index))
            raise ValueError(f"{place} has {names}; say which one with captions_file")
    return sorted(found[0] for found in by_folder.values())


def list_files_of(folder: str | Path, options: FolderOptions) -> list[Path]:
    """Every file that makes up the source (pictures, captions), sorted: what digest.digest_files is to be given."""
    root = _need_folder(folder)
    captions = find_captions_files(folder, options)
    files = [root / name for name in _walk(root, options).pictures]
    if captions:
        return sorted([*files, *captions])
    return sorted(files + [side for file in files if (side := file.with_suffix(".txt")).is_file()])


def scan_folder(folder: str | Path, options: FolderOptions) -> Iterator[SourceRow]:
    """Every sample of the folder, with an empty key, sorted by path. Known faults are in the rows: no_caption,
    no_picture, ...

    A picture without a caption, a caption without a picture, a second caption for one picture and a path that leads out
    of the folder are each one row. Raises ValueError where the folder, its captions file or a column is missing.
    """
    root = _need_folder(folder)
    found = _walk(root, options)
    captions = find_captions_files(folder, options)
    rows: list[SourceRow] = []
    for file in captions:
        rows += _captioned_rows(root, file, set(found.pictures), options)
    if captions:
        named = {row.origin for row in rows}
        what = " and ".join(file.relative_to(root).as_posix() for file in captions[:3])
        reason = ("no_caption", f"{what} has no row for it") if options.require_caption else ("", "")
        rows += [SourceRow("", name, None, None, {}, *reason) for name in found.pictures if name not in named]
    else:
        rows += _scan_side_files(root, found.pictures, options)
    yield from sorted(rows, key=lambda row: row.origin)
    yield from _other_files(found, captions, root)  # last, since keys count rows


def split_folder(
    folder: str | Path, options: FolderOptions, rows_per_shard: int, out_dir: str | Path
) -> list[ShardList]:
    """Split the folder's samples into shard lists under `out_dir`. See rows.split_rows."""
    return split_rows(scan_folder(folder, options), rows_per_shard, out_dir)


def pack_folder_shard(
    folder: str | Path, rows: Sequence[SourceRow], out_path: str | Path, options: FolderOptions
) -> list[IngestRow]:
    """Write the pictures of `rows`, bytes unchanged, with their captions to the tar `out_path`; one IngestRow per row,
    in order.

    The tar is written in place: give a temporary name and rename it.
    """
    root = _need_folder(folder)
    results: list[IngestRow] = []
    write_records(out_path, packed(root, rows, options, results))
    return results


def _need_folder(folder: str | Path) -> Path:
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}")
    return root


@dataclass
class _Files:
    """What lies below a folder, paths relative with '/', sorted. Names that begin with a dot are left out."""

    pictures: list[str] = field(default_factory=list)
    captions: list[Path] = field(default_factory=list)  # metadata.jsonl and the like
    others: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # to folders that are not followed


def _walk(root: Path, options: FolderOptions) -> _Files:
    found = _Files()
    walked = {os.path.realpath(root)}
    for place, folders, files in os.walk(root, followlinks=options.follow_links):
        inside = []
        for name in sorted(folders):
            path = Path(place) / name
            if name.startswith("."):
                continue
            true = os.path.realpath(path)
            if path.is_symlink() and (not options.follow_links or true in walked):
                found.links.append(path.relative_to(root).as_posix())
                continue
            walked.add(true)
            inside.append(name)
        folders[:] = inside
        for name in files:
            path = Path(place) / name
            if name.startswith("."):
                continue
            if name.rpartition(".")[2].lower() in IMAGE_EXTENSIONS:
                found.pictures.append(path.relative_to(root).as_posix())
            elif name in CAPTIONS_FILES:
                found.captions.append(path)
            else:
                found.others.append(path.relative_to(root).as_posix())
    for names in (found.pictures, found.others, found.links):
        names.sort()
    return found


def _other_files(found: _Files, captions: list[Path], root: Path) -> Iterator[SourceRow]:
    """A row for everything else that lies there, so that no file is in no count. Text files beside a picture are its
    captions.
    """
    stems = {name.rpartition(".")[0] for name in found.pictures}
    listed = {file.relative_to(root).as_posix() for file in captions}
    for name in found.others:
        stem, _, extension = name.rpartition(".")
        if name in listed or (extension == "txt" and stem in stems):
            continue
        if extension == "txt" and not captions:
            yield SourceRow("", name, None, None, {}, "no_picture", "there is no picture beside this text")
        else:
            detail = f"files of the type .{extension.lower()} are not read" if "." in name else "it has no extension"
            yield SourceRow("", name if _is_text(name) else repr(name), None, None, {}, OTHER_FILE, detail)
    for name in found.links:
        yield SourceRow("", name, None, None, {}, "link_not_followed", "a link to a folder; see files.follow_links")


def _captioned_rows(root: Path, captions: Path, pictures: set[str], options: FolderOptions) -> list[SourceRow]:
    names = field_names(captions, ListFormat())
    named = caption_columns(options.captions, options.caption_column)
    columns = list(dict.fromkeys([options.file_column, *named.values(), *names]))
    below = captions.parent.relative_to(root).as_posix() if options.captions_file is None else ""
    rows: list[SourceRow] = []
    seen: set[str] = set()
    for number, values in read_rows(captions, columns, ListFormat()):
        where = f"{captions.relative_to(root).as_posix()}:{number}"
        if isinstance(values, RowFault):
            rows.append(SourceRow("", where, None, None, {}, "bad_row", values.detail))
            continue
        name = values[options.file_column]
        if not isinstance(name, str) or not name.strip():
            rows.append(SourceRow("", where, None, None, {}, "bad_row", f"{options.file_column} is empty or no text"))
            continue
        origin = os.path.normpath(os.path.join(below, name.strip())).replace("\\", "/")
        metadata = {k: v for k, v in values.items() if v is not None}
        texts = {name: values[column] for name, column in named.items()}
        row = _captioned_row(root, origin, texts, metadata, pictures, options)
        if origin in seen:
            row = SourceRow("", f"{origin} ({where})", None, None, {}, "duplicate_entry", f"{where} names it again")
        seen.add(origin)
        rows.append(row)
    return rows


def _captioned_row(
    root: Path, origin: str, texts: dict[str, Any], metadata: dict[str, Any], pictures: set[str], options: FolderOptions
) -> SourceRow:
    def lost(reason: str, detail: str) -> SourceRow:
        return SourceRow("", origin, None, None, {}, reason, detail)

    if not _is_text(origin) or _leads_out(root, origin, options):
        printable = origin.encode("utf-8", "backslashreplace").decode()
        return SourceRow("", printable, None, None, {}, "unsafe_path", "the path leads out of the folder or is no text")
    if origin not in pictures and not (root / origin).is_file():
        return lost("no_picture", "the captions file names it, the folder does not have it")
    captions = gather_captions("", texts)
    if isinstance(captions, BadRecord):
        return lost(captions.reason, captions.detail)
    if captions.first is None and options.require_caption:
        return lost("no_caption", "its caption is empty")
    return SourceRow("", origin, None, captions.first, with_captions(metadata, captions, bool(options.captions)))


def _scan_side_files(root: Path, pictures: list[str], options: FolderOptions) -> Iterator[SourceRow]:
    for name in pictures:
        if not _is_text(name):
            shown = name.encode("utf-8", "backslashreplace").decode()
            yield SourceRow("", shown, None, None, {}, "unsafe_path", "the file's name is not utf-8")
            continue
        side = (root / name).with_suffix(".txt")
        caption: str | BadRecord | None = None
        if side.is_file() and not _leads_out(root, side.relative_to(root).as_posix(), options):
            caption = _read_side_file(side, options)
        if isinstance(caption, BadRecord):
            yield SourceRow("", name, None, None, {}, caption.reason, caption.detail)
        elif caption is None and options.require_caption:
            yield SourceRow("", name, None, None, {}, "no_caption", f"there is no {side.name} with text beside it")
        else:
            yield SourceRow("", name, None, caption, {})


def _read_side_file(side: Path, options: FolderOptions) -> str | BadRecord | None:
    try:
        with side.open("rb") as file:
            data = file.read(options.limits.max_member_bytes)
        return caption_from_value("", data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return BadRecord("", "bad_caption", f"{side.name} is not utf-8")
    except OSError as error:
        return BadRecord("", "unreadable_file", f"{side.name}: {error.strerror}")


def _leads_out(root: Path, name: str, options: FolderOptions) -> bool:
    if name.startswith(("/", "../")) or name == ".." or name[1:3] == ":/":
        return True
    return not options.follow_links and not (root / name).resolve().is_relative_to(root.resolve())


def _is_text(name: str) -> bool:
    return "\0" not in name and not any(0xD800 <= ord(character) <= 0xDFFF for character in name)


def packed(root: Path, rows: Sequence[SourceRow], options: FolderOptions, results: list[IngestRow]) -> Iterator[Record]:
    """The samples of listed rows, as they are asked for; a row for each goes to `results`."""
    for row in rows:
        data: bytes | tuple[str, str]
        data = (row.reason, row.detail) if row.reason else read_inside(root, row.origin, options)
        if isinstance(data, tuple):
            results.append(dropped_row(row, *data) if data[0] == OTHER_FILE else failed_row(row, *data))
            continue
        header = read_header(data)
        size = (header.width, header.height) if header is not None else (None, None)
        sha256 = hashlib.sha256(data).hexdigest()
        results.append(
            IngestRow(row.key, row.origin, None, row.caption, "success", "", "", 1, size[0], size[1], sha256)
        )
        parts = {
            row.origin.rpartition(".")[2].lower(): data,
            "json": encode_metadata({**row.metadata, "file_name": row.origin}),
        }
        if row.caption is not None:
            parts["txt"] = row.caption.encode()
        yield Record(row.key, parts)


def read_inside(root: Path, name: str, options: FolderOptions) -> bytes | tuple[str, str]:
    """The file's bytes, or (reason, detail). Checked again here: the folder may have changed since it was listed."""
    if name.rpartition(".")[2].lower() not in IMAGE_EXTENSIONS:
        return "not_an_image", "its extension is none of a picture's"
    if _leads_out(root, name, options):
        return "unsafe_path", "a link leads out of the folder; follow_links is off"
    path = root / name
    limit = options.limits.max_member_bytes
    if not path.is_file():
        return "no_picture", "it is no plain file, or gone since the folder was listed"
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        return "unreadable_file", f"{error.strerror}"
    if len(data) > limit:
        return "too_large", f"over max_member_bytes = {limit}"
    return data if data else ("empty_body", "the file has no bytes")
