"""Commands on registered models: see them, trace them, promote them, write them out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.shared import CHAMPION, DEFAULT_STORE, AsJson, StoreOption, open_store, show

if TYPE_CHECKING:
    from pipelines.tracking.registering import Registrar


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (models, lineage, promote, rollback, export):
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
    model: Annotated[str, typer.Argument(help="models:/NAME@ALIAS or models:/NAME/VERSION.")] = CHAMPION,
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
    from pipelines.tracking.export import export_pipeline
    from pipelines.tracking.open_version import open_version

    export_pipeline(open_version(version, store).folder, folder)
    print(f'{folder}: DiffusionPipeline.from_pretrained("{folder}", trust_remote_code=True)')
