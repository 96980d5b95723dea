"""One side for one picture: groups of samples that show the same picture, or near duplicates, are held out or trained
on together, whatever source each is of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from components.curation.duplicates import alike

NOT_SAID = -1  # of `PictureRows.said`


@dataclass(frozen=True)
class PictureRows:
    """One row for each picture, as columns: which group it is of, on which side that is, and its signals."""

    groups: np.ndarray  # uint64, a number for the group's name
    held_out: np.ndarray  # bool, by the group's name
    said: np.ndarray  # int8, what the picture's own source says: 1 held out, 0 not, or NOT_SAID
    of_pictures: np.ndarray  # bool, of a source of pictures, not of edit pairs
    compared: np.ndarray  # bool; a picture that is not is of no other group for that
    pixels: np.ndarray  # uint64, a hash of the decoded picture
    hashes: np.ndarray  # uint64, the perceptual hash
    thumbnails: np.ndarray  # uint8 [row, cell]


@dataclass(frozen=True)
class Moved:
    """Groups that leave the side of their name, sorted, and how many groups shared a picture."""

    groups: np.ndarray  # uint64
    sharing: int  # groups that share a picture with another
    largest: int  # groups that are on one side for one chain of pictures, at most
    conflicts: int  # groups whose source says the other side than the others of their chain are on


def one_side(rows: PictureRows, distance: int, colour: float, peak: float) -> Moved:
    """Return which groups change sides so that none shares a picture with a group of the other side.

    Groups that share a picture, by `alike`'s bounds, make a chain. Its side is what a source says of one of its
    pictures (held out, where sources differ), else that of a group of a picture source, else that of any. What a source
    says of its own pictures stands.
    """
    names, at = np.unique(rows.groups, return_inverse=True)
    chains = _chains(rows, at, len(names), distance, colour, peak)
    own, of_pictures = np.zeros(len(names), bool), np.zeros(len(names), bool)
    own[at] = rows.held_out
    of_pictures[at] = rows.of_pictures
    said = np.full(len(names), NOT_SAID, np.int8)
    np.maximum.at(said, at, rows.said)
    stands = np.where(said != NOT_SAID, said == 1, own)
    # Of equals the swapped bytes of a name's number decide: the number itself says the side.
    rank = np.select([said == 1, said == 0, of_pictures], [0, 1, 2], 3)
    order = np.lexsort((names.byteswap(), rank, chains))
    side = stands[order[np.unique(chains[order], return_index=True)[1]]][chains]
    sizes = np.bincount(chains)
    return Moved(
        groups=names[(said == NOT_SAID) & (side != own)],
        sharing=int(sizes[sizes > 1].sum()),
        largest=int(sizes.max(initial=0)),
        conflicts=int(((said != NOT_SAID) & (side != stands)).sum()),
    )


def _chains(rows: PictureRows, at: np.ndarray, groups: int, distance: int, colour: float, peak: float) -> np.ndarray:
    """Return the number of each group's chain, int32 [groups]; `at` is each row's group."""
    compared = np.flatnonzero(rows.compared)
    _, first, same = np.unique(rows.pixels[compared], return_index=True, return_inverse=True)
    first = compared[first]  # a picture's copies need no further comparing
    links = [(compared, first[same]), *alike(first, rows.hashes, rows.thumbnails, distance, colour, peak)]
    one, other = (at[np.concatenate(ends)] for ends in zip(*links, strict=True))
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(groups, groups))
    return np.asarray(connected_components(graph, directed=False)[1])
