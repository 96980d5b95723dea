"""Node labels as Ray selects by them: what a selector may say, and which nodes it means. Knows no Ray, so that
configuration can be checked without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

VALUE = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
SELECTOR = re.compile(rf"(?P<other>!?)(?:in\((?P<several>{VALUE}(?:, ?{VALUE})*)\)|(?P<one>{VALUE}))")


def check_selector(text: str) -> str:
    """Return a selector of one label's value as it is; ValueError where Ray would not read it."""
    if SELECTOR.fullmatch(text) is None:
        raise ValueError(
            f"{text!r} selects no label's value: write value, !value, in(a, b) or !in(a, b), of letters, digits, "
            "'-', '_' and '.'"
        )
    return text


def selects(selectors: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """True where a node of these labels is one that all selectors mean. A node without a label passes what only
    excludes values of it.
    """
    return all(_selects(selector, labels.get(key)) for key, selector in selectors.items())


def _selects(selector: str, value: str | None) -> bool:
    found = SELECTOR.fullmatch(selector)
    assert found is not None, "selectors are checked where the configuration is read"
    values = re.split(", ?", found["several"] or found["one"])
    return (value not in values) if found["other"] else (value in values)
