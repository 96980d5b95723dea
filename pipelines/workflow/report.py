"""The report of a run: one object with its stages and metrics, as JSON or as text for people."""

from __future__ import annotations

from typing import Any

from pipelines.store.artifacts import COUNT_NAMES, Artifact, find_artifact
from pipelines.store.files import Store
from pipelines.store.runs import Run, clock
from pipelines.tracking.registering import registration_path
from pipelines.workflow.figures_text import figures_text
from pipelines.workflow.live import outcome_text


def merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    """Merge nested dicts; a key two stages both give is an error of ours."""
    for key, value in values.items():
        if isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            assert key not in into, f"two stages report the metric {key}"
            into[key] = value


def run_artifacts(store: Store, run: Run) -> dict[str, Artifact]:
    """Return the committed artifacts of a run's stages."""
    found = {
        name: find_artifact(store, name, state.fingerprint)
        for name, state in run.stages.items()
        if state.state == "done"
    }
    return {name: artifact for name, artifact in found.items() if artifact is not None}


def report(store: Store, run: Run) -> dict[str, Any]:
    """Return `run, preset, state, seconds, stages, metrics, models`. Metrics that could not be computed stand in
    `metrics.absent`.
    """
    metrics: dict[str, Any] = {}
    artifacts = run_artifacts(store, run)
    for artifact in artifacts.values():
        merge(metrics, artifact.manifest.metrics)
    for group in metrics.values():
        if isinstance(group, dict) and "sources" in group:
            group |= _totals(group["sources"]) | group
    stages = []
    for name, state in run.stages.items():
        row = {
            "name": name,
            "state": state.state,
            "seconds": state.seconds,
            "fingerprint": state.fingerprint,
            "cached": state.cached,
        }
        if name in artifacts:
            row |= {"path": store.path(artifacts[name].path), "counts": artifacts[name].manifest.counts}
        if state.error:
            row |= {"error": state.error, "log": store.path(state.log) if state.log else ""}
        stages.append(row)
    return {
        "run": run.id,
        "preset": run.preset,
        "state": run.state,
        "seconds": round(run.seconds, 3),
        "stages": stages,
        "metrics": metrics,
        "models": registered(store, run),
    }


def _totals(sources: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Return the counts of all sources together."""
    found: dict[str, int] = {}
    for figures in sources.values():
        for name in COUNT_NAMES:
            if name in figures:
                found[name] = found.get(name, 0) + figures[name]
    return found


def registered(store: Store, run: Run) -> list[dict[str, Any]]:
    """Return the versions that the run's models were registered as, with what their gates said; [] where none were."""
    state = run.stages.get("register")
    path = registration_path(state.fingerprint) if state is not None else ""
    return list(store.read_json(path)["models"]) if path and store.exists(path) else []


def report_text(store: Store, run: Run) -> str:
    """Return the report for people: what happened to every stage, the figures, and where to look."""
    value, artifacts = report(store, run), run_artifacts(store, run)
    lines = [f"run {run.id} ({run.preset}): {run.state} in {clock(run.seconds)}", ""]
    wide = max([18, *(len(row["name"]) for row in value["stages"])])
    for row in value["stages"]:
        state = "cached" if row["cached"] and row["state"] == "done" else row["state"]
        made = outcome_text(artifacts[row["name"]]) if row["name"] in artifacts else ""
        lines.append(f"  {row['name']:<{wide}} {state:<12} {made}{row.get('error', '')}")
        if row.get("log"):
            lines.append(f"{'':{wide + 16}}its log: {row['log']}")
    lines += figures_text(value["metrics"])
    for model in value["models"]:
        refused = f", refused: {model['refused']}" if model["refused"] else ""
        lines += [
            "",
            f"  models:/{model['name']}/{model['version']}  {' '.join(model['aliases']) or 'no alias'}{refused}",
        ]
        skipped = [verdict for verdict in model["gates"] if verdict.get("skipped")]  # older runs' know no skipping
        lines += [f"    {verdict['words']}" for verdict in skipped]
        if len(skipped) == len(model["gates"]):
            lines.append("    no gate was held: any version would have passed")
    found = [path for a in artifacts.values() for path in a.files("*.png") + a.files("*.html")]
    samples = {path.rpartition("/")[0]: path for path in found if "/samples/" in path}  # the last of each training
    found = [path for path in found if "/samples/" not in path or path in samples.values()]
    pictures = [store.path(path) for path in found if "/shards/" not in path and "/pipeline/" not in path]
    if pictures:
        lines += ["", "look at", *(f"  {path}" for path in pictures)]
    return "\n".join(lines)
