"""Exact and near duplicates across a whole data set, by hashes alone. It also decides which one of a group is kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

BITS = 64
CHAIN = 64  # within one bucket, each sample is compared with at most this many after it


def exact_groups(hashes: list[str], rows: np.ndarray) -> dict[int, int]:
    """Return {row: representative} for rows whose hash another row before it has."""
    first: dict[str, int] = {}
    found = {}
    for row in rows.tolist():
        kept = first.setdefault(hashes[row], row)
        if kept != row:
            found[row] = kept
    return found


def near_pairs(hashes: np.ndarray, distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield index arrays (a, b) of pairs whose 64-bit hashes differ in at most `distance` bits; a pair may come twice.

    By the pigeonhole principle such a pair agrees wholly in one of `distance` + 1 bands. Samples of one bucket are
    sorted by the whole hash and each compared with the `CHAIN` that follow, so that thousands of like hashes cost no
    more than linear time; those far apart in a crowded bucket are then joined through the ones between.
    """
    edges = np.linspace(0, BITS, distance + 2).astype(int)
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.lexsort((hashes, band))
        bands, ordered = band[order], hashes[order]
        for step in range(1, min(CHAIN, len(order) - 1) + 1):
            same = bands[:-step] == bands[step:]
            if not same.any():
                break
            close = same & (np.bitwise_count(ordered[:-step] ^ ordered[step:]) <= distance)
            if close.any():
                yield order[:-step][close], order[step:][close]


def alike(
    rows: np.ndarray, hashes: np.ndarray, thumbnails: np.ndarray, distance: int, colour: float, peak: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield arrays (a, b) of those `rows` that are near duplicates of each other; a pair may come twice.

    They agree in perceptual hash to `distance` bits (-1: none are looked for) and in their thumbnails, uint8 [row,
    cell], to a mean difference of `colour` and a largest one of `peak` (0-255): the hash alone is blind to colour.
    """
    if distance < 0 or len(rows) < 2:
        return
    for a, b in near_pairs(hashes[rows], distance):
        for first in range(0, len(a), 100_000):
            one, other = rows[a[first : first + 100_000]], rows[b[first : first + 100_000]]
            difference = np.abs(thumbnails[one].astype(np.int16) - thumbnails[other])
            same = (difference.mean(1) <= colour) & (difference.max(1) <= peak)
            yield one[same], other[same]


class Groups:
    """Union-find over sample numbers."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, item: int) -> int:
        """Return the group's representative."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        """Make two groups one; the smaller number represents it."""
        a, b = self.find(a), self.find(b)
        if a != b:
            self._parent[max(a, b)] = min(a, b)


def find_duplicates(
    columns: dict[str, Any], rows: np.ndarray, exact: bool, distance: int, colour: float, peak: float
) -> dict[int, tuple[str, int]]:
    """Return {row: ("exact_duplicate" | "near_duplicate", the row kept instead)} among `rows`.

    Near duplicates are those of `alike`. The best of a group stays: most pixels, then sharpest, then longest caption,
    then first by shard and key.
    """
    groups = Groups(len(rows))
    if exact:
        position = {row: i for i, row in enumerate(rows.tolist())}
        for row, first in exact_groups(columns["pixel_hash"], rows).items():
            groups.join(position[row], position[first])
    if distance >= 0 and len(rows) > 1:
        hashes = np.array([columns["phash"][r] for r in rows], np.uint64)
        thumbnails = np.frombuffer(b"".join(columns["thumbnail"][r] for r in rows), np.uint8).reshape(len(rows), -1)
        for one, other in alike(np.arange(len(rows)), hashes, thumbnails, distance, colour, peak):
            for i, j in zip(one.tolist(), other.tolist(), strict=True):
                groups.join(i, j)
    members: dict[int, list[int]] = {}
    for i in range(len(rows)):
        members.setdefault(groups.find(i), []).append(int(rows[i]))
    found: dict[int, tuple[str, int]] = {}
    for group in members.values():
        if len(group) > 1:
            best = min(group, key=lambda row: _rank(columns, row))
            for row in group:
                if row != best:
                    same = columns["pixel_hash"][row] == columns["pixel_hash"][best]
                    found[row] = ("exact_duplicate" if same else "near_duplicate", best)
    return found


def _rank(columns: dict[str, Any], row: int) -> tuple[Any, ...]:
    return (
        -columns["width"][row] * columns["height"][row],
        -round(columns["sharpness"][row], 3),
        -columns["characters"][row],
        columns["shard"][row],
        columns["key"][row],
    )
