"""Malformed bytes as a hypothesis strategy: good files that were cut, flipped, spliced and overwritten, and bytes of no kind at all."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

# Numbers at which readers go wrong: ends of ranges, sizes of blocks, digits of tar's and pax's fields.
NUMBERS = [n.to_bytes(size, order) for size in (2, 4, 8) for n in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
           for order in ("little", "big")]  # fmt: skip
TEXTS = [b"\0", b"\n", b"\r\n", b'"', b"'", b",", b"{", b"}", b"[", b"]", b"${", b"???", b"null", b"NaN", b"1e999", b"../", b"/", b"\\ud800",
         b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"77777777777", b"-1", b"99 size=999999999999999999\n", b"=", b"\xff\xd8", b"\xff\xda",
         b"@", b"a@" * 40, b"[" * 200, "￿".encode(), "ﷺ".encode(), b"\xe2\x80\xae"]  # fmt: skip


@st.composite
def malformed(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Bytes near a good file, or far from any."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=300))
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 5))
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << draw(st.integers(0, 7))
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == 3:
            piece = draw(st.sampled_from([*NUMBERS, *TEXTS]))
            data[at : at + (len(piece) if draw(st.booleans()) else 0)] = piece
        elif kind == 4:
            other = draw(st.sampled_from(seeds))
            start = draw(st.integers(0, len(other)))
            data[at:at] = other[start : start + draw(st.integers(1, 1024))]
        else:
            data[at : at + 8] = draw(st.binary(max_size=16))
    return bytes(data)
