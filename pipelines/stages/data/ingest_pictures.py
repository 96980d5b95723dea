"""ingest from the pictures world: draw every file of the sets, build the catalogue, and make its samples.

Beside the shards the artifact holds `drawings.tar`: every drawing that can be used, as a cut-out with its entry.
"""

from __future__ import annotations

import hashlib
import json
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import TypeAdapter

from components.curation.faults import apply_fault, plan_faults
from components.curation.images import encode_png
from components.curation.options import FaultOptions
from components.data.ingest_rows import (
    IngestRow,
    SourceRow,
    dropped_row,
    failed_row,
    read_shard_list,
    row_key,
    split_rows,
)
from components.data.records import Record, metadata_of, read_records, write_records
from components.pictures.catalogue import TRAIN, Catalogue, Entry, build_catalogue
from components.pictures.composition import render
from components.pictures.draw import DrawingError
from components.pictures.draw_apart import Drawer
from components.pictures.drawing_samples import Sample, sample
from components.pictures.factors import NoCodePoints, Parsed, parse, parse_codes
from components.pictures.options import PictureOptions
from components.pictures.sets import DrawingFile, attribution, read_sets
from pipelines.config.source_kinds import PicturesSource
from pipelines.errors import UserError
from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, derive_seed
from pipelines.stages.data.ingest_lists import list_tasks, write_rows

AHEAD = 256  # files that are in memory at once
DROPPED = ("no_name", "left_out", "same_code_points")  # reasons that are a decision and no failure
Drawn = tuple[str, Parsed, np.ndarray] | tuple[str, str]  # (style, parsed, cut-out), or (reason, detail)


def picture_tasks(context: StageContext, source: PicturesSource) -> list[ShardTask]:
    """Draw the sets, write the catalogue, and list every file and every composition as an input sample."""
    context.progress("drawing")
    files, drawn = draw_all(read_sets(source.path), source.picture)
    drawn = _once(drawn)
    usable = [found for found in drawn if len(found) == 3]
    if not usable:
        reasons = sorted({found[0] for found in drawn if len(found) == 2})
        raise UserError(f"of {len(drawn)} drawings in source.path none can be used ({', '.join(reasons)}).")
    catalogue = build_catalogue(usable, source.picture, derive_seed(context.seed, "split"))
    if not catalogue.by_split[TRAIN]:
        raise UserError("no drawing is left to train on: lower source.picture.combinations_held_out.")
    with context.output("drawings.tar") as path:
        write_records(path, entry_records(catalogue))
    rows = _rows(files, drawn, catalogue, source)
    settings = source.model_dump(mode="json") | {
        "drawings": f"{context.work.path}/drawings.tar", "files": len(files), "seed": context.seed
    }  # fmt: skip
    return list_tasks(context, settings, lambda out: split_rows(rows, source.samples_per_shard, out))


def draw_all(given: Iterable[DrawingFile], options: PictureOptions) -> tuple[list[str], list[Drawn]]:
    """Return where each file is from, and its drawing or why there is none."""
    free: queue.SimpleQueue[Drawer] = queue.SimpleQueue()

    def one(file: DrawingFile) -> tuple[str, Drawn]:
        drawer = free.get()
        try:
            return file.origin, _drawn(file, options, drawer)
        finally:
            free.put(drawer)

    with Drawer(options.size) as first, Drawer(options.size) as second, ThreadPoolExecutor(2) as pool:
        free.put(first)
        free.put(second)
        rest = iter(given)
        found: list[tuple[str, Drawn]] = []
        while batch := list(islice(rest, AHEAD)):
            found += pool.map(one, batch)
    return [origin for origin, _ in found], [drawn for _, drawn in found]


def _drawn(file: DrawingFile, options: PictureOptions, drawer: Drawer) -> Drawn:
    """Return a file's drawing, or why there is none."""
    try:
        parsed = parse(parse_codes(file.stem))
        if not parsed.name:
            return "no_name", "no English name is known for its code points"
        if parsed.group in options.leave_out:
            return "left_out", f"source.picture.leave_out names {parsed.group}"
        if file.data is None:
            return "too_many_bytes", "the file is larger than drawings are read"
        return file.style, parsed, drawer.draw(file.data, file.suffix)
    except NoCodePoints as error:
        return "no_code_points", str(error)
    except DrawingError as error:
        return error.reason, str(error)


def _once(drawn: list[Drawn]) -> list[Drawn]:
    """Leave out what a style has a drawing of already: `1F44B.svg` beside `1F44B-FE0F.png`."""
    seen: set[str] = set()
    found: list[Drawn] = []
    for one in drawn:
        key = Entry.key_of(one[0], one[1]) if len(one) == 3 else ""
        found.append(("same_code_points", f"another file of the set is {key}, too") if key in seen else one)
        seen |= {key} if key else set()
    return found


def _rows(files: list[str], drawn: list[Drawn], catalogue: Catalogue, source: PicturesSource) -> Iterator[SourceRow]:
    for origin, found in zip(files, drawn, strict=True):
        if len(found) == 2:
            yield SourceRow("", origin, None, None, {}, *found)
        else:
            style, parsed, _ = found
            yield SourceRow("", origin, None, None, {"number": catalogue.at[Entry.key_of(style, parsed)]})
    for number in range(round(source.picture.compositions * len(catalogue.by_split[TRAIN]))):
        yield SourceRow("", f"composition {number}", None, None, {"number": len(catalogue.entries) + number})


def entry_records(catalogue: Catalogue) -> Iterator[Record]:
    """Yield what `drawings.tar` holds: a record for each drawing, with its entry and its cut-out."""
    for number, entry in enumerate(catalogue.entries):
        data = json.dumps(entry.to_dict(), ensure_ascii=False, sort_keys=True).encode()
        yield Record(f"{number:06d}", {"cutout.png": encode_cutout(catalogue.cutout(entry.key)), "json": data})


def encode_cutout(rgba: np.ndarray) -> bytes:
    """Return an RGBA picture, uint8 [S, S, 4], as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))[1].tobytes()


def decode_cutout(data: bytes) -> np.ndarray:
    """Return the RGBA picture, uint8 [S, S, 4], of `encode_cutout`'s bytes. ValueError for anything else."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim != 3 or values.shape[2] != 4:
        raise ValueError("a cut-out is no PNG with alpha")
    return cv2.cvtColor(values, cv2.COLOR_BGRA2RGBA)


def read_catalogue(paths: Iterable[Path]) -> Catalogue:
    """Return the catalogue of shards whose samples carry their entry and cut-out: `drawings.tar`, or curated shards.

    Raises ValueError where none does, or one was not written by ingest.
    """
    entries, cutouts = [], []
    for path in paths:
        for record in read_records(path):
            if isinstance(record, Record) and "cutout.png" in record.parts:
                found = metadata_of(record)
                about = found if isinstance(found, dict) else {}
                said = about.get("pixsem", {"entry": about})
                entries.append(Entry.from_dict(said.get("entry") if isinstance(said, dict) else said))
                cutouts.append(decode_cutout(record.parts["cutout.png"]))
    if not entries:
        raise ValueError("no sample carries a drawing")
    return Catalogue(entries, np.stack(cutouts))


def make_shard(context: ShardContext) -> ShardResult:
    """Make the samples of one list. A sample depends on the seed and its number alone."""
    args = context.task.args
    rows: list[IngestRow] = []
    write_records(context.file(f"shards/{context.task.name}.tar"), picture_records(context, args, rows))
    return write_rows(context, rows)


def picture_records(context: ShardContext, args: dict[str, Any], rows: list[IngestRow]) -> Iterator[Record]:
    """Yield the records of a list's samples, and add a row to `rows` for each of its lines."""
    source = args["source"]
    options = TypeAdapter(PictureOptions).validate_python(source["picture"])
    catalogue = read_catalogue([context.fetch(source["drawings"])])
    world = World(catalogue, options, FaultOptions(**source["faults"]), source["seed"])
    credit, per_shard = attribution(source["path"]), source["samples_per_shard"]
    for row in read_shard_list(context.fetch(args["list"])):
        if row.reason:
            rows.append((dropped_row if row.reason in DROPPED else failed_row)(row, row.reason, row.detail))
            continue
        record, made = world.record(
            row.key,
            row.metadata["number"],
            credit,
            lambda composition: row_key(source["files"] + composition, per_shard),
        )
        size = options.size
        digest = hashlib.sha256(record.parts[made[0]]).hexdigest()
        rows.append(IngestRow(row.key, row.origin, None, made[1], "success", "", "", 1, size, size, digest))
        yield record


class World:
    """The samples of a pictures source, any of them by number; faults are planted in compositions alone, so that no
    drawing is lost to them.
    """

    def __init__(self, catalogue: Catalogue, options: PictureOptions, faults: FaultOptions, seed: int) -> None:
        self.catalogue, self.options, self.seed = catalogue, options, seed
        composed = round(options.compositions * len(catalogue.by_split[TRAIN]))
        self._plans = plan_faults(composed, faults, derive_seed(seed, "faults"))

    def sample(self, number: int, what: str = "sample") -> Sample:
        """Return the sample of a number."""
        rng = np.random.default_rng(derive_seed(self.seed, what, number))
        return sample(self.catalogue, number, self.options.phrasings, rng)

    def record(
        self, key: str, number: int, credit: str, key_of: Callable[[int], str]
    ) -> tuple[Record, tuple[str, str]]:
        """Return a sample's record, and (extension, caption) of its picture. `key_of` gives a composition's key."""
        first = len(self.catalogue.entries)
        made = self.sample(number)
        plan = self._plans[number - first] if number >= first else None
        shown = made if plan is None or plan.source is None else self.sample(plan.source + first)
        picture = render(shown.composition, self.catalogue)
        about: dict[str, Any] = {
            "composition": shown.composition.to_dict(), "held_out": shown.split != TRAIN, "split": shown.split,
            "category": shown.category, "captions": list(shown.captions), "options": self.options.__dict__,
        }  # fmt: skip
        caption, extension, parts = shown.captions[0], "png", {}
        metadata: dict[str, Any] = {"key": key, "attribution": credit, "faults": []}
        if plan is not None and plan.fault is not None:
            other = self.sample(first + (number - first + 1) % max(1, len(self._plans)), "wrong")
            rng = np.random.default_rng(derive_seed(self.seed, "fault", number))
            second = shown.captions[-1] if plan.source is not None else caption
            image, extension, caption = apply_fault(plan.fault, picture, second, other.captions[0], rng)
            about["captions"] = [caption]
            metadata["faults"] = [plan.fault]
            if plan.source is not None:
                metadata["fault_source"] = key_of(plan.source)
        else:
            image = encode_png(picture)
        if number < first:
            entry = self.catalogue.entries[number]
            about["entry"] = entry.to_dict()
            parts["cutout.png"] = encode_cutout(self.catalogue.cutout(entry.key))
        data = json.dumps({**metadata, "caption": caption, "pixsem": about}, ensure_ascii=False, sort_keys=True)
        parts |= {extension: image, "txt": caption.encode(), "json": data.encode()}
        return Record(key, parts), (extension, caption)
