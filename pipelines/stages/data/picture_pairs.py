"""Edit pairs of the pictures world: by one factor between curated drawings, and by composition."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import TypeAdapter

from components.pictures.catalogue import TRAIN, Catalogue, Entry
from components.pictures.composition import render
from components.pictures.drawing_edits import Edit, composition_edit, factor_edits
from components.pictures.options import PictureOptions
from pipelines.stage import ShardContext, source_of
from pipelines.stages.data.ingest_pictures import read_catalogue
from pipelines.stages.data.pair_parts import Made, pair_images
from pipelines.stages.mixing import of_sources
from pipelines.store.artifacts import find_artifact

_CATALOGUES: dict[
    tuple[str, str], Catalogue
] = {}  # the one that this worker has read, by stage, fingerprint and source


def curated_catalogue(context: ShardContext, curated: str) -> Catalogue:
    """Return the drawings that curation kept, of all shards of a source: an edit leads from one of them to another."""
    source = source_of(context.task.name)
    if (curated, source) not in _CATALOGUES:
        stage, _, fingerprint = curated.partition("/")
        artifact = find_artifact(context.store, stage, fingerprint)
        assert artifact is not None, "the stage's own input"
        _CATALOGUES.clear()
        shards = of_sources(artifact.files("shards/*.tar"), [source])
        _CATALOGUES[curated, source] = read_catalogue(context.fetch(path) for path in shards)
    return _CATALOGUES[curated, source]


def picture_pairs(about: dict[str, Any], catalogue: Catalogue, seed: int) -> list[Made]:
    """Return the edits that begin at a sample: of a composition none, it was drawn from the same drawings.

    Raises ValueError where `about` was not written by ingest.
    """
    if "entry" not in about:
        return []
    entry = Entry.from_dict(about["entry"])
    options = TypeAdapter(PictureOptions).validate_python(about.get("options"))
    if entry.key not in catalogue.at:
        raise ValueError(f"{entry.key!r} is no drawing that was curated")
    rng = np.random.default_rng(seed)
    found = factor_edits(catalogue, entry, options.phrasings, rng, options.factor_edits)
    for _ in range(options.composition_edits):
        edit = composition_edit(catalogue, entry, options.phrasings, rng)
        if edit is not None:
            found.append(edit)
    return [_pair(edit, catalogue) for edit in found]


def _pair(edit: Edit, catalogue: Catalogue) -> Made:
    before, after = render(edit.source, catalogue), render(edit.target, catalogue)
    mask = (before != after).any(-1)
    parts = pair_images(before, after, mask) | {"txt": edit.instructions[0].encode()}
    extra = {
        "quality": {"mask_share": float(mask.mean())},
        "target_caption": edit.target_text or None,
        "pixsem": {
            "held_out": edit.split != TRAIN, "instructions": list(edit.instructions), "source": edit.source.to_dict(),
            "target": edit.target.to_dict(),
        },
    }  # fmt: skip
    return {"family": "picture", "kind": edit.kind, "state": "kept", "reason": "", "detail": ""}, parts, extra
