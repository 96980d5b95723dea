"""Gates that no model can pass: on figures that this configuration does not give, or beyond what a figure can be."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.registry.gates import Gate
from pipelines.config.schema import Config
from pipelines.errors import nearest
from pipelines.tracking.figures import figure_name, generator_figures, other_figures, tokenizer_figures

# Figures of the generator that are no shares, wherever they stand: below chance, a kind, a source.
NO_SHARE = (
    r"frechet|kernel|similarity|direction|agreement|retrieval_pool|seconds|psnr|ssim|lpips|preservation"
    r"|removal_residue|removal_trace"
)
SHARE = re.compile(
    rf"tokenizer\.(retrieval(_frozen|_encoder)?|probe)|(text_to_image|editing)\.(?!(\w+\.)*({NO_SHARE}))[\w.]+"
)
AT_MOST_ONE = re.compile(
    r"tokenizer\.(ssim|feature_cosine)|(text_to_image|editing)\.(\w+\.)*(ssim|similarity|direction|agreement)[\w.]*"
)
NEVER_NEGATIVE = re.compile(
    r"tokenizer\.(frechet|rfid|lpips)|(text_to_image|editing)\.(\w+\.)*(frechet|kernel|seconds|lpips|removal)"
)


def check_gates(config: Config) -> Iterator[str]:
    """Check the gates of both models. Those on figures that this data cannot have are skipped, and no problem."""
    figures = {"tokenizer": tokenizer_figures(config), "generator": generator_figures(config)}
    others = {"tokenizer": {}, "generator": other_figures(config)}
    for model, gates in (("tokenizer", config.register.tokenizer), ("generator", config.register.generator)):
        other = "generator" if model == "tokenizer" else "tokenizer"
        for gate in gates:
            name = figure_name(gate.metric)
            if name in others[model]:
                continue
            if name in figures[model]:
                why = figures[model][name] or _beyond(gate)
            elif name in figures[other] or name in others[other]:
                why = f"it is a figure of the {other}. Put it under register.{other}."
            else:
                why = f"there is no such figure{nearest(name, (*figures[model], *others[model]))}"
            if why:
                yield f"register.{model}: the gate on {gate.metric} cannot be passed: {why}"


def _beyond(gate: Gate) -> str:
    """Say why a limit is out of reach or asks for nothing; empty where it is neither."""
    limit, metric = gate.limit, gate.metric
    if limit is None:
        return ""
    if SHARE.fullmatch(metric) and not 0 <= limit <= 1:
        return f"it is a share, 0 to 1, and limit is {limit:g}."
    if AT_MOST_ONE.fullmatch(metric) and gate.higher_is_better and limit > 1:
        return f"it is at most 1, and limit is {limit:g}."
    if NEVER_NEGATIVE.match(metric) and not gate.higher_is_better and limit < 0:
        return f"it is never negative, and limit is {limit:g}."
    return ""
