"""synthesize_edits: (source, instruction, target, mask) from curated samples: exact from scenes and drawings, by
procedures from photos.

Artifact: `shards/NAME.tar` (`KEY.source.png, KEY.target.png, KEY.mask.png, KEY.txt, KEY.json`), `attempts/NAME.parquet`
with one row per attempt, and `sheet.png`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, derive_seed
from pipelines.stages.data.pair_parts import Made, pair_images

ATTEMPT_SCHEMA = {
    "key": "string", "source_key": "string", "family": "string", "kind": "string",
    "state": "string", "reason": "string", "detail": "string",
}  # fmt: skip
DONORS = 16  # photos of a shard whose objects may be pasted into the others
SHEET_PAIRS = 24
PNG_LEVEL = 2  # of photos
CAPTION_KEYS = {"captions", "caption_origins"}  # of any picture, under our key of its json


def run(context: StageContext) -> None:
    """Make the edit pairs of every curated shard."""
    settings = context.config.synthesize_edits.model_dump(mode="json")
    limits = dataclasses.asdict(context.config.measure.limits)
    common = {"settings": settings, "limits": limits}
    shards = context.curated_shards(context.stage.given.get("pairs_of"))
    tasks = [
        ShardTask(name, {"shard": path, "curated": "/".join(PurePosixPath(path).parts[-4:-2]), **common})
        for name, path in shards.items()
    ]
    records = context.map_shards("pipelines.stages.data.synthesize_edits:make_pairs", tasks)
    kinds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for record in records:
        kinds.update(record.metrics["kinds"])
        reasons.update(record.metrics["reasons"])
    context.metrics["edits"] = {
        "pairs": context.counts.get("kept", 0),
        "by_kind": dict(sorted(kinds.items())),
        "dropped_by_reason": dict(sorted(reasons.items())),
    }
    _sheet(context, [file.path for record in records for file in record.files if file.path.endswith(".tar")])


def make_pairs(context: ShardContext) -> ShardResult:
    """Make the edit pairs of one shard; every attempt gets a row."""
    import cv2

    from components.data.records import write_records
    from pipelines.stages.data.parquet_rows import write_rows

    cv2.setNumThreads(1)
    attempts: list[dict[str, Any]] = []
    pairs = _pairs(context, attempts)
    if any(context.task.args["settings"]["faults"].values()):
        from components.curation.pairs.options import PairFaultOptions
        from pipelines.stages.data.plant_pairs import planted_pairs

        pairs = planted_pairs(pairs, PairFaultOptions(**context.task.args["settings"]["faults"]), context.seed)
    write_records(context.file(f"shards/{context.task.name}.tar"), pairs)
    write_rows(context.file(f"attempts/{context.task.name}.parquet"), attempts, ATTEMPT_SCHEMA)
    states = Counter(row["state"] for row in attempts)
    counts = {"input": len(attempts), **{name: states[name] for name in ("kept", "dropped", "failed")}}
    kinds = Counter(f"{row['family']}.{row['kind']}" for row in attempts if row["state"] == "kept")
    reasons = Counter(row["reason"] for row in attempts if row["state"] != "kept")
    return ShardResult(counts, {"kinds": dict(sorted(kinds.items())), "reasons": dict(sorted(reasons.items()))})


def _pairs(context: ShardContext, attempts: list[dict[str, Any]]) -> Iterator[Any]:
    """Yield the records of one shard's pairs, and add a row to `attempts` for each attempt."""
    from components.curation.images import ImageError, decode_image
    from components.curation.options import ImageLimits
    from components.data.records import Record, read_records
    from components.data.samples import caption_of, image_part, metadata_of

    args = context.task.args
    limits = ImageLimits(**args["limits"])
    path = context.fetch(args["shard"])
    donors: list[Any] | None = None
    for record in read_records(path):
        row = {"key": "", "source_key": record.key, "family": "", "kind": "any", "state": "failed"}
        if not isinstance(record, Record):
            attempts.append({**row, "reason": record.reason, "detail": record.detail})
            continue
        part = image_part(record)
        assert part is not None, "curation keeps no sample without an image"
        try:
            rgb = decode_image(part[1], limits).rgb
        except ImageError as error:
            attempts.append({**row, "reason": error.reason, "detail": error.detail})
            continue
        found, caption = metadata_of(record), caption_of(record)
        metadata = found if isinstance(found, dict) else {}
        caption = caption if isinstance(caption, str) else None
        seed = derive_seed(context.seed, record.key)
        if is_scene(metadata):
            made = scene_pairs(metadata["scene"], rgb, args["settings"], metadata.get("scene_options", {}), seed)
        elif isinstance(about_picture := metadata.get("pixsem"), dict) and about_picture.keys() - CAPTION_KEYS:
            from pipelines.stages.data.picture_pairs import curated_catalogue, picture_pairs

            try:
                made = picture_pairs(about_picture, curated_catalogue(context, args["curated"]), seed)
            except ValueError as error:  # somebody's own metadata under our name
                attempts.append({**row, "reason": "bad_metadata", "detail": f"pixsem: {error}"[:500]})
                continue
        else:
            donors = _donors(path, limits) if donors is None else donors
            made = _photo_pairs(rgb, record.key, caption, donors, args["settings"], seed)
        for number, (attempt, parts, extra) in enumerate(made):
            key = f"{record.key}_{number:02d}"
            attempts.append({**row, **attempt, "key": key if parts else ""})
            if parts:
                about = {"source_key": record.key, "source_shard": context.task.name, "caption": caption}
                about |= {"kind": attempt["kind"], "family": attempt["family"], **extra}
                parts["json"] = json.dumps(about, ensure_ascii=False, sort_keys=True).encode()
                yield Record(key, parts)


def is_scene(metadata: dict[str, Any]) -> bool:
    """True where a sample's metadata holds a scene of ours: many people's data have a column of that name, too."""
    from components.scenes.scene import Scene

    if not (isinstance(metadata.get("scene"), dict) and isinstance(metadata.get("scene_options", {}), dict)):
        return False
    try:
        Scene.from_dict(metadata["scene"])
    except ValueError:
        return False
    return True


def scene_pairs(
    scene: dict[str, Any], rgb: Any, settings: dict[str, Any], options: dict[str, Any], seed: int
) -> list[Made]:
    """Return the exact edits of a scene. The source is the scene's own render, not the picture that may have been
    re-encoded.
    """
    import numpy as np

    from components.scenes.describe import describe
    from components.scenes.edits import picture_change, sample_edit
    from components.scenes.options import SceneOptions
    from components.scenes.render import render
    from components.scenes.scene import Scene

    rng = np.random.default_rng(seed)
    source = Scene.from_dict(scene)
    chosen = SceneOptions(**options)
    size = rgb.shape[0]
    made: list[Made] = []
    kinds = tuple(settings["scene_kinds"])
    for _ in range(settings["pairs_per_scene"]):
        edit = sample_edit(source, chosen, rng, kinds)
        if edit is None:
            attempt = {"family": "scene", "kind": "any", "state": "dropped", "reason": "no_possible_edit"}
            made.append(({**attempt, "detail": "no edit of the kinds asked for fits this scene"}, {}, {}))
            continue
        before, after = render(source, size), render(edit.target, size)
        mask = picture_change(before, after)
        parts = pair_images(before, after, mask)
        parts["txt"] = edit.instruction.encode()
        extra = {
            "quality": {"mask_share": float(mask.mean())},
            "source_scene": source.to_dict(),
            "target_scene": edit.target.to_dict(),
            "target_caption": describe(edit.target, rng),
        }
        made.append(({"family": "scene", "kind": edit.kind, "state": "kept", "reason": "", "detail": ""}, parts, extra))
    return made


def _photo_pairs(
    rgb: Any, key: str, caption: str | None, donors: list[Any], settings: dict[str, Any], seed: int
) -> list[Made]:
    """Return the edits of a photo: by procedures, and by published editors where there are some."""
    from components.curation.editing.base import EditPair
    from components.curation.editing.options import EditOptions, FamilyWeights
    from components.curation.editing.synthesize import built_in_editors, generator_for, synthesize
    from pipelines.stages.data.model_editors import model_editors

    options = settings["photos"]
    chosen = EditOptions(
        **{**options, "kinds": tuple(options["kinds"]), "family_weights": FamilyWeights(**options["family_weights"])}
    )
    others = [donor for donor in donors if donor.key != key]
    made: list[Made] = []
    editors = (*built_in_editors(chosen.kinds), *model_editors(settings["editors"]))
    for result in synthesize(rgb, generator_for(rgb, seed), chosen, others, caption, editors):
        if not isinstance(result, EditPair):
            attempt = {
                "family": "photo",
                "kind": result.kind,
                "state": "dropped",
                "reason": result.reason,
                "detail": result.detail,
            }
            made.append((attempt, {}, {}))
            continue
        # What an editor was free to change is not known: there is no mask to hold it to.
        parts = pair_images(result.source, result.target, None if result.family == "model" else result.mask, PNG_LEVEL)
        parts["txt"] = result.instruction.encode()
        extra = {"quality": result.quality, "parameters": result.parameters, "target_caption": None}
        made.append(
            ({"family": result.family, "kind": result.kind, "state": "kept", "reason": "", "detail": ""}, parts, extra)
        )
    return made


def _donors(path: Any, limits: Any) -> list[Any]:
    """Return the first photos of a shard as givers of objects. None has a name: what they show is not known for
    sure.
    """
    from components.curation.editing.photo import Donor
    from components.curation.images import ImageError, decode_image
    from components.data.records import Record, read_records
    from components.data.samples import image_part

    donors = []
    for record in read_records(path):
        part = image_part(record) if isinstance(record, Record) else None
        if part is None:
            continue
        try:
            donors.append(Donor(record.key, decode_image(part[1], limits).rgb, None))
        except ImageError:
            continue  # it gets its own row where its turn comes
        if len(donors) == DONORS:
            break
    return donors


def _sheet(context: StageContext, tars: list[str]) -> None:
    """Write a picture of some pairs: source, mask, target and instruction."""
    from components.curation.sheet import pairs_sheet_png
    from components.data.records import Record, read_records

    chosen: list[tuple[str, bytes, bytes, bytes]] = []
    each = -(-SHEET_PAIRS // max(1, len(tars)))
    for tar in tars:
        with context.fetch(f"{context.work.path}/{tar}") as local:
            for record in itertools.islice(read_records(local), each):
                if isinstance(record, Record):
                    p = record.parts
                    chosen.append((p["txt"].decode(), p["source.png"], p["mask.png"], p["target.png"]))
    with context.output("sheet.png") as path:
        path.write_bytes(pairs_sheet_png(chosen[:SHEET_PAIRS]))
