"""Names of files in shards: one rule of which sample a file is of, and which part of it, for all that read or write."""

from __future__ import annotations


def split_name(name: str) -> tuple[str, str]:
    """`./a.b/c.source.png` -> (`a.b/c`, `source.png`): the key ends at the first dot of the file's own name, as in
    webdataset, and a leading `./` is no part of it. A name without a key or an extension gives "" for it.
    """
    while name.startswith("./"):
        name = name[2:]
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (folder + slash + stem if stem else ""), extension.lower()
