"""The stages of published models: one for each signal and source, the one that trains the matcher, and recaptioning."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.stage import Stage, instance_name

if TYPE_CHECKING:
    from pipelines.config.schema import Config


def signal_stages(config: Config, sources: Sequence[str], silent: Collection[str]) -> Iterator[Stage]:
    """Yield the stages that there are for each model of `measure.models` and each source of pictures; before them,
    where a model is the matcher, the stage that trains it. Nothing reads captions of `silent` sources.
    """
    models = config.measure.models
    if any(model.kind == "matcher" for model in models.values()):
        yield Stage(
            name="train_matcher",
            version="1",
            function="pipelines.stages.tokenizer.train_matcher:run",
            config=("seed", "measure.limits", "image_size", "matcher"),
            inputs=tuple(instance_name(base, source) for base in ("ingest", "measure") for source in sources),
            trains=True,
            summary="a small image-text encoder on uncurated samples, to tell whether captions are true",
        )
    for source in sources:
        for name, model in models.items():
            if model.reads_captions and source in silent:
                continue
            yield Stage(
                name=instance_name("score", source, name),
                version="1",
                function="pipelines.stages.data.score:run",
                external="pipelines.workflow.source_digests:signal_files",
                config=("measure.limits", f"measure.models.{name}"),
                inputs=(instance_name("ingest", source), *(("train_matcher",) if model.kind == "matcher" else ())),
                given={"source": source, "signal": name, "comparing": model.reads_captions},
                summary=f"the signal {name} of every sample, by a model of kind {model.kind}",
            )


def _recaption_stage(config: Config, captions_of: Collection[str] | None) -> Stage:
    """Return the stage that adds captions by a vision-language model. Its proof is by a model of `measure.models`, or
    by none, which preflight refuses. `captions_of`: the sources that get captions; None: all.
    """
    proof = config.proof_of_captions()
    model = config.measure.models.get(proof or "")
    return Stage(
        name="recaption",
        version="1",
        function="pipelines.stages.data.recaption:run",
        external="pipelines.workflow.source_digests:recaption_files",
        config=("seed", "measure.limits", "recaption", *((f"measure.models.{proof}",) if model else ())),
        inputs=(*(("train_matcher",) if model and model.kind == "matcher" else ()), "curate"),
        given={"proof": proof} | ({} if captions_of is None else {"captions_of": list(captions_of)}),
        summary="captions by a vision-language model, beside those that samples have",
    )


def with_recaption(
    stages: list[Stage], config: Config, sources: Collection[str], captions_of: Collection[str] | None
) -> list[Stage]:
    """Return the stages with recaption after curate; what read curated samples reads those with new captions, and
    curate's own where some sources get none. `captions_of`: the sources that get captions; None: all.
    """
    found = []
    instead = ("recaption",) if captions_of is None or set(sources) <= set(captions_of) else ("curate", "recaption")
    for stage in stages:
        inputs = tuple(new for name in stage.inputs for new in (instead if name == "curate" else (name,)))
        found.append(dataclasses.replace(stage, inputs=inputs))
        if stage.name == "curate":
            found.append(_recaption_stage(config, captions_of))
    return found
