"""A report of decided rows as one HTML page with no outside parts and no script: it opens anywhere, in light and dark,
on a phone, and by keyboard. Captions come from strangers, so all text is escaped, and the page forbids itself to load.
"""

from __future__ import annotations

import base64
import html
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from components.curation.images import ImageError, decode_image
from components.curation.options import ImageLimits
from components.curation.report.charts import histogram, number, said, sankey, source_name
from components.curation.report.facts import Bound, Facts, Signal, Step
from components.curation.report.style import STYLE

THUMBNAIL = 160  # longer side, pixels
SHOWN_TEXT = 300  # characters of a caption
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Example:
    """A row as it is shown: its name, what was decided and why, its text, and its pictures' files (may be broken)."""

    name: str
    state: str
    reason: str
    detail: str
    text: str
    pictures: tuple[bytes, ...] = ()
    values: Mapping[str, float | None] = field(default_factory=dict)  # of its signals


@dataclass(frozen=True)
class Words:
    """What a report is of."""

    title: str  # "Curation"
    unit: str  # "samples"
    meaning: Mapping[str, str] = field(default_factory=dict)  # reason -> what it means, for a stranger
    stages: Mapping[str, str] = field(default_factory=dict)  # stage -> what it means to be lost there


def report_page(
    facts: Facts, examples: Mapping[int, Example], words: Words, early: Mapping[str, Sequence[Example]] | None = None
) -> str:
    """Return the page. `examples`: row number -> the row, for those of `facts.shown()` that could be read. `early`:
    stage -> some of those that were lost there before they were measured.
    """
    bounds = {bound.reason: bound for signal in facts.signals for bound in signal.bounds}
    ruled = [signal for signal in facts.signals if any(bad for _, _, bad in signal.near)]
    quiet = [signal for signal in facts.signals if signal.bounds and not any(bad for _, _, bad in signal.near)]
    others = [signal for signal in facts.signals if not signal.bounds]
    title, unit = html.escape(words.title), html.escape(words.unit)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}: report of the data</title><style>{STYLE}</style></head><body>",
        _head(facts, title, unit),
        "<main>",
        _overview(facts),
        _funnels(facts, words, bounds, unit),
        f'<section id="flows"><h2>From each source to its end</h2><p>What was kept, and what each stage lost and why. '
        "<span class=narrow>It goes on to the right: swipe.</span></p>"
        f'<div class="wide" tabindex="0">{sankey(facts, unit)}</div></section>',
        '<section id="signals"><h2>Signals with a threshold</h2><p>Every bar counts '
        f"{unit} with this value. <b class=kept>Kept</b> ones stand below, <b class=dropped>dropped</b> ones on them: "
        "whichever rule dropped them. The line is the threshold. Under it are the nearest on both sides: they show "
        "whether the threshold is where you want it.</p>",
        *(_signal(signal, examples) for signal in ruled),
        "</section>" if ruled else "<p>None fails its threshold.</p></section>",
        _folded("Thresholds that nothing fails", quiet, examples),
        _folded("Signals without a threshold", others, examples),
        _reasons(facts, examples, words, bounds, unit),
        *(_early(stage, rows, words) for stage, rows in (early or {}).items()),
        "</main></body></html>",
    ]
    return "\n".join(parts)


def _head(facts: Facts, title: str, unit: str) -> str:
    total = facts.total
    links = (("funnel", "Funnel"), ("flows", "Flows"), ("signals", "Signals"), ("examples", "Examples"))
    numbers = "".join(
        f'<div class="{state}"><b>{number(total[state])}</b> {state} '
        f"<small>{_share(total[state], total['input'])}</small></div>"
        for state in ("kept", "dropped", "failed")
    )
    menu = "".join(f'<a href="#{name}">{words}</a>' for name, words in links)
    return (
        f"<header><h1>{title}</h1><p>{number(total['input'])} {unit} came in. Each was kept, dropped by a rule, or "
        f"failed because it could not be read.</p><div class=numbers>{numbers}</div>"
        f"<nav aria-label=Sections>{menu}</nav></header>"
    )


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "-"


def _overview(facts: Facts) -> str:
    """The table of sources, where there are several: what came in, what each stage lost, what is kept."""
    if len(facts.sources) < 2:
        return ""
    stages = [stage for stage in facts.stages if any(end[0] == stage for end in facts.ends)]

    def row(label: str, counts: Mapping[str, int], steps: Sequence[Step]) -> str:
        lost = [sum(step.lost for step in steps if step.stage == stage) for stage in stages]
        share = _share(counts["kept"], counts["input"])
        cells = (number(counts["input"]), number(counts["kept"]), share, *map(number, lost))
        return f"<tr><th scope=row>{label}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"

    rows = [row(source_name(name), counts, facts.funnel(name)) for name, counts in facts.sources.items()]
    rows.append(row("all", facts.total, facts.funnel()))
    columns = ("source", "came in", "kept", "share kept", *(f"lost in {stage}" for stage in stages))
    head = "".join(f"<th scope=col>{html.escape(column)}</th>" for column in columns)
    return f"<section id=sources><h2>Sources</h2><table><tr>{head}</tr>{''.join(rows)}</table></section>"


def _funnels(facts: Facts, words: Words, bounds: Mapping[str, Bound], unit: str) -> str:
    """The funnel of all, and folded that of each source where there are several."""
    each = "".join(
        f"<details><summary>{source_name(name)}: {number(counts['kept'])} of {number(counts['input'])} kept</summary>"
        f"{funnel_list(facts.funnel(name), counts, words, bounds)}</details>"
        for name, counts in facts.sources.items()
    )
    return (
        f"<section id=funnel><h2>Funnel</h2><p>Stages and their rules stand in the order in which they decide; the "
        f"first that fails decides. Each line says how many {unit} are left after it, and how many it took.</p>"
        f"{funnel_list(facts.funnel(), facts.total, words, bounds)}{each if len(facts.sources) > 1 else ''}</section>"
    )


def funnel_list(steps: Sequence[Step], counts: Mapping[str, int], words: Words, bounds: Mapping[str, Bound]) -> str:
    """HTML of a funnel: one bar for what came in, one for what each step left, below the stage that it is of. `counts`
    says `input` and `kept`; `bounds`: reason -> its threshold. All text is escaped here.
    """
    total = counts["input"]

    def bar(label: str, left: int, lost: int, state: str, explained: str) -> str:
        shares = (100 * left / total, 100 * lost / total) if total else (0.0, 0.0)
        gone = f'<i class="{state}" style="width:{max(shares[1], 0.4):.2f}%"></i>' if lost else ""
        minus = f"<small class={state}>−{number(lost)}</small>" if lost else ""
        return (
            f"<li><span class=label>{label}<small>{explained}</small></span><span class=bar aria-hidden=true>"
            f'<i class=kept style="width:{shares[0]:.2f}%"></i>{gone}</span>'
            f"<span class=count>{number(left)} {minus}</span></li>"
        )

    rows = [bar("came in", total, 0, "kept", "")]
    for stage, group in itertools.groupby(steps, lambda step: step.stage):
        explained = html.escape(words.stages.get(stage, ""))
        rows.append(f"<li class=stage><b>lost in {html.escape(stage)}</b> <small>{explained}</small></li>")
        rows += [
            bar(said(step.reason), step.left, step.lost, step.state, html.escape(meaning(step, words, bounds)))
            for step in group
        ]
    rows.append(bar("<b>kept</b>", counts["kept"], 0, "kept", ""))
    return f"<ol class=funnel>{''.join(rows)}</ol>"


def meaning(step: Step, words: Words, bounds: Mapping[str, Bound]) -> str:
    """What a reason means: in words, else its threshold."""
    if step.state == "dropped" and step.reason in bounds:
        bound = bounds[step.reason]
        asked = f"{bound.signal.replace('_', ' ')} must be {bound.words()}"
        return f"{words.meaning[step.reason]}: {asked}" if step.reason in words.meaning else asked
    return words.meaning.get(step.reason, "")


def _signal(signal: Signal, examples: Mapping[int, Example]) -> str:
    missing = f"<p><small>{number(signal.missing)} have no value.</small></p>" if signal.missing else ""
    sides = []
    for bound, good, bad in signal.near:
        for rows, words, kind in ((good, "Just inside: passes", "kept"), (bad, "Just outside: fails", "dropped")):
            shown = "".join(_figure(examples[row], signal.name) for row in rows if row in examples)
            if shown:
                sides.append(
                    f"<div><h4 class={kind}>{words} “{html.escape(bound.words())}”</h4>"
                    f"<div class=strip>{shown}</div></div>"
                )
    return (
        f"<article><h3>{said(signal.name)}</h3><div class=pair><div>{histogram(signal)}{missing}</div>"
        f"<div class=sides>{''.join(sides)}</div></div></article>"
    )


def _folded(title: str, signals: Sequence[Signal], examples: Mapping[int, Example]) -> str:
    """Signals of which few want to know more, closed until they are opened."""
    if not signals:
        return ""
    shown = "".join(_signal(signal, examples) for signal in signals)
    return f"<section><details><summary>{title} ({len(signals)})</summary>{shown}</details></section>"


def _reasons(
    facts: Facts, examples: Mapping[int, Example], words: Words, bounds: Mapping[str, Bound], unit: str
) -> str:
    parts = ["<section id=examples><h2>Examples of every reason</h2>"]
    for end, shown in facts.examples.items():
        (stage, state, reason), rows = end, [examples[row] for row in shown if row in examples]
        count = sum(facts.flows.get((name, end), 0) for name in facts.sources)
        title = "kept" if state == "kept" else said(reason)
        explained = meaning(Step(*end, 0, 0), words, bounds) if state != "kept" else "passed every rule"
        parts.append(
            f"<article><h3><span class={state}>{title}</span> <small>{number(count)} {unit}, {state} in "
            f"{html.escape(stage)}{'; ' + html.escape(explained) if explained else ''}</small></h3>"
            f"<div class=strip>{''.join(_figure(row) for row in rows)}</div></article>"
        )
    return "".join((*parts, "</section>"))


def _early(stage: str, rows: Sequence[Example], words: Words) -> str:
    """What was lost before it was measured: there is a place and a reason, and seldom a picture."""
    listed = "".join(
        f"<tr><td class={row.state}>{said(row.reason)}</td><td>{html.escape(row.name)}</td>"
        f"<td dir=auto>{html.escape(row.text[:SHOWN_TEXT])}</td><td>{html.escape(row.detail)}</td></tr>"
        for row in rows
    )
    head = "".join(f"<th scope=col>{name}</th>" for name in ("reason", "where", "text", "what happened"))
    return (
        f"<section><h2>Lost in {html.escape(stage)}</h2><p>{html.escape(words.stages.get(stage, '').capitalize())}. "
        f"A few of each reason and source.</p><table class=list><tr>{head}</tr>{listed}</table></section>"
    )


def _figure(row: Example, signal: str = "") -> str:
    value = row.values.get(signal)
    told = f"<b>{value:.4g}</b> " if isinstance(value, int | float) else ""
    state = row.state if row.state == "kept" else f"{row.state}: {row.reason.replace('_', ' ')}"
    detail = html.escape(state if signal else row.detail)
    text = html.escape(row.text[:SHOWN_TEXT]) + ("…" if len(row.text) > SHOWN_TEXT else "")
    many = " class=many" if len(row.pictures) > 1 else ""
    pictures = "".join(f'<img src="{uri}" alt="" loading="lazy">' for uri in map(thumbnail_uri, row.pictures))
    return (
        f"<figure tabindex=0{many}><div class=pictures>{pictures}</div><figcaption>{told}<span dir=auto>{text}</span>"
        f"<small>{detail}</small><small class=name>{html.escape(row.name)}</small></figcaption></figure>"
    )


def thumbnail_uri(data: bytes) -> str:
    """A picture's file as a small data: URI; a crossed square for what cannot be decoded."""
    try:
        picture = Image.fromarray(decode_image(data, ImageLimits()).rgb)
        scale = THUMBNAIL / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS)
    except ImageError:
        picture = Image.new("RGB", (THUMBNAIL, THUMBNAIL), (128, 128, 128))
        draw = ImageDraw.Draw(picture)
        for ends in ((8, 8, THUMBNAIL - 9, THUMBNAIL - 9), (THUMBNAIL - 9, 8, 8, THUMBNAIL - 9)):
            draw.line(ends, fill=(200, 200, 200), width=2)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=75)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def counted(facts: Facts) -> dict[str, int]:
    """{step: rows left after it}, for a run's metrics. Steps before the measuring have their stage before the name."""
    own = facts.stages[-2:]
    left = {step.reason if step.stage in own else f"{step.stage}_{step.reason}": step.left for step in facts.funnel()}
    return {"came_in": facts.total["input"]} | left
