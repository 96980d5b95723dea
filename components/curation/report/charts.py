"""Figures of a report as inline SVG: flows from sources to what became of their rows, and histograms with thresholds.

Colours are CSS variables of the page, so that they follow light and dark. All text is escaped here.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from components.curation.report.facts import Bound, End, Facts, Signal

BINS = 40
WIDTH, HEIGHT = 340, 150  # of a histogram
LEFT, RIGHT, TOP, BOTTOM = 8, 8, 30, 22
STATES = ("kept", "dropped", "failed")
SANKEY = 760  # width of the flows
NODE, GAP, LEAST, HEADING = 14, 9, 3, 22  # width of a node, between nodes, least height of one; of a heading


def said(name: str) -> str:
    """A reason's or a signal's name for people, escaped: `flat_image` -> `flat image`."""
    return html.escape(name.replace("_", " "))


def number(value: float) -> str:
    """`1,234`, `0.25`."""
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.3g}"


def sankey(facts: Facts, unit: str) -> str:
    """Ribbons from each source to what was kept, and to each reason for which a stage dropped or failed rows."""
    ends: Counter[End] = Counter()
    for (_, end), count in facts.flows.items():
        ends[end] += count
    order = sorted(
        ends,
        key=lambda end: (end[1] != "kept", facts.stages.index(end[0]), STATES.index(end[1]), -ends[end], end[2]),
    )
    # The first end of each stage stands below the stage's name.
    headed = {end[0]: end for end in reversed(order) if end[1] != "kept"}.values()
    total = sum(ends.values())
    height = max(160, 34 * max(len(order), len(facts.sources)))
    scale = (height - GAP * (max(len(order), len(facts.sources)) - 1)) / max(1, total) * 0.8
    sources = _places({name: counts["input"] for name, counts in facts.sources.items()}, scale)
    targets = _places({end: ends[end] for end in order}, scale, headed)
    height = math.ceil(max(sum(place) for place in (*sources.values(), *targets.values()))) + 12
    at_source = {name: top for name, (top, _) in sources.items()}
    at_target = {end: top for end, (top, _) in targets.items()}
    left, right = 130, SANKEY - 290
    parts = [
        f'<svg class="sankey" viewBox="0 0 {SANKEY} {height}" role="img" aria-label="What became of {number(total)} '
        f'{unit} of each source: the table and the funnel say the same in numbers">'
    ]
    for name in facts.sources:
        for end in order:
            count = facts.flows.get((name, end), 0)
            if not count:
                continue
            thick = max(1.0, count * scale)
            a, b = at_source[name] + thick / 2, at_target[end] + thick / 2
            at_source[name] += count * scale
            at_target[end] += max(count * scale, 0)
            middle = (left + right) / 2
            parts.append(
                f'<path class="flow {end[1]}" stroke-width="{thick:.1f}" d="M{left + NODE} {a:.1f}C{middle:.0f} '
                f'{a:.1f} {middle:.0f} {b:.1f} {right} {b:.1f}"><title>{source_name(name)}: {number(count)} '
                f"{_end(end)}</title></path>"
            )
    for name, (top, tall) in sources.items():
        parts.append(f'<rect class="node" x="{left}" y="{top:.1f}" width="{NODE}" height="{tall:.1f}"/>')
        parts.append(_text(left - 8, top + tall / 2 - 2, source_name(name), "end"))
        parts.append(_text(left - 8, top + tall / 2 + 13, number(facts.sources[name]["input"]), "end", "quiet"))
    for end, (top, tall) in targets.items():
        if end in headed:
            parts.append(_text(right, top - 8, f"lost in {html.escape(end[0])}", "start", "quiet"))
        parts.append(f'<rect class="{end[1]}" x="{right}" y="{top:.1f}" width="{NODE}" height="{tall:.1f}"/>')
        label = f"{_end(end)} <tspan class='quiet'>{number(ends[end])} · {ends[end] / max(1, total):.1%}</tspan>"
        parts.append(_text(right + NODE + 8, top + tall / 2 + 4, label))
    return "".join((*parts, "</svg>"))


def source_name(name: str) -> str:
    """A source's name for people, escaped."""
    return html.escape(name) if name else "the source"


def _end(end: End) -> str:
    _, state, reason = end
    return "kept" if state == "kept" else f"{said(reason)}{' (failed)' if state == 'failed' else ''}"


def _places(heights: dict[Any, int], scale: float, headed: Collection[Any] = ()) -> dict[Any, tuple[float, float]]:
    """{node: (top, height)}: one below the other, never so near that their labels meet; `headed` ones leave room for a
    line above them.
    """
    places: dict[Any, tuple[float, float]] = {}
    top = 4.0
    for name, count in heights.items():
        top += HEADING if name in headed else 0
        tall = max(LEAST, count * scale)
        places[name] = (top, tall)
        top += max(tall + GAP, 26.0)
    return places


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{words}</text>'


def histogram(signal: Signal) -> str:
    """Bars of kept rows (below) and others (above), with each bound as a line. The outermost bars take in what lies
    beyond them.
    """
    values = signal.values
    edges, is_log = bins_of(values, signal.bounds)
    kept, lost = (np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0] for part in (signal.kept, signal.lost))
    most = max(1, int((kept + lost).max()))
    wide = (WIDTH - LEFT - RIGHT) / (len(edges) - 1)
    tall = HEIGHT - TOP - BOTTOM
    base = HEIGHT - BOTTOM
    parts = [
        f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="'
        f"Histogram of {said(signal.name)}: {number(len(values))} values, {number(values.min())} to "
        f'{number(values.max())}, median {number(float(np.median(values)))}">'
    ]
    for place, (good, bad) in enumerate(zip(kept.tolist(), lost.tolist(), strict=True)):
        x, top = LEFT + place * wide, float(base)
        span = f"{edges[place]:.4g} to {edges[place + 1]:.4g}"
        for count, kind in ((good, "kept"), (bad, "dropped")):
            if count:
                high = max(1.0, count / most * tall)
                top -= high
                parts.append(
                    f'<rect class="{kind}" x="{x + 0.4:.1f}" y="{top:.1f}" width="{wide - 0.8:.1f}" '
                    f'height="{high:.1f}"><title>{span}: {number(count)} {kind}</title></rect>'
                )
    parts.append(f'<line class="axis" x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}"/>')
    for value, anchor in _ticks(edges):
        parts.append(_text(_place(value, edges, wide), HEIGHT - 6, number(value), anchor, "quiet"))
    for row, bound in enumerate(signal.bounds):
        x = _place(bound.limit, edges, wide)
        anchor = "start" if x < WIDTH * 0.6 else "end"
        parts.append(f'<line class="bound" x1="{x:.1f}" y1="{TOP - 16 + 12 * row}" x2="{x:.1f}" y2="{base}"/>')
        told = f"← {bound.words()}" if bound.limit < edges[0] else bound.words()
        told = f"{told} →" if bound.limit > edges[-1] else told  # far from all values: it stands at the edge
        parts.append(_text(x + (4 if anchor == "start" else -4), TOP - 14 + 12 * row, told, anchor, "limit"))
    if is_log:
        parts.append(_text(WIDTH - RIGHT, 10, "logarithmic", "end", "quiet"))
    return "".join((*parts, "</svg>"))


def bins_of(values: np.ndarray, bounds: Sequence[Bound]) -> tuple[list[float], bool]:
    """Edges of the bars, and whether they grow: from the lowest to the highest value but for the last half percent on
    each side, and so that every bound is inside that is not far from all values.
    """
    low, high = (float(v) for v in np.quantile(values, (0.005, 0.995)))
    reach = max(high - low, abs(high) / 10)
    limits = [bound.limit for bound in bounds if low - reach <= bound.limit <= high + reach]
    low, high = min([low, *limits]), max([high, *limits])
    if low == high:
        low, high = low - 0.5, high + 0.5
    positive = values[values > 0]
    is_log = low >= 0 and len(positive) > 0.9 * len(values) and high > 50 * max(float(np.median(values)), 1e-9)
    if is_log:
        start = max(
            float(positive.min()), min([limit for limit in limits if limit > 0], default=math.inf) / 2, high / 1e6
        )
        return [float(v) for v in np.geomspace(min(start, high / 10), high, BINS + 1)], True
    whole = bool(np.all(values == np.round(values))) and high - low < BINS
    if whole:
        return [float(v) - 0.5 for v in range(math.floor(low), math.ceil(high) + 2)], False
    return [float(v) for v in np.linspace(low, high, BINS + 1)], False


def _ticks(edges: Sequence[float]) -> list[tuple[float, str]]:
    if edges[0] % 1 == 0.5:  # bars of one whole number each, which stands in their middle
        step = -(-(len(edges) - 1) // 6)
        return [(edge + 0.5, "middle") for edge in edges[:-1:step]]
    return [(edges[0], "start"), (edges[len(edges) // 2], "middle"), (edges[-1], "end")]


def _place(value: float, edges: Sequence[float], wide: float) -> float:
    return LEFT + float(np.interp(value, edges, range(len(edges)))) * wide
