"""Malformed bytes as a hypothesis strategy: good files that were cut, flipped, spliced and overwritten, and bytes of no
kind at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

# Numbers at which readers go wrong: ends of ranges, sizes of blocks, digits of tar's and pax's fields.
NUMBERS = [
    n.to_bytes(size, order)
    for size in (2, 4, 8)
    for n in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    for order in ("little", "big")
]
TEXTS = [
    b"\0",
    b"\n",
    b"\r\n",
    b'"',
    b"'",
    b",",
    b"{",
    b"}",
    b"[",
    b"]",
    b"${",
    b"???",
    b"null",
    b"NaN",
    b"1e999",
    b"../",
    b"/",
    b"\\ud800",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"77777777777",
    b"-1",
    b"99 size=999999999999999999\n",
    b"=",
    b"\xff\xd8",
    b"\xff\xda",
    b"@",
    b"a@" * 40,
    b"[" * 200,
    "￿".encode(),
    "ﷺ".encode(),
    b"\xe2\x80\xae",
]


@st.composite
def malformed(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Bytes near a good file, or far from any. Places are drawn evenly: hypothesis likes the ends, where every reader
    looks first.
    """
    rng = draw(st.randoms(use_true_random=True))
    if rng.random() < 0.05:
        return draw(st.binary(max_size=300))
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(data) + 1)
        kind = rng.choice(("flip", "flip", "cut", "drop", "put", "put", "splice", "random"))
        if kind == "flip" and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + rng.randint(1, 64)]
        elif kind == "put":
            piece = rng.choice((*NUMBERS, *TEXTS))
            data[at : at + rng.choice((0, len(piece)))] = piece
        elif kind == "splice":
            other = rng.choice(seeds)
            start = rng.randrange(len(other))
            data[at:at] = other[start : start + rng.randint(1, 1024)]
        else:
            data[at : at + 8] = draw(st.binary(max_size=16))
    return bytes(data)
