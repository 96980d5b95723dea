"""Pages of curation, for people: what was dropped where and why. Pictures are read for the rows that they show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.stage import ShardTask, StageContext, source_of

if TYPE_CHECKING:
    from components.curation.decide import Decision
    from components.curation.report.facts import End, Facts
    from components.curation.report.page_html import Example

EARLY = 5  # of each reason for which a stage lost rows before they were measured
# stage -> its tables of what became of each row, and the columns of a row's state, place and text
TABLES = {
    "ingest": ("rows/*.parquet", ("status", "origin", "caption")),
    "synthesize_edits": ("attempts/*.parquet", ("state", "source_key", "kind")),
}
WELL = ("success", "kept")


def write_report(
    context: StageContext,
    tasks: Sequence[ShardTask],
    columns: Mapping[str, Sequence[Any]],
    decisions: list[Decision],
    sources: Sequence[str],
) -> None:
    """Write `sheet.html`, and its figures as `sheet.png`, `funnel.png` and `signals.png`; the funnel's counts go into
    the metrics. `tasks` and `columns` have the rows in one order.
    """
    from components.curation.report.charts import bins_of
    from components.curation.report.page_html import counted, report_page
    from components.curation.report.sample_report import WORDS, sample_facts
    from components.curation.sheet import SheetRow, contact_sheet_png
    from components.data.samples import Record, image_part
    from components.evaluation.report_figures import Histogram, funnel_png, signals_png

    if not columns:
        return  # sources of edit pairs alone
    before, early = _before(context)
    facts = sample_facts(columns, decisions, sources, context.config.curate, before)
    context.metrics["curation"]["funnel"] = counted(facts)
    sides = [min(w, h) for w, h in zip(columns["width"], columns["height"], strict=True)]

    def picture(parts: Mapping[str, bytes]) -> tuple[bytes, ...]:
        part = image_part(Record("", dict(parts)))
        return (part[1] if part else b"",)

    examples = _examples(context, tasks, facts, {**columns, "min_side": sides}, decisions, picture)
    rows = [examples[row] for chosen in facts.examples.values() for row in chosen if row in examples]
    sheet = [SheetRow(row.name, row.state, row.reason, row.detail, row.text, row.pictures[0]) for row in rows]
    totals: dict[str, int] = {}
    for (_, (_, state, reason)), count in facts.flows.items():
        totals[reason or state] = totals.get(reason or state, 0) + count
    files = {
        "sheet.html": report_page(facts, examples, WORDS, early).encode(),
        "sheet.png": contact_sheet_png(sheet, totals),
        "funnel.png": funnel_png(
            facts.total["input"],
            [(s.reason, s.state == "failed", s.lost, s.left) for s in facts.funnel()],
            WORDS.unit,
        ),
        "signals.png": signals_png(
            [
                Histogram(s.name, s.kept, s.lost, *bins_of(s.values, s.bounds), [b.limit for b in s.bounds])
                for s in facts.signals
                if s.bounds
            ]
        ),
    }
    for name, data in files.items():
        with context.output(name) as path:
            path.write_bytes(data)


def _before(context: StageContext) -> tuple[dict[str, Counter[End]], dict[str, list[Example]]]:
    """What was dropped and failed before rows were measured: how many of each source in which stage for which reason,
    and a few of each.
    """
    from components.curation.report.page_html import Example
    from components.data.tables import read_table

    counts: dict[str, Counter[End]] = {}
    shown: dict[tuple[str, End], list[Example]] = {}
    for stage, (files, about) in TABLES.items():
        names = (*about, "reason", "detail")
        for path in [path for artifact in context.inputs_of(stage) for path in artifact.files(files)]:
            with context.fetch(path) as local:
                table = read_table(local, names)
            source = source_of(path)
            for state, place, text, reason, detail in zip(*(table[name] for name in names), strict=True):
                if state in WELL:
                    continue
                end = (stage, state, reason)
                counts.setdefault(source, Counter())[end] += 1
                rows = shown.setdefault((source, end), [])
                if len(rows) < EARLY:
                    name = f"{source}: {place}" if source else place
                    rows.append(Example(name, state, reason, detail, text or ""))
    found: dict[str, list[Example]] = {}
    for (_, (stage, *_)), rows in sorted(shown.items(), key=lambda item: (item[0][1], item[0][0])):
        found.setdefault(stage, []).extend(rows)
    return counts, found


def write_pairs_report(
    context: StageContext,
    tasks: Sequence[ShardTask],
    columns: Mapping[str, Sequence[Any]],
    decisions: Sequence[Decision],
    sources: Sequence[str],
) -> None:
    """Write `sheet.html` of edit pairs, in the order of `tasks`; the funnel's counts go into the metrics."""
    from components.curation.report.page_html import counted, report_page
    from components.curation.report.pair_report import WORDS, pair_facts, pair_signals
    from components.data.samples import side_part

    signals = pair_signals(columns, context.config.curate_pairs)
    before, early = _before(context)
    facts = pair_facts(signals, decisions, sources, context.config.curate_pairs, before)
    context.metrics["pairs"]["funnel"] = counted(facts)

    def pictures(parts: Mapping[str, bytes]) -> tuple[bytes, ...]:
        found = [(side, side_part(parts, side)) for side in ("source", "mask", "target")]
        return tuple(part[1] if part else b"" for side, part in found if part or side != "mask")

    examples = _examples(context, tasks, facts, signals, decisions, pictures)
    with context.output("sheet.html") as path:
        path.write_text(report_page(facts, examples, WORDS, early), "utf-8")


def _examples(
    context: StageContext,
    tasks: Sequence[ShardTask],
    facts: Facts,
    signals: Mapping[str, Sequence[Any]],
    decisions: Sequence[Decision],
    pictures: Callable[[Mapping[str, bytes]], tuple[bytes, ...]],
) -> dict[int, Example]:
    """Read the rows that are shown, shard by shard. `pictures`: those of a record's parts."""
    from components.curation.report.page_html import Example
    from components.data.records import Record, read_records
    from components.data.samples import caption_of

    shown = facts.shown()
    names = [signal.name for signal in facts.signals if signal.bounds]
    found: dict[int, Example] = {}
    first = 0
    for task in tasks:
        rows = range(first, first + len(task.args["rows"]))
        first = rows.stop
        wanted = shown.intersection(rows)
        if not wanted:
            continue
        with context.fetch(task.args["shard"]) as local:
            for row, record in zip(rows, read_records(local), strict=False):
                if row not in wanted:
                    continue
                caption = caption_of(record) if isinstance(record, Record) else None
                decision = decisions[row]
                found[row] = Example(
                    f"{task.name}/{signals['key'][row]}",
                    decision.state,
                    decision.reason,
                    decision.detail,
                    caption if isinstance(caption, str) else "",
                    pictures(record.parts if isinstance(record, Record) else {}),
                    {name: signals[name][row] for name in names},
                )
                if row == max(wanted):
                    break
    return found
