"""The configuration of what is measured, recaptioned and paired: the sections of the data stages that have models."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from components.curation.editing.options import KINDS, EditOptions
from components.curation.options import ImageLimits
from components.curation.pairs.options import PairFaultOptions, PairJudge, PairTowers
from components.editors.options import EditorModel, check_editor_name
from components.tokenizer.options import SmallEncoderOptions
from components.training.options import OptimizerOptions, TrainingOptions
from components.vision_models.options import SignalModel, check_signal_name
from pipelines.config.source_kinds import Section


def _by_name(value: object) -> object:
    """Return models given as a list, [{name: nsfw, kind: ...}], by their names."""
    if not isinstance(value, list | tuple):
        return value
    unnamed = [model for model in value if not isinstance(model, dict) or not isinstance(model.get("name"), str)]
    if unnamed:
        raise ValueError("every model of the list needs a name, for example {name: nsfw, kind: nsfw_onnx}")
    names = [model["name"] for model in value]
    if len(set(names)) < len(names):
        raise ValueError(f"two models have the name {max(names, key=names.count)!r}: a signal is of one model")
    return {model["name"]: {k: v for k, v in model.items() if k != "name"} for model in value}


SignalName = Annotated[str, AfterValidator(check_signal_name)]


class MeasureSection(Section):
    """What measuring may spend on one image, and which models give signals."""

    limits: ImageLimits = ImageLimits()
    models: Annotated[dict[SignalName, SignalModel], BeforeValidator(_by_name)] = Field(default_factory=dict)


class MatcherSection(Section):
    """The pipeline's own image-text encoder, trained before curation on the samples that it scores."""

    size: Annotated[int, Field(ge=8)] | None = None  # pixels at which it sees pictures; null: image_size
    samples: Annotated[int, Field(ge=2)] = 20_000  # that it is trained on, at most, spread over all shards
    small: SmallEncoderOptions = SmallEncoderOptions(width=128, heads=4, text_depth=2, max_words=32)
    training: TrainingOptions = TrainingOptions(
        steps=400,
        batch=128,
        ema=0.95,
        checkpoint_every=200,
        optimizer=OptimizerOptions(kind="muon", lr=0.0015, muon_lr=0.003),
    )


def _check_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.username is not None or parts.password is not None:
        raise ValueError("url holds a user or password. Leave them out: a server's key is read from the environment")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"url is {value!r}: give the address of the server's API, as in http://host:8000/v1")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_check_url)]


class RecaptionSection(Section):
    """Captions by a vision-language model, beside those that samples have."""

    path: str | None = None  # hub id or folder of an image-text-to-text model of transformers; null: no recaptioning
    revision: str | None = None  # of a hub id
    engine: Literal["transformers", "vllm", "http"] = "transformers"  # what runs it; http: a server, by OpenAI's API
    url: Url | None = (
        None  # of engine=http: the server's API, for example http://host:8000/v1; path is its model's name
    )
    vllm: dict[str, int | float | bool | str] = Field(default_factory=dict)  # of engine=vllm: more of its arguments
    prompts: Annotated[tuple[str, ...], Field(min_length=1)] = ("Describe this picture in one or two sentences.",)
    captions: Annotated[int, Field(ge=1, le=16)] = 1  # for each prompt and picture; several need a temperature
    temperature: Annotated[float, Field(ge=0)] = 0.0  # 0: the most likely text
    tokens: Annotated[int, Field(ge=1, le=4096)] = 96  # of a caption, at most
    size: Annotated[int, Field(ge=8)] = 768  # pixels of a picture's longer side, at most, as the model is shown it
    batch: Annotated[int, Field(ge=1)] = 8  # pictures that the model takes at once
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: weights and products in bf16, for GPUs
    proof: str | None = (
        None  # a model of measure.models, image_text or matcher, that compares captions and pictures; null: the first
    )
    proof_samples: Annotated[int, Field(ge=8)] = 64  # of each shard

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        if self.captions > 1 and not self.temperature:
            raise ValueError("captions is above 1: set temperature above 0, else all captions of a prompt are the same")
        if (self.engine == "http") != (self.url is not None):
            raise ValueError("engine=http and url go together: url is the server's API, as in http://host:8000/v1")
        if self.revision and self.engine != "transformers":
            raise ValueError(f"engine={self.engine} fetches no revision. Fetch it into a folder and name that in path")
        if self.vllm and self.engine != "vllm":
            raise ValueError("vllm holds arguments of engine=vllm")
        if "trust_remote_code" in self.vllm:
            raise ValueError("vllm.trust_remote_code would run code of a repository, and none is run here")
        return self


class PairsSection(Section):
    """Which models look at edit pairs, beside what is measured without one."""

    image_text: PairTowers = PairTowers()  # for curate_pairs.min_direction and min_instruction_direction
    judge: PairJudge = PairJudge()  # for curate_pairs.min_judge


EditorName = Annotated[str, AfterValidator(check_editor_name)]


class EditsSection(Section):
    """Which edit pairs are made of the curated samples."""

    scene_kinds: tuple[str, ...]
    pairs_per_scene: Annotated[int, Field(ge=0, le=64)]
    photos: EditOptions = EditOptions()
    editors: dict[EditorName, EditorModel] = Field(default_factory=dict)  # of photos, beside the procedures
    faults: PairFaultOptions = PairFaultOptions()  # planted, so that the curation of pairs is scored

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        taken = sorted(set(self.editors) & set(KINDS))
        if taken:
            raise ValueError(f"editors: {taken[0]!r} is the name of a procedure. Give the editor another name.")
        if bool(self.editors) != (self.photos.family_weights.model > 0):
            raise ValueError(
                "synthesize_edits.editors and synthesize_edits.photos.family_weights.model go together: the weight "
                "says how often an editor is drawn. Set both, or none."
            )
        return self
