"""Gates that no model can pass: on figures that this source and configuration do not give, or beyond what a figure can
be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.registry.gates import Gate
from components.scenes.options import CATEGORIES, COUNTS, EDIT_KINDS
from components.tokenizer.spaces import find_space
from pipelines.config.schema import Config, ScenesSource
from pipelines.errors import nearest
from pipelines.stages.evaluation import encoder_slug

LATENT = ("std_min", "std_max", "std_mean", "dead_channels", "kl_mean")
OF_EDITS = ("success", "copy_source", "chance", "ceiling", "preservation_psnr", "preservation_psnr_of_reconstructions")
OF_REMOVALS = (
    "remove_by_the_inspector_alone",
    "removal_residue",
    "removal_residue_of_reconstructions",
    "removal_residue_of_source",
    "removal_ghosts",
    "removal_trace",
)
SHARE = re.compile(
    r"tokenizer\.(retrieval(_frozen|_encoder)?|probe)"
    r"|text_to_image\.(?!frechet|retrieval_pool|seconds)[\w.]+"
    r"|editing\.(?!preservation|removal_residue|removal_trace)\w+"
)
AT_MOST_ONE = ("tokenizer.ssim", "tokenizer.feature_cosine")
NEVER_NEGATIVE = re.compile(r"tokenizer\.(frechet|rfid|lpips)|text_to_image\.(frechet|seconds)|editing\.removal")


def check_gates(config: Config) -> Iterator[str]:
    """Check the gates of both models."""
    figures = {"tokenizer": _tokenizer_figures(config), "generator": _generator_figures(config)}
    for model, gates in (("tokenizer", config.register.tokenizer), ("generator", config.register.generator)):
        other = "generator" if model == "tokenizer" else "tokenizer"
        for gate in gates:
            name = re.sub(r"^(text_to_image\.checkpoints)\.\d+$", r"\1", gate.metric)  # by samples seen
            if name in figures[model]:
                why = figures[model][name] or _beyond(gate)
            elif name in figures[other]:
                why = f"it is a figure of the {other}. Put it under register.{other}."
            else:
                why = f"there is no such figure{nearest(name, figures[model])}"
            if why:
                yield f"register.{model}: the gate on {gate.metric} cannot be passed: {why}"


def _tokenizer_figures(config: Config) -> dict[str, str]:
    """Return every figure of `evaluate_tokenizer` -> why this configuration does not give it; empty where it does."""
    judged, space = config.evaluate_tokenizer, config.tokenizer.model.space
    entry = find_space(space)
    frechet = f"frechet_{encoder_slug(config.encoder.path)}"
    found = dict.fromkeys(
        (
            "psnr",
            "ssim",
            "noise_psnr",
            frechet,
            "retrieval_frozen",
            "retrieval_pool",
            "probe",
            "probe_words",
            "pictures",
            *(f"latent.{name}" for name in LATENT),
        ),
        "",
    )
    no_features = (
        "" if entry.holds_features else f"the space {space} holds no features of the encoder. Leave the gate out."
    )
    found |= {"retrieval": no_features, "feature_cosine": no_features}
    found["retrieval_encoder"] = "" if entry.of_encoder else f"the space {space} keeps no encoder. Leave the gate out."
    for name, key in (("lpips", "lpips_weights"), ("rfid", "inception")):
        named = getattr(judged, key)
        found[name] = "" if named else f"evaluate_tokenizer.{key} names no weights. Name them, or leave the gate out."
    return {f"tokenizer.{name}": why for name, why in found.items()}


def _generator_figures(config: Config) -> dict[str, str]:
    """Return every figure of `evaluate_generator` -> why this configuration does not give it; empty where it does."""
    frechet = f"frechet_{encoder_slug(config.encoder.path)}"
    of_any = (
        "retrieval",
        "retrieval_pool",
        frechet,
        f"{frechet}_of_reconstructions",
        "frechet_pictures",
        "seconds_per_image",
        "seconds_per_image_batch",
    )
    source, kinds = config.source, config.synthesize_edits.scene_kinds
    found = dict.fromkeys((f"text_to_image.{name}" for name in of_any), "")
    inspected = ["overall", *CATEGORIES]
    scales = {config.generator.guidance_scale, *config.evaluate_generator.guidance_scales}
    of_scenes = {
        f"text_to_image.{part}{name}": "" for part in ("", "chance.", "ceiling.", "unseen.") for name in inspected
    }
    of_scenes |= {f"text_to_image.by_guidance.{f'{scale:g}'.replace('.', '_')}": "" for scale in scales}
    of_scenes["text_to_image.checkpoints"] = "" if config.generator.snapshots else "generator.snapshots keeps none."
    of_scenes |= {f"editing.{name}": "" if kinds else "synthesize_edits.scene_kinds is empty." for name in OF_EDITS}
    for name in (*EDIT_KINDS, *OF_REMOVALS):
        kind = "remove" if name in OF_REMOVALS else name
        of_scenes[f"editing.{name}"] = "" if kind in kinds else f"synthesize_edits.scene_kinds does not name {kind}."
    if not isinstance(source, ScenesSource):
        why = (
            f"only pictures of the scenes world can be read back, and the source is {source.kind}. Leave it out: "
            "register.generator=[...]"
        )
        return found | dict.fromkeys(of_scenes, why)
    if not source.scene.held_out:
        unseen = "source.scene.held_out keeps no combination out of training."
        of_scenes |= {f"text_to_image.unseen.{name}": unseen for name in inspected}
    low, high = source.scene.min_objects, source.scene.max_objects
    for name, (fewest, most) in COUNTS.items():
        if max(low, fewest) > min(high, most):
            lacks = f"scenes of source.scene have {low} to {high} objects, and it cannot be said of those."
            of_scenes |= {f"text_to_image.{part}{name}": lacks for part in ("", "chance.", "ceiling.", "unseen.")}
    return found | of_scenes


def _beyond(gate: Gate) -> str:
    """Say why a limit is out of reach or asks for nothing; empty where it is neither."""
    limit, metric = gate.limit, gate.metric
    if limit is None:
        return ""
    if SHARE.fullmatch(metric) and not 0 <= limit <= 1:
        return f"it is a share, 0 to 1, and limit is {limit:g}."
    if metric in AT_MOST_ONE and gate.higher_is_better and limit > 1:
        return f"it is at most 1, and limit is {limit:g}."
    if NEVER_NEGATIVE.match(metric) and not gate.higher_is_better and limit < 0:
        return f"it is never negative, and limit is {limit:g}."
    return ""
