"""Sources of pictures, as the configuration names them: a section for each kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from components.curation.options import FaultOptions
from components.curation.pairs.options import PairFaultOptions
from components.data.addresses import checked_address
from components.data.options import (
    DownloadOptions,
    FolderOptions,
    PairColumns,
    ParquetOptions,
    ShardLimits,
    UrlListOptions,
)
from components.pictures.options import PictureOptions
from components.scenes.options import SceneOptions

# A path, a pattern, or an address: one that holds a password, a token or a signature is refused.
Place = Annotated[str, AfterValidator(checked_address)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values are not changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Use = Literal["tokenizer", "text_to_image", "editing"]
USES: tuple[Use, ...] = ("tokenizer", "text_to_image", "editing")


class SourceSection(Section):
    """What every source has, whatever its kind."""

    holds_pairs: ClassVar[bool] = False  # edit pairs, and no pictures of their own

    use: Annotated[tuple[Use, ...], Field(min_length=1)] = USES  # what its samples serve
    weight: Annotated[float, Field(gt=0)] | None = None  # share of a training's samples, relative to the other sources'


class Plantable(SourceSection):
    """A source of somebody's own data, into which faults can be planted, so that its curation is scored."""

    faults: FaultOptions | None = None  # shares of the samples


class ScenesSource(SourceSection):
    """Pictures of the procedural scenes world, with known faults planted."""

    kind: Literal["scenes"]
    count: Annotated[int, Field(ge=1)]  # pictures
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]
    scene: SceneOptions = SceneOptions()
    faults: FaultOptions = FaultOptions()


class PicturesSource(SourceSection):
    """Real drawings that are named by their code points: factors, exact edits, and a judge."""

    kind: Literal["pictures"]
    path: str | dict[str, str | None] | None  # a folder or tar, {style: folder or tar}; null: the OpenMoji package
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]
    picture: PictureOptions = PictureOptions()
    faults: FaultOptions = FaultOptions()  # shares of the compositions: no drawing is lost to them


class UrlsSource(Plantable):
    """A list of URLs with captions, downloaded by img2dataset."""

    kind: Literal["urls"]
    path: str  # csv, tsv, parquet, json, jsonl or txt; a folder, a glob or braces for several
    columns: UrlListOptions = UrlListOptions()
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]
    download: DownloadOptions = DownloadOptions()


class WebDatasetSource(Plantable):
    """Existing WebDataset shards, as img2dataset writes them, on a disk, a server or a hub."""

    kind: Literal["webdataset"]
    shards: Place  # a folder, a glob, a brace pattern, an address (hf://, s3://, https://), or pipe: and a command
    caption_field: str | None  # take captions from this field of each sample's json; null: from its txt
    captions: dict[str, str] = Field(default_factory=dict)  # {origin: part or json field} of several
    allow_pipe: bool = False  # shards may be `pipe:COMMAND`: the command is run by the shell of every worker
    require_caption: bool  # samples without a caption fail as no_caption; false leaves them to curation
    limits: ShardLimits = ShardLimits()


class FolderSource(Plantable):
    """A folder of images with a captions file, or with one text file beside each image."""

    kind: Literal["folder"]
    path: str
    files: FolderOptions = FolderOptions()
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]


class ParquetSource(Plantable):
    """Parquet files with the pictures inside, as Hugging Face datasets write them, on a disk, a server or a hub."""

    kind: Literal["parquet"]
    path: Place  # a file, a folder, a glob, a brace pattern, or an address (hf://, s3://, https://)
    columns: ParquetOptions = ParquetOptions()
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]  # or one row group, where that is larger


def _editing_alone(use: tuple[Use, ...]) -> tuple[Use, ...]:
    if use != ("editing",):
        raise ValueError("edit pairs serve editing alone: leave use out")
    return use


class EditPairsSource(SourceSection):
    """Edit pairs that are there already: a picture before, one after, and instructions."""

    holds_pairs: ClassVar[bool] = True

    kind: Literal["edit_pairs"]
    use: Annotated[tuple[Use, ...], AfterValidator(_editing_alone)] = ("editing",)
    path: Place  # parquet files, WebDataset shards (as theirs), or a folder with a metadata file
    format: Literal["parquet", "webdataset", "folder"] | None = None  # null: by the path
    metadata_file: str | None = None  # of a folder: path inside it; null: metadata.{jsonl,csv,tsv,parquet,json}
    pairs: PairColumns = PairColumns()
    faults: PairFaultOptions | None = None  # chances of each pair; a spill needs a mask
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]
    allow_pipe: bool = False  # the path may be `pipe:COMMAND`: the command is run by the shell of every worker
    limits: ShardLimits = ShardLimits()


SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Source = Annotated[
    ScenesSource | PicturesSource | UrlsSource | WebDatasetSource | FolderSource | ParquetSource | EditPairsSource,
    Field(discriminator="kind"),
]

READABLE = ("scenes", "pictures")  # kinds whose pictures can be read back, so that generated ones are judged by them


def source_key(name: str) -> str:
    """Return the dotted key of a source in the configuration."""
    return f"sources.{name}" if name else "source"


def judged_source(sources: Mapping[str, Source]) -> tuple[str, Source] | None:
    """Return the source whose world judges what is generated, with its name: the first that can be read back of those
    that serve text_to_image. None where there is none: then held-out captions and pairs are shown, and not judged.
    """
    for name, source in sources.items():
        if source.kind in READABLE and "text_to_image" in source.use:
            return name, source
    return None


def serving_sources(sources: Mapping[str, Source]) -> dict[Use, list[str]]:
    """Return for each use the names of the sources that serve it."""
    return {use: [name for name, source in sources.items() if use in source.use] for use in USES}
