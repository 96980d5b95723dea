"""The store's primitives over any fsspec path: whole-file writes, listings, moves of folders.

What an artifact, a lease or a run is stands in `artifacts.py`, `leases.py` and `runs.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem, make_path_posix

from pipelines.errors import StoreError, StoreUnreachable

CHUNK = 1 << 20
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*(://|::)", re.IGNORECASE)  # of a remote store


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value` that hashes are taken of (sorted keys, no spaces)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def json_bytes(value: Any) -> bytes:
    """Return the JSON text that the store's files hold, readable by people."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def parse_json(data: bytes, where: str) -> Any:
    """Return the value of a JSON file's bytes; `StoreError` where they are none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where} is not JSON ({error}): it was damaged after it was written.") from error


def sha256_text(text: str) -> str:
    """Return the hex sha256 of a text's utf-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a local file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Store:
    """A folder on any fsspec file system. Paths are relative to `url`, with `/` between parts.

    A write is whole or absent: on a local disk through a temporary file and a rename, elsewhere because object
    stores publish an object only when its upload ends. Raises `StoreError` where the store cannot be reached.

    A remote listing may lag behind what was written, so what must be there is asked for by name.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            # A path may hold what only addresses give a meaning: `a::b` would be a chain of file systems.
            self.fs, self.root = (
                fsspec.core.url_to_fs(url) if ADDRESS.match(url) else (LocalFileSystem(), make_path_posix(url))
            )
        except (ValueError, ImportError) as error:
            raise StoreError(
                f"store={url}: {error}. Use a local folder, s3://bucket/path or gs://bucket/path."
            ) from error
        self.is_local = isinstance(self.fs, LocalFileSystem)
        if self.is_local:
            self.root = str(Path(self.root).absolute())

    @property
    def absolute_url(self) -> str:
        """The store's address, the same from every working directory."""
        return self.root if self.is_local else self.fs.unstrip_protocol(self.root)

    def path(self, relative: str) -> str:
        """Return the file system's own path of `relative`."""
        return f"{self.root}/{relative}" if relative else self.root

    def local(self, relative: str) -> Path:
        """Return `relative` as a local path. Only for a local store."""
        assert self.is_local, "a remote store has no local paths"
        return Path(self.root) / relative

    @contextlib.contextmanager
    def reaching(self, relative: str, absent_is_an_answer: bool = True) -> Iterator[None]:
        """For the length of a block, put what a remote file system raises into words.

        Each backend has errors of its own, some of them no OSError. That a file is not there, or is there already, is
        an answer and passes, unless it can only mean that the whole store is gone.
        """
        try:
            yield
        except Exception as error:
            answers = (FileNotFoundError, FileExistsError) if absent_is_an_answer else ()
            if self.is_local or isinstance(error, (StoreError, *answers)):
                raise
            said = " ".join(str(error).split()) or type(error).__name__
            raise StoreUnreachable(
                f"store={self.url} refused or did not answer, at {relative or 'its root'}: {said}. Look at the "
                "address, the credentials and the network. What is committed is kept; then go on with: pixsem resume"
            ) from error

    def prepare(self) -> None:
        """Make the store's root, and say plainly when that cannot be done."""
        try:
            with self.reaching("", absent_is_an_answer=False):
                self.fs.makedirs(self.root, exist_ok=True)
        except StoreUnreachable:
            raise
        except OSError as error:
            raise StoreError(f"store={self.url} cannot be written: {error}. Give another with store=PATH.") from error

    def make_folder(self, relative: str) -> None:
        """Make the folder of a local store's file; `StoreUnreachable` where the whole store is gone, which is never
        made anew.
        """
        if not Path(self.root).is_dir():
            raise StoreUnreachable(
                f"store={self.url} is not there any more: {self.root} was moved, removed or unmounted while it "
                "was in use. Bring it back; then go on with: pixsem resume"
            )
        self.local(relative).parent.mkdir(parents=True, exist_ok=True)

    def exists(self, relative: str) -> bool:
        """True where a file or folder of that name is."""
        if self.is_local:
            return os.path.lexists(self.path(relative))
        self.fs.invalidate_cache()
        with self.reaching(relative):
            return self._info(relative) is not None

    def _info(self, relative: str) -> dict[str, Any] | None:
        # Not `fs.exists`: it takes every error for an absence.
        try:
            return dict(self.fs.info(self.path(relative)))
        except FileNotFoundError:
            return None

    def size(self, relative: str) -> int | None:
        """Return a file's size in bytes, asked for by its name; None where there is none."""
        with self.reaching(relative):
            self.fs.invalidate_cache()
            info = self._info(relative)
        return int(info["size"] or 0) if info is not None and info["type"] == "file" else None

    def read_bytes(self, relative: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return a file's bytes, or those from `start` to before `end`; FileNotFoundError where there is none."""
        with self.reaching(relative):
            return bytes(self.fs.cat_file(self.path(relative), start, end))

    def sha256(self, relative: str) -> str:
        """Return the hex sha256 of a file."""
        digest = hashlib.sha256()
        with self.reaching(relative), self.fs.open(self.path(relative), "rb") as handle:
            while chunk := handle.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def read_json(self, relative: str) -> Any:
        """Return a JSON file's value; FileNotFoundError, or `StoreError` where it is not JSON."""
        return parse_json(self.read_bytes(relative), self.path(relative))

    def write_bytes(self, relative: str, data: bytes, durable: bool = True) -> None:
        """Write a whole file or nothing. `durable` also waits for the disk."""
        target = self.path(relative)
        if not self.is_local:
            with self.reaching(relative, absent_is_an_answer=False):
                self.fs.pipe_file(target, data)
            return
        self.make_folder(relative)
        temporary = Path(target).with_name(f".{Path(target).name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as handle:
                handle.write(data)
                handle.flush()
                if durable:
                    os.fsync(handle.fileno())
            temporary.replace(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def write_json(self, relative: str, value: Any, durable: bool = True) -> None:
        """Write a JSON file whole, readable by people."""
        self.write_bytes(relative, json_bytes(value), durable)

    def create(self, relative: str, data: bytes) -> bool:
        """Write a file only where none is; False where one is already."""
        target = self.path(relative)
        if not self.is_local:
            try:
                with self.reaching(relative):
                    self.fs.pipe_file(target, data, mode="create")
            except FileExistsError:
                return False
            return True
        self.make_folder(relative)
        temporary = Path(target).with_name(f".{Path(target).name}.{uuid.uuid4().hex}.tmp")
        try:
            temporary.write_bytes(data)
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def put_file(self, source: Path, relative: str) -> None:
        """Move a finished local file into the store, whole or not at all."""
        target = self.path(relative)
        if not self.is_local:
            self.copy_in(source, relative)
            source.unlink()
            return
        self.make_folder(relative)
        with source.open("rb") as handle:
            os.fsync(handle.fileno())
        source.replace(target)

    def copy_in(self, source: Path, relative: str) -> None:
        """Copy a finished local file into a remote store; the file stays."""
        assert not self.is_local, "a local store's files are moved in"
        with self.reaching(relative, absent_is_an_answer=False):
            self.fs.put_file(str(source), self.path(relative))

    def fetch(self, relative: str, folder: Path) -> Path:
        """Return a local path of a store file: the file itself, or a copy under `folder` for a remote store."""
        if self.is_local:
            return self.local(relative)
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{threading.get_ident()}.part")  # another thread may read what was there
        with self.reaching(relative):
            self.fs.get_file(self.path(relative), str(part))
        return part.replace(target)

    def files(self, relative: str) -> dict[str, int]:
        """Return every file below a folder as {path relative to it: size in bytes}, sorted; {} where there is none."""
        base = self.path(relative)
        if not self.is_local:
            self.fs.invalidate_cache()
            with self.reaching(relative):
                found = self.fs.find(base, detail=True)
            # A folder that a listing shows as empty may be given back as itself.
            below = {n: i for n, i in sorted(found.items()) if n.startswith(f"{base}/") and i["type"] == "file"}
            return {name[len(base) + 1 :]: int(info["size"] or 0) for name, info in below.items()}
        sizes: dict[str, int] = {}
        for folder, _, names in os.walk(base):
            for name in names:
                full = os.path.join(folder, name)
                sizes[os.path.relpath(full, base)] = os.lstat(full).st_size
        return dict(sorted(sizes.items()))

    def folders(self, relative: str) -> list[str]:
        """Return the names of the folders directly below a folder, sorted."""
        base = self.path(relative)
        if self.is_local:
            return sorted(e.name for e in os.scandir(base) if e.is_dir()) if Path(base).is_dir() else []
        self.fs.invalidate_cache()
        try:
            with self.reaching(relative):
                found = self.fs.ls(base, detail=True)
        except FileNotFoundError:
            return []
        return sorted(e["name"].rsplit("/", 1)[-1] for e in found if e["type"] == "directory")

    def names(self, relative: str) -> list[str]:
        """Return the names of the visible files directly below a folder, sorted."""
        return [n for n in self.files(relative) if "/" not in n and not n.startswith(".")]

    def move_tree(self, source: str, target: str, names: Sequence[str] | None = None) -> None:
        """Move a folder. Locally one rename; elsewhere copies of `names` in their order, or of all that is listed."""
        if self.is_local:
            self.make_folder(target)
            self.local(source).rename(self.local(target))
            return
        for name in list(self.files(source)) if names is None else names:
            with self.reaching(f"{source}/{name}", absent_is_an_answer=False):
                self.fs.cp_file(self.path(f"{source}/{name}"), self.path(f"{target}/{name}"))
        self.remove_tree(source)

    def remove_tree(self, relative: str) -> None:
        """Remove a file or folder with all below it; nothing happens where there is none."""
        assert relative, "the store's root is never removed"
        if self.is_local:
            target = self.local(relative)
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        elif self.exists(relative):
            # Somebody else may have been faster, of two that tidy up.
            with self.reaching(relative), contextlib.suppress(FileNotFoundError):
                self.fs.rm(self.path(relative), recursive=True)

    def scratch(self) -> Path | None:
        """Return the folder where output is written before it is moved in: in a local store, so that a move is a
        rename.
        """
        if not self.is_local:
            return None
        self.make_folder("tmp/x")
        return self.local("tmp")
