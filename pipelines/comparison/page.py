"""A comparison's results for people: one list of blocks, written as Markdown and as one HTML page with its figures
inside; and CSV.
"""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.comparison.paper import HEADER, RESULTS, SOURCE
from pipelines.comparison.record import Record
from pipelines.comparison.results import TABLES, Result, Summary, columns, label, lower_is_better, summarise

STYLE = (
    "body{font:15px/1.45 sans-serif;margin:32px auto;max-width:1100px;padding:0 "
    "16px;color:#141414}table{border-collapse:collapse;"
    "margin:12px 0;display:block;overflow-x:auto}th,td{padding:4px 10px;border-bottom:1px solid "
    "#ddd;text-align:right;white-space:nowrap}"
    "th:first-child,td:first-child{text-align:left}td.best{font-weight:bold}img{max-width:100%;margin:8px "
    "0}small{color:#666}"
    "section.paper{background:#f4f1e8;padding:4px 16px;margin-top:24px}"
)


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table; `best` are the (row, column) of cells that stand out; `foreign` where the figures are not ours."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    foreign: bool = False


@dataclass(frozen=True)
class Picture:
    """A PNG, by its file name beside the page."""

    name: str
    caption: str


Block = Heading | Text | Table | Picture


def about(record: Record) -> str:
    """Say in a line what was compared."""
    shared = " ".join(record.overrides) or "the default configuration"
    seeds = sorted({entry.seed for entry in record.entries.values()})
    return f"Comparison {record.id}: {shared}, budget {record.budget:g}, seeds {', '.join(map(str, seeds))}."


def build_page(
    record: Record, results: Sequence[Result], missing: Mapping[str, str], pictures: Sequence[Picture]
) -> list[Block]:
    """Return the page: what each row is, the tables, the figures, what is missing, and the paper's own results apart
    from ours.
    """
    summary = summarise(results)
    blocks: list[Block] = [
        Heading("Feature spaces compared"),
        Text(
            about(record)
            + " Mean ± sample standard deviation over seeds; a figure of one seed stands alone. Every row has had the "
            "same samples."
        ),
    ]
    rows = {entry.row: entry for entry in record.entries.values()}
    described = []
    for name, entry in rows.items():
        count = sum(r.row == name for r in results)
        described.append((name, entry.kind, entry.what, entry.against or "", str(count)))
    blocks.append(Table(("row", "kind", "what it is", "held against", "seeds done"), tuple(described)))
    if missing:
        blocks.append(Text("Missing: " + "; ".join(f"{key} ({reason})" for key, reason in missing.items()) + "."))
    for title, patterns in TABLES:
        names = columns(patterns, summary)
        if names:
            blocks += [Heading(title), table(names, summary)]
            if title == "Convergence":
                blocks.append(Text(convergence_text(summary)))
    blocks += [block for p in pictures for block in (Heading(p.caption), p)]
    blocks += [Heading("The paper's own results"), Text(SOURCE), Table(HEADER, RESULTS, foreign=True)]
    return blocks


def convergence_text(summary: Mapping[str, Mapping[str, Summary]]) -> str:
    """Say what the columns of the convergence table mean."""
    text = (
        "Score: share of fresh prompts that are exactly right. The mean is over the curve against samples. Seconds "
        "are of training steps alone"
    )
    limits = [
        figures["convergence.equal_seconds"].mean
        for figures in summary.values()
        if "convergence.equal_seconds" in figures
    ]
    return text + (f"; equal seconds are {limits[0]:,.1f}, what the quickest row took." if limits else ".")


def table(names: Sequence[str], summary: Mapping[str, Mapping[str, Summary]]) -> Table:
    """Return the table of some figures, the best of each column marked where more than one row has it."""
    rows = []
    best: set[tuple[int, int]] = set()
    for row, figures in summary.items():
        rows.append((row, *(figures[name].text() if name in figures else "" for name in names)))
    for column, name in enumerate(names, 1):
        values = {line: figures[name].mean for line, figures in enumerate(summary.values()) if name in figures}
        if len(set(values.values())) > 1:
            chosen = min(values.values()) if lower_is_better(name) else max(values.values())
            best |= {(line, column) for line, value in values.items() if value == chosen}
    header = tuple(f"{label(name)} {'↓' if lower_is_better(name) else ''}".strip() for name in names)
    return Table(("row", *header), tuple(rows), frozenset(best))


def to_markdown(blocks: Sequence[Block]) -> str:
    """Return the page as Markdown; figures are files beside it."""
    lines: list[str] = []
    for number, block in enumerate(blocks):
        if isinstance(block, Heading):
            lines += [f"{'#' if number == 0 else '##'} {block.text}", ""]
        elif isinstance(block, Text):
            lines += [block.text, ""]
        elif isinstance(block, Picture):
            lines += [f"![{block.caption}]({block.name})", ""]
        else:
            lines += [_line(block.header), _line(["---"] * len(block.header))]
            for r, row in enumerate(block.rows):
                lines.append(_line([f"**{cell}**" if (r, c) in block.best else cell for c, cell in enumerate(row)]))
            lines.append("")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def to_html(blocks: Sequence[Block], files: Mapping[str, bytes]) -> str:
    """Return the page as one HTML file: figures (PNG bytes by name) are data URIs, nothing comes from outside."""
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>pixsem compare</title><style>{STYLE}</style>"]
    for number, block in enumerate(blocks):
        if isinstance(block, Heading):
            size = "h1" if number == 0 else "h2"
            parts.append(f"<{size}>{html.escape(block.text)}</{size}>")
        elif isinstance(block, Text):
            parts.append(f"<p>{html.escape(block.text)}</p>")
        elif isinstance(block, Picture):
            data = base64.b64encode(files[block.name]).decode()
            parts.append(f"<img alt='{html.escape(block.caption, quote=True)}' src='data:image/png;base64,{data}'>")
        else:
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in block.header)
            body = "".join(
                "<tr>" + "".join(_cell(cell, (r, c) in block.best) for c, cell in enumerate(row)) + "</tr>"
                for r, row in enumerate(block.rows)
            )
            found = f"<table><tr>{head}</tr>{body}</table>"
            parts.append(f"<section class=paper>{found}</section>" if block.foreign else found)
    return "\n".join([*parts, "</html>"])


def _cell(text: str, best: bool) -> str:
    return f"<td{' class=best' if best else ''}>{html.escape(text)}</td>"


def results_csv(results: Sequence[Result]) -> str:
    """Return every figure of every run: `row,seed,run,figure,value,standard_error`."""
    return _csv(
        ("row", "seed", "run", "figure", "value", "standard_error"),
        [(r.row, r.seed, r.run, n, v, r.errors.get(n, "")) for r in results for n, v in sorted(r.metrics.items())],
    )


def summary_csv(results: Sequence[Result]) -> str:
    """Return every figure over seeds: `row,figure,mean,standard_deviation,seeds`."""
    return _csv(
        ("row", "figure", "mean", "standard_deviation", "seeds"),
        [
            (row, name, s.mean, "" if s.spread is None else s.spread, s.count)
            for row, figures in summarise(results).items()
            for name, s in sorted(figures.items())
        ],
    )


def curves_csv(results: Sequence[Result]) -> str:
    """Return the curves: `row,seed,samples,seconds,score`."""
    return _csv(
        ("row", "seed", "samples", "seconds", "score"),
        [(r.row, r.seed, p.samples, "" if p.seconds is None else p.seconds, p.score) for r in results for p in r.curve],
    )


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
