"""What a picture is asked for, and what an edit is told: the cases that every judge is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Asked:
    """A prompt. `about` is its maker's own; `row` is what `judgements.jsonl` keeps of the truth."""

    text: str
    category: str
    about: Any = None
    row: Mapping[str, Any] = field(default_factory=dict)  # JSON, e.g. {"truth": ...}
    source_name: str = ""  # of the data that it comes from; empty where there is one source


@dataclass(frozen=True)
class EditCase:
    """An edit: pictures uint8 [S, S, 3] before and after it, and the pixels that it changes, bool [S, S], where they
    are known. `about` is its maker's own; `row` is what `judgements.jsonl` keeps of the truth.
    """

    kind: str
    instruction: str
    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray | None = None
    about: Any = None
    row: Mapping[str, Any] = field(default_factory=dict)  # JSON, e.g. {"source": ..., "truth": ...}
    source_name: str = ""  # as of `Asked`
