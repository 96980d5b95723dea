"""Which judges and which features an evaluation has: those that need no model but the pipeline's own, and those that
the configuration names.
"""

from __future__ import annotations

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


def judges_of(
    config: Config, world: JudgedWorld, own: OwnModel, store: Store
) -> tuple[list[Judge], dict[str, Extract]]:
    """Return the judges, and the features by name. ValueError, in words, where a model that is named is none."""
    from components.training.machine import best_device
    from components.vision_models.loading import Place

    settings, slug = config.evaluate_generator, encoder_slug(config.encoder.path)
    lpips, inception = config.evaluate_tokenizer.lpips_weights, config.evaluate_tokenizer.inception
    place = Place(best_device(), max(1, int(config.execution.resources.evaluate_generator.cpus)))
    known = config.encoder.path or "trained here"
    features: dict[str, Extract] = {slug: own.features}
    features |= {name: Remembered(open_features(name, path, place)) for name, path in settings.features.items()}
    about: dict[str, Any] = {"features": {slug: known, **settings.features}}
    if inception:
        extract, about["features"]["inception"] = load_inception(inception, store, place.device)
        features["inception"] = Remembered(in_batches(extract, place.device))
    distance = None
    if lpips:
        model, about["lpips"] = load_lpips(lpips, store).to(place.device), lpips

        def distance(made: Tensor, truth: Tensor) -> Tensor:
            found: Tensor = model.distances(made.to(place.device) * 2 - 1, truth.to(place.device) * 2 - 1)
            return found

    judges: list[Judge] = [] if world.unjudged else [WorldReader(world)]
    judges.append(ImageText(slug, own.embed, own.texts, {"model": known, "text_side": "trained here"}))
    judges.append(Reference(features, distance, about))
    judges += [make_judge(name, section, place) for name, section in settings.judges.items()]
    return judges, features
