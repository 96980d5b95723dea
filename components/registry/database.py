"""The sqlite file that holds runs by default: where it is, whether it can be read, and making it whole or not at all.

MLflow makes its tables in the file itself over seconds; two drivers that start together would break each other's,
so a new database is made aside and put in place at once.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

BUSY_SECONDS = 20.0  # how long another process may hold the file
STALE_SECONDS = 600.0  # a half-made database older than this was left by a killed process
MADE_ASIDE = ".new-"
QUOTED = "sqlite+pysqlite:///"  # the start of a URI whose path is quoted


def database_uri(path: Path) -> str:
    """Return the URI of a sqlite file, whatever its path holds: SQLAlchemy ends the path at `?` and unquotes it.

    With the driver's name in it MLflow does not make the quoted path's folders beside the true ones.
    """
    text = str(path.absolute())
    quoted = text.replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{text}" if quoted == text else f"{QUOTED}{quoted}"


def database_path(uri: str) -> Path | None:
    """Return the file of a sqlite URI; None for a server or a database in memory."""
    for start in ("sqlite:///", QUOTED):
        path = unquote(uri.removeprefix(start).partition("?")[0])
        if uri.startswith(start) and path and path != ":memory:":
            return Path(path)
    return None


def prepare_database(path: Path, artifact_root: str) -> None:
    """Make the database where there is none, else look whether it can be read.

    Raises OSError or sqlite3.Error. Without this check MLflow itself tries for 100 s to open what cannot be opened.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        _create(path, artifact_root)
        return
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory")
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=rw", uri=True, timeout=BUSY_SECONDS)
    try:
        connection.execute("select name from sqlite_master limit 1").fetchall()
    finally:
        connection.close()


def read_only(path: Path) -> sqlite3.Connection:
    """Open a sqlite file to read; who opens it closes it. sqlite3.Error where there is none."""
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=BUSY_SECONDS)


def has_versions(path: Path, versions: Iterable[tuple[str, str]]) -> bool:
    """True where a database has all these versions (name, number) of models. MLflow is not loaded, which takes long."""
    if not path.is_file():
        return False
    query = "select 1 from model_versions where name = ? and version = ? and current_stage != 'Deleted_Internal'"
    connection = read_only(path)
    try:
        return all(connection.execute(query, (name, int(number))).fetchone() for name, number in versions)
    except sqlite3.OperationalError:
        return False  # no such table: no registry yet
    finally:
        connection.close()


def _create(path: Path, artifact_root: str) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    aside = path.with_name(f"{path.name}{MADE_ASIDE}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        SqlAlchemyStore(database_uri(aside), artifact_root).engine.dispose()
        _place(aside, path)
    finally:
        for left in (aside, aside.with_name(f"{aside.name}-journal")):
            left.unlink(missing_ok=True)


def _place(aside: Path, path: Path) -> None:
    """Put the new file in place unless another process was faster: then that one's stays."""
    try:
        os.link(aside, path)
    except FileExistsError:
        return
    except OSError:
        # A file system without hard links: the moment between the two calls is the risk that is left.
        if not path.exists():
            aside.rename(path)


def _sweep(path: Path) -> None:
    for left in path.parent.glob(f"{path.name}{MADE_ASIDE}*"):
        try:
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()
        except FileNotFoundError:  # its maker, or another sweep, was faster
            continue
