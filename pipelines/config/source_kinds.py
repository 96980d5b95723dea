"""Sources of pictures, as the configuration names them: a section for each kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.curation.options import FaultOptions
from components.data.options import DownloadOptions, FolderOptions, ShardLimits, UrlListOptions
from components.pictures.options import PictureOptions
from components.scenes.options import SceneOptions


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values are not changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Use = Literal["tokenizer", "text_to_image", "editing"]
USES: tuple[Use, ...] = ("tokenizer", "text_to_image", "editing")


class SourceSection(Section):
    """What every source has, whatever its kind."""

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
    """Existing WebDataset shards, as img2dataset writes them."""

    kind: Literal["webdataset"]
    shards: str  # a folder, a glob, or a brace pattern
    caption_field: str | None  # take captions from this field of each sample's json; null: from its txt
    require_caption: bool  # samples without a caption fail as no_caption; false leaves them to curation
    limits: ShardLimits = ShardLimits()


class FolderSource(Plantable):
    """A folder of images with a captions file, or with one text file beside each image."""

    kind: Literal["folder"]
    path: str
    files: FolderOptions = FolderOptions()
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]


SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Source = Annotated[
    ScenesSource | PicturesSource | UrlsSource | WebDatasetSource | FolderSource, Field(discriminator="kind")
]
