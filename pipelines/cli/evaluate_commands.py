"""`pixsem evaluate`: any model, held to prompts and pairs by judges; the same row for ours and for a peer's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.shared import AsJson, ConfigDir

if TYPE_CHECKING:
    from pipelines.config.schema import Config, EvaluateModelSection
    from pipelines.store.files import Store

Settings = Annotated[
    list[str] | None, typer.Argument(help="Configuration: key=value, e.g. store=PATH, seed=1.", show_default=False)
]


def add_commands(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(evaluate)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="models:/NAME@ALIAS, models:/NAME/VERSION, a pipeline's folder, a hub id.")
    ],
    overrides: Settings = None,
    benchmark: Annotated[str | None, typer.Option("--benchmark", help="A published one, of conf/benchmarks.")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="Prompts: .jsonl, .txt, .csv or .tsv.")] = None,
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="Edit pairs: a folder, its metadata file, or a parquet file.")
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option("--judge", help="An option of a judge: NAME.KEY=VALUE, e.g. geneval.path=FOLDER."),
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help="Of a hub id.")] = None,
    images: Annotated[int | None, typer.Option("--images", min=1, help="Pictures of each prompt.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first prompts of each category, and the first pairs.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Sampling steps; default: the model's own.")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option("--guidance-scale", help="Guidance by the text; default: the model's own.")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=8, help="Pixels of a picture's sides; default: the model's own.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures made at once.")] = 8,
    bf16: Annotated[bool, typer.Option("--bf16", help="Weights of a hub's model in bf16, for GPUs.")] = False,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Hold a model to prompts and edit pairs. What was finished before is kept."""
    from pipelines.cli.run_commands import _finish
    from pipelines.config.compose import compose_config
    from pipelines.config.schema import EvaluateModelSection
    from pipelines.store.files import Store
    from pipelines.tracking.model_evaluations import log_evaluation
    from pipelines.workflow.launch import run_new

    config = compose_config(overrides or [], config_dir)
    store = Store(config.store)
    store.prepare()
    said = _asked(config, store, model, benchmark, prompts, pairs, judge or [], config_dir)
    settings = {"images_per_prompt": images, "steps": steps, "guidance_scale": guidance_scale, "limit": limit}
    said |= {name: value for name, value in settings.items() if value is not None}
    said |= {"revision": revision, "size": size, "batch": batch, "precision": "bf16" if bf16 else "fp32"}
    asked = EvaluateModelSection.model_validate(said)
    _check(config, asked)
    typer.echo(_who_judges(asked), err=True)
    config = config.model_copy(update={"evaluate_model": asked})
    run = run_new(store, config, None, [], quiet=as_json, asked=overrides or [])
    if run.state == "completed":
        log_evaluation(config, store, run)
    _finish(store, run, as_json)


def _asked(
    config: Config,
    store: Store,
    model: str,
    benchmark: str | None,
    prompts: Path | None,
    pairs: Path | None,
    options: list[str],
    config_dir: str | None,
) -> dict[str, Any]:
    """Return the section's model, prompts, pairs, judges and protocol."""
    from pipelines.errors import UserError
    from pipelines.judging.benchmarks import load_benchmark, prompt_file
    from pipelines.tracking.model_evaluations import own_image_text

    for path in (prompts, pairs):
        if path is not None and not path.exists():
            raise UserError(f"there is nothing at {path}")
    given = str(prompts.absolute()) if prompts else None
    weights = config.evaluate_tokenizer
    said: dict[str, Any] = {
        "benchmark": benchmark, "prompts": given, "pairs": str(pairs.absolute()) if pairs else None,
        "judges": _configured(config), "features": dict(config.evaluate_generator.features),
        "lpips_weights": weights.lpips_weights, "inception": weights.inception,
        "image_text": own_image_text(config, store),
    }  # fmt: skip
    if benchmark:
        found = load_benchmark(benchmark, config_dir)
        said |= {"judges": found.judges, "images_per_prompt": found.images_per_prompt}
        said |= {"guidance_scale": found.guidance_scale, "steps": found.steps}
        said["prompts"] = prompt_file(found, given, store)
        if found.pairs and pairs is None:
            raise UserError(f"the benchmark {benchmark} is one of edits: give its pairs by --pairs ({found.pairs})")
    said["judges"] = _with_options(said["judges"], options)
    if said["prompts"] is None and said["pairs"] is None:
        raise UserError("nothing to evaluate on: name a --benchmark, --prompts FILE or --pairs FILE")
    return said | _resolved(config, store, model)


def _configured(config: Config) -> dict[str, dict[str, Any]]:
    """Return the judges of a configuration: those of evaluate_generator, else image-text models among the signals."""
    signals = {name: m for name, m in config.measure.models.items() if m.kind == "image_text" and m.path}
    known = {name: {"kind": "image_text", "path": m.path, "revision": m.revision} for name, m in signals.items()}
    return dict(config.evaluate_generator.judges) or known


def _with_options(judges: dict[str, dict[str, Any]], options: list[str]) -> dict[str, dict[str, Any]]:
    """Return the judges with options of the command line: NAME.KEY=VALUE, the value as YAML."""
    import yaml

    from pipelines.errors import UserError, nearest

    found = {name: dict(section) for name, section in judges.items()}
    for option in options:
        key, equals, text = option.partition("=")
        name, dot, field = key.partition(".")
        if not equals or not dot or not field:
            raise UserError(f"--judge {option}: write NAME.KEY=VALUE, e.g. geneval.path=/models/detr")
        if name not in found and field != "kind":
            raise UserError(f"--judge {option}: no judge is called {name!r}{nearest(name, found)}")
        found.setdefault(name, {})[field] = yaml.safe_load(text)
    return found


def _resolved(config: Config, store: Store, model: str) -> dict[str, Any]:
    """Return the model by its version's number, its files brought, or as a whole path."""
    from pipelines.tracking.model_evaluations import SCHEME, bring_version

    if model.startswith(SCHEME):
        return bring_version(config, store, model)
    return {"model": str(Path(model).absolute()) if Path(model).is_dir() else model}


def _check(config: Config, asked: EvaluateModelSection) -> None:
    """Check prompts, pairs, judges, weights and the model's index before anything starts: what is wrong is told at
    once.
    """
    from components.editors.any_pipeline import check_any
    from components.vision_models.loading import load_config
    from pipelines.errors import UserError
    from pipelines.judging.table import check_judge
    from pipelines.preflight.judges import check_named
    from pipelines.preflight.weights import check_weights
    from pipelines.stages.generator.evaluated_cases import pairs_of, prompts_of

    prompts = prompts_of(asked)
    pairs_of(asked)
    problems = [*check_named(asked.judges, asked.features, "", "--judge "), *check_weights(config)]
    if problems:
        raise UserError("this evaluation cannot run:\n  " + "\n  ".join(problems))
    for name, section in asked.judges.items():
        judge, options = check_judge(section)
        try:
            judge.check(options, prompts)
        except ValueError as error:
            raise UserError(f"the judge {name}: {error}") from error
    for path in asked.features.values():
        load_config(path, None)
    inner = Path(asked.model) / "pipeline"  # of an artifact of register
    if not asked.digest:
        path = str(inner) if inner.is_dir() else asked.model
        check_any(path, asked.revision, asked.prompts is not None, asked.pairs is not None)


def _who_judges(asked: EvaluateModelSection) -> str:
    """Say before any picture is made who judges it, or what would."""
    from pipelines.stages.generator.model_figures import NO_TEXTS

    judges = [f"{name} ({section['path']})" for name, section in asked.judges.items()]
    if asked.image_text:
        judges.append(f"the store's own image-text model (train_encoder/{asked.image_text})")
    if judges:
        return f"judges: {', '.join(judges)}"
    if asked.prompts is None:
        return "judges: none but the pairs' true results, where they have any"
    return f"judges: none. Pictures are made and kept, without a figure: {NO_TEXTS}"
