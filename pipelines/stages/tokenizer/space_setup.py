"""Latent spaces as the stages see them: which configuration makes which model, and where its parts come from."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.tokenizer.spaces import find_space
from pipelines.config.schema import Config
from pipelines.errors import UserError
from pipelines.judging.pretrained_measures import load_lpips
from pipelines.stages.indexed_rows import IndexedRows
from pipelines.stages.mixing import Draw
from pipelines.stages.tokenizer.picture_batches import Ahead, Pictures
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from pipelines.store.verified_read import fetch_checked
from pipelines.training.worker import BuildContext

if TYPE_CHECKING:
    from components.tokenizer.options import LossOptions


def training_pictures(context: BuildContext, held_out: bool) -> Pictures:
    """What models are trained on: curated pictures and the results of edits, from one side of the split, of the sources
    that serve the stage. `UserError` where there are none.
    """
    sources = context.given.get("pictures_of")
    found = Pictures.of_index(
        context.inputs["index"],
        context.cache.fetch,
        ("picture", "target"),
        held_out,
        context.config.image_size,
        context.config.measure.limits,
        context.config.execution.cache_bytes,
        context.threads,
        sources,
    )
    if not len(found):
        side = "held out" if held_out else "left to train on"
        raise UserError(
            f"no picture of the sources that serve this stage ({', '.join(sources or ['all'])}) is {side}. Bring more "
            "samples, or change held_out, or the sources' use."
        )
    return found


def drawing(context: BuildContext, pictures: Pictures) -> tuple[Draw, Ahead]:
    """Return how a training draws its pictures, by what their shards take, and what fetches parts of them ahead."""
    rows = pictures.rows
    assert isinstance(rows, IndexedRows)

    def ahead(parts: Sequence[int]) -> None:
        context.cache.ahead(path for part in parts for path in (rows.paths[part], *rows.shards[part]))

    return Draw.of(context, sum(rows.shard_bytes.values())), ahead


def local_folder(store: Store, artifact: Artifact, prefix: str, scratch: Path) -> Path:
    """Return a local folder with an artifact's files below `prefix`, each of them checked."""
    paths = artifact.files(f"{prefix}/*")
    if not paths:
        raise UserError(f"the artifact {artifact.path} holds no {prefix}/; see: pixsem verify")
    for path in paths:
        fetch_checked(store, path, scratch)
    return (store.local("") if store.is_local else scratch) / artifact.path / prefix


def load_image_text(store: Store, artifact: Artifact, scratch: Path) -> tuple[Any, Any]:
    """Return the image-text model of `train_encoder`, and its vocabulary."""
    from components.tokenizer.image_text import load_image_text

    return load_image_text(local_folder(store, artifact, "model", scratch))


def load_space(store: Store, artifact: Artifact, scratch: Path) -> Any:
    """Return the tokenizer of `train_semantic` or `train_tokenizer`."""
    from components.tokenizer.rivals import load_tokenizer

    return load_tokenizer(local_folder(store, artifact, "model", scratch))


def new_space(config: Config, encoder: Any, space: str, load: bool = True) -> Any:
    """Return a new model of a space, with the encoder's weights in it where it has one; `load` False: shapes alone."""
    from components.tokenizer.latent_space import Parts, build_space

    settings = config.tokenizer
    parts = Parts(space, settings.model, settings.pixel_decoder, config.image_size, encoder, load)
    return build_space(find_space(space), parts)


def perceptual(config: Config, losses: LossOptions, encoder: Any, store: Store | None) -> Any:
    """Return the perceptual distance that the configuration names; None where its weight in `losses` is 0. Without a
    store, as a plan asks for it, LPIPS has shapes alone, on torch's meta device.
    """
    from components.tokenizer.lpips import Lpips
    from components.tokenizer.objectives import EncoderPerceptual

    if not losses.perceptual:
        return None
    if config.tokenizer.model.perceptual == "lpips":
        return load_lpips(str(config.tokenizer.model.lpips_weights), store) if store else Lpips().to("meta")
    return EncoderPerceptual(copy.deepcopy(encoder))


def fit_scaling(model: Any, batches: Iterable[Any], scaling: str) -> None:
    """Measure the raw latent over pictures uint8 `[b, 3, S, S]` and make the model standardise it.

    Each channel by its own mean and, of `scaling` channel, by its own deviation; of `whole`, by one deviation for all
    of them, so that a channel that says much of the picture goes on saying it louder than the noise.
    """
    import torch

    from components.tokenizer.objectives import to_pictures

    count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    model.eval()
    device = model.latent_mean.device
    with torch.no_grad():
        for images in batches:
            pictures = to_pictures(images.to(device))
            raw = model.moments(pictures, model.features(pictures))[0].double().cpu()
            count += raw.shape[0] * raw.shape[2] * raw.shape[3]
            total = total + raw.sum((0, 2, 3))
            squares = squares + raw.square().sum((0, 2, 3))
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    dead = int((std < 1e-4 * std.median()).sum())
    if dead:
        std = std.clamp_min(1e-4 * std.median())  # a dead channel stays near 0; the evaluation counts it
    if scaling == "whole":
        std = std.square().mean().sqrt().expand_as(std)
    model.set_scaling(mean.float(), std.float())
