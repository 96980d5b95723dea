"""Weight files that `conf/weights.yaml` knows by address and sha256: where they lie here, and how they come.

A file that is here already is taken: in the store's cache (or the user's, for a store elsewhere), among torch.hub's
checkpoints, or in a package that ships it. Else it is fetched into the cache.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import yaml
from pydantic import BaseModel

from pipelines.config.origins import CONF
from pipelines.errors import UserError
from pipelines.store.files import Store

FETCH = "fetch"  # stands where a path may stand
LPIPS = ("vgg16", "lpips_heads")
INCEPTION = "inception"


class Published(BaseModel):
    """One entry of the table."""

    file: str
    address: str
    sha256: str
    bytes: int
    installed: str | None = None  # `package/path` of the same file in an installed package


@functools.cache
def published() -> dict[str, Published]:
    """Return the table."""
    table = yaml.safe_load((CONF / "weights.yaml").read_text("utf-8"))
    return {name: Published.model_validate(entry) for name, entry in table.items()}


def find_published(name: str, store: Store, read: bool = True) -> Path | None:
    """Return where a file of the table lies here, known by its content, or without `read` by its size alone; None where
    it must be fetched.
    """
    from components.data.checked_download import has_sha256

    entry = published()[name]
    sized = (p for p in _places(entry, store) if p.is_file() and p.stat().st_size == entry.bytes)
    return next((path for path in sized if not read or has_sha256(path, entry.sha256)), None)


def get_published(name: str, store: Store) -> Path:
    """Return a file of the table, fetched where it is not here. `UserError` where that fails."""
    from components.data.checked_download import download_checked

    entry = published()[name]
    found = find_published(name, store)
    if found is not None:
        return found
    try:
        return download_checked(entry.address, _cache(store) / entry.file, entry.sha256, entry.bytes)
    except (OSError, ValueError) as error:
        raise UserError(f"{entry.file} could not be fetched: {error}. {by_path(name)}") from error


def unreachable(name: str, store: Store) -> str:
    """Say why a file of the table could not be fetched; empty where it is here, or where its server answers."""
    from components.data.places import describe

    entry = published()[name]
    if find_published(name, store, read=False) is not None:
        return ""
    try:
        describe([entry.address])
    except (OSError, ValueError) as error:
        return f"{entry.file} is not here, and {error}. {by_path(name)}"
    return ""


def by_path(name: str) -> str:
    """Say how to go without a network."""
    entry = published()[name]
    what = "the file's path" if name == INCEPTION else "the folder's path"
    return f"Without a network: bring {entry.file} from {entry.address}, and give {what} in place of {FETCH}."


def _cache(store: Store) -> Path:
    return (store.local("cache") if store.is_local else Path.home() / ".cache" / "pixsem") / "weights"


def _places(entry: Published, store: Store) -> Iterator[Path]:
    yield _cache(store) / entry.file
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    yield Path(os.environ.get("TORCH_HOME") or home / "torch") / "hub" / "checkpoints" / entry.file
    if entry.installed:
        package, _, inside = entry.installed.partition("/")
        found = find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            yield Path(folder) / inside
