"""What a comparison measured: every run's figures with their standard errors, its curve, and means and spreads over
seeds. Nothing is run here.
"""

from __future__ import annotations

import fnmatch
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.pictures.options import EDIT_KINDS as PICTURE_EDITS
from components.pictures.options import FACTORS
from components.scenes.options import CATEGORIES
from components.scenes.options import EDIT_KINDS as SCENE_EDITS
from pipelines.comparison.record import Record, Recorded
from pipelines.comparison.standard_errors import judged_counts, standard_errors
from pipelines.config.compose import flatten
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from pipelines.store.runs import list_run_ids, read_run
from pipelines.tracking.figures import measured
from pipelines.workflow.report import report, run_artifacts

# The tables: their titles, and the figures in their columns, by pattern; a column that no row has is left out.
TABLES = (
    (
        "Reconstruction",
        (
            "tokenizer.psnr",
            "tokenizer.ssim",
            "tokenizer.lpips",
            "tokenizer.rfid",
            "tokenizer.frechet_*",
            "tokenizer.noise_psnr",
        ),
    ),
    ("Semantics", ("tokenizer.probe", "tokenizer.retrieval", "tokenizer.retrieval_frozen", "tokenizer.feature_cosine")),
    (
        "Text-to-image",
        (
            "text_to_image.overall",
            *(f"text_to_image.{name}" for name in CATEGORIES),
            *(f"text_to_image.{name}" for name in ("exact", "concept", *FACTORS)),
            "text_to_image.unseen.overall",
            "text_to_image.seen.overall",
            "text_to_image.frechet_*",
            "text_to_image.retrieval",
        ),
    ),
    (
        "Editing",
        (
            "editing.success",
            "editing.by_factor",
            *dict.fromkeys(f"editing.{kind}" for kind in (*SCENE_EDITS, *PICTURE_EDITS)),
        ),
    ),
    (
        "Preservation",
        ("editing.preservation_psnr", "editing.preservation_psnr_of_reconstructions", "editing.removal_residue"),
    ),
    ("Convergence", ("convergence.mean", "convergence.at_equal_seconds", "convergence.seconds", "convergence.samples")),
)
NAMES = {
    "convergence.mean": "mean over the curve",
    "convergence.at_equal_seconds": "at equal seconds",
    "convergence.seconds": "seconds",
    "convergence.samples": "samples",
    "editing.preservation_psnr_of_reconstructions": "by the tokenizer alone",
    "text_to_image.unseen.overall": "unseen combinations",
    "text_to_image.seen.overall": "taught pictures",
}
LOWER = (
    "frechet",
    "lpips",
    "rfid",
    "convergence.seconds",
    "residue",
)  # in the names of figures of which less is better


@dataclass(frozen=True)
class CurvePoint:
    """A snapshot's score: after how many samples, and how many seconds of training (None where no rate was kept)."""

    samples: float
    seconds: float | None
    score: float


@dataclass
class Result:
    """A row at a seed: figures by dotted name, the standard errors of those that are shares of judged pictures, and its
    curve.
    """

    row: str
    seed: int
    run: str
    metrics: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)


@dataclass(frozen=True)
class Summary:
    """A figure over seeds: mean, sample standard deviation (None of one seed), and how many."""

    mean: float
    spread: float | None
    count: int

    def text(self) -> str:
        """Return `0.603 ± 0.012`, with as many digits as its size asks for."""
        size = abs(self.mean)
        digits = 3 if size < 10 else 2 if size < 100 else 0
        spread = "" if self.spread is None else f" ± {self.spread:.{digits}f}"
        return f"{self.mean:,.{digits}f}{spread}"


def collect(store: Store, record: Record) -> tuple[list[Result], dict[str, str]]:
    """Return the results of all completed runs of a comparison, and for the other rows and seeds why they have none."""
    known = set(list_run_ids(store))
    results: list[Result] = []
    missing: dict[str, str] = {}
    for key, entry in record.entries.items():
        if not entry.run or entry.run not in known:
            missing[key] = entry.error or ("its run is gone from the store" if entry.run else "not run")
            continue
        run = read_run(store, entry.run)
        if run.state != "completed":
            missing[key] = entry.error or run.state
            continue
        artifacts = run_artifacts(store, run)
        metrics = numbers(measured(report(store, run)["metrics"]))
        results.append(result_of(entry, metrics, _counts(store, artifacts), training_seconds(store, artifacts)))
    add_equal_seconds(results)
    return results, missing


def _counts(store: Store, artifacts: Mapping[str, Artifact]) -> Mapping[tuple[str, str], int]:
    """How many pictures a run judged, by split and category."""
    judged = artifacts["evaluate_generator"].files("judgements.jsonl") if "evaluate_generator" in artifacts else []
    return judged_counts(line for path in judged for line in store.read_bytes(path).decode().splitlines())


def result_of(
    entry: Recorded,
    metrics: dict[str, float],
    counts: Mapping[tuple[str, str], int],
    seconds: Sequence[tuple[float, float]],
) -> Result:
    """Return a run's result. `counts` are pictures judged, by split and category; `seconds` are (samples, seconds of
    training) pairs, of the generator and then the editor.
    """
    points = sorted(
        (int(name.rsplit(".", 1)[1]), value)
        for name, value in metrics.items()
        if name.startswith("text_to_image.checkpoints.")
    )
    curve = [CurvePoint(samples, interpolate(seconds, samples), score) for samples, score in points]
    result = Result(entry.row, entry.seed, entry.run, dict(metrics), curve=curve)
    if curve:
        result.metrics["convergence.samples"] = curve[-1].samples
        result.metrics["convergence.mean"] = mean_of_curve([(p.samples, p.score) for p in curve])
        if curve[-1].seconds is not None:
            result.metrics["convergence.seconds"] = curve[-1].seconds
    result.errors = standard_errors(result.metrics, counts)
    return result


def numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of nested metrics by dotted name."""
    return {k: float(v) for k, v in flatten(metrics).items() if isinstance(v, int | float) and not isinstance(v, bool)}


def training_seconds(store: Store, artifacts: Mapping[str, Artifact]) -> list[tuple[float, float]]:
    """Return (samples, seconds) along the training of the generator and then of the editor, whichever runs trained
    them.
    """
    points: list[tuple[float, float]] = [(0.0, 0.0)]
    for stage in ("train_generator", "train_editor"):
        if stage not in artifacts:
            return []
        artifact = artifacts[stage]
        path = f"runs/{artifact.manifest.run}/curves/{stage}.jsonl"
        if not store.exists(path):
            return []
        rows = [json.loads(line) for line in store.read_bytes(path).decode().splitlines()]
        found = seconds_of_rows(rows)
        if not found:
            return []
        before = points[-1]
        points += [(before[0] + samples, before[1] + seconds) for samples, seconds in found]
    return points


def seconds_of_rows(rows: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
    """Return (samples, seconds of steps) of a live curve's rows, [] without a rate in it.

    Each stretch counts by the rate that its row tells, not by the clock, so that pauses, evaluations and stops are no
    part of it. Rows of an attempt that got further than its checkpoint are replaced by those of the next.
    """
    kept: list[Mapping[str, float]] = []
    for row in rows:
        kept = [other for other in kept if other["step"] < row["step"]] + [row]
    rates = [row["samples_per_second"] for row in kept if row.get("samples_per_second")]
    if not rates:
        return []
    found, samples, seconds, rate = [], 0.0, 0.0, rates[0]
    for row in kept:
        rate = row.get("samples_per_second") or rate
        seconds += (row["samples"] - samples) / rate
        samples = row["samples"]
        found.append((samples, seconds))
    return found


def interpolate(points: Sequence[tuple[float, float]], x: float) -> float | None:
    """Return y at x on the line through the points, None outside them or without any."""
    if not points or not points[0][0] <= x <= points[-1][0]:
        return None
    return float(np.interp(x, [p[0] for p in points], [p[1] for p in points]))


def mean_of_curve(points: Sequence[tuple[float, float]]) -> float:
    """Return the mean height of the line through (x, y) points: the area below it over its length."""
    if len(points) == 1:
        return points[0][1]
    x, y = np.array(points, dtype=float).T
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def add_equal_seconds(results: Iterable[Result]) -> None:
    """Give every result its score at the seconds that the quickest of them took in all:
    `convergence.at_equal_seconds`.
    """
    timed = [r for r in results if r.curve and all(p.seconds is not None for p in r.curve)]
    if not timed:
        return
    limit = min(float(r.curve[-1].seconds or 0) for r in timed)
    for result in timed:
        score = interpolate([(float(p.seconds or 0), p.score) for p in result.curve], limit)
        if score is not None:
            result.metrics["convergence.at_equal_seconds"] = score
            result.metrics["convergence.equal_seconds"] = limit


def rows_of(results: Sequence[Result]) -> list[str]:
    """Return the rows that have results, in the order they come in."""
    return list(dict.fromkeys(r.row for r in results))


def summarise(results: Sequence[Result]) -> dict[str, dict[str, Summary]]:
    """Return {row: {figure: its mean and spread over seeds}}."""
    found: dict[str, dict[str, Summary]] = {}
    for row in rows_of(results):
        values: dict[str, list[float]] = {}
        for result in results:
            if result.row == row:
                for name, value in result.metrics.items():
                    values.setdefault(name, []).append(value)
        found[row] = {
            name: Summary(statistics.fmean(v), statistics.stdev(v) if len(v) > 1 else None, len(v))
            for name, v in values.items()
        }
    return found


def columns(patterns: Sequence[str], summary: Mapping[str, Mapping[str, Summary]]) -> list[str]:
    """Return the figures that match, in the order of the patterns, each once."""
    names = sorted({name for figures in summary.values() for name in figures if not name.endswith("_pictures")})
    found = [name for pattern in patterns for name in names if fnmatch.fnmatchcase(name, pattern)]
    return [n for n in dict.fromkeys(found) if n in NAMES or not n.endswith("_of_reconstructions")]


def label(name: str) -> str:
    """Return a figure's name for people."""
    return NAMES.get(name, name.rsplit(".", 1)[-1].replace("_", " "))


def lower_is_better(name: str) -> bool:
    """True where less is better."""
    return any(word in name for word in LOWER)


def mean_curves(results: Sequence[Result]) -> dict[str, list[CurvePoint]]:
    """Return each row's curve, its mean over the seeds that have the point."""
    found: dict[str, list[CurvePoint]] = {}
    for row in rows_of(results):
        points: dict[float, list[CurvePoint]] = {}
        for result in results:
            if result.row == row:
                for point in result.curve:
                    points.setdefault(point.samples, []).append(point)
        means = []
        for samples, group in sorted(points.items()):
            seconds = [p.seconds for p in group if p.seconds is not None]
            timed = statistics.fmean(seconds) if len(seconds) == len(group) else None
            means.append(CurvePoint(samples, timed, statistics.fmean(p.score for p in group)))
        if means:
            found[row] = means
    return found
