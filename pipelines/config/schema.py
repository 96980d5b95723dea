"""The typed schema of the whole configuration. Its composition is in `compose.py`.

A room's own options are dataclasses of that room, so that each idea's settings are described once. A default stands in
one place: with the option's class, or in `conf/`.
"""

from __future__ import annotations

import warnings
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from components.curation.options import CurationRules
from components.curation.pairs.options import PairRules
from components.generator.options import FlowOptions, FusionOptions, SmallBackboneOptions
from components.registry.gates import Gate
from components.registry.mlflow_errors import without_credentials
from components.tokenizer.options import LossOptions, PixelDecoderOptions, SmallEncoderOptions, TokenizerOptions
from components.tokenizer.spaces import find_space
from components.training.options import TrainingOptions
from pipelines.config.data_sections import (
    EditsSection,
    MatcherSection,
    MeasureSection,
    PairsSection,
    RecaptionSection,
)
from pipelines.config.node_selectors import check_selector
from pipelines.config.source_kinds import USES, ScenesSource, Section, Source, SourceName, source_key

# Stages' names are keys; `register` is also a method of every class's metaclass, which pydantic warns of and instances
# never see.
warnings.filterwarnings("ignore", message='Field name "register" in .* shadows', category=UserWarning)


def _without_password(value: str) -> str:
    if without_credentials(value) != value:
        raise ValueError(
            "the address holds a user or password, and configurations are kept in the store and in MLflow. Leave "
            "them out, and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_URI, or what "
            "the store's own library reads"
        )
    return value


Address = Annotated[str, AfterValidator(_without_password)]


class EncoderSection(Section):
    """The encoder that the latent space is made of."""

    path: str | None = None  # hub id or folder of a transformers vision encoder; null: a small one is trained
    revision: str | None = None  # of a hub id
    size: Annotated[int, Field(ge=8)] | None = None  # pixels at which it sees pictures; null: its own, or image_size
    small: SmallEncoderOptions = SmallEncoderOptions()  # the small one, and the text side
    training: TrainingOptions  # of the small one; with a path, of the text side and the pool alone


class TokenizerSection(Section):
    """The latent space: which, and how it is trained."""

    model: TokenizerOptions = TokenizerOptions()
    pixel_decoder: PixelDecoderOptions = PixelDecoderOptions()
    semantic: TrainingOptions  # stage 1
    semantic_losses: LossOptions = LossOptions()
    training: TrainingOptions  # stage 2, and every rival
    losses: LossOptions = LossOptions()


class LatentsSection(Section):
    """How pictures become latents."""

    batch: Annotated[int, Field(ge=1)]  # pictures the encoder takes at once
    flip: bool  # add mirrored copies of samples whose text names no side
    precision: Literal["auto", "fp32", "bf16"]


class EvaluateTokenizerSection(Section):
    """How much of the held-out pictures a tokenizer is judged on."""

    pictures: Annotated[int, Field(ge=2)]  # for reconstruction
    retrieval_pool: Annotated[int, Field(ge=2)]  # captioned pictures among which each caption is sought
    probe_pictures: Annotated[int, Field(ge=2)]  # on each side of the split
    probe_steps: Annotated[int, Field(ge=1)]
    noise: Annotated[float, Field(gt=0)]  # on latents, in their own standard deviations
    lpips_weights: str | None  # fetch, or a folder with vgg16-397923af.pth; only then there is an lpips
    inception: str | None  # fetch, or the file inception-2015-12-05.pt; only then there is an rfid


class GeneratorSection(Section):
    """The deep-fusion transformer: what it is made of, how it is trained, how it samples."""

    backbone: str | None = None  # hub id or folder of a Qwen2 or Qwen3 decoder; null: a small random one
    revision: str | None = None  # of a hub id
    small: SmallBackboneOptions = SmallBackboneOptions()
    model: FusionOptions = FusionOptions()
    flow: FlowOptions = FlowOptions()
    captions: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)  # share of each origin; {}: alike
    max_text_tokens: Annotated[int, Field(ge=1)]  # longer texts are cut
    training: TrainingOptions  # text-to-image
    editing: TrainingOptions  # the mixture with edits, from the former's weights
    edit_share: Annotated[float, Field(ge=0, le=1)]  # of the mixture
    validation_samples: Annotated[int, Field(ge=1)]  # held-out latents in the validation loss
    snapshots: Annotated[int, Field(ge=0)]  # kept weights of each training, for convergence
    guidance_scale: Annotated[float, Field(ge=0)]
    image_guidance_scale: Annotated[float, Field(ge=0)]
    guidance_above: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of time: no guidance at and below it
    sampling_steps: Annotated[int, Field(ge=1)]
    sampling_shift: Annotated[float, Field(gt=0)]


# Stands in the names of figures.
FigureName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class EvaluateGeneratorSection(Section):
    """How much the generator is judged on."""

    prompts: Annotated[int, Field(ge=1)]  # of each category
    unseen_prompts: Annotated[int, Field(ge=1)]  # of each category, of combinations kept out of training
    guidance_scales: tuple[float, ...]  # beside the generator's own
    guidance_prompts: Annotated[int, Field(ge=1)]  # of each category, at each of them
    checkpoint_prompts: Annotated[int, Field(ge=1)]  # of each category, at each snapshot
    edits: Annotated[int, Field(ge=1)]  # of each kind
    frechet_pictures: Annotated[int, Field(ge=2)]  # held-out captions, whose pictures are held to the true ones
    batch: Annotated[int, Field(ge=1)]  # pictures made at once
    # Name -> hub id or folder, beside the encoder's own features.
    features: dict[FigureName, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    # Name -> {kind, and the kind's options} (pipelines/judging/table.py).
    judges: dict[FigureName, dict[str, Any]] = Field(default_factory=dict)


class EvaluateModelSection(Section):
    """A model that is held to prompts and pairs. `pixsem evaluate` writes this section, and its run has one stage."""

    model: str  # models:/NAME/VERSION, a pipeline's folder, or a hub id of any diffusers pipeline
    revision: str | None = None  # of a hub id
    digest: str = ""  # of a registered version, whose files are in the store's downloads/models
    benchmark: str | None = None  # of conf/benchmarks, by name
    prompts: str | None = None  # a file of prompts (components/evaluation/prompt_files.py)
    pairs: str | None = None  # a folder of edit pairs, its metadata file, or a parquet file
    judges: dict[FigureName, dict[str, Any]] = Field(default_factory=dict)  # as of evaluate_generator
    features: dict[FigureName, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    image_text: str = ""  # fingerprint of a train_encoder in the store, whose model judges too; empty: none
    lpips_weights: str | None = None  # as of evaluate_tokenizer
    inception: str | None = None  # as of evaluate_tokenizer
    images_per_prompt: Annotated[int, Field(ge=1, le=100)] = 1
    limit: Annotated[int, Field(ge=1)] | None = None  # the first prompts of each category, and the first pairs
    guidance_scale: float | None = None  # null: the model's own
    steps: Annotated[int, Field(ge=1)] | None = None  # null: the model's own
    size: Annotated[int, Field(ge=8)] | None = None  # pixels of a picture's sides; null: the model's own
    batch: Annotated[int, Field(ge=1)] = 8  # pictures made at once
    precision: Literal["fp32", "bf16"] = "fp32"  # of the weights of a model that is not ours


class ShuffleSection(Section):
    """How the samples of a training are mixed. What is read decides, never the machine: results follow from it."""

    full_gb: Annotated[float, Field(ge=0)] = 64.0  # of latents, or of tars, up to which an epoch is shuffled as a whole
    window_shards: Annotated[int, Field(ge=1)] = 16  # beyond it, shards whose rows are shuffled together


class RegisterSection(Section):
    """What a trained model must be to become the champion."""

    alias: Literal["champion", "candidate"]  # of a version that passes its gates
    tokenizer: tuple[Gate, ...]
    generator: tuple[Gate, ...]


# Of the nodes that may do the work: label -> value, !value, in(a, b) or !in(a, b).
NodeLabels = dict[str, Annotated[str, AfterValidator(check_selector)]]


class Resources(Section):
    """What one shard task of a stage asks Ray for."""

    cpus: Annotated[float, Field(gt=0)] = 1
    memory_gb: Annotated[float, Field(ge=0)] = 0  # 0: not asked for
    retries: Annotated[int, Field(ge=0)] = 3  # how often a shard whose worker died is tried again
    gpus: Annotated[float, Field(ge=0)] = 0
    actors: Annotated[int, Field(ge=0)] = (
        0  # lasting workers that take one shard after another; 0: a task for each shard
    )
    labels: NodeLabels = Field(default_factory=dict)


class TrainingResources(Section):
    """What a training stage asks Ray for."""

    workers: Annotated[int, Field(ge=1)] = 1
    cpus: Annotated[float, Field(gt=0)] = 2  # per worker; also its threads, so more of them can change the last bits
    gpus: Annotated[float, Field(ge=0)] = 0  # per worker
    retries: Annotated[int, Field(ge=0)] = 2  # how often a lost worker is replaced
    memory_gb: Annotated[float, Field(ge=0)] = 0.0  # per worker; 0: not asked for
    labels: NodeLabels = Field(default_factory=dict)


class TrainingStages(Section):
    """Resources per training stage."""

    train_matcher: TrainingResources = TrainingResources()
    train_encoder: TrainingResources = TrainingResources()
    train_semantic: TrainingResources = TrainingResources()
    train_tokenizer: TrainingResources = TrainingResources()
    train_generator: TrainingResources = TrainingResources()
    train_editor: TrainingResources = TrainingResources()


class StageResources(Section):
    """Resources per stage."""

    ingest: Resources = Resources()
    measure: Resources = Resources()
    score: Resources = Resources(actors=1)  # of each model of measure.models
    curate: Resources = Resources()
    recaption: Resources = Resources(actors=1)
    synthesize_edits: Resources = Resources()
    measure_pairs: Resources = Resources()
    curate_pairs: Resources = Resources()
    index: Resources = Resources()
    encode_latents: Resources = Resources()
    index_latents: Resources = Resources()
    evaluate_tokenizer: Resources = Resources()
    evaluate_generator: Resources = Resources()
    evaluate_model: Resources = Resources()
    register: Resources = Resources()


class ExecutionSection(Section):
    """How work is spread. No key of it enters a fingerprint: it changes speed, never results."""

    max_in_flight: Annotated[int, Field(ge=0)]  # shard tasks submitted at once per stage; 0: twice the cluster's CPUs
    cache_gb: Annotated[float, Field(ge=0)]  # decoded pictures that a training worker keeps in memory
    node_cache_gb: Annotated[float, Field(gt=0)] = 256.0  # of a node's disk for copies of a remote store's files
    grace_seconds: Annotated[float, Field(ge=0)]  # that training has to save after a stop signal
    on_code_change: Literal["note", "rerun"] = (
        "note"  # what becomes of a stage that is cached and was made by other code
    )
    resources: StageResources = StageResources()
    training: TrainingStages = TrainingStages()

    @property
    def cache_bytes(self) -> int:
        """Bytes of decoded pictures kept in memory."""
        return int(self.cache_gb * 2**30)


class ClusterSection(Section):
    """Which Ray cluster runs the stages."""

    address: str | None  # null: RAY_ADDRESS where set, else a local Ray that ends with the run
    num_cpus: Annotated[int, Field(ge=1)] | None  # of a local Ray; null: all
    join_seconds: Annotated[float, Field(ge=0)] = 30.0  # that nodes of a running cluster may take to join
    autoscaling: bool = False  # what no node has now is waited for


class TrackingSection(Section):
    """Where runs are logged."""

    uri: Address | None  # null: MLFLOW_TRACKING_URI where set, else a sqlite database in the store
    experiment: Annotated[str, Field(min_length=1)]


class Config(Section):
    """The whole configuration of a run."""

    preset: str
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    store: Annotated[Address, Field(min_length=1)]
    source: Source | None = None  # the short form of one source, without a name
    sources: dict[SourceName, Source] = Field(default_factory=dict)  # several, by name; then `source` is not used
    measure: MeasureSection = MeasureSection()
    matcher: MatcherSection = MatcherSection()
    curate: CurationRules = CurationRules()
    recaption: RecaptionSection = RecaptionSection()
    synthesize_edits: EditsSection
    measure_pairs: PairsSection = PairsSection()
    curate_pairs: PairRules = PairRules()
    held_out: Annotated[float, Field(gt=0, lt=1)]  # share of samples that no model is trained on
    image_size: Annotated[int, Field(ge=8)]  # side of the pictures that the tokenizer gives back, in pixels
    encoder: EncoderSection
    tokenizer: TokenizerSection
    latents: LatentsSection
    generator: GeneratorSection
    evaluate_tokenizer: EvaluateTokenizerSection
    evaluate_generator: EvaluateGeneratorSection
    evaluate_model: EvaluateModelSection | None = None
    shuffle: ShuffleSection = ShuffleSection()
    register: RegisterSection
    execution: ExecutionSection
    cluster: ClusterSection
    tracking: TrackingSection

    def named_sources(self) -> dict[str, Source]:
        """Return the sources by name, in the order they are given; the one of `source` has the name ""."""
        if self.sources:
            return dict(self.sources)
        assert self.source is not None, "validation asks for a source"
        return {"": self.source}

    @property
    def only_source(self) -> Source:
        """The one source of a configuration without `sources`."""
        assert self.source is not None and not self.sources, "a configuration of several sources"
        return self.source

    def of_source(self, name: str) -> Config:
        """Return the configuration with one of its sources alone, without its name."""
        return self.model_copy(update={"source": self.named_sources()[name], "sources": {}})

    def proof_of_captions(self) -> str | None:
        """Return the model of `measure.models` that proves that new captions fit; None where there is none."""
        comparing = [name for name, model in self.measure.models.items() if model.reads_captions]
        return self.recaption.proof or next(iter(comparing), None)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.source is None and not self.sources:
            raise ValueError("there is no source. Name one with source=KIND, or several under sources.")
        self._possible_sources()
        if not self.encoder.path:
            side = self.encoder.size or self.image_size
            patch = self.encoder.small.patch
            if side % patch or self.image_size % (side // patch):
                raise ValueError(
                    f"encoder.small.patch is {patch}: it must divide the encoder's pictures ({side} pixels), and "
                    f"its grid image_size ({self.image_size})."
                )
        model = self.tokenizer.model
        if model.pixel_channels and find_space(model.space).patch_pca:
            wanted = (self.tokenizer.pixel_decoder.kind, model.semantic_kind, model.pixel_source)
            if wanted != ("patch", "transformer", "latent"):
                raise ValueError(
                    f"tokenizer.model.pixel_channels is {model.pixel_channels}: the start from patch PCA needs "
                    "pixel_decoder.kind=patch, semantic_kind=transformer and pixel_source=latent, not "
                    f"{', '.join(wanted)}. Set pixel_channels to 0 for the others."
                )
        for name, training, losses in (
            ("semantic", self.tokenizer.semantic, self.tokenizer.semantic_losses),
            ("training", self.tokenizer.training, self.tokenizer.losses),
        ):
            if training.zero_stage == 3 and losses.gan > 0 and losses.gan_start < 1:
                raise ValueError(
                    f"tokenizer.{name}.zero_stage is 3, which splits the layer at which the GAN's weight is measured. "
                    "Use zero_stage 0 to 2, or set its gan to 0."
                )
        if self.cluster.address and self.cluster.num_cpus:
            raise ValueError(
                "cluster.num_cpus is for a local Ray only, and cluster.address names a running cluster. Set one "
                "of them to null."
            )
        return self

    def _possible_sources(self) -> None:
        sources = self.named_sources()
        for name, source in sources.items():
            key = source_key(name)
            if isinstance(source, ScenesSource) and source.scene.size < self.curate.min_side:
                raise ValueError(
                    f"{key}.scene.size is {source.scene.size} but curate.min_side is {self.curate.min_side}: "
                    "every picture would be dropped as too small. Raise the first or lower the second."
                )
        for use in USES:
            weights = {source_key(name): source.weight for name, source in sources.items() if use in source.use}
            without = [key for key, weight in weights.items() if weight is None]
            if without and len(without) < len(weights):
                raise ValueError(
                    f"{without[0]} serves {use} and has no weight, and other sources that serve it have one. Give "
                    f"{without[0]}.weight, or leave out the weights of all."
                )
