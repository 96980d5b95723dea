"""Which figures the evaluations give: what gates may ask for, and which gates are skipped because the data cannot have
their figure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.pictures import options as pictures
from components.scenes import options as scenes
from components.tokenizer.spaces import find_space
from pipelines.config.schema import Config
from pipelines.config.source_kinds import (
    PicturesSource,
    ScenesSource,
    Source,
    judged_source,
    serving_sources,
    source_key,
)

# Of held-out captions in each of `features`, and of edits with true results in each of them. Any data has them.
OF_SETS = ("frechet", "kernel", "precision", "recall", "coverage", "instance_retrieval")
OF_RESULTS = ("similarity", "nearer_target", "direction")
COMPARED = ("", "chance.", "ceiling.")  # prefixes that figures of captions are given under
BASELINES = ("", "of_source.", "of_reconstructions.", "of_others.")  # and those of edits
LATENT = ("std_min", "std_max", "std_mean", "dead_channels", "kl_mean")
OF_EDITS = ("success", "copy_source", "chance", "ceiling")
PRESERVED = ("preservation_psnr", "preservation_psnr_of_reconstructions")  # of edits with a mask
OF_REMOVALS = (
    "remove_by_the_inspector_alone",
    "removal_residue",
    "removal_residue_of_reconstructions",
    "removal_residue_of_source",
    "removal_ghosts",
    "removal_trace",
)


@dataclass(frozen=True)
class WorldFigures:
    """What a world, whose pictures can be judged one by one, gives beside the figures of any data."""

    shares: tuple[str, ...]  # of pictures that are as asked: all of them, and those of each part
    splits: tuple[str, ...]  # prefixes that each share is given under
    edits: tuple[str, ...]  # figures of edits
    lacking: Callable[[Config], dict[str, str]]  # figure -> why this configuration of the source does not give it

    def names(self, config: Config) -> list[str]:
        """Return its figures' dotted names, whatever the configuration of the source."""
        scales = {config.generator.guidance_scale, *config.evaluate_generator.guidance_scales}
        return [
            *(f"text_to_image.{split}{name}" for split in self.splits for name in self.shares),
            *(f"text_to_image.by_guidance.{f'{scale:g}'.replace('.', '_')}" for scale in scales),
            "text_to_image.checkpoints",
            *_agreements(config),
            *(f"editing.{name}" for name in self.edits),
        ]


def encoder_slug(path: str | None) -> str:
    """Return the encoder's name for metrics such as `frechet_<features>`: the last part of its hub id or folder; None
    is the trained one.
    """
    return re.sub(r"[^a-z0-9]+", "_", (path or "trained encoder").rstrip("/").rsplit("/", 1)[-1].lower()).strip("_")


def own_name(path: str | None, fingerprint: str) -> str:
    """Return how `pixsem evaluate` calls the image-text model of a `train_encoder`: by its encoder, and which of the
    store's it is.
    """
    return f"{encoder_slug(path)}_{fingerprint[:8]}"


def figure_name(metric: str) -> str:
    """Return the figure that a gate asks for: at checkpoints they are told apart by samples seen, and by kind and
    source by their names, which no configuration says.
    """
    metric = re.sub(r"^(text_to_image|editing)\.by_(kind|source)\.\w+\.", r"\1.", metric)
    return re.sub(r"^(text_to_image\.checkpoints)\.\d+$", r"\1", metric)


def measured(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics without what is said about them: how they were measured, and why others are absent."""
    return {name: value for name, value in metrics.items() if name not in ("protocol", "intervals", "absent")}


def features_of(config: Config) -> tuple[str, ...]:
    """Return the names of the features that pictures are compared in: the encoder's, those that are named, and
    Inception's where its weights are.
    """
    inception = ("inception",) if config.evaluate_tokenizer.inception else ()
    return encoder_slug(config.encoder.path), *config.evaluate_generator.features, *inception


def of_prompts_any(config: Config) -> dict[str, str]:
    """Return the figures of held-out captions, which any data has, under `text_to_image`, with their chance and
    ceiling -> why this configuration does not give them; empty where it does.
    """
    return of_prompts([encoder_slug(config.encoder.path)], config.evaluate_generator.judges, features_of(config))


def of_prompts(own: Sequence[str], judges: Mapping[str, Any], features: Sequence[str]) -> dict[str, str]:
    """Return the figures of captions with true pictures: by own image-text models, judges and features of these
    names.
    """
    texts = (*own, *(name for name in judges if judges[name].get("kind") == "image_text"))
    names = [f"{name}_{of}" for of in features for name in OF_SETS]
    return dict.fromkeys([*(f"similarity_{name}" for name in texts), *names, *(["retrieval"] if own else [])], "")


def _agreements(config: Config) -> list[str]:
    """Return the rank correlations, over snapshots, of a world's own share with measures that any data has."""
    names = [name for name in of_prompts_any(config) if name.startswith(("similarity_", "kernel_"))]
    return [f"text_to_image.agreement.{name}" for name in names]


def of_edits_any(config: Config) -> dict[str, str]:
    """Return the figures of edits with true results, which any data has, under `editing`, as `of_prompts_any`."""
    return of_edits(features_of(config), config.evaluate_tokenizer.lpips_weights)


def of_edits(features: Sequence[str], lpips: str | None) -> dict[str, str]:
    """Return the figures of edits with true results, in features of these names, and by LPIPS' weights."""
    found = dict.fromkeys(["psnr", "ssim", *(f"{name}_{of}" for of in features for name in OF_RESULTS)], "")
    no_weights = "evaluate_tokenizer.lpips_weights names no weights. Set it to fetch, or to a folder."
    return found | {"lpips": "" if lpips else no_weights}


def tokenizer_figures(config: Config) -> dict[str, str]:
    """Return every figure of `evaluate_tokenizer` -> why this configuration does not give it; empty where it does."""
    judged, space = config.evaluate_tokenizer, config.tokenizer.model.space
    entry = find_space(space)
    names = ("psnr", "ssim", "noise_psnr", "retrieval_frozen", "retrieval_pool", "probe", "probe_words", "pictures")
    frechet = f"frechet_{encoder_slug(config.encoder.path)}"
    found = dict.fromkeys((*names, frechet, *(f"latent.{name}" for name in LATENT)), "")
    no_features = (
        "" if entry.holds_features else f"the space {space} holds no features of the encoder. Leave the gate out."
    )
    found |= {"retrieval": no_features, "feature_cosine": no_features}
    found["retrieval_encoder"] = "" if entry.of_encoder else f"the space {space} keeps no encoder. Leave the gate out."
    for name, key in (("lpips", "lpips_weights"), ("rfid", "inception")):
        named = getattr(judged, key)
        found[name] = (
            "" if named else f"evaluate_tokenizer.{key} names no weights. Set it to fetch, or leave the gate out."
        )
    return {f"tokenizer.{name}": why for name, why in found.items()}


def generator_figures(config: Config) -> dict[str, str]:
    """Return every figure of `evaluate_generator` that this kind of source can have -> why this configuration does not
    give it; empty where it does.
    """
    names = [f"frechet_{features}_of_reconstructions" for features in features_of(config)]
    names += ["retrieval_pool", "frechet_pictures", "seconds_per_image", "seconds_per_image_batch"]
    names += [f"right_{name}" for name in config.evaluate_generator.judges]
    found = dict.fromkeys((f"text_to_image.{name}" for name in names), "")
    found |= {f"text_to_image.{p}{name}": why for p in COMPARED for name, why in of_prompts_any(config).items()}
    for features in features_of(config):  # the ceiling of this one had a name before there were ceilings
        del found[f"text_to_image.ceiling.frechet_{features}"]
    found |= {f"editing.{p}{name}": why for p in BASELINES for name, why in of_edits_any(config).items()}
    preserved = (*PRESERVED, *(f"{baseline}preservation_psnr" for baseline in BASELINES))
    found |= dict.fromkeys((f"editing.{name}" for name in preserved), "")
    judged = judged_source(config.named_sources())
    if judged is not None:
        world = BY_WORLD[judged[1].kind]
        found |= dict.fromkeys(world.names(config), "")
        none = "" if config.generator.snapshots else "generator.snapshots keeps none."
        found |= dict.fromkeys(("text_to_image.checkpoints", *_agreements(config)), none)
        found |= world.lacking(config)
    return found


def other_figures(config: Config) -> dict[str, str]:
    """Return every figure of `evaluate_generator` that this kind of source cannot have -> which kinds have it."""
    own, having = generator_figures(config), dict[str, list[str]]()
    for kind, world in BY_WORLD.items():
        for name in world.names(config):
            if name not in own:
                having.setdefault(name, []).append(kind)
    sources = config.named_sources()
    serving = serving_sources(sources)["text_to_image"]
    kinds_here = " and ".join(dict.fromkeys(sources[name].kind for name in serving)) or "none"
    source = "the source is" if "" in sources else "what serves text_to_image is"
    return {name: f"only {' and '.join(kinds)} have it, and {source} {kinds_here}" for name, kinds in having.items()}


def skipped_gates(config: Config) -> dict[str, str]:
    """Return the metrics of the generator's gates that are skipped -> why: this data cannot have such a figure."""
    others = other_figures(config)
    metrics = {gate.metric: figure_name(gate.metric) for gate in config.register.generator}
    return {metric: others[name] for metric, name in metrics.items() if name in others}


def _judged(config: Config) -> tuple[str, Source]:
    """Return the source that judges, with its dotted key."""
    judged = judged_source(config.named_sources())
    assert judged is not None, "only a world has figures of its own"
    return source_key(judged[0]), judged[1]


def _lacking_of_scenes(config: Config) -> dict[str, str]:
    key, source = _judged(config)
    kinds = config.synthesize_edits.scene_kinds
    assert isinstance(source, ScenesSource)
    found = {} if kinds else {f"editing.{name}": "synthesize_edits.scene_kinds is empty." for name in OF_EDITS}
    for name in (*scenes.EDIT_KINDS, *OF_REMOVALS):
        kind = name if name in scenes.EDIT_KINDS else "remove"
        if kind not in kinds:
            found[f"editing.{name}"] = f"synthesize_edits.scene_kinds does not name {kind}."
    if not source.scene.held_out:
        unseen = f"{key}.scene.held_out keeps no combination out of training."
        found |= {f"text_to_image.unseen.{name}": unseen for name in BY_WORLD["scenes"].shares}
    low, high = source.scene.min_objects, source.scene.max_objects
    for name, (fewest, most) in scenes.COUNTS.items():
        if max(low, fewest) > min(high, most):
            lacks = f"scenes of {key}.scene have {low} to {high} objects, and it cannot be said of those."
            found |= {f"text_to_image.{split}{name}": lacks for split in BY_WORLD["scenes"].splits}
    return found


def _lacking_of_pictures(config: Config) -> dict[str, str]:
    key, source = _judged(config)
    assert isinstance(source, PicturesSource)
    options, found = source.picture, dict[str, str]()
    if not options.combinations_held_out:
        why = f"{key}.picture.combinations_held_out is 0, and only held-out drawings are asked for."
        return dict.fromkeys(BY_WORLD["pictures"].names(config), why)
    if not options.compositions:
        splits, why = BY_WORLD["pictures"].splits, f"{key}.picture.compositions is 0."
        found |= {f"text_to_image.{split}{name}": why for split in splits for name in pictures.COMPOSED}
    by_factor = ("by_factor", *pictures.FACTORS)
    by_composition = (*pictures.COMPOSITION_EDITS, *OF_REMOVALS)
    if not options.factor_edits:
        found |= {f"editing.{name}": f"{key}.picture.factor_edits is 0." for name in by_factor}
    if not options.composition_edits:
        found |= {f"editing.{name}": f"{key}.picture.composition_edits is 0." for name in by_composition}
    if not options.factor_edits and not options.composition_edits:
        why = f"{key}.picture.factor_edits and composition_edits are 0."
        found |= {f"editing.{name}": why for name in OF_EDITS}
    return found


# By kind of source.
BY_WORLD = {
    "scenes": WorldFigures(
        shares=("overall", *scenes.CATEGORIES),
        splits=("", "chance.", "ceiling.", "unseen."),
        edits=(*OF_EDITS, *scenes.EDIT_KINDS, *OF_REMOVALS),
        lacking=_lacking_of_scenes,
    ),
    "pictures": WorldFigures(
        shares=("overall", *pictures.CATEGORIES, "exact", "concept", *pictures.FACTORS),
        splits=("", "chance.", "ceiling.", "seen."),
        edits=(*OF_EDITS, "by_factor", *pictures.EDIT_KINDS, *OF_REMOVALS),
        lacking=_lacking_of_pictures,
    ),
}
