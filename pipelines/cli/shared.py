"""What the commands share: their options, printing a listing, opening a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipelines.store.files import Store

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Configuration: key=value, preset=NAME, source=NAME.", show_default=False)
]
ConfigDir = Annotated[
    str | None, typer.Option("--config-dir", help="Your own folder of presets and sources, laid out like conf/.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StoreOption = Annotated[
    str, typer.Option("--store", help="The store: a folder, s3://... or gs://...", envvar="PIXSEM_STORE")
]
RunArgument = Annotated[str | None, typer.Argument(help="Id of a run; default: the latest.", show_default=False)]
DEFAULT_STORE = "./store"
CHAMPION = "models:/pixsem-generator@champion"


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print a listing as JSON or as text."""
    print(json.dumps(value, indent=1, ensure_ascii=False) if as_json else text())


def open_store(url: str) -> Store:
    """Open a store that must be there already."""
    from pipelines.errors import UserError
    from pipelines.store.files import Store

    store = Store(url)
    if not store.exists(""):
        raise UserError(f"there is no store at {url}. Name yours with --store, or start a run with: pixsem run")
    return store
