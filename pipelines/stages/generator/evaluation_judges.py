"""Which judges and which features an evaluation has: those that need no model but the pipeline's own, and those that
the configuration names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.config.schema import Config
from pipelines.judging.judge import Judge
from pipelines.judging.named_features import Extract, in_batches, open_features
from pipelines.judging.pretrained_measures import load_inception, load_lpips
from pipelines.judging.reference import Reference
from pipelines.judging.remembered import Remembered
from pipelines.judging.similarity_judge import ImageText
from pipelines.judging.table import make_judge
from pipelines.stages.generator.judged_world import JudgedWorld
from pipelines.stages.generator.sample_sets import OwnModel
from pipelines.stages.generator.world_reader import WorldReader
from pipelines.store.files import Store
from pipelines.tracking.figures import encoder_slug

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Named:
    """What a configuration names: judges, features and weights."""

    judges: Mapping[str, Mapping[str, Any]]
    features: Mapping[str, str]
    lpips: str | None
    inception: str | None


@dataclass(frozen=True)
class Own:
    """The pipeline's own image-text model, how figures call it, and what it is."""

    name: str
    known: str
    model: OwnModel


def judges_of(
    config: Config, world: JudgedWorld, own: OwnModel, store: Store
) -> tuple[list[Judge], dict[str, Extract]]:
    """Return the judges of evaluate_generator, and the features by name. ValueError, in words, where a model that is
    named is none.
    """
    settings, weights = config.evaluate_generator, config.evaluate_tokenizer
    named = Named(settings.judges, settings.features, weights.lpips_weights, weights.inception)
    known = Own(encoder_slug(config.encoder.path), config.encoder.path or "trained here", own)
    judges, features = open_judges(named, known, store, config.execution.resources.evaluate_generator.cpus)
    return ([] if world.unjudged else [WorldReader(world)]) + judges, features


def open_judges(named: Named, own: Own | None, store: Store, cpus: float) -> tuple[list[Judge], dict[str, Extract]]:
    """Return the judges that are named, the similarity in the own model, and what holds edits to their true results;
    and the features by name.
    """
    from components.training.machine import best_device
    from components.vision_models.loading import Place

    place = Place(best_device(), max(1, int(cpus)))
    features: dict[str, Extract] = {own.name: own.model.features} if own else {}
    features |= {name: Remembered(open_features(name, path, place)) for name, path in named.features.items()}
    about: dict[str, Any] = {"features": ({own.name: own.known} if own else {}) | dict(named.features)}
    if named.inception:
        extract, about["features"]["inception"] = load_inception(named.inception, store, place.device)
        features["inception"] = Remembered(in_batches(extract, place.device))
    distance = None
    if named.lpips:
        model, about["lpips"] = load_lpips(named.lpips, store).to(place.device), named.lpips

        def distance(made: Tensor, truth: Tensor) -> Tensor:
            found: Tensor = model.distances(made.to(place.device) * 2 - 1, truth.to(place.device) * 2 - 1)
            return found

    judges: list[Judge] = []
    if own:
        told = {"model": own.known, "text_side": "trained here"}
        judges.append(ImageText(own.name, own.model.embed, own.model.texts, told))
    judges.append(Reference(features, distance, about))
    return judges + [make_judge(name, section, place) for name, section in named.judges.items()], features
