"""Models by name or folder, as a local folder: `models:/NAME@ALIAS` and `models:/NAME/VERSION` of a store's registry,
or what a stage or `save_pretrained` wrote.

Where the registry is a sqlite file, it is read without MLflow, and files on a local disk are opened where they are: a
server that follows an alias asks again and again.
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from components.registry.database import database_path
from components.registry.named_versions import SCHEME, Version, find_in_database, parse_reference
from components.registry.tracking import default_tracking_uri
from pipelines.errors import UserError
from pipelines.store.files import Store, sha256_file, sha256_text
from pipelines.store.node_cache import node_folder

if TYPE_CHECKING:
    from components.registry.model_versions import Registry

BASE = Path(__file__).resolve().parents[2] / "conf" / "config.yaml"
COPIES = "versions"  # in the node's folder: copies of versions whose files are elsewhere
UNUSED_SECONDS = 7 * 86400.0  # after which a copy goes, when another is made
LISTS = ("sha256.json", "../manifest.json")  # what says of a folder's files which they are


@dataclass(frozen=True)
class Opened:
    """A model's local folder, and which version it is. Its files are compared with their sha256 where they are opened
    (`serving.check_files`).
    """

    folder: Path
    name: str  # of the registered model, or the folder's
    version: str | None = None  # None: a folder, which is no version
    alias: str | None = None  # that it was asked for by
    created: int = 0  # seconds since 1970
    digest: str = ""  # of its files; empty for a folder without a list of them

    @property
    def id(self) -> str:
        """NAME/VERSION, or the folder's name."""
        return f"{self.name}/{self.version}" if self.version else self.name


def open_version(model: str, store_url: str, inner: str = "pipeline", marker: str = "model_index.json") -> Opened:
    """Return the local folder of `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or a folder with `marker` in it or in
    its folder `inner` (as in a `register` artifact). ValueError, in words, where there is no such model.

    The registry is that of the store, unless conf/config.yaml or MLFLOW_TRACKING_URI names another.
    """
    if not model.startswith(SCHEME):
        return _of_folder(model, inner, marker)
    _, alias, _ = parse_reference(model)
    uri = _configured_uri() or default_tracking_uri(Store(store_url).absolute_url, os.environ)
    database = database_path(uri)
    if database is None:
        version = _registry(store_url, uri).find(model)
    elif database.is_file():
        version = find_in_database(database, model)
    else:
        raise UserError(f"no model is registered at {database}. Name your store with --store, or make one: pixsem run")
    return Opened(
        _local_folder(version, store_url, uri),
        version.name,
        version.version,
        alias or None,
        version.created // 1000,
        version.tags.get("pixsem.digest", ""),
    )


def _of_folder(model: str, inner: str, marker: str) -> Opened:
    given = Path(model)
    if not given.is_dir():
        raise UserError(f"{model} is neither a folder nor {SCHEME}NAME@ALIAS or {SCHEME}NAME/VERSION")
    folder = given if (given / marker).exists() or not (given / inner / marker).exists() else given / inner
    digests = (sha256_file(folder / name) for name in LISTS if (folder / name).is_file())
    marked = folder / marker
    created = int(marked.stat().st_mtime) if marked.exists() else 0
    return Opened(folder, given.absolute().name, created=created, digest=next(digests, ""))


@functools.cache
def _configured_uri() -> str:
    """Return `tracking.uri` of conf/config.yaml; empty where it is null. Composing all of it takes Hydra."""
    import yaml

    return str(yaml.safe_load(BASE.read_text("utf-8"))["tracking"]["uri"] or "")


@functools.lru_cache(maxsize=4)
def _registry(store_url: str, _uri: str) -> Registry:
    """Return the registry of a store through MLflow; one for each address that it was opened with."""
    from pipelines.config.compose import compose_config
    from pipelines.config.values import assign
    from pipelines.tracking.registering import Registrar
    from pipelines.tracking.run_log import open_tracker

    store = Store(store_url)
    config = compose_config([assign("store", store_url)])
    return Registrar(open_tracker(config, store, dict(os.environ)), store).registry


def _local_folder(version: Version, store_url: str, uri: str) -> Path:
    """Return the folder with a version's own files: where they lie, or the node's copy."""
    if version.source.startswith(("/", "file:")):
        source = version.source
        files = Path(url2pathname(urlsplit(source).path) if source.startswith("file:") else source)
        found = next(files.glob("artifacts/*"), None)
        if found is None:
            raise UserError(
                f"the files of {version.name}/{version.version} are not at {files} any more: was the store moved? "
                "Bring it back there, or register the models again: pixsem run"
            )
        return found
    copies = node_folder() / COPIES
    target = copies / sha256_text(f"{uri} {version.source} {version.name} {version.version} {version.created}")[:32]
    if not target.exists():
        _sweep(copies)
        copies.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copies, prefix=".part-") as scratch:
            files = _registry(store_url, uri).download(version, scratch)
            try:
                files.replace(target)
            except OSError:
                if not target.exists():  # another process was faster
                    raise
    os.utime(target)
    return target


def _sweep(copies: Path) -> None:
    """Remove copies that were not asked for in a week."""
    for folder in copies.glob("*"):
        if time.time() - folder.stat().st_mtime > UNUSED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
