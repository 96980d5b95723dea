"""Commands on registered models: see them, trace them, promote them, make pictures with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.shared import DEFAULT_STORE, AsJson, StoreOption, open_store, show

if TYPE_CHECKING:
    from pipelines.tracking.registering import Registrar

ModelOption = Annotated[
    str, typer.Option("--model", help="models:/NAME@ALIAS, models:/NAME/VERSION, or a pipeline's folder.")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="PNG file to write; default: named after the text.")]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seed of the noise: the same seed makes the same picture.")
]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, help="Sampling steps; default: the model's own.")]
GuidanceOption = Annotated[float | None, typer.Option("--guidance-scale", help="Guidance by the text; 1: none.")]
DEFAULT = "models:/pixsem-generator@champion"


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (models, lineage, promote, rollback, export, generate, edit):
        app.command()(command)


def registrar(url: str) -> Registrar:
    """Open the registry of a store."""
    from pipelines.config.compose import compose_config
    from pipelines.config.values import assign
    from pipelines.tracking.registering import Registrar
    from pipelines.tracking.run_log import open_tracker

    store = open_store(url)
    return Registrar(open_tracker(compose_config([assign("store", url)]), store, dict(os.environ)), store)


def models(
    store: StoreOption = DEFAULT_STORE,
    compared: Annotated[
        tuple[str, str] | None,
        typer.Option("--compare", help="Two models that pixsem evaluate was given: their figures side by side."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List registered versions: aliases, figures, refusals and their reasons."""
    from datetime import UTC, datetime

    if compared:
        from pipelines.config.compose import compose_config
        from pipelines.config.values import assign
        from pipelines.tracking.model_evaluations import compare, compare_text

        found = compare(compose_config([assign("store", store)]), open_store(store), compared)
        show(found, as_json, lambda: compare_text(found, compared))
        return
    registry = registrar(store).registry
    rows = [
        {
            "name": v.name,
            "version": v.version,
            "aliases": list(v.aliases),
            "figures": v.figures,
            "refused": v.tags.get("pixsem.refused", ""),
            "tokenizer_version": v.tags.get("pixsem.tokenizer_version"),
            "digest": v.tags.get("pixsem.digest", ""),
            "created": datetime.fromtimestamp(v.created / 1000, UTC).isoformat(timespec="seconds"),
        }
        for name in registry.names()
        for v in registry.versions(name)
    ]

    def line(row: dict[str, Any]) -> str:
        figures = ", ".join(f"{name.split('.', 1)[1]} {value:.3f}" for name, value in row["figures"].items())
        tokenizer = f", of pixsem-tokenizer/{row['tokenizer_version']}" if row["tokenizer_version"] else ""
        refused = f"\n    refused: {row['refused']}" if row["refused"] else ""
        return (
            f"models:/{row['name']}/{row['version']}  {' '.join(row['aliases']) or '-':<10} "
            f"{figures}{tokenizer}{refused}"
        )

    show(rows, as_json, lambda: "\n".join(map(line, rows)) or "no models are registered yet; make one with: pixsem run")


def lineage(
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION.")] = DEFAULT,
    store: StoreOption = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Trace a version back through every stage to the input shards and their hashes."""
    from pipelines.tracking.lineage import trace, trace_text

    value = trace(registrar(store), model)
    show(value, as_json, lambda: trace_text(value))


def promote(
    model: Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@candidate.")],
    alias: Annotated[str, typer.Option("--alias", help="Alias to give.")] = "champion",
    force: Annotated[bool, typer.Option("--force", help="Promote it even if its gates refused it.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Give a version an alias, e.g. champion."""
    from pipelines.errors import UserError

    registry = registrar(store).registry
    version = registry.find(model)
    refused = version.tags.get("pixsem.refused")
    if refused and not force:
        raise UserError(
            f"{version.name}/{version.version} was refused by its gates: {refused}. To promote it all the same: --force"
        )
    registry.give(version, alias)
    print(f"{version.name}/{version.version} is now {alias}")


def rollback(
    name: Annotated[str, typer.Argument(help="Registered model, e.g. pixsem-generator.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Make the previous champion the champion again."""
    version = registrar(store).registry.rollback(name.removeprefix("models:/").split("@")[0])
    print(f"{version.name}/{version.version} is champion again")


def export(
    version: Annotated[str, typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION, or a pipeline's folder.")],
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a generator's pipeline with its code: plain diffusers opens it where pixsem is not installed."""
    import tempfile

    from pipelines.errors import UserError
    from pipelines.tracking.export import export_pipeline

    with tempfile.TemporaryDirectory() as scratch:
        source = Path(version)
        if not source.is_dir():
            if not version.startswith("models:/"):
                raise UserError(f"{version} is neither a folder nor models:/NAME@ALIAS or models:/NAME/VERSION")
            registry = registrar(store).registry
            source = registry.download(registry.find(version), scratch)
        export_pipeline(source, folder)
    print(f'{folder}: DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)')


def generate(
    prompt: Annotated[str, typer.Argument(help="What the picture shows.")],
    model: ModelOption = DEFAULT,
    seed: SeedOption = 0,
    out: OutOption = None,
    steps: StepsOption = None,
    guidance_scale: GuidanceOption = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Make a picture from a text."""
    row = {"prompt": prompt, "seed": seed, "num_inference_steps": steps, "guidance_scale": guidance_scale}
    _write(_picture(model, store, row), out, prompt)


def edit(
    image: Annotated[Path, typer.Argument(help="The picture to edit: PNG, JPEG or WebP.")],
    instruction: Annotated[str, typer.Argument(help="What to change.")],
    model: ModelOption = DEFAULT,
    seed: SeedOption = 0,
    out: OutOption = None,
    steps: StepsOption = None,
    guidance_scale: GuidanceOption = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Edit a picture by an instruction."""
    from pipelines.serving import encode_png, read_picture

    if not image.is_file():
        from pipelines.errors import UserError

        raise UserError(f"there is no picture at {image}")
    source = encode_png(read_picture(image.read_bytes(), str(image)))
    row = {
        "prompt": instruction,
        "image": source,
        "seed": seed,
        "num_inference_steps": steps,
        "guidance_scale": guidance_scale,
    }
    _write(_picture(model, store, row), out, instruction)


def _picture(model: str, store: str, row: dict[str, Any]) -> Any:
    import tempfile

    from pipelines.errors import UserError
    from pipelines.serving import make_picture, open_pipeline

    if Path(model).is_dir():
        return make_picture(open_pipeline(model), row)
    if not model.startswith("models:/"):
        raise UserError(f"--model {model} is neither a folder nor models:/NAME@ALIAS or models:/NAME/VERSION")
    registry = registrar(store).registry
    version = registry.find(model)
    with tempfile.TemporaryDirectory() as folder:
        return make_picture(open_pipeline(str(registry.download(version, folder))), row)


def _write(picture: Any, out: Path | None, text: str) -> None:
    if out is None:
        words = "".join(c if c.isalnum() else "-" for c in text.lower())
        out = Path(f"{'-'.join(filter(None, words.split('-')))[:60] or 'picture'}.png")
    out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(out, "PNG")
    print(out)
