"""What a source would be read as: its columns, and a few samples with their pictures, captions and instructions.

They are read by the very code that ingest uses. Nothing is downloaded but the first samples, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config.source_kinds import (
    EditPairsSource,
    FolderSource,
    ParquetSource,
    Source,
    UrlsSource,
    WebDatasetSource,
)
from pipelines.errors import UserError

if TYPE_CHECKING:
    from components.data.ingest_rows import IngestRow
    from components.data.samples import Record

TEXTS = {"caption": "caption", "target_caption": "caption of the target"}


@dataclass(frozen=True)
class Seen:
    """One sample: its pictures and texts by what they are read as, or (`problem`) why it would fail."""

    where: str
    pictures: dict[str, str] = field(default_factory=dict)  # "jpg 640x480, 81 KB"
    texts: list[tuple[str, str]] = field(default_factory=list)
    problem: str = ""


@dataclass(frozen=True)
class Preview:
    """What a source would be read as."""

    kind: str
    files: int
    columns: dict[str, str]  # what there is, with its type where it has one
    roles: dict[str, str]  # of columns, what each is read as
    samples: list[Seen]
    note: str = ""


def preview(source: Source, count: int) -> Preview:
    """Look at the first `count` samples of a source. ValueError where a column is missing, naming the nearest."""
    for kind, look in LOOKS:
        if isinstance(source, kind):
            return look(source, count)
    raise UserError(f"source={source.kind} draws its own samples. See some with: pixsem run --until curate")


def _seen(records: Iterator[Record], results: list[IngestRow], count: int) -> list[Seen]:
    """The first samples of a stream, with those that fail on the way."""
    found: list[Record] = []
    while len(results) < count and (record := next(records, None)) is not None:
        found.append(record)
    taken = iter(found)
    return [
        _of_record(row.origin, next(taken))
        if row.status == "success"
        else Seen(row.origin, problem=f"{row.reason}: {row.detail}")
        for row in results[:count]
    ]


def _of_record(where: str, record: Record) -> Seen:
    from components.data.samples import IMAGE_EXTENSIONS, metadata_of

    pictures = {
        name.rpartition(".")[0] or "picture": _picture(name.rpartition(".")[2], data)
        for name, data in record.parts.items()
        if name.rpartition(".")[2] in IMAGE_EXTENSIONS
    }
    metadata = metadata_of(record)
    about = metadata if isinstance(metadata, dict) else {}
    ours = about.get("pixsem")
    said: dict[str, Any] = ours if isinstance(ours, dict) else {}
    pair = "source" in pictures
    texts: list[tuple[str, str]] = []
    if "captions" in said:
        texts += [(f"caption [{o}]", t) for o, t in zip(said["caption_origins"], said["captions"], strict=True)]
    elif "instructions" in said:
        texts += [("instruction", text) for text in said["instructions"]]
    elif "txt" in record.parts:
        texts.append(("instruction" if pair else "caption", record.parts["txt"].decode("utf-8", "replace")))
    if pair:
        texts += [(words, about[name]) for name, words in TEXTS.items() if about.get(name)]
        texts += [(name, str(said[name])) for name in ("group", "turn") if name in said]
    return Seen(where, pictures, texts)


def _picture(extension: str, data: bytes) -> str:
    from components.data.image_header import read_header

    header = read_header(data)
    size = f"{header.width}x{header.height}" if header is not None else "size not known"
    return f"{extension} {size}, {len(data) / 1000:,.0f} KB"


def _roles(**columns: Any) -> dict[str, str]:
    """{column: what it is read as} of {what: column, columns, or {origin: column}}."""
    found: dict[str, str] = {}
    for what, named in columns.items():
        words = what.replace("_", " ")
        pairs = (
            named.items()
            if isinstance(named, dict)
            else [("", n) for n in ([named] if isinstance(named, str) else named or ())]
        )
        for origin, column in pairs:
            found[column] = f"{words} [{origin}]" if origin else words
    return found


def _parquet(source: ParquetSource, count: int) -> Preview:
    from components.data.options import caption_columns
    from components.data.parquet_source import columns_of, packed
    from components.data.row_groups import check_columns, find_parquet

    paths = find_parquet(source.path)
    options = source.columns
    check_columns(paths[0], columns_of(options), [options.image_column])
    results: list[IngestRow] = []
    samples = _seen(packed(_parts(paths, count), "", options, results), results, count)
    named = caption_columns(options.captions, options.caption_column)
    roles = _roles(picture=options.image_column, caption=named, metadata=options.metadata_columns)
    return Preview("parquet", len(paths), _schema(paths), roles, samples)


def _parts(paths: list[str], count: int) -> list[Any]:
    """The first row groups that hold `count` rows."""
    from components.data.row_groups import plan_parts

    parts: list[Any] = []
    for path in paths:
        parts += [part for shard in plan_parts([path], 1) for part in shard]
        if sum(part.rows for part in parts) >= count:
            break
    return parts


def _schema(paths: list[str]) -> dict[str, str]:
    from components.data.row_groups import DamagedFile, schema_of

    for path in paths:
        try:
            return schema_of(path)
        except DamagedFile:
            continue
    return {}


def _tars(source: WebDatasetSource, count: int) -> Preview:
    from components.data.places import base_name
    from components.data.records import read_records
    from components.data.streams import open_shard
    from components.data.webdataset_source import Wanted, find_shards, packed

    places = [str(place) for place in find_shards(source.shards, source.allow_pipe)]
    results: list[IngestRow] = []
    wanted = Wanted(source.caption_field, source.captions, source.require_caption)
    with open_shard(places[0]) as stream:
        records, columns = _noting_parts(read_records(stream, source.limits))
        samples = _seen(packed(base_name(places[0]), records, wanted, "", results), results, count)
    captions = source.captions or {"": source.caption_field or "txt"}
    return Preview("webdataset", len(places), columns, _roles(caption=captions) | _picture_parts(columns), samples)


def _picture_parts(columns: Iterable[str]) -> dict[str, str]:
    from components.data.samples import IMAGE_EXTENSIONS

    return {name: "picture" for name in columns if name in IMAGE_EXTENSIONS}


def _noting_parts(records: Iterable[Any]) -> tuple[Iterator[Any], dict[str, str]]:
    """The records, and what their parts and the fields of their json are called, filled as they go by."""
    from components.data.samples import Record, metadata_of

    columns: dict[str, str] = {}

    def noted() -> Iterator[Any]:
        for record in records:
            if isinstance(record, Record):
                columns.update(dict.fromkeys(record.parts, "part"))
                metadata = metadata_of(record)
                fields = metadata if isinstance(metadata, dict) else {}
                columns.update({name: "field of json" for name in fields if name not in record.parts})
            yield record

    return noted(), columns


def _folder(source: FolderSource, count: int) -> Preview:
    from components.data.folder import find_captions_file, list_files_of, packed, scan_folder
    from components.data.list_files import ListFormat, field_names
    from components.data.options import caption_columns

    options = source.files
    captions = find_captions_file(source.path, options)
    results: list[IngestRow] = []
    rows = islice(scan_folder(source.path, options), count)
    samples = _seen(packed(Path(source.path), list(rows), options, results), results, count)
    columns = (
        dict.fromkeys(field_names(captions, ListFormat()), "") if captions is not None else {".txt": "file beside"}
    )
    named = caption_columns(options.captions, options.caption_column) if captions is not None else {"": ".txt"}
    roles = _roles(picture=options.file_column, caption=named)
    return Preview("folder", len(list_files_of(source.path, options)), columns, roles, samples)


def _urls(source: UrlsSource, count: int) -> Preview:
    from components.data.list_files import ListFormat, field_names
    from components.data.options import caption_columns
    from components.data.url_lists import find_url_lists, read_url_list

    paths = find_url_lists(source.path)
    options = source.columns
    samples = []
    for row in islice((row for path in paths for row in read_url_list(path, options)), count):
        said = row.metadata.get("pixsem", {})
        texts = [
            (f"caption [{o}]", t)
            for o, t in zip(said.get("caption_origins", ()), said.get("captions", ()), strict=True)
        ]
        texts = texts or ([("caption", row.caption)] if row.caption else [])
        problem = f"{row.reason}: {row.detail}" if row.reason else ""
        samples.append(Seen(row.origin, {"address": row.url} if row.url else {}, texts, problem))
    form = ListFormat(options.column_names, options.quoted)
    columns = {} if paths[0].suffix == ".txt" else dict.fromkeys(field_names(paths[0], form), "")
    named = caption_columns(options.captions, options.caption_column)
    roles = _roles(address=options.url_column, caption=named, metadata=options.metadata_columns)
    return Preview("urls", len(paths), columns, roles, samples, "Pictures are not downloaded here.")


def _pairs(source: EditPairsSource, count: int) -> Preview:
    from components.data import edit_pairs, pair_folders
    from components.data.list_files import ListFormat, field_names
    from components.data.places import base_name
    from components.data.records import read_records
    from components.data.row_groups import check_columns, find_parquet
    from components.data.streams import open_shard
    from components.data.webdataset_source import find_shards
    from pipelines.stages.data.ingest_tables import pair_format

    options, kind = source.pairs, pair_format(source)
    results: list[IngestRow] = []

    def look(rows: Iterable[Any]) -> list[Seen]:
        return _seen(edit_pairs.packed(rows, "", options, source.limits, results), results, count)

    if kind == "parquet":
        paths = find_parquet(source.path)
        check_columns(paths[0], edit_pairs.columns_of(options), edit_pairs.pictures_of(options))
        columns = _schema(paths)
        samples = look(edit_pairs.parquet_pairs(_parts(paths, count), "", options))
    elif kind == "webdataset":
        paths = [str(place) for place in find_shards(source.path, source.allow_pipe)]
        with open_shard(paths[0]) as stream:
            records, columns = _noting_parts(read_records(stream, source.limits))
            samples = look(edit_pairs.tar_pairs(records, base_name(paths[0]), options))
    else:
        metadata = pair_folders.metadata_file(source.path, source.metadata_file)
        rows = islice(pair_folders.scan_pairs(source.path, source.metadata_file, options), count)
        samples = look(pair_folders.folder_pairs(source.path, rows, options, source.limits))
        columns, paths = dict.fromkeys(field_names(metadata, ListFormat()), ""), [str(metadata)]
    roles = _roles(
        source=options.source, target=options.target, instruction=options.instruction, mask=options.mask,
        caption=options.caption, caption_of_the_target=options.target_caption, kind=options.kind, group=options.group,
        turn=options.turn, metadata=options.metadata,
    )  # fmt: skip
    return Preview(f"edit_pairs ({kind})", len(paths), columns, roles, samples)


LOOKS: tuple[tuple[type, Callable[[Any, int], Preview]], ...] = (
    (ParquetSource, _parquet),
    (WebDatasetSource, _tars),
    (FolderSource, _folder),
    (UrlsSource, _urls),
    (EditPairsSource, _pairs),
)
