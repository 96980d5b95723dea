"""Figures of a run as text for people: a table for each group with what bounds them, and why others are absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.gallery.figures_table import GROUPS, Figure, Table, figure_groups

UNTOLD = (
    "intervals",
    "protocol",
    "absent",
    *GROUPS,
)  # how it was measured is in `--json`; others have lines of their own
SHOWN = 4  # figures that are named beside the reason why they are absent
COLUMNS = {"chance": "chance", "copy": "copied source", "ceiling": "ceiling"}


def figures_text(metrics: Mapping[str, Any]) -> list[str]:
    """Return the lines of all figures, a table for each group of models' figures."""
    plain = _plain({name: group for name, group in metrics.items() if name not in UNTOLD})
    width = max((len(name) for name, _ in plain), default=0)
    lines = ["", *(f"  {name:<{width}}  {text}" for name, text in plain)] if plain else []
    for group in figure_groups(metrics):
        for table in group.tables:
            lines += ["", *_table(group.title, table)] if table.title == "" or table.columns else [_line(table)]
            if table is group.tables[0] and group.facts:
                lines.append(f"    {', '.join(f'{name} {value}' for name, value in group.facts)}")
    reasons: dict[str, list[str]] = {}
    for name, why in metrics.get("absent", {}).items():
        reasons.setdefault(str(why), []).append(name)
    if reasons:
        lines += ["", "  absent"]
        for why, names in reasons.items():
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines += [f"    {', '.join(names[:SHOWN])}{more}", f"      {why}"]
    return lines


def _table(title: str, table: Table) -> list[str]:
    """Return a table's lines: a figure in each, with its interval and bounds."""
    head = [f"  {title} {table.title}".rstrip(), "", *(COLUMNS[name] for name in table.columns)]
    rows = [head, *([f"    {figure.words}", _value(figure), *_bounds(figure, table)] for figure in table.figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _line(table: Table) -> str:
    """Return the figures of a part that has no bounds, such as one kind of edit, in one line."""
    return f"    {table.title}: {', '.join(f'{figure.words} {_value(figure)}' for figure in table.figures)}"


def _value(figure: Figure) -> str:
    interval = f" [{figure.interval[0]:.3g}, {figure.interval[1]:.3g}]" if figure.interval else ""
    return "" if figure.value is None else f"{_number(figure.value)}{interval}"


def _bounds(figure: Figure, table: Table) -> list[str]:
    return [_number(figure.bounds[name]) if name in figure.bounds else "" for name in table.columns]


def _plain(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return one line for each group: its name, and its figures."""
    own = {key: value for key, value in values.items() if not isinstance(value, dict)}
    found = [(prefix, ", ".join(f"{key} {_number(value)}" for key, value in own.items()))] if own else []
    for key, value in values.items():
        if isinstance(value, dict):
            found += _plain(value, f"{prefix}.{key}" if prefix else key)
    return found


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) >= 0.01 or not value else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
