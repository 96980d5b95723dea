"""The workflows: which stages a configuration asks for, and in what order. Built when asked for, never at import."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from components.tokenizer.spaces import Semantic, find_space
from pipelines.config.source_kinds import USES, Use, source_key
from pipelines.stage import Stage, instance_name
from pipelines.workflow.signal_stages import signal_stages, with_recaption

if TYPE_CHECKING:
    from pipelines.config.schema import Config

TRAINS_GENERATOR = (
    "generator.flow",
    "generator.captions",
    "generator.max_text_tokens",
    "generator.validation_samples",
    "generator.snapshots",
)


SAMPLES = (
    "generator.guidance_scale",
    "generator.image_guidance_scale",
    "generator.guidance_above",
    "generator.sampling_steps",
    "generator.sampling_shift",
)
# What decides whether a picture of given pairs is one of another source.
ALIKE = (
    "curate.near_duplicate_distance",
    "curate.near_duplicate_colour",
    "curate.near_duplicate_peak",
    "curate.min_contrast",
)
INPUTS_OF_EVALUATION = ("index", "train_encoder", "train_tokenizer", "train_generator", "train_editor")


# The one stage of a run of `pixsem evaluate`.
EVALUATE_MODEL = Stage(
    name="evaluate_model",
    version="1",
    function="pipelines.stages.generator.evaluate_model:run",
    config=("seed", "evaluate_model"),
    external="pipelines.workflow.source_digests:evaluated_files",
    summary="any model, held to prompts and pairs by judges",
)


def build_workflow(config: Config | None = None) -> list[Stage]:
    """Return the stages that a configuration asks for, each after its inputs: those of every source, and those of its
    latent space. None: all stages there are, of one source without a name.
    """
    if config is not None and config.evaluate_model is not None:
        return [EVALUATE_MODEL]
    jobs = Jobs(config)
    silent = jobs.uncaptioned().get("uncaptioned", ())
    scored = list(signal_stages(config, jobs.pictures, silent)) if config else []
    bounded = config.curate.signals if config else {}
    deciding = [stage for stage in scored if stage.given.get("signal") in bounded]
    found = [*_source_stages(jobs), *scored, *_data_stages(jobs, deciding), *_model_stages(jobs)]
    if config is not None and config.recaption.path:
        captions_of = jobs.names("captions_of", "text_to_image").get("captions_of")
        found = with_recaption(found, config, jobs.pictures, captions_of)
    if config is None or find_space(config.tokenizer.model.space).semantic is not Semantic.NOTHING:
        return found
    return [
        dataclasses.replace(stage, inputs=tuple(i for i in stage.inputs if i != "train_semantic"))
        for stage in found
        if stage.name != "train_semantic"
    ]


class Jobs:
    """Which sources there are, and what they serve. What a stage is told of that is part of its fingerprint; one source
    that serves all is no news, and is not told.
    """

    def __init__(self, config: Config | None) -> None:
        found = config.named_sources() if config else {}
        self.pictures = tuple(name for name, source in found.items() if not source.holds_pairs) if found else ("",)
        self.pairs = tuple(name for name, source in found.items() if source.holds_pairs)
        self.pretrained = bool(config and config.encoder.path)
        alone = set(found) == {""} and set(found[""].use) == set(USES)
        self._sources = {} if alone else found

    def weights(self, name: str, *uses: Use) -> dict[str, Any]:
        """Return {name: {source that serves one of these: its weight}}; {} where every source serves all."""
        serving = {key: s.weight for key, s in self._sources.items() if set(uses) & set(s.use)}
        return {name: serving} if self._sources else {}

    def names(self, name: str, *uses: Use) -> dict[str, Any]:
        """Return {name: [sources that serve one of these]}; {} where every source serves all."""
        return {name: sorted(found) for name, found in self.weights(name, *uses).items()}

    def uncaptioned(self) -> dict[str, Any]:
        """Return {"uncaptioned": [sources whose captions nothing needs]}; {} where there are none. An encoder that is
        trained here needs those of all that it is trained on.
        """
        found = sorted(name for name, source in self._sources.items() if set(source.use) == {"tokenizer"})
        return {"uncaptioned": found} if found and self.pretrained else {}


def _without(source: str) -> tuple[str, ...]:
    """Return what of a source is no matter of how its samples are read: its jobs, and its share of a training."""
    return f"{source_key(source)}.use", f"{source_key(source)}.weight"


def _measure_pairs(name: str, inputs: tuple[str, ...], version: str = "1") -> Stage:
    return Stage(
        name=name,
        version=version,
        function="pipelines.stages.data.measure_pairs:run",
        external="pipelines.workflow.source_digests:pair_files",
        config=("measure.limits", "measure_pairs"),
        inputs=inputs,
        summary="one row of signals per edit pair, no decision",
    )


def _source_stages(jobs: Jobs) -> Iterator[Stage]:
    """Yield the stages that there are for each source."""
    for source in (*jobs.pictures, *jobs.pairs):
        yield Stage(
            name=instance_name("ingest", source),
            version="1",
            function="pipelines.stages.data.ingest:run",
            external="pipelines.stages.data.ingest:source_digests",
            config=("seed", source_key(source)),
            without=_without(source),
            summary="bring every source into WebDataset shards",
        )
        if source in jobs.pairs:
            yield _measure_pairs(instance_name("measure_pairs", source), (instance_name("ingest", source),), "2")
            continue
        yield Stage(
            name=instance_name("measure", source),
            version="2",
            function="pipelines.stages.data.measure:run",
            config=("measure",),
            without=("measure.models",),
            inputs=(instance_name("ingest", source),),
            summary="one row of signals per sample, no decision",
        )


def _data_stages(jobs: Jobs, scored: Sequence[Stage]) -> list[Stage]:
    """Return the stages that see the samples of all sources together. Curation reads signals that have a threshold."""
    ingested = tuple(instance_name("ingest", source) for source in jobs.pictures)
    measured = tuple(instance_name("measure", source) for source in jobs.pictures)
    pairs = tuple(instance_name("measure_pairs", source) for source in jobs.pairs)
    given = [*(instance_name("ingest", source) for source in jobs.pairs), *pairs]
    comparing = dict.fromkeys(stage.given["signal"] for stage in scored if stage.given["comparing"])
    return [
        Stage(
            name="curate",
            version="2",
            function="pipelines.stages.data.curate:run",
            config=("curate",),
            inputs=(*ingested, *measured, *(stage.name for stage in scored)),
            given=({"comparing": list(comparing)} if comparing else {}) | jobs.uncaptioned(),
            summary="keep or drop every sample, with its reason",
        ),
        Stage(
            name="synthesize_edits",
            version="1",
            function="pipelines.stages.data.synthesize_edits:run",
            external="pipelines.workflow.source_digests:editor_files",
            config=("seed", "measure.limits", "synthesize_edits"),
            inputs=("curate",),
            given=jobs.names("pairs_of", "editing"),
            summary="(source, instruction, target, mask) from curated samples",
        ),
        _measure_pairs("measure_pairs", ("curate", "synthesize_edits")),
        Stage(
            name="curate_pairs",
            version="2",
            function="pipelines.stages.data.curate_pairs:run",
            config=("curate_pairs",),
            inputs=("synthesize_edits", "measure_pairs", *given),
            summary="keep or drop every edit pair, with its reason",
        ),
        Stage(
            name="index",
            version="3",
            function="pipelines.stages.data.index:run",
            config=("held_out", *(ALIKE if pairs else ())),
            inputs=("curate", "curate_pairs", *((*measured, *pairs) if pairs else ())),
            summary="where each picture lies, and which are held out",
        ),
    ]


def _model_stages(jobs: Jobs) -> list[Stage]:
    """Return the stages that train, encode and judge."""
    # A pretrained encoder keeps its weights: only its text side is trained, and captions of any picture will do.
    captioned: tuple[Use, ...] = ("tokenizer", "text_to_image") if jobs.pretrained else ("tokenizer",)
    return [
        Stage(
            name="train_encoder",
            version="1",
            function="pipelines.stages.tokenizer.train_encoder:run",
            external="pipelines.workflow.source_digests:encoder_files",
            config=("seed", "shuffle", "measure.limits", "image_size", "encoder"),
            inputs=("index",),
            given=jobs.weights("pictures_of", *captioned),
            trains=True,
            summary="a small encoder on the captions, or the text side of a pretrained one",
        ),
        Stage(
            name="train_semantic",
            version="1",
            function="pipelines.stages.tokenizer.train_semantic:run",
            external="pipelines.workflow.source_digests:tokenizer_files",
            config=(
                "seed",
                "shuffle",
                "measure.limits",
                "image_size",
                "tokenizer.pixel_decoder",
                "tokenizer.semantic",
                "tokenizer.semantic_losses",
                "tokenizer.model.channels",
                "tokenizer.model.semantic_depth",
                "tokenizer.model.semantic_kind",
                "tokenizer.model.pixel_source",
                "tokenizer.model.perceptual",
                "tokenizer.model.lpips_weights",
            ),
            inputs=("index", "train_encoder"),
            given=jobs.weights("pictures_of", "tokenizer"),
            trains=True,
            summary="stage 1, the S-VAE: the frozen encoder's features through the bottleneck",
        ),
        Stage(
            name="train_tokenizer",
            version="2",
            function="pipelines.stages.tokenizer.train_tokenizer:run",
            external="pipelines.workflow.source_digests:tokenizer_files",
            config=(
                "seed",
                "shuffle",
                "measure.limits",
                "image_size",
                "tokenizer.model",
                "tokenizer.pixel_decoder",
                "tokenizer.training",
                "tokenizer.losses",
            ),
            inputs=("index", "train_encoder", "train_semantic"),
            given=jobs.weights("pictures_of", "tokenizer"),
            trains=True,
            summary="stage 2, the PS-VAE: pixels and features; or a rival space",
        ),
        Stage(
            name="encode_latents",
            version="2",
            function="pipelines.stages.tokenizer.encode_latents:run",
            config=("measure.limits", "image_size", "latents"),
            inputs=("curate", "curate_pairs", "train_tokenizer"),
            given=jobs.names("captions_of", "text_to_image") | jobs.names("pairs_of", "editing"),
            summary="every sample and edit pair as latents in Arrow shards",
        ),
        Stage(
            name="index_latents",
            version="1",
            function="pipelines.stages.generator.index_latents:run",
            config=(),
            inputs=("index", "encode_latents"),
            summary="each row of the latents with its texts and its side",
        ),
        Stage(
            name="train_generator",
            version="1",
            function="pipelines.stages.generator.train_generator:run",
            external="pipelines.workflow.source_digests:backbone_files",
            config=(
                "seed",
                "shuffle",
                "generator.backbone",
                "generator.revision",
                "generator.small",
                "generator.model",
                *TRAINS_GENERATOR,
                "generator.training",
            ),
            inputs=("train_tokenizer", "encode_latents", "index_latents"),
            given=jobs.weights("captions_of", "text_to_image"),
            trains=True,
            summary="text-to-image by flow matching, from latents alone",
        ),
        Stage(
            name="train_editor",
            version="1",
            function="pipelines.stages.generator.train_editor:run",
            config=("seed", "shuffle", *TRAINS_GENERATOR, "generator.editing", "generator.edit_share"),
            inputs=("train_tokenizer", "encode_latents", "index_latents", "train_generator"),
            given=jobs.weights("captions_of", "text_to_image") | jobs.weights("pairs_of", "editing"),
            trains=True,
            summary="the mixture with edit pairs, from the former's weights",
        ),
        Stage(
            name="evaluate_tokenizer",
            version="2",
            function="pipelines.stages.tokenizer.evaluate_tokenizer:run",
            external="pipelines.workflow.source_digests:evaluation_files",
            config=(
                "seed",
                "measure.limits",
                "image_size",
                "evaluate_tokenizer",
                "encoder.path",
                "tokenizer.model.space",
            ),
            inputs=("index", "train_encoder", "train_tokenizer"),
            summary="what the latent keeps of pixels and of meaning, held-out",
        ),
        Stage(
            name="evaluate_generator",
            version="3",
            function="pipelines.stages.generator.evaluate_generator:run",
            external="pipelines.workflow.source_digests:judging_files",
            config=(
                "seed",
                *(source_key(name) for name in (*jobs.pictures, *jobs.pairs)),
                "image_size",
                "measure.limits",
                "synthesize_edits.scene_kinds",
                "evaluate_generator",
                "evaluate_tokenizer.lpips_weights",
                "evaluate_tokenizer.inception",
                "encoder.path",
                "generator.training.batch",
                "generator.training.steps",
                "generator.editing.batch",
                "generator.max_text_tokens",
                *SAMPLES,
            ),
            without=tuple(
                key
                for name in (*jobs.pictures, *jobs.pairs)
                for key in _without(name)
                if not name or key.endswith(".weight")
            ),
            inputs=INPUTS_OF_EVALUATION,
            summary="is the picture exactly what was asked, the edit exactly what was told",
        ),
        Stage(
            name="register",
            version="3",
            function="pipelines.stages.generator.register:run",
            config=("seed", "register", "generator.max_text_tokens", *SAMPLES),
            inputs=("train_tokenizer", "evaluate_tokenizer", "train_editor", "evaluate_generator"),
            summary="versions in the registry, with lineage; gates decide the champion",
        ),
    ]
