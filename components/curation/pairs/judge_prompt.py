"""What a vision-language model is asked about an edit pair, and its scores read from whatever it answers."""

from __future__ import annotations

import re

from components.curation.pairs.decide_pairs import JUDGED

PROMPT = (
    "The second picture was made from the first by this instruction: {instruction}\n"
    "Rate the edit from 0 (worst) to 10 (best): compliance (was the instruction followed, and no more), "
    "realism (does the result look natural), preservation (is all else as before), technical (sharp, no artefacts). "
    'Answer with JSON alone: {{"compliance": 0, "realism": 0, "preservation": 0, "technical": 0}}'
)
HIGHEST = 10.0  # of a scale


def ask(instruction: str) -> str:
    """Return the prompt for a pair; the model is shown source and target."""
    return PROMPT.format(instruction=instruction)


def read_scores(answer: str) -> dict[str, float | None]:
    """Return {judge_<scale>: 0-1}; None for a scale that the answer gives no number from 0 to 10."""
    scores = ((name, named_score(answer, name)) for name in JUDGED)
    return {f"judge_{name}": None if score is None else score / HIGHEST for name, score in scores}


def named_score(answer: str, name: str, lowest: float = 0.0, highest: float = HIGHEST) -> float | None:
    """Return the number that an answer gives after a name; None where there is none from `lowest` to `highest`."""
    words = re.escape(name).replace("_", r"[\s_]+")
    found = re.search(rf"\b{words}\b\W{{0,12}}?(\d{{1,3}}(?:\.\d{{1,4}})?)(?!\d)", answer, re.IGNORECASE)
    value = float(found[1]) if found else lowest - 1
    return value if lowest <= value <= highest else None
