"""Sources that draw their own samples: how many there will be, and a few of them, made to see how large they are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from components.pictures.factors import Parsed
from pipelines.config.schema import Config
from pipelines.config.source_kinds import PicturesSource, ScenesSource

DRAWN = 64  # samples that are made


@dataclass(frozen=True)
class Drawn:
    """What a source will draw, by a few of its samples."""

    samples: int
    how: str  # they were counted
    pairs: float  # edit pairs of a sample, at most
    captioned_pairs: float  # share of the pairs whose result is trained on as a captioned picture, too
    held_out: float  # share
    sample_bytes: float
    pair_bytes: float
    caption_bytes: float
    texts: tuple[str, ...]  # whose words stand for all there are
    beside_bytes: float = 0.0  # that ingest keeps beside the shards, for a sample


Parts = dict[str, bytes]


def _drawn(
    samples: int,
    how: str,
    pairs: tuple[float, float],
    held_out: float,
    records: Sequence[Parts],
    made: Sequence[Parts],
    texts: Sequence[str],
    beside_bytes: float = 0.0,
) -> Drawn:
    caption = sum(len(parts["txt"]) for parts in records) / max(1, len(records))
    sizes = (mean_bytes(records), mean_bytes(made), caption)
    return Drawn(samples, how, *pairs, held_out, *sizes, tuple(texts), beside_bytes)


def mean_bytes(records: Sequence[Parts]) -> float:
    """Return what a record takes in a tar, on average; 0 where there is none."""
    from components.data.sizes import tar_sample_bytes

    return sum(tar_sample_bytes(map(len, parts.values())) for parts in records) / max(1, len(records))


def draw_scenes(config: Config) -> Drawn:
    """Make a few scenes and their edits."""
    from components.data.samples import Record
    from pipelines.stages.data.ingest_scenes import World, scene_records
    from pipelines.stages.data.synthesize_edits import scene_pairs

    assert isinstance(config.only_source, ScenesSource)
    source = config.only_source.model_dump(mode="json")
    world = World(source, config.seed)
    args = {"first": 0, "end": min(DRAWN, source["count"]), "source": source, "seed": config.seed}
    records: list[Record] = list(scene_records(args, []))
    settings = config.synthesize_edits.model_dump(mode="json")
    pairs: list[Parts] = []
    for number in range(len(records)):
        scene = world.scene(number).to_dict()
        made = scene_pairs(scene, world.picture(number), settings, source["scene"], number)
        for _, parts, extra in made:
            if parts:
                about = {"caption": world.caption(number), **extra}
                pairs.append({**parts, "json": json.dumps(about).encode()})
    texts = [world.caption(number) for number in range(8 * len(records))]
    texts += [parts["txt"].decode() for parts in pairs]
    each = (float(config.synthesize_edits.pairs_per_scene), 1.0)
    return _drawn(
        config.only_source.count,
        "scenes that are drawn",
        each,
        config.held_out,
        [r.parts for r in records],
        pairs,
        texts,
    )


def draw_pictures(config: Config) -> Drawn:
    """Count the drawings that have a name, draw a few, and make their edits. `ValueError` for a path that is no set."""
    from components.pictures.catalogue import Entry, build_catalogue
    from components.pictures.factors import NoCodePoints, parse, parse_codes
    from components.pictures.sets import DrawingFile, read_sets
    from pipelines.stages.data.ingest_pictures import World, draw_all, entry_records
    from pipelines.stages.data.picture_pairs import picture_pairs

    assert isinstance(config.only_source, PicturesSource)
    options = config.only_source.picture
    named: dict[str, Parsed] = {}
    varied: list[DrawingFile] = []
    plain: list[DrawingFile] = []
    for file in read_sets(config.only_source.path):
        try:
            parsed = parse(parse_codes(file.stem))
        except NoCodePoints:
            continue  # ingest gives each file that it leaves out a row with the reason
        key = Entry.key_of(file.style, parsed)
        if not parsed.name or parsed.group in options.leave_out or key in named:
            continue
        named[key] = parsed
        kind = varied if parsed.factors else plain
        if len(kind) < DRAWN:
            kind.append(file)
    drawn = [found for found in draw_all([*varied, *plain], options)[1] if len(found) == 3]
    if not drawn:
        raise ValueError("source.path: no drawing with a known name could be drawn")
    variants = Counter(parsed.concept for parsed in named.values())
    editable = sum(variants[parsed.concept] > 1 for parsed in named.values()) / len(named)
    catalogue = build_catalogue(drawn, options, config.seed)
    world = World(catalogue, options, config.only_source.faults, config.seed)
    records, pairs = [], []
    for number in range(len(catalogue.entries)):
        record, _ = world.record(f"{number:09d}", number, "", str)
        records.append(record.parts)
        about = json.loads(record.parts["json"])["pixsem"]
        pairs += [
            {**parts, "json": json.dumps(extra).encode()} for _, parts, extra in picture_pairs(about, catalogue, number)
        ]
    texts = [f"a drawing of {parsed.name}" for parsed in named.values()]
    texts += [text for n in range(len(catalogue.entries)) for text in world.sample(n).captions]
    texts += [parts["txt"].decode() for parts in pairs]
    each = options.factor_edits * editable + options.composition_edits
    captioned = options.composition_edits / each if each else 0.0
    samples = round(len(named) * (1 + options.compositions))
    how = "drawings that have a name, and their compositions"
    beside = mean_bytes([record.parts for record in entry_records(catalogue)]) * len(named) / samples
    return _drawn(samples, how, (each, captioned), options.combinations_held_out, records, pairs, texts, beside)


WORLDS: dict[str, Callable[[Config], Drawn]] = {"scenes": draw_scenes, "pictures": draw_pictures}
