"""Whether pictures find their own captions, and made pictures their own true picture. No encoders here."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from components.evaluation.features import CHUNK, check_pairs, unit_rows

TIE = 1e-9  # cosines this close are one value; a matrix product rounds equal rows differently


@torch.no_grad()
def retrieval_top1(image_embeddings: Tensor, text_embeddings: Tensor, texts: Sequence[str]) -> float:
    """Return the share of pictures whose nearest caption by cosine is their own, in [0, 1].

    Takes [N, D] and [N, D], row i of both belonging to `texts[i]`; all N captions are the pool. Captions that are equal
    strings are the same answer. Of equally near captions the first row is taken, so embeddings that have collapsed to
    one point score chance, and the same input scores the same every time. Raises ValueError for wrong shapes, NaN,
    zero rows and a pool of fewer than 2 different captions.
    """
    if len(set(texts)) < 2:
        raise ValueError(f"the pool has {len(set(texts))} different captions: retrieval needs 2 or more to choose from")
    for name, embeddings in (("image_embeddings", image_embeddings), ("text_embeddings", text_embeddings)):
        if embeddings.ndim != 2 or len(embeddings) != len(texts):
            raise ValueError(
                f"{name} have the shape {list(embeddings.shape)}: give [N, D] with one row for each of the "
                f"{len(texts)} captions"
            )
    images, captions = unit_rows("image_embeddings", image_embeddings), unit_rows("text_embeddings", text_embeddings)
    if images.shape != captions.shape:
        raise ValueError(
            f"image_embeddings have {images.shape[1]} dimensions, text_embeddings {captions.shape[1]}: "
            "take both after their projection into the shared space"
        )
    ids: dict[str, int] = {}
    answers = torch.tensor([ids.setdefault(text, len(ids)) for text in texts])
    return float((answers[_nearest(images, captions)] == answers).double().mean())


def retrieval_score(image_embeddings: Tensor, text_embeddings: Tensor, texts: Sequence[str]) -> dict[str, float | int]:
    """Return `retrieval_top1` with what it is to be read against: `pictures`, `pool_size` and `chance`.

    `pool_size` counts different captions, `chance` is 1 / pool_size. Raises as `retrieval_top1` does.
    """
    pool_size = len(set(texts))
    return {
        "retrieval_top1": retrieval_top1(image_embeddings, text_embeddings, texts),
        "pictures": len(texts),
        "pool_size": pool_size,
        "chance": 1 / pool_size,
    }


@torch.no_grad()
def instance_retrieval(made: Tensor, truth: Tensor, group: Sequence[str] | None = None) -> list[bool]:
    """Return for each made picture whether the nearest true picture, by cosine, is the one that was asked for.

    Takes features [N, D] of both. Row i of `truth` is the true picture of row i of `made`; all N are the pool. Truths
    of equal features are one answer, and so are those of one `group` (e.g. of one caption). Of equally near truths the
    first is taken, so made pictures that collapsed to one point score chance. Raises ValueError for wrong shapes, NaN,
    zero rows, and fewer than 2 different answers.
    """
    found, wanted = unit_rows("made features", made), unit_rows("true features", truth)
    check_pairs(made=found, truth=wanted)
    names = list(range(len(wanted))) if group is None else list(group)
    if len(names) != len(wanted):
        raise ValueError(f"{len(names)} groups stand for {len(wanted)} pictures: give one for each")
    equal = torch.unique(wanted, dim=0, return_inverse=True)[1].tolist()
    if len(set(equal)) < 2 or len(set(names)) < 2:
        raise ValueError("all true pictures are the same answer: retrieval needs 2 or more to choose from")
    nearest = _nearest(found, wanted).tolist()
    return [equal[near] == equal[row] or names[near] == names[row] for row, near in enumerate(nearest)]


def _nearest(rows: Tensor, pool: Tensor) -> Tensor:
    """Return for each unit row the number of the nearest row of the pool; the first of equally near ones."""
    parts = []
    for start in range(0, len(rows), CHUNK):
        cosines = rows[start : start + CHUNK] @ pool.T
        parts.append((cosines >= cosines.max(1, keepdim=True).values - TIE).to(torch.uint8).argmax(1))
    return torch.cat(parts)
