"""A folder of pictures with a captions file or .txt side files: which samples it has, and packing them into shards.

Nothing outside the folder is read, whatever the captions file says.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components.data.caption_origins import gather_captions, with_captions
from components.data.image_header import read_header
from components.data.ingest_rows import IngestRow, ShardList, SourceRow, failed_row, split_rows
from components.data.list_files import ListFormat, RowFault, field_names, read_rows
from components.data.options import FolderOptions, caption_columns
from components.data.records import Record, write_records
from components.data.samples import IMAGE_EXTENSIONS, BadRecord, caption_from_value, encode_metadata

CAPTIONS_FILES = tuple(f"metadata.{suffix}" for suffix in ("jsonl", "csv", "tsv", "parquet", "json"))


def find_captions_file(folder: str | Path, options: FolderOptions) -> Path | None:
    """The captions file configured, else the folder's only metadata.{jsonl,csv,tsv,parquet,json}, else None.

    Raises ValueError where the configured one is missing, or there are several.
    """
    folder = _need_folder(folder)
    if options.captions_file is not None:
        path = folder / options.captions_file
        if not path.is_file():
            raise ValueError(f"there is no captions file {path}; captions_file is a path inside the folder")
        return path
    found = [folder / name for name in CAPTIONS_FILES if (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(f"{folder} has {' and '.join(p.name for p in found)}; say which one with captions_file")
    return found[0] if found else None


def list_files_of(folder: str | Path, options: FolderOptions) -> list[Path]:
    """Every file that makes up the source (pictures, captions), sorted: what digest.digest_files is to be given."""
    root = _need_folder(folder)
    captions = find_captions_file(folder, options)
    files = [root / name for name in _picture_names(root)]
    if captions is not None:
        return sorted([*files, captions])
    return sorted(files + [side for file in files if (side := file.with_suffix(".txt")).is_file()])


def scan_folder(folder: str | Path, options: FolderOptions) -> Iterator[SourceRow]:
    """Every sample of the folder, with an empty key, sorted by path. Known faults are in the rows: no_caption,
    no_picture, ...

    A picture without a caption, a caption without a picture, a second caption for one picture and a path that leads out
    of the folder are each one row. Raises ValueError where the folder, its captions file or a column is missing.
    """
    root = _need_folder(folder)
    pictures = _picture_names(root)
    captions = find_captions_file(folder, options)
    if captions is None:
        yield from _scan_side_files(root, pictures, options)
        return
    rows = _captioned_rows(root, captions, set(pictures), options)
    named = {row.origin for row in rows}
    reason = ("no_caption", f"{captions.name} has no row for it") if options.require_caption else ("", "")
    rows += [SourceRow("", name, None, None, {}, *reason) for name in pictures if name not in named]
    yield from sorted(rows, key=lambda row: row.origin)


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


def _picture_names(root: Path) -> list[str]:
    """Paths of all pictures below root, relative with '/', sorted; folders and files that begin with a dot are left
    out.
    """
    names: list[str] = []
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.rpartition(".")[2].lower() in IMAGE_EXTENSIONS:
                names.append((Path(place) / name).relative_to(root).as_posix())
    return sorted(names)


def _captioned_rows(root: Path, captions: Path, pictures: set[str], options: FolderOptions) -> list[SourceRow]:
    names = field_names(captions, ListFormat())
    named = caption_columns(options.captions, options.caption_column)
    columns = list(dict.fromkeys([options.file_column, *named.values(), *names]))
    rows: list[SourceRow] = []
    seen: set[str] = set()
    for number, values in read_rows(captions, columns, ListFormat()):
        where = f"{captions.name}:{number}"
        if isinstance(values, RowFault):
            rows.append(SourceRow("", where, None, None, {}, "bad_row", values.detail))
            continue
        name = values[options.file_column]
        if not isinstance(name, str) or not name.strip():
            rows.append(SourceRow("", where, None, None, {}, "bad_row", f"{options.file_column} is empty or no text"))
            continue
        origin = os.path.normpath(name.strip()).replace("\\", "/")
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
            results.append(failed_row(row, *data))
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
