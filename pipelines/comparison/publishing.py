"""Results of a comparison put where people look: files under `comparisons/<id>/` in the store, and MLflow under one
parent run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.evaluation.grids import curve_figure
from pipelines.comparison.page import (
    Picture,
    about,
    build_page,
    curves_csv,
    results_csv,
    summary_csv,
    to_html,
    to_markdown,
)
from pipelines.comparison.record import Record, save_record
from pipelines.comparison.results import Result, collect, mean_curves
from pipelines.comparison.side_by_side import CAPTION, draw_grids
from pipelines.config.schema import Config
from pipelines.store.files import Store
from pipelines.tracking.run_log import open_tracker

PAGE, TABLES = "index.html", "results.md"
CURVE_FILES = {"by_samples.png": "Score against samples seen", "by_seconds.png": "Score against seconds of training"}
GRID_FILES = {"generated.png": f"Pictures, {CAPTION}", "edits.png": f"Edits, {CAPTION}"}
SCORE = "share of prompts exactly right"
TOY = "toy/toy.json"


def publish_results(store: Store, record: Record, config: Config) -> tuple[list[Result], dict[str, str]]:
    """Write page, tables, curves and grids of all results there are, log them, and return the results and what is
    missing.
    """
    results, missing = collect(store, record)
    if not results:
        return results, missing
    files = {**draw_curves(results), **draw_grids(store, record, results)}
    pictures = [Picture(name, text) for name, text in {**CURVE_FILES, **GRID_FILES}.items() if name in files]
    blocks = build_page(record, results, missing, pictures)
    files |= {
        PAGE: to_html(blocks, files).encode(),
        TABLES: to_markdown(blocks).encode(),
        "results.csv": results_csv(results).encode(),
        "summary.csv": summary_csv(results).encode(),
        "curves.csv": curves_csv(results).encode(),
    }
    for name, data in files.items():
        store.write_bytes(f"{record.folder}/{name}", data)
    log_results(store, record, config, results, files)
    return results, missing


def draw_curves(results: Sequence[Result]) -> dict[str, bytes]:
    """Return the convergence figures as PNG, {} where no row has a curve; a row without seconds is on the first
    alone.
    """
    curves = mean_curves(results)
    series = {
        "by_samples.png": {row: [(p.samples, p.score) for p in points] for row, points in curves.items()},
        "by_seconds.png": {
            row: [(p.seconds, p.score) for p in points if p.seconds is not None]
            for row, points in curves.items()
            if all(p.seconds is not None for p in points)
        },
    }
    labels = {"by_samples.png": "samples seen", "by_seconds.png": "seconds of training"}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, drawn in series.items():
            if drawn:
                curve_figure(drawn, labels[name], SCORE, Path(folder) / name)
                found[name] = (Path(folder) / name).read_bytes()
    return found


def log_results(
    store: Store, record: Record, config: Config, results: Sequence[Result], files: dict[str, bytes]
) -> None:
    """Write one parent run for the comparison, with its files, and in it a run for each row and seed, with its
    figures.
    """
    tracker = open_tracker(config, store, dict(os.environ))
    if record.mlflow_run:
        tracker.resume(record.mlflow_run)
    else:
        tags = {"pixsem.comparison": record.id, "pixsem.store": store.absolute_url}
        params = {"overrides": " ".join(record.overrides), "budget": record.budget}
        record.mlflow_run = tracker.start_run(f"comparison {record.id}", tags, params)
        save_record(store, record)
    for result in results:
        entry = record.entries[f"{result.row}/{result.seed}"]
        if entry.mlflow_run:
            tracker.resume(entry.mlflow_run)
        else:
            tags = {"pixsem.comparison": record.id, "pixsem.run": result.run, "pixsem.row": result.row}
            params = {"row": result.row, "seed": result.seed, **entry.settings}
            name = f"{result.row}, seed {result.seed}"
            entry.mlflow_run = tracker.start_stage(record.mlflow_run, name, tags, params)
            save_record(store, record)
        tracker.log_metrics(entry.mlflow_run, result.metrics)  # again, too: equal seconds follow from all rows together
        tracker.finish(entry.mlflow_run, "FINISHED", None)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder) / name
            path.write_bytes(data)
            tracker.log_artifact(record.mlflow_run, str(path), "")
    tracker.finish(record.mlflow_run, "FINISHED", None)


def read_toy(store: Store) -> dict[str, Any] | None:
    """Return what `pixsem toy` left in the store, or None."""
    return dict(store.read_json(TOY)) if store.exists(TOY) else None


def summary_json(store: Store, record: Record, results: Sequence[Result], missing: dict[str, str]) -> dict[str, Any]:
    """Return the comparison for programs."""
    return {
        "comparison": record.id,
        "about": about(record),
        "page": store.path(f"{record.folder}/{PAGE}"),
        "results": [{"row": r.row, "seed": r.seed, "run": r.run, "metrics": r.metrics} for r in results],
        "missing": missing,
    }


def summary_text(store: Store, record: Record, missing: dict[str, str]) -> str:
    """Return the tables for people, what is missing, and where the page is."""
    lines = [f"missing: {key}: {reason}" for key, reason in missing.items()]
    if store.exists(f"{record.folder}/{TABLES}"):
        text = store.read_bytes(f"{record.folder}/{TABLES}").decode()
        lines = [
            text.split("\n## The paper's own results")[0].rstrip(),
            *lines,
            f"\nlook at {store.path(f'{record.folder}/{PAGE}')}",
        ]
    return "\n".join(lines)
