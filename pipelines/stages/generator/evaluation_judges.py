"""Which judges and which features an evaluation has: those that need no model but the pipeline's own, and those that
the configuration names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipelines.config.schema import Config
from pipelines.judging.features import Extract, open_features
from pipelines.judging.image_text import ImageText
from pipelines.judging.judge import Judge
from pipelines.judging.reference import Reference
from pipelines.judging.remembered import Remembered
from pipelines.judging.table import make_judge
from pipelines.stages.generator.judged_world import JudgedWorld
from pipelines.stages.generator.sample_sets import OwnModel
from pipelines.stages.generator.world_reader import WorldReader
from pipelines.tracking.figures import encoder_slug


def judges_of(config: Config, world: JudgedWorld, own: OwnModel) -> tuple[list[Judge], dict[str, Extract]]:
    """Return the judges, and the features by name. ValueError, in words, where a model that is named is none."""
    from components.training.machine import best_device
    from components.vision_models.loading import Place

    settings, slug = config.evaluate_generator, encoder_slug(config.encoder.path)
    place = Place(best_device(), max(1, int(config.execution.resources.evaluate_generator.cpus)))
    features: dict[str, Extract] = {slug: own.features}
    features |= {name: Remembered(open_features(name, path, place)) for name, path in settings.features.items()}
    about = {"model": config.encoder.path or "trained here", "text_side": "trained here"}
    judges: list[Judge] = [] if world.unjudged else [WorldReader(world)]
    judges.append(ImageText(slug, own.embed, own.texts, about))
    weights = config.evaluate_tokenizer.lpips_weights
    judges.append(
        Reference(
            features,
            _lpips(weights, place.device) if weights else None,
            {"features": {slug: about["model"], **settings.features}, "lpips": weights},
        )
    )
    judges += [make_judge(name, section, place) for name, section in settings.judges.items()]
    return judges, features


def _lpips(folder: str, device: Any) -> Callable[[Any, Any], Any]:
    """Return LPIPS of each pair of pictures in 0..1."""
    from components.tokenizer.lpips import Lpips

    model = Lpips.load(folder).to(device)

    def each(made: Any, truth: Any) -> list[float]:
        pairs = zip(made.split(1), truth.split(1), strict=True)
        return [model(a.to(device) * 2 - 1, b.to(device) * 2 - 1).item() for a, b in pairs]

    return each
