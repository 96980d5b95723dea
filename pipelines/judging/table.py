"""The judges that a configuration can name: `evaluate_generator.judges: {NAME: {kind: KIND, ...}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.stage import load_function

if TYPE_CHECKING:
    from pipelines.judging.judge import Judge

# kind -> `module:Class`. The class is built as `Class(name, options, place)`: the slug that stands in its figures'
# names, the judge's own section of the configuration as a dict, and where its model runs ("cpu", "cuda:0").
JUDGES: dict[str, str] = {}


def make_judge(name: str, options: Mapping[str, Any], place: str) -> Judge:
    """Build the judge that a section of the configuration names. Raises `KeyError` for a kind that is not known."""
    made: Judge = load_function(JUDGES[options["kind"]])(name, dict(options), place)
    return made
