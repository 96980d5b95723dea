"""Whether a source can be opened: its files are there and may be read, and its lists have the columns that are
named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pipelines.config.compose import NOT_GIVEN
from pipelines.config.schema import Config
from pipelines.config.source_kinds import FolderSource, UrlsSource
from pipelines.stages.data.ingest import SOURCES

SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def check_source(config: Config) -> Iterator[str]:
    """Check the configured source."""
    source = config.source
    if NOT_GIVEN in source.model_dump().values():
        return  # a plan's, of samples that are only counted
    place = str(getattr(source, "shards", None) or getattr(source, "path", ""))
    if SCHEME.match(place):
        yield (
            f"source: {place} is an address, and sources are read from a file system. Mount it or copy it to a disk, "
            "and give that path."
        )
        return
    try:
        paths = [Path(path) for path in SOURCES[source.kind].files(source)]
        locked = [path for path in paths if not os.access(path, os.R_OK)]
        if locked:
            more = f" and {len(locked) - 1} more" if len(locked) > 1 else ""
            yield f"source: {locked[0]}{more} may not be read by this user. Change its permissions, or leave it out."
            return
        if isinstance(source, UrlsSource):
            _check_columns(source, paths[0])
        elif isinstance(source, FolderSource):
            _check_captions(source)
        empty = [] if isinstance(source, FolderSource) else [path for path in paths if not path.stat().st_size]
        if paths and len(empty) == len(paths):  # one that is empty among others is ingest's to report
            yield (
                f"source: {empty[0]} is empty{' and so are all others' if len(empty) > 1 else ''}. Fetch the "
                "files again."
            )
    except (ValueError, OSError) as error:
        yield f"source: {error}"


def _check_columns(source: UrlsSource, path: Path) -> None:
    """ValueError where the first list lacks a column."""
    from components.data.url_lists import read_url_list

    next(read_url_list(path, source.columns), None)


def _check_captions(source: FolderSource) -> None:
    """ValueError where the captions file lacks a column."""
    from components.data.folder import find_captions_file
    from components.data.list_files import ListFormat, read_rows

    captions = find_captions_file(source.path, source.files)
    if captions is not None:
        next(read_rows(captions, [source.files.file_column, source.files.caption_column], ListFormat()), None)
