"""Gates that no model can pass: on figures that this source and configuration do not give, or beyond what a figure can be."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.registry.gates import Gate
from components.scenes.prompts import CATEGORIES
from components.tokenizer.spaces import find_space
from pipelines.config.schema import Config
from pipelines.errors import nearest
from pipelines.stages.evaluation import encoder_slug

SHARES = (
    "tokenizer.retrieval",
    "tokenizer.probe",
    "tokenizer.feature_cosine",
    "text_to_image.retrieval",
    "editing.success",
)
INSPECTED = ("overall", "unseen", "chance", "ceiling", "by_guidance", "checkpoints", *CATEGORIES)


def check_gates(config: Config) -> Iterator[str]:
    """Check the gates of both models."""
    groups: tuple[tuple[str, tuple[Gate, ...]], ...] = (
        ("register.tokenizer", config.register.tokenizer), ("register.generator", config.register.generator),
    )  # fmt: skip
    for key, gates in groups:
        for gate in gates:
            why = _missing(config, gate.metric) or _beyond(gate)
            if why:
                yield f"{key}: the gate on {gate.metric} cannot be passed: {why}"


def _missing(config: Config, metric: str) -> str:
    """Say why a figure is not measured; empty where it is."""
    group, _, name = metric.partition(".")
    judged, own = config.evaluate_tokenizer, f"frechet_{encoder_slug(config.encoder.path)}"
    known = {
        "tokenizer": ["psnr", "ssim", "noise_psnr", "lpips", "rfid", "retrieval", "retrieval_frozen", "retrieval_encoder", "feature_cosine",
                      "probe", own],
        "text_to_image": ["retrieval", "frechet_pictures", own, f"{own}_of_reconstructions", *INSPECTED],
        "editing": [],
    }  # fmt: skip
    if group not in known:
        return f"there is no such figure{nearest(metric, [f'{g}.{n}' for g, names in known.items() for n in names])}"
    first = name.split(".")[0]
    if metric == "tokenizer.lpips" and not judged.lpips_weights:
        return "evaluate_tokenizer.lpips_weights names no weights. Name them, or leave the gate out."
    if metric == "tokenizer.rfid" and not judged.inception:
        return "evaluate_tokenizer.inception names no weights. Name them, or leave the gate out."
    space = config.tokenizer.model.space
    if metric in ("tokenizer.retrieval", "tokenizer.feature_cosine") and not find_space(space).holds_features:
        return f"the space {space} holds no features of the encoder. Leave the gate out."
    if config.source.kind != "scenes" and (group == "editing" or (group == "text_to_image" and first in INSPECTED)):
        return f"only pictures of the scenes world can be read back, and the source is {config.source.kind}. Leave it out: register.generator=[...]"
    if group == "editing" or re.match(r"latent\b", name):
        return ""
    return (
        ""
        if first in known[group]
        else f"there is no such figure{nearest(metric, [f'{group}.{n}' for n in known[group]])}"
    )


def _beyond(gate: Gate) -> str:
    """Say why a limit is out of reach; empty where it is not."""
    share = gate.metric in SHARES or gate.metric.split(".")[1] in INSPECTED
    if share and gate.limit is not None and gate.higher_is_better and gate.limit > 1:
        return f"it is a share, 0 to 1, and limit is {gate.limit:g}."
    if share and gate.limit is not None and not gate.higher_is_better and gate.limit < 0:
        return f"it is a share, 0 to 1, and limit is {gate.limit:g}."
    return ""
