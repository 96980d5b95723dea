"""Where a source's files lie: local paths, and addresses that fsspec knows (`s3://`, `gs://`, `https://`, `hf://`).

They are listed, told apart by what their servers say of them, and opened. `pipe:` commands are streams.py's.

Tokens and keys come from the environment (HF_TOKEN, AWS_ACCESS_KEY_ID, ...), through the libraries that read them. They
are in no address: addresses.py refuses those that hold one.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from components.data.addresses import checked_address, is_pipe, is_remote, local_path, shown
from components.data.list_files import expand_paths

MAX_FILES = 1_000_000  # of one source
ATTEMPTS = 3  # to read one shard from a server
PAUSE_S = 2.0  # before the second attempt; doubles
LOOKERS = 16  # questions to a server at once
# What servers say of a file, the surest first: hashes of the content, then tags and times that change with it.
_HASHES = ("sha256", "blob_id", "md5Hash", "content_md5", "Content-MD5", "ETag", "etag", "checksum")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "created")
T = TypeVar("T")


class Unreachable(OSError):
    """A file of a source could not be read from where it lies, as far as one can tell through no fault of its own."""


def find_places(spec: str, suffixes: Sequence[str], deep: bool = False) -> list[str]:
    """The files meant by a path or an address: a file, a folder (its files with one of `suffixes`; with `deep` those
    of its folders too), a glob or braces; sorted, those of braces in the braces' order.

    Raises ValueError where there is none, Unreachable where a server does not answer.
    """
    checked_address(spec)
    if not is_remote(spec):
        return _find_local(local_path(spec), suffixes, deep)
    import braceexpand

    patterns = list(braceexpand.braceexpand(spec)) if "{" in spec else [spec]
    if len(patterns) > MAX_FILES:
        raise ValueError(f"{shown(spec)} names {len(patterns)} files; the limit is {MAX_FILES}")
    if is_pipe(spec):
        return patterns
    found = [place for pattern in patterns for place in _find_remote(pattern, suffixes)]
    if not found:
        raise ValueError(f"nothing matches {shown(spec)}; give a file, a folder or a pattern")
    return found


def _find_local(spec: str, suffixes: Sequence[str], deep: bool) -> list[str]:
    if deep and os.path.isdir(spec):
        root = glob.escape(os.path.normpath(spec))
        below = sorted(path for suffix in suffixes for path in glob.glob(f"{root}/**/*{suffix}", recursive=True))
        if not below:
            raise ValueError(
                f"the folder {spec} has no {' or '.join(suffixes)} file; give a file, a folder or a pattern"
            )
        return below
    return [str(path) for path in expand_paths(spec, suffixes)]


def _find_remote(pattern: str, suffixes: Sequence[str]) -> list[str]:
    fs, path = file_system(pattern)
    http = _is_http(pattern)
    with reaching(pattern):
        fs.invalidate_cache()  # a listing of this process may be old
        if "*" in pattern if http else glob.has_magic(path):
            return sorted(_full(fs, name, http) for name in fs.glob(path))
        if pattern.endswith("/") if http else fs.isdir(path):
            names = fs.find(path) if not http else fs.ls(path, detail=False)
            return sorted(_full(fs, name, http) for name in names if name.lower().endswith(tuple(suffixes)))
    return [pattern]


def _full(fs: Any, name: str, http: bool) -> str:
    return name if http else str(fs.unstrip_protocol(name))


def _is_http(place: str) -> bool:
    return place.lower().startswith(("http://", "https://"))


def file_system(place: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it. ValueError where its package is not installed."""
    import fsspec

    # The environment's proxies are used as curl does.
    options: dict[str, Any] = {"client_kwargs": {"trust_env": True}} if _is_http(place) else {}
    try:
        fs, path = fsspec.core.url_to_fs(place, **options)
    except ImportError as error:
        scheme = place.partition("://")[0]
        extra = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}.get(scheme)
        hint = f" Install it with: pip install 'pixsem[{extra}]'" if extra else ""
        raise ValueError(f"{scheme}:// needs a package that is not installed: {error}.{hint}") from None
    except ValueError as error:
        raise ValueError(f"{shown(place)}: {error}") from None
    return fs, path


@contextmanager
def reaching(place: str) -> Iterator[None]:
    """For the length of a block, put what a server's library raises into words. Each has errors of its own, some of
    them no OSError.
    """
    try:
        yield
    except (Unreachable, ValueError, MemoryError):
        raise
    except FileNotFoundError:
        raise ValueError(
            f"there is no file {shown(place)}, or its server does not answer or show it. Check the address; private "
            "data need HF_TOKEN, or the keys of the bucket, in the environment"
        ) from None
    except Exception as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise Unreachable(
            f"{shown(place)} cannot be read: {said}. Check the address, the credentials and the network"
        ) from error


def open_place(place: str) -> BinaryIO:
    """Open a file to read at any place in it. Raises Unreachable, or ValueError where there is none."""
    if not is_remote(place):
        path = local_path(place)
        try:
            return open(path, "rb")
        except FileNotFoundError:
            raise ValueError(f"there is no file {path}") from None
    fs, path = file_system(place)
    with reaching(place):
        return fs.open(path, "rb")


def describe(places: Sequence[str]) -> list[dict[str, Any]]:
    """What the servers say of files: `size` in bytes (None where unknown) and `stamp`, a text that changes with the
    content. Files of one folder are asked for by one listing where the server has listings.
    """
    listed: dict[str, dict[str, Any]] = {}
    folders = {place.rpartition("/")[0] for place in places if not _is_http(place) and not is_pipe(place)}
    for folder in sorted(folders):
        fs, path = file_system(folder)
        with reaching(folder):
            fs.invalidate_cache()
            listed |= {_full(fs, entry["name"], False): entry for entry in fs.ls(path, detail=True)}

    def ask(place: str) -> dict[str, Any]:
        if is_pipe(place):
            return {"size": None, "stamp": "a command"}
        info = listed.get(place)
        if info is None:
            fs, path = file_system(place)
            with reaching(place):
                info = fs.info(path)
        return {"size": info.get("size"), "stamp": _stamp(info)}

    with ThreadPoolExecutor(LOOKERS) as pool:
        return list(pool.map(ask, places))


def _stamp(info: dict[str, Any]) -> str:
    lfs = info.get("lfs")
    known = {**info, "sha256": lfs.get("sha256") if isinstance(lfs, dict) else getattr(lfs, "sha256", None)}
    for name in (*_HASHES, *_TIMES):
        if known.get(name) is not None:
            return f"{name} {known[name]}"
    return ""


def digest_remote(places: Sequence[str]) -> str:
    """sha256 (hex) over the files' names, sizes and what their servers say of them, in the order given.

    Nothing is downloaded: a change is noticed by the hash, tag or time that the server gives, or else by the size. Of a
    `pipe:` command only its text counts.
    """
    total = hashlib.sha256()
    for place, about in zip(places, describe(places), strict=True):
        total.update(json.dumps([place, about["size"], about["stamp"]]).encode() + b"\n")
    return total.hexdigest()


def with_retries(place: str, do: Callable[[], T]) -> T:
    """Do something that reads a place, again where a server failed it; a local file is read once."""
    for attempt in range(ATTEMPTS if is_remote(place) else 1):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            return do()
        except Unreachable as error:
            last = error
    raise last


def base_name(place: str) -> str:
    """The last part of a place's name, without a query; of a command its text."""
    return (
        place
        if is_pipe(place)
        else urlsplit(place).path.rpartition("/")[2]
        if is_remote(place)
        else place.rpartition("/")[2]
    )
