"""The typed schema of the whole configuration. Its values stand in `conf/`; its composition in `compose.py`.

A room's own options are dataclasses of that room, so that each idea's settings are described once.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from components.curation.editing.options import EditOptions
from components.curation.options import CurationRules, FaultOptions, ImageLimits
from components.data.options import DownloadOptions, FolderOptions, ShardLimits, UrlListOptions
from components.scenes.options import SceneOptions


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values are not changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ScenesSource(Section):
    """Pictures of the procedural scenes world, with known faults planted."""

    kind: Literal["scenes"]
    count: Annotated[int, Field(ge=1)]  # pictures
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]
    scene: SceneOptions
    faults: FaultOptions


class UrlsSource(Section):
    """A list of URLs with captions, downloaded by img2dataset."""

    kind: Literal["urls"]
    path: str  # csv, tsv, parquet, json, jsonl or txt; a folder, a glob or braces for several
    columns: UrlListOptions
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]
    download: DownloadOptions


class WebDatasetSource(Section):
    """Existing WebDataset shards, as img2dataset writes them."""

    kind: Literal["webdataset"]
    shards: str  # a folder, a glob, or a brace pattern
    caption_field: str | None  # take captions from this field of each sample's json; null: from its txt
    require_caption: bool  # samples without a caption fail as no_caption; false leaves them to curation
    limits: ShardLimits


class FolderSource(Section):
    """A folder of images with a captions file, or with one text file beside each image."""

    kind: Literal["folder"]
    path: str
    files: FolderOptions
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)]


Source = Annotated[ScenesSource | UrlsSource | WebDatasetSource | FolderSource, Field(discriminator="kind")]


class MeasureSection(Section):
    """What measuring may spend on one image."""

    limits: ImageLimits


class EditsSection(Section):
    """Which edit pairs are made of the curated samples."""

    scene_kinds: tuple[str, ...]
    pairs_per_scene: Annotated[int, Field(ge=0, le=64)]
    photos: EditOptions


class Resources(Section):
    """What one shard task of a stage asks Ray for."""

    cpus: Annotated[float, Field(gt=0)]
    memory_gb: Annotated[float, Field(ge=0)]  # 0: not asked for
    retries: Annotated[int, Field(ge=0)]  # how often a shard whose worker died is tried again


class StageResources(Section):
    """Resources per stage."""

    ingest: Resources
    measure: Resources
    curate: Resources
    synthesize_edits: Resources


class ExecutionSection(Section):
    """How work is spread. No key of it enters a fingerprint: it changes speed, never results."""

    max_in_flight: Annotated[int, Field(ge=0)]  # shard tasks submitted at once per stage; 0: twice the cluster's CPUs
    resources: StageResources


class ClusterSection(Section):
    """Which Ray cluster runs the stages."""

    address: str | None  # null: RAY_ADDRESS where set, else a local Ray that ends with the run
    num_cpus: Annotated[int, Field(ge=1)] | None  # of a local Ray; null: all


class TrackingSection(Section):
    """Where runs are logged."""

    uri: str | None  # null: MLFLOW_TRACKING_URI where set, else a sqlite database in the store
    experiment: Annotated[str, Field(min_length=1)]


class Config(Section):
    """The whole configuration of a run."""

    preset: str
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    store: Annotated[str, Field(min_length=1)]
    source: Source
    measure: MeasureSection
    curate: CurationRules
    synthesize_edits: EditsSection
    execution: ExecutionSection
    cluster: ClusterSection
    tracking: TrackingSection

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if isinstance(self.source, ScenesSource) and self.source.scene.size < self.curate.min_side:
            raise ValueError(
                f"source.scene.size is {self.source.scene.size} but curate.min_side is {self.curate.min_side}: "
                "every picture would be dropped as too small. Raise the first or lower the second."
            )
        if self.cluster.address and self.cluster.num_cpus:
            raise ValueError(
                "cluster.num_cpus is for a local Ray only, and cluster.address names a running cluster. Set one of them to null."
            )
        return self
