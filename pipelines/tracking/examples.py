"""Examples of what a model can be asked: texts that it was judged on, as `examples.json` of a pipeline's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.store.artifacts import Artifact
from pipelines.store.files import canonical_json, parse_json

FILE = "examples.json"  # {"prompts": [text], "instructions": [text]}, the best first
MOST = 8  # of each
LONGEST = 1_000  # characters of one
MOST_BYTES = 64 * 2**10


def examples_of(judged: Artifact) -> dict[str, list[str]]:
    """Return prompts and instructions that a model was judged on: held-out prompts that it got right, or any
    where it got none or nobody could tell.

    Prompts follow their similarity to the picture, where a model measured it; instructions the number of different
    pictures that they worked on. Both take turns over the categories.
    """
    lines = [line for path in judged.files("judgements.jsonl") for line in judged.store.read_bytes(path).splitlines()]
    rows = [row for row in map(json.loads, lines) if row.get("prompt")]
    edits = [row for row in rows if "source" in row]
    made = [row for row in rows if "source" not in row]
    held_out = [row for row in made if row.get("split", "").startswith("held out")] or made
    worked: dict[str, set[str]] = {}
    for row in edits:
        worked.setdefault(row["prompt"], set()).update([canonical_json(row.get("truth"))] if row.get("right") else [])
    return {
        "prompts": _chosen([row for row in held_out if row.get("right")] or held_out, _likeness),
        "instructions": _chosen(edits, lambda row: len(worked[row["prompt"]])),
    }


def example_prompt(judged: Artifact) -> str:
    """Return the best of the prompts that a model was judged on; "" where there was none."""
    return next(iter(examples_of(judged)["prompts"]), "")


def _likeness(row: Mapping[str, Any]) -> float:
    return max((judge.get("similarity", 0.0) for judge in row.get("judges", {}).values()), default=0.0)


def _chosen(rows: Iterable[dict[str, Any]], good: Any) -> list[str]:
    by_category: dict[str, dict[str, None]] = {}
    for row in sorted(rows, key=good, reverse=True):  # stable: equals keep the order in which they were judged
        by_category.setdefault(row.get("category", ""), {})[row["prompt"]] = None
    turns = chain.from_iterable(zip_longest(*by_category.values()))
    return [text for text in dict.fromkeys(filter(None, turns)) if len(text) <= LONGEST][:MOST]


def read_examples(folder: Path) -> dict[str, list[str]]:
    """Return the examples of a pipeline's folder; none where it has no such file. `UserError` where it is another."""
    path = folder / FILE
    if not path.is_file():
        return {"prompts": [], "instructions": []}
    found = parse_json(path.read_bytes(), str(path)) if path.stat().st_size <= MOST_BYTES else None
    kinds = {"prompts", "instructions"}
    if not isinstance(found, dict) or set(found) != kinds or not all(_texts(found[kind]) for kind in kinds):
        raise UserError(
            f"{path} is no file of examples: remove it, or write lists of texts as prompts and instructions"
        )
    return found


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)
