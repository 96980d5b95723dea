"""How many samples come through the data stages, and what they take in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.data.options import DownloadOptions
from pipelines.config.compose import NOT_GIVEN
from pipelines.config.schema import Config, FolderSource, ScenesSource, UrlsSource
from pipelines.errors import UserError
from pipelines.sizing.assumptions import (
    ASPECT,
    INSTRUCTION_BYTES,
    KEY_BYTES,
    PHOTO_PIXELS,
    PICTURE_BYTES_PER_PIXEL,
    TABLE_ROW_BYTES,
    Assumptions,
)

if TYPE_CHECKING:
    from components.data.survey import Survey

DRAWN = 64  # scenes that are made to see how large they are


@dataclass(frozen=True)
class Flow:
    """Samples and bytes, each at most: as if all of what is asked for came about."""

    source: int  # samples
    how: str  # they were counted
    kept: int  # curated samples
    pairs: int  # edit pairs
    sample_bytes: float  # of a sample in a tar
    pair_bytes: float  # of an edit pair in a tar
    caption_bytes: float
    held_out: float  # share
    per_shard: int
    words: tuple[str, ...] | None  # texts whose words stand for all there are; None: nobody knows them yet

    @property
    def pictures(self) -> int:
        """Pictures that are indexed and trained or judged on: of samples, and what edits made of them."""
        return self.kept + self.pairs

    @property
    def train(self) -> int:
        """Pictures to train on."""
        return round(self.pictures * (1 - self.held_out))

    @property
    def index_rows(self) -> int:
        """Rows of the index: a sample's picture, an edit's source and target."""
        return self.kept + 2 * self.pairs


def find_flow(config: Config, assumptions: Assumptions) -> Flow:
    """Follow the samples of the configured source. `UserError` where nobody can say how many there are."""
    source = config.source
    found = _survey(config, assumptions)
    kept = round(found.samples * assumptions.keep)
    scenes = isinstance(source, ScenesSource)
    edits = config.synthesize_edits
    drawn = _draw(config) if isinstance(source, ScenesSource) else None
    return Flow(
        source=found.samples,
        how=found.how,
        kept=kept,
        pairs=kept * (edits.pairs_per_scene if scenes else edits.photos.pairs_per_image),
        sample_bytes=drawn.sample_bytes if drawn else _sample_bytes(config, found),
        pair_bytes=drawn.pair_bytes if drawn else _photo_pair_bytes(found.pixels or PHOTO_PIXELS, config),
        caption_bytes=drawn.caption_bytes if drawn else _caption_bytes(),
        held_out=config.held_out,
        per_shard=_per_shard(config, found.samples),
        words=drawn.texts if drawn else None,
    )


def stage_bytes(flow: Flow) -> dict[str, int]:
    """Return what the data stages' artifacts take in the store."""
    from components.data.sizes import tar_bytes

    ingested = tar_bytes(flow.source, flow.sample_bytes, flow.per_shard)
    kept = tar_bytes(flow.kept, flow.sample_bytes, flow.per_shard)
    pairs = tar_bytes(flow.pairs, flow.pair_bytes, flow.per_shard)
    rows = TABLE_ROW_BYTES
    return {
        "ingest": ingested + flow.source * rows["ingest"],
        "measure": flow.source * rows["measure"],
        "curate": kept + flow.source * rows["curate"],
        "synthesize_edits": pairs + flow.pairs * rows["synthesize_edits"],
        "index": flow.index_rows * rows["index"],
    }


def latent_bytes(flow: Flow, shape: tuple[int, int, int], flip: bool) -> int:
    """Return what the latents take: of samples and of pairs, and of their mirrored copies where there are some."""
    from components.data.sizes import latent_shard_bytes

    def shards(rows: int, kind: Any, text: float) -> int:
        per_shard = flow.per_shard * (2 if flip else 1)
        whole, rest = divmod(rows * (2 if flip else 1), per_shard)
        parts = whole * latent_shard_bytes(shape, kind, per_shard, text)
        return parts + (latent_shard_bytes(shape, kind, rest, text) if rest else 0)

    return shards(flow.kept, "captions", KEY_BYTES + flow.caption_bytes) + shards(
        flow.pairs, "edits", KEY_BYTES + INSTRUCTION_BYTES
    )


def _survey(config: Config, assumptions: Assumptions) -> Survey:
    from components.data.survey import Survey, survey_folder, survey_shards, survey_url_lists

    source = config.source
    if isinstance(source, ScenesSource):
        return Survey(assumptions.samples or source.count, "scenes that are drawn")
    where = source.shards if source.kind == "webdataset" else source.path
    try:
        if where == NOT_GIVEN:
            raise ValueError(f"source.{'shards' if source.kind == 'webdataset' else 'path'} is not given")
        if isinstance(source, UrlsSource):
            found = survey_url_lists(where, source.columns)
        elif isinstance(source, FolderSource):
            found = survey_folder(where, source.files)
        else:
            found = survey_shards(where)
    except (ValueError, OSError) as error:
        if assumptions.samples is None:
            raise UserError(f"{error}. To plan without it, say how many samples there will be: --samples N") from None
        return Survey(assumptions.samples, "as --samples says")
    if assumptions.samples is None:
        return found
    return Survey(assumptions.samples, "as --samples says", found.sample_bytes, found.pixels)


def _per_shard(config: Config, samples: int) -> int:
    source = config.source
    if source.kind != "webdataset":
        return source.samples_per_shard
    from components.data.webdataset_source import find_shards

    return max(1, samples // len(find_shards(source.shards))) if source.shards != NOT_GIVEN else 1000


@dataclass(frozen=True)
class _Drawn:
    sample_bytes: float
    pair_bytes: float
    caption_bytes: float
    texts: tuple[str, ...]


def _draw(config: Config) -> _Drawn:
    """Make a few scenes and their edits, and look how large they are and what words they use."""
    import json

    from components.data.samples import Record
    from components.data.sizes import tar_sample_bytes
    from pipelines.stages.data.ingest_scenes import World, scene_records
    from pipelines.stages.data.synthesize_edits import scene_pairs

    source = config.source.model_dump(mode="json")
    world = World(source, config.seed)
    args = {"first": 0, "end": min(DRAWN, source["count"]), "source": source, "seed": config.seed}
    records: list[Record] = list(scene_records(args, []))
    settings = config.synthesize_edits.model_dump(mode="json")
    pairs: list[dict[str, bytes]] = []
    for number in range(len(records)):
        scene = world.scene(number).to_dict()
        made = scene_pairs(scene, world.picture(number), settings, source["scene"], number)
        for _, parts, extra in made:
            if parts:
                about = {"caption": world.caption(number), **extra}
                pairs.append({**parts, "json": json.dumps(about).encode()})
    texts = [world.caption(number) for number in range(8 * len(records))]
    texts += [parts["txt"].decode() for parts in pairs]

    def mean(samples: list[dict[str, bytes]]) -> float:
        return sum(tar_sample_bytes(map(len, parts.values())) for parts in samples) / max(1, len(samples))

    captions = [len(record.parts["txt"]) for record in records]
    return _Drawn(mean([r.parts for r in records]), mean(pairs), sum(captions) / len(captions), tuple(texts))


def _caption_bytes() -> float:
    from components.data.sizes import CAPTION_BYTES

    return CAPTION_BYTES


def _sample_bytes(config: Config, found: Survey) -> float:
    from components.data.sizes import CAPTION_BYTES, METADATA_BYTES, tar_sample_bytes

    if found.sample_bytes is not None:
        return found.sample_bytes
    if isinstance(config.source, UrlsSource):
        download = config.source.download
        picture = downloaded_pixels(download) * PICTURE_BYTES_PER_PIXEL[download.encode_format]
    else:
        picture = PHOTO_PIXELS * PICTURE_BYTES_PER_PIXEL["jpg"]
    return tar_sample_bytes((picture, CAPTION_BYTES, METADATA_BYTES))


def downloaded_pixels(download: DownloadOptions) -> float:
    """Return the pixels of a photo as img2dataset fits it to `image_size`."""
    square = download.image_size**2
    return {
        "no": PHOTO_PIXELS,
        "keep_ratio": square * ASPECT,
        "keep_ratio_largest": square / ASPECT,
        "center_crop": square,
        "border": square,
    }[download.resize_mode]


def _photo_pair_bytes(pixels: float, config: Config) -> float:
    """Of an edit of a photo: source and target as PNG, shrunk to `max_side`; the mask hardly counts."""
    from components.data.sizes import METADATA_BYTES, tar_sample_bytes

    if isinstance(config.source, UrlsSource):
        pixels = downloaded_pixels(config.source.download)
    shrunk = min(pixels, config.synthesize_edits.photos.max_side**2 / ASPECT)
    picture = shrunk * PICTURE_BYTES_PER_PIXEL["png"]
    return tar_sample_bytes((picture, picture, 0.02 * picture, INSTRUCTION_BYTES, METADATA_BYTES))
