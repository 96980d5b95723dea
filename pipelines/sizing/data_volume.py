"""How many samples come through the data stages, and what they take in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipelines.config.compose import NOT_GIVEN
from pipelines.config.schema import Config
from pipelines.config.source_kinds import (
    USES,
    EditPairsSource,
    FolderSource,
    ParquetSource,
    Source,
    UrlsSource,
    WebDatasetSource,
    source_key,
)
from pipelines.errors import UserError
from pipelines.sizing.assumptions import (
    INSTRUCTION_BYTES,
    KEY_BYTES,
    PHOTO_PIXELS,
    TABLE_ROW_BYTES,
    TOKEN_BYTES,
    Assumptions,
)
from pipelines.sizing.drawn_samples import WORLDS, Drawn
from pipelines.sizing.picture_bytes import edited_pixels, photo_pair_bytes, picture_pixels, sample_bytes

if TYPE_CHECKING:
    from components.data.survey import Survey


@dataclass(frozen=True)
class Flow:
    """Samples and bytes, each at most: as if all of what is asked for came about."""

    source: int  # samples
    how: str  # they were counted
    kept: int  # curated samples
    pairs: int  # edit pairs
    captioned_pairs: float  # share of the pairs whose result is trained on as a captioned picture, too
    sample_bytes: float  # of a sample in a tar
    pair_bytes: float  # of an edit pair in a tar
    caption_bytes: float
    held_out: float  # share
    per_shard: int
    words: tuple[str, ...] | None  # texts whose words stand for all there are; None: nobody knows them yet
    pixels: float = PHOTO_PIXELS  # of a picture as it is decoded, an edit's among them
    beside_bytes: float = 0.0  # that ingest keeps beside the shards, for a sample
    captions: int | None = None  # curated samples that are encoded for text-to-image; None: all
    trained_on: int | None = None  # pictures that the latent space is trained on; None: all
    new_captions: int = 0  # that recaptioning adds to a captioned sample, at most
    new_caption_bytes: float = 0.0  # of them together

    @property
    def captioned(self) -> int:
        """Curated samples that are encoded, and trained on as captioned pictures."""
        return self.kept if self.captions is None else self.captions

    @property
    def pictures(self) -> int:
        """Pictures that are indexed and trained or judged on: of samples, and what edits made of them."""
        return self.kept + self.pairs

    @property
    def train(self) -> int:
        """Pictures to train on."""
        return round(self.pictures * (1 - self.held_out))

    @property
    def train_space(self) -> int:
        """Pictures to train the latent space on."""
        return self.train if self.trained_on is None else round(self.trained_on * (1 - self.held_out))

    @property
    def index_rows(self) -> int:
        """Rows of the index: a sample's picture, an edit's source and target."""
        return self.kept + 2 * self.pairs


def find_flows(config: Config, assumptions: Assumptions) -> dict[str, Flow]:
    """Follow the samples of each source, by its name. `UserError` where nobody can say how many there are."""
    found = {}
    for name, source in config.named_sources().items():
        anything = None if name and source.kind in WORLDS else assumptions.samples  # what is drawn is counted
        samples = assumptions.of_source.get(name, anything)
        try:
            flow = find_flow(config.of_source(name), replace(assumptions, samples=samples))
        except UserError as error:
            told = f"{source_key(name)}: {error}"
            raise UserError(told.replace("--samples N", f"--samples {name}=N") if name else str(error)) from None
        if name or set(source.use) != set(USES):
            flow = _serving(flow, source)
        found[name] = flow
    return found


def _serving(flow: Flow, source: Source) -> Flow:
    """Return what of a source's samples is put to use."""
    pairs = flow.kept if source.holds_pairs else flow.pairs if "editing" in source.use else 0
    kept = 0 if source.holds_pairs else flow.kept
    return replace(
        flow,
        kept=kept,
        pairs=pairs,
        pair_bytes=flow.sample_bytes if source.holds_pairs else flow.pair_bytes,
        captions=kept if "text_to_image" in source.use else 0,
        trained_on=kept + pairs if "tokenizer" in source.use else 0,
    )


def joined(flows: Mapping[str, Flow]) -> Flow:
    """Return the samples of all sources together; bytes of one are their mean."""
    parts = list(flows.values())
    if len(parts) == 1:
        return parts[0]

    def mean(name: str, weight: str) -> float:
        total = sum(getattr(part, weight) for part in parts)
        return sum(getattr(part, name) * getattr(part, weight) for part in parts) / total if total else 0.0

    words = [part.words for part in parts]
    return Flow(
        source=sum(part.source for part in parts),
        how="; ".join(f"{name}: {part.source:,}, {part.how}" for name, part in flows.items()),
        kept=sum(part.kept for part in parts),
        pairs=sum(part.pairs for part in parts),
        captioned_pairs=mean("captioned_pairs", "pairs"),
        sample_bytes=mean("sample_bytes", "kept"),
        pair_bytes=mean("pair_bytes", "pairs"),
        caption_bytes=mean("caption_bytes", "captioned"),
        held_out=mean("held_out", "pictures"),
        per_shard=round(mean("per_shard", "source")),
        words=None if None in words else tuple(word for part in words if part for word in part),
        pixels=mean("pixels", "pictures"),
        beside_bytes=mean("beside_bytes", "source"),
        new_captions=max(part.new_captions for part in parts),
        new_caption_bytes=max(part.new_caption_bytes for part in parts),
        captions=sum(part.captioned for part in parts),
        trained_on=sum(part.pictures if part.trained_on is None else part.trained_on for part in parts),
    )


def find_flow(config: Config, assumptions: Assumptions) -> Flow:
    """Follow the samples of the one source. `UserError` where nobody can say how many there are."""
    from components.data.sizes import CAPTION_BYTES

    try:
        drawn = WORLDS[config.only_source.kind](config) if config.only_source.kind in WORLDS else None
    except ValueError as error:
        raise UserError(str(error)) from None
    found = _survey(config, assumptions, drawn)
    kept, recaption = round(found.samples * assumptions.keep), config.recaption
    photos = config.synthesize_edits.photos
    pixels = float(config.image_size**2) if drawn else picture_pixels(config, found)
    each = drawn.pairs if drawn else photos.share * photos.pairs_per_image
    new_captions = recaption.captions * len(recaption.prompts) if recaption.path else 0
    return Flow(
        source=found.samples,
        how=found.how,
        kept=kept,
        pairs=round(kept * each),
        captioned_pairs=drawn.captioned_pairs if drawn else 0.0,
        sample_bytes=drawn.sample_bytes if drawn else sample_bytes(config, found, pixels),
        pair_bytes=drawn.pair_bytes if drawn else photo_pair_bytes(pixels, config),
        caption_bytes=drawn.caption_bytes if drawn else CAPTION_BYTES,
        held_out=drawn.held_out if drawn else config.held_out,
        per_shard=_per_shard(config, found.samples),
        words=drawn.texts if drawn else None,
        pixels=(pixels + each * edited_pixels(pixels, config)) / (1 + each),
        beside_bytes=drawn.beside_bytes if drawn else 0.0,
        new_captions=new_captions,
        new_caption_bytes=new_captions * recaption.tokens * TOKEN_BYTES,
    )


def stage_bytes(flow: Flow) -> dict[str, int]:
    """Return what the data stages' artifacts take in the store."""
    from components.data.sizes import tar_bytes, tar_data_bytes

    ingested = tar_bytes(flow.source, flow.sample_bytes, flow.per_shard)
    kept = tar_bytes(flow.kept, flow.sample_bytes, flow.per_shard)
    pairs = tar_bytes(flow.pairs, flow.pair_bytes, flow.per_shard)
    rows, said = TABLE_ROW_BYTES, flow.new_caption_bytes
    texts = round(flow.captioned * (flow.caption_bytes + said)) + flow.pairs * INSTRUCTION_BYTES
    captioned = tar_bytes(flow.captioned, flow.sample_bytes + tar_data_bytes(said), flow.per_shard)
    return {
        "ingest": ingested + flow.source * rows["ingest"] + round(flow.source * flow.beside_bytes),
        "measure": flow.source * rows["measure"],
        "curate": kept + flow.source * rows["curate"],
        "synthesize_edits": pairs + flow.pairs * rows["synthesize_edits"],
        "measure_pairs": flow.pairs * rows["measure_pairs"],
        "curate_pairs": pairs + flow.pairs * rows["curate_pairs"],
        "recaption": captioned + round(flow.captioned * (flow.new_captions * rows["recaption"] + said)),
        "index": flow.index_rows * (rows["index"] + 2 * KEY_BYTES) + texts,
        "index_latents": (flow.captioned + flow.pairs) * (rows["index_latents"] + KEY_BYTES) + texts,
    }


def latent_bytes(flow: Flow, shape: tuple[int, int, int], flip: bool) -> int:
    """Return what the latents take: of samples and of pairs, and of their mirrored copies where there are some."""
    from components.data.sizes import latent_shard_bytes

    def shards(rows: int, kind: Any, text: float) -> int:
        per_shard = flow.per_shard * (2 if flip else 1)
        whole, rest = divmod(rows * (2 if flip else 1), per_shard)
        parts = whole * latent_shard_bytes(shape, kind, per_shard, text)
        return parts + (latent_shard_bytes(shape, kind, rest, text) if rest else 0)

    return shards(flow.captioned, "captions", KEY_BYTES + flow.caption_bytes) + shards(
        flow.pairs, "edits", KEY_BYTES + INSTRUCTION_BYTES
    )


def _survey(config: Config, assumptions: Assumptions, drawn: Drawn | None) -> Survey:
    from components.data.survey import (
        Survey,
        survey_folder,
        survey_pair_folder,
        survey_parquet,
        survey_shards,
        survey_url_lists,
    )
    from pipelines.stages.data.ingest_tables import pair_format

    source = config.only_source
    if drawn is not None:
        return Survey(assumptions.samples or drawn.samples, drawn.how)
    assert isinstance(source, UrlsSource | FolderSource | WebDatasetSource | ParquetSource | EditPairsSource)
    key = "shards" if isinstance(source, WebDatasetSource) else "path"
    where = getattr(source, key)
    try:
        if where == NOT_GIVEN:
            raise ValueError(f"source.{key} is not given")
        if isinstance(source, UrlsSource):
            found = survey_url_lists(where, source.columns)
        elif isinstance(source, FolderSource):
            found = survey_folder(where, source.files)
        elif isinstance(source, ParquetSource):
            found = survey_parquet(where, [source.columns.image_column])
        elif isinstance(source, EditPairsSource) and pair_format(source) == "folder":
            found = survey_pair_folder(where, source.metadata_file, source.pairs)
        elif isinstance(source, EditPairsSource) and pair_format(source) == "parquet":
            found = survey_parquet(where, [source.pairs.source, source.pairs.target])
        else:
            found = survey_shards(where, source.allow_pipe)
    except (ValueError, OSError) as error:
        if assumptions.samples is None:
            raise UserError(f"{error}. To plan without it, say how many samples there will be: --samples N") from None
        return Survey(assumptions.samples, "as --samples says")
    if assumptions.samples is None:
        return found
    return Survey(assumptions.samples, "as --samples says", found.sample_bytes, found.pixels)


def _per_shard(config: Config, samples: int) -> int:
    source = config.only_source
    if not isinstance(source, WebDatasetSource):
        return source.samples_per_shard
    from components.data.webdataset_source import find_shards

    try:
        return max(1, samples // len(find_shards(source.shards, source.allow_pipe)))
    except (ValueError, OSError):  # not here: its samples are as many as --samples says
        return 1000
