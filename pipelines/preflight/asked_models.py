"""Models that are asked for something: captions, a judgement, an instruction, an edited picture. Whether each can give
it, before anything runs.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Iterator
from pathlib import Path

from components.editors.options import EditorModel
from pipelines.config.schema import Config
from pipelines.errors import nearest
from pipelines.preflight.pretrained import TEXT_TOKENIZERS, is_path, model_folder

IMAGE_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


def lacks(package: str) -> bool:
    """True where a package is not installed."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return True
    return False


def check_recaption(config: Config) -> Iterator[str]:
    """Check the vision-language model that writes captions, and that another can prove that it sees its pictures."""
    settings, models = config.recaption, config.measure.models
    if not settings.path:
        return
    if settings.engine == "transformers":
        yield from check_answers("recaption.path", settings.path)
    elif settings.engine == "vllm":
        if is_path(settings.path):  # vLLM has models of types of its own
            yield from model_folder("recaption.path", settings.path)[1]
        yield from _check_vllm(config.execution.resources.recaption.gpus)
    proof = config.proof_of_captions()
    if proof is None:
        yield (
            "recaption: nothing can prove that the model sees its pictures. Name an image-text model: "
            "measure.models={clip: {kind: image_text, path: ...}}, or signals=siglip2."
        )
    elif proof not in models:
        yield f"recaption.proof: no model of measure.models is called {proof!r}{nearest(proof, list(models))}"
    elif not models[proof].reads_captions:
        yield f"recaption.proof={proof}: a model of kind {models[proof].kind} compares no captions. Name an image_text."


def _check_vllm(gpus: float) -> Iterator[str]:
    if lacks("vllm"):
        yield (
            "recaption.engine=vllm needs the package vllm. Install it with: pip install 'ray[llm]'. Or ask a server "
            "with engine=http, or take engine=transformers."
        )
    if gpus < 1 or gpus % 1:
        yield (
            f"recaption.engine=vllm runs on whole GPUs, and execution.resources.recaption.gpus is {gpus:g}. Set it to "
            "the GPUs of one engine."
        )


def check_answers(key: str, path: str) -> Iterator[str]:
    """Check a model that answers prompts about pictures, where it is a folder."""
    if not is_path(path):
        return
    from components.vision_models.vision_language import answering_types

    yield from _check_type(key, path, answering_types(), "answer no prompts about pictures")
    if Path(path, "config.json").is_file() and not _any_file(path, IMAGE_PROCESSORS):
        yield f"{key}={path}: the folder has no preprocessor_config.json. Save the processor beside the model."


def check_editors(config: Config) -> Iterator[str]:
    """Check published editors, and the text models that tell them what to do."""
    for name, editor in config.synthesize_edits.editors.items():
        key = f"synthesize_edits.editors.{name}"
        if is_path(editor.path):
            yield from _check_pipeline(key, editor)
        if editor.writer and is_path(editor.writer.path):
            from components.editors.editor_instructions import writing_types

            key, path = f"{key}.writer.path", editor.writer.path
            yield from _check_type(key, path, writing_types(), "write no text")
            if Path(path, "config.json").is_file() and not _any_file(path, TEXT_TOKENIZERS):
                yield f"{key}={path}: the folder has no text tokenizer (tokenizer.json). Save it beside the model."


def _check_type(key: str, path: str, types: Collection[str], cannot: str) -> Iterator[str]:
    values, found = model_folder(key, path)
    yield from found
    if values is not None and values.get("model_type") not in types:
        yield f"{key}={path}: models of type {values.get('model_type')!r} {cannot}. Name one that does."


def _check_pipeline(key: str, editor: EditorModel) -> Iterator[str]:
    values, found = model_folder(f"{key}.path", editor.path, index="model_index.json")
    yield from found
    if values is None:
        return
    from components.editors.diffusers_editor import check_class

    try:
        check_class(editor, str(values.get("_class_name")))
    except ValueError as error:
        yield f"{key}: {error}"


def _any_file(folder: str, names: Collection[str]) -> bool:
    return any(Path(folder, name).is_file() for name in names)
