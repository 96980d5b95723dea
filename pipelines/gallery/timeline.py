"""When each stage of a run ran, as bars on one axis. Pauses between attempts are cut short."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from datetime import datetime

from pipelines.gallery.material import Material
from pipelines.store.runs import clock, read_progress

PAUSE = 0.06  # share of the axis that a pause between attempts takes at most


@dataclass(frozen=True)
class Bar:
    """A stage: its state, its words, and where its bar stands in percent of the axis; no bar where it did not run."""

    name: str
    state: str  # done, cached, running, failed, skipped, waiting, interrupted
    words: str
    left: float | None = None
    width: float = 0.0


@dataclass(frozen=True)
class Axis:
    """Seconds of work in all, and marks: (percent, label)."""

    seconds: float
    ticks: tuple[tuple[float, str], ...]
    pauses: tuple[tuple[float, str], ...]


def timeline(material: Material) -> tuple[list[Bar], Axis]:
    """Return a bar for each stage, and the axis below them."""
    run, spans = material.run, _spans(material)
    pieces = _busy(list(spans.values()))
    worked = sum(end - start for start, end in pieces)
    pause = worked * PAUSE
    total = max(worked + pause * (len(pieces) - 1), 1e-9)

    def place(moment: float) -> float:
        before = 0.0
        for start, end in pieces:
            if moment <= end:
                return 100 * (before + max(0.0, moment - start)) / total
            before += end - start + pause
        return 100.0

    bars = []
    for row in material.report["stages"]:
        name, state = row["name"], "cached" if row["cached"] and row["state"] == "done" else row["state"]
        words = [row["error"]] if row.get("error") else []
        made = material.artifacts.get(name)
        if made is not None:
            words = [_outcome(made.manifest.metrics, made.manifest.counts)]
            if made.manifest.run != run.id:
                words.insert(0, f"made by run {made.manifest.run} in {clock(made.manifest.seconds)}")
            else:
                state = "done"  # a resume took it from an earlier attempt of the same run
        if name in spans:
            start, end = spans[name]
            bars.append(
                Bar(name, state, ", ".join([clock(end - start), *filter(None, words)]), place(start),
                    max(place(end) - place(start), 0.4))
            )  # fmt: skip
        else:
            bars.append(Bar(name, state, ", ".join(filter(None, words))))
    gaps = [(one[1], other[0]) for one, other in itertools.pairwise(pieces)]
    pauses = tuple((place(end) + 50 * pause / total, clock(start - end)) for end, start in gaps)
    ticks = () if len(pieces) > 1 else tuple((100 * n / 4, clock(worked * n / 4)) for n in range(5))
    return bars, Axis(worked, ticks if worked >= 4 else (), pauses)


def _spans(material: Material) -> dict[str, tuple[float, float]]:
    """(start, end) of each stage that this run made or tried, in seconds since 1970."""
    run, spans = material.run, dict[str, tuple[float, float]]()
    for name, state in run.stages.items():
        made = material.artifacts.get(name)
        if made is not None and made.manifest.run == run.id:
            end = datetime.fromisoformat(made.manifest.created).timestamp()
            spans[name] = (end - made.manifest.seconds, end)
        elif made is None and state.state in ("running", "failed", "interrupted"):
            told = read_progress(material.store, run.id, name)
            if "started" in told:
                start = datetime.fromisoformat(told["started"]).timestamp()
                lasted = state.seconds or (time.time() - start if state.state == "running" else 1.0)
                spans[name] = (start, start + lasted)
    return spans


def _busy(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The times in which any stage ran; breaks below a twentieth of the whole stay in."""
    if not spans:
        return []
    short = max(2.0, sum(end - start for start, end in spans) / 20)
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= short:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _outcome(metrics: dict[str, dict[str, dict[str, float]]], counts: dict[str, int]) -> str:
    """`1,500 steps` of a training, `3,350 kept, 185 dropped of 3,535` of any other stage."""
    for figures in metrics.get("training", {}).values():
        return f"{figures.get('steps', 0):,} steps"
    parts = [f"{counts[name]:,} {name}" for name in ("kept", "dropped", "failed") if counts.get(name)]
    return f"{', '.join(parts)} of {counts['input']:,}" if parts else ""
