"""Known faults for scoring curation: which samples get which, what each does to a sample, and how well they were
found.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from components.curation.decide import Decision
from components.curation.images import encode_jpeg, encode_png
from components.curation.options import FaultOptions

FAULTS = tuple(f.name for f in fields(FaultOptions))
DUPLICATES = ("duplicate_image", "near_duplicate_image")
CAPTION_FAULTS = tuple(name for name in FAULTS if name.endswith("_caption"))
# The reasons by which a fault is meant to be found. Of a wrong caption they are those of the models that compare
# pictures with captions, whose names the configuration gives.
REASONS: dict[str, tuple[str, ...]] = {
    "wrong_caption": (),
    "short_caption": ("caption_too_short", "no_caption"),
    "foreign_caption": ("caption_language", "caption_language_unsure"),
    "spam_caption": (
        "caption_has_url",
        "caption_has_markup",
        "caption_boilerplate",
        "caption_symbols",
        "caption_repetitive",
    ),
    "repeated_caption": ("caption_repeated",),
    "duplicate_image": ("exact_duplicate",),
    "near_duplicate_image": ("near_duplicate",),
    "flat_image": ("flat_image",),
    "tiny_image": ("too_small",),
    "broken_image": ("broken_image", "unknown_format", "empty_image"),
}
FOREIGN = (
    "ein Bild mit bunten geometrischen Formen auf hellem Grund",
    "zwei Kreise und ein Quadrat nebeneinander im Bild",
    "une image avec des formes géométriques de plusieurs couleurs",
    "un cercle rouge à gauche d'un carré bleu sur fond gris",
    "una imagen con figuras geométricas de varios colores",
    "un triángulo verde encima de un cuadrado amarillo",
    "un'immagine con forme geometriche di diversi colori",
    "un cerchio rosso a sinistra di un quadrato blu",
    "een afbeelding met verschillende gekleurde vormen",
    "een rode cirkel links van een blauw vierkant",
    "obrazek z kolorowymi figurami geometrycznymi",
    "czerwone koło po lewej stronie niebieskiego kwadratu",
    "uma imagem com várias formas geométricas coloridas",
    "um círculo vermelho à esquerda de um quadrado azul",
    "картинка с разноцветными геометрическими фигурами",
    "красный круг слева от синего квадрата на сером фоне",
    "一张有彩色几何图形的图片",
    "蓝色正方形左边的红色圆圈",
    "いろいろな形が描かれた絵です",
    "青い四角の左にある赤い円",
)
SHORT = ("shapes", "picture", "image", "photo 1", "a", "", "untitled", "red", "nice one", "circle")
SPAM = (
    "BUY NOW! best price for shapes at www.shapes-{n}.com",
    "click here http://deal{n}.example.org/item?id={n} for free shipping",
    "<a href='http://x{n}.net'>colourful shapes</a> sale",
    "IMG_{n}.JPG",
    "geometric shapes stock photo, royalty-free vector {n}",
    "shapes shapes shapes shapes shapes shapes shapes shapes",
    "$$$ 70% off $$$ wall art print {n} $$$ order now!!!",
    "contact sales{n}@shapes.biz to order this print",
    "&lt;p&gt;picture of shapes&lt;/p&gt; [url=http://s{n}.ru]more[/url]",
    "Download HD wallpapers of shapes DSC0{n}.png free download",
    "#shapes #art #{n} #### >>> !!! *** %%%",
)
REPEATED = (
    "a colourful picture of geometric shapes",
    "this is a picture that shows some shapes",
    "an abstract image with objects on it",
)


@dataclass(frozen=True)
class FaultPlan:
    """What is wrong with a sample: the fault, or None; for a duplicate, the number of the sample whose picture it
    shows.
    """

    fault: str | None
    source: int | None = None


def plan_faults(count: int, options: FaultOptions, seed: int) -> list[FaultPlan]:
    """Return a plan per sample. Shares are met exactly, rounded; a duplicate's source is a sound sample used for
    nothing else.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(count).tolist()
    plans = [FaultPlan(None)] * count
    taken = 0
    duplicates: list[tuple[int, str]] = []
    for name in FAULTS:
        number = round(getattr(options, name) * count)
        for sample in order[taken : taken + number]:
            plans[sample] = FaultPlan(name)
            if name in DUPLICATES:
                duplicates.append((sample, name))
        taken += number
    sources = order[taken : taken + len(duplicates)]
    for position, (sample, name) in enumerate(duplicates):
        # A tiny data set may have too few sound samples left; then there is one duplicate less.
        plans[sample] = FaultPlan(name, sources[position]) if position < len(sources) else FaultPlan(None)
    return plans


def apply_fault(
    fault: str | None, rgb: np.ndarray, caption: str, wrong_caption: str, rng: np.random.Generator
) -> tuple[bytes, str, str]:
    """Return (image bytes, extension, caption) of a sample, uint8 [H, W, 3], with the fault done to it.

    For a duplicate, `rgb` and `caption` are the other sample's picture and another caption of it.
    """
    number = int(rng.integers(100, 10_000))
    if fault == "wrong_caption":
        caption = wrong_caption
    elif fault == "short_caption":
        caption = str(rng.choice(SHORT))
    elif fault == "foreign_caption":
        caption = str(rng.choice(FOREIGN))
    elif fault == "spam_caption":
        caption = str(rng.choice(SPAM)).replace("{n}", str(number))
    elif fault == "repeated_caption":
        caption = str(rng.choice(REPEATED))
    elif fault == "near_duplicate_image":
        return encode_jpeg(_slightly_other(rgb, rng), 85), "jpg", caption
    elif fault == "flat_image":
        rgb = np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), rgb.shape).copy()
    elif fault == "tiny_image":
        step = max(2, rgb.shape[0] // int(rng.integers(8, 17)))
        rgb = rgb[::step, ::step]
    elif fault == "broken_image":
        data = encode_png(rgb)
        return data[: int(rng.integers(1, len(data) // 2))], "png", caption
    return encode_png(rgb), "png", caption


def _slightly_other(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the picture a little brighter or darker, and re-sampled by the caller's JPEG."""
    shift = int(rng.integers(2, 5)) * (1 if rng.random() < 0.5 else -1)
    return np.clip(rgb.astype(np.int16) + shift, 0, 255).astype(np.uint8)


def score_faults(
    planted: Sequence[dict[str, Any]],
    keys: Sequence[str],
    decisions: Sequence[Decision],
    comparing: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """Return {fault: {planted, caught, recall, precision}} from what each sample's metadata says was planted.

    `planted` has `faults` and, for duplicates, `fault_source` (the other sample's key). Caught: a planted sample that
    was dropped or failed, for whatever reason; of a duplicate pair, exactly one is. Precision: of the samples that went
    for the fault's reasons, the share planted with it (for duplicates: members of a planted pair, of either kind). An
    undefined figure is left out and `absent` says why. `comparing`: the reasons of signals that compare pictures with
    captions, by which a wrong caption is found.
    """
    reasons = {**REASONS, "wrong_caption": tuple(comparing)}
    state = {key: decision.state for key, decision in zip(keys, decisions, strict=True)}
    scores: dict[str, dict[str, Any]] = {}
    members = {
        k for p, key in zip(planted, keys, strict=True) if p.get("fault_source") for k in (key, p["fault_source"])
    }
    for fault in FAULTS:
        rows = [i for i, p in enumerate(planted) if fault in p.get("faults", ())]
        if not rows:
            continue
        # Only a model sees that a caption is of another picture.
        if fault == "wrong_caption" and not comparing:
            why = "needs a model that compares pictures with captions (measure.models), and a threshold for its signal"
            scores[fault] = {"planted": len(rows), "absent": why}
            continue
        if fault in DUPLICATES:
            caught = sum((state[keys[i]] == "kept") != (state[planted[i]["fault_source"]] == "kept") for i in rows)
        else:
            caught = sum(decisions[i].state != "kept" for i in rows)
        score: dict[str, Any] = {"planted": len(rows), "caught": caught, "recall": caught / len(rows)}
        blamed = [i for i, d in enumerate(decisions) if d.reason in reasons[fault]]
        if blamed:
            right = sum(
                keys[i] in members if fault in DUPLICATES else fault in planted[i].get("faults", ()) for i in blamed
            )
            score["precision"] = right / len(blamed)
        else:
            score["absent"] = "no sample was dropped for this fault's reasons, so it has no precision"
        scores[fault] = score
    return scores
