"""The judges that a configuration can name: `evaluate_generator.judges: {NAME: {kind: KIND, ...}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.stage import load_function

if TYPE_CHECKING:
    from components.vision_models.loading import Place
    from pipelines.judging.judge import Judge

# kind -> `module:Class`. The class is built as `Class(name, options, place)`: the slug that stands in its figures'
# names, the judge's own section of the configuration as a dict without `kind`, and where its model runs. ValueError,
# in words, where its options or its model are not right.
JUDGES: dict[str, str] = {
    "detector": "pipelines.judging.detector_judge:DetectorJudge",
    "questions": "pipelines.judging.question_judge:QuestionJudge",
    "vlm_score": "pipelines.judging.edit_scores:ScoreJudge",
    "image_text": "pipelines.judging.similarity_judge:HubImageText",
}


def make_judge(name: str, section: Mapping[str, Any], place: Place) -> Judge:
    """Build the judge that a section of the configuration names. ValueError, in words, where there is none."""
    options = dict(section)
    kind = str(options.pop("kind", ""))
    if kind not in JUDGES:
        raise ValueError(f"the judge {name!r} is of kind {kind!r}; the kinds are {', '.join(sorted(JUDGES))}")
    made: Judge = load_function(JUDGES[kind])(name, options, place)
    return made
