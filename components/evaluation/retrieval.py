"""Whether pictures find their own captions: image-to-text retrieval from embeddings. No encoders here."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

CHUNK = 1024  # pictures compared at once, so that memory is CHUNK x N and not N x N
TIE = 1e-9  # cosines this close are one value; a matrix product rounds equal rows differently


def _unit_rows(name: str, embeddings: Tensor, count: int) -> Tensor:
    if embeddings.ndim != 2 or len(embeddings) != count:
        raise ValueError(
            f"{name} have the shape {list(embeddings.shape)}: give [N, D] with one row for each of the {count} captions"
        )
    if not torch.isfinite(embeddings).all():
        raise ValueError(f"{name} hold NaN or infinite values: check the encoder and its precision")
    rows = embeddings.to("cpu", torch.float64)
    zero = (rows.square().sum(1) == 0).nonzero().flatten().tolist()
    if zero:
        raise ValueError(f"{name} are zero in {len(zero)} rows (first: {zero[0]}), which have no direction: drop them")
    return normalize(rows, dim=1, eps=0.0)


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
    images = _unit_rows("image_embeddings", image_embeddings, len(texts))
    captions = _unit_rows("text_embeddings", text_embeddings, len(texts))
    if images.shape != captions.shape:
        raise ValueError(
            f"image_embeddings have {images.shape[1]} dimensions, text_embeddings {captions.shape[1]}: "
            "take both after their projection into the shared space"
        )
    ids: dict[str, int] = {}
    answers = torch.tensor([ids.setdefault(text, len(ids)) for text in texts])
    hits = 0
    for start in range(0, len(texts), CHUNK):
        cosines = images[start : start + CHUNK] @ captions.T
        nearest = (cosines >= cosines.max(1, keepdim=True).values - TIE).to(torch.uint8).argmax(1)
        hits += int((answers[nearest] == answers[start : start + CHUNK]).sum())
    return hits / len(texts)


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
