"""Models that give signals, and thresholds on signals: whether each can work, before anything is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from components.vision_models.options import SignalModel
from pipelines.config.schema import Config
from pipelines.errors import nearest
from pipelines.preflight.asked_models import IMAGE_PROCESSORS, check_answers, lacks
from pipelines.preflight.pretrained import is_path, model_folder
from pipelines.preflight.weights import broken_weights


def check_signals(config: Config) -> Iterator[str]:
    """Check every model of `measure.models`, and that each threshold of `curate.signals` has one."""
    models = config.measure.models
    for name in config.curate.signals:
        if name not in models:
            known = f" There are: {', '.join(models)}." if models else ""
            yield (
                f"curate.signals.{name}: no model of measure.models gives this signal"
                f"{nearest(name, list(models)) or '.'}"
                f"{known} Add the model there, or take a ready one: signals=[{name}] where conf/signals has it."
            )
    if models:
        from components.curation.signals import SIGNAL_SCHEMA

        for name in models:
            if name in (*SIGNAL_SCHEMA, "min_side", "unscored"):
                yield f"measure.models.{name}: {name} is measured without a model. Give the model another name."
    for name, model in models.items():
        yield from _check_model(f"measure.models.{name}", model)


def check_pairs(config: Config) -> Iterator[str]:
    """Check the models that look at edit pairs, and that each threshold on what they say has one."""
    from components.curation.pairs.decide_pairs import OF_MODELS, checks_in_order

    settings = config.measure_pairs
    named = {"measure_pairs.image_text": settings.image_text.path, "measure_pairs.judge": settings.judge.path}
    for signal in dict.fromkeys(check.signal for check in checks_in_order(config.curate_pairs)):
        key = OF_MODELS.get(signal)
        if key is not None and named[key] is None:
            yield f"curate_pairs.min_{signal}: {key}.path names no model, which would measure it. Name one."
    if settings.image_text.path:
        model = SignalModel("image_text", settings.image_text.path, settings.image_text.revision)
        yield from _check_model("measure_pairs.image_text", model)
    if settings.judge.path:
        yield from check_answers("measure_pairs.judge.path", settings.judge.path)


def _check_model(key: str, model: SignalModel) -> Iterator[str]:
    from components.vision_models.signal_kinds import SIGNALS

    kind = SIGNALS[model.kind]
    if kind.package and lacks(kind.package):
        install = f"pip install 'pixsem[{kind.extra}]'"
        yield f"{key}: {model.kind} needs the package {kind.package}. Install it: {install}."
    if model.path is None or not is_path(model.path):
        return
    folder = Path(model.path)
    if model.kind != "image_classification" and (folder / "image_text.json").is_file():
        weights = folder / "model.safetensors"
        words = broken_weights(weights) if weights.is_file() else "there is no model.safetensors in it."
        if words:
            yield f"{key}.path={folder}: {words}"
        return
    values, found = model_folder(f"{key}.path", model.path)
    yield from found
    if values is None:
        return
    if not any((folder / file).is_file() for file in IMAGE_PROCESSORS):
        yield (
            f"{key}.path={folder}: the folder has no preprocessor_config.json, so nothing says how pictures are "
            "resized. Save the image processor beside the model."
        )
    if model.kind == "image_classification":
        yield from _check_classes(key, model, values.get("id2label"))
    elif "text_config" not in values and "vision_config" not in values:
        yield f"{key}.path={folder}: models of type {values.get('model_type')!r} compare no pictures with texts."


def _check_classes(key: str, model: SignalModel, classes: object) -> Iterator[str]:
    from components.vision_models.classifier import classes_by_number, wanted_classes

    if not isinstance(classes, dict):
        classes = {0: "LABEL_0", 1: "LABEL_1"}  # transformers' own, where a config.json names none
    try:
        wanted_classes(model, classes_by_number(classes))
    except ValueError as error:
        yield f"{key}: {error}"
