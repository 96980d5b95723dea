"""The judges that a configuration can name: `evaluate_generator.judges: {NAME: {kind: KIND, ...}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from pipelines.errors import UserError, nearest
from pipelines.judging.judge_options import read_options
from pipelines.stage import load_function

if TYPE_CHECKING:
    from components.vision_models.loading import Place
    from pipelines.config.source_kinds import Section
    from pipelines.judging.judge import Judge

# kind -> `module:Class`. The class is built as `Class(name, options, place)`: the slug that stands in its figures'
# names, its options as its `section` reads them, and where its model runs. ValueError, in words, where its model is not
# right.
JUDGES: dict[str, str] = {
    "detector": "pipelines.judging.detector_judge:DetectorJudge",
    "questions": "pipelines.judging.question_judge:QuestionJudge",
    "vlm_score": "pipelines.judging.edit_scores:ScoreJudge",
    "image_text": "pipelines.judging.similarity_judge:HubImageText",
}


def check_judge(section: Mapping[str, Any]) -> tuple[type[Judge], Section]:
    """Return the class and the options of the judge that a section of the configuration names; loads no model.
    `UserError`, in words, where there is no such kind, or its options are not right.
    """
    options = dict(section)
    kind = str(options.pop("kind", ""))
    if kind not in JUDGES:
        raise UserError(
            f"there is no judge of kind {kind!r}{nearest(kind, JUDGES) or '.'} The kinds: {', '.join(sorted(JUDGES))}"
        )
    judge = cast("type[Judge]", load_function(JUDGES[kind]))
    return judge, read_options(judge.section, options)


def make_judge(name: str, section: Mapping[str, Any], place: Place) -> Judge:
    """Build the judge that a section of the configuration names. ValueError, in words, where there is none."""
    judge, options = check_judge(section)
    make: Any = judge
    made: Judge = make(name, options, place)
    return made
