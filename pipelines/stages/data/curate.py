"""curate: decisions from signals. Every input sample gets one decision row; kept samples go into curated shards.

Artifact: `shards/NAME.tar` (bytes as ingest gave them), `decisions/NAME.parquet`, and the report of the data:
`sheet.html`, with its figures as `sheet.png`, `funnel.png` and `signals.png`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, source_of
from pipelines.stages.data.fault_scores import keep_scores
from pipelines.stages.data.report_page import write_report

DECISION_SCHEMA = {"shard": "string", "key": "string", "state": "string", "reason": "string", "detail": "string"}


def run(context: StageContext) -> None:
    """Decide over all shards together (duplicates know no shards), then write each shard."""
    from components.curation.decide import decide
    from components.data.tables import read_table

    tables = []
    for path in [path for measured in context.inputs_of("measure") for path in measured.files("signals/*.parquet")]:
        with context.fetch(path) as local:
            tables.append((PurePosixPath(path).stem, read_table(local)))
    _join_scores(context, dict(tables))
    columns: dict[str, list[Any]] = {}
    for _, table in tables:
        for name, values in table.items():
            columns.setdefault(name, []).extend(values)
    context.progress(f"deciding over {len(columns.get('key', [])):,} samples")
    sources = [source_of(shard) for shard in columns.get("shard", [])]
    silent = context.stage.given.get("uncaptioned", ())
    uncaptioned = {row for row, source in enumerate(sources) if source in silent} if silent else ()
    decisions = decide(columns, context.config.curate, uncaptioned, context.stage.given.get("comparing", ()))
    ingested = [path for artifact in context.inputs_of("ingest") for path in artifact.files("shards/*.tar")]
    shards = {PurePosixPath(path).stem: path for path in ingested}
    tasks, first = [], 0
    for name, table in tables:
        end = first + len(table["key"])
        rows = [[key, d.state, d.reason, d.detail] for key, d in zip(table["key"], decisions[first:end], strict=True)]
        tasks.append(ShardTask(name, {"shard": shards[name], "rows": rows}))
        first = end
    records = context.map_shards("pipelines.stages.data.curate:write_shard", tasks)
    context.metrics["curation"] = counted(decisions)
    if any(sources):
        context.metrics["curation"]["sources"] = counted_by_source(sources, decisions)
    planted = [faults for record in records for faults in record.metrics["faults"]]
    if any(planted):
        _score(context, planted, sources, columns, decisions)
    write_report(context, tasks, columns, decisions, sources)


def _join_scores(context: StageContext, tables: dict[str, dict[str, list[Any]]]) -> None:
    """Add each model's signal to the tables of `measure`, by shard: both have a row for each sample, in its order."""
    from components.data.tables import read_table

    for scored in context.inputs_of("score"):
        for path in scored.files("scores/*.parquet"):
            with context.fetch(path) as local:
                found = read_table(local)
            table = tables[PurePosixPath(path).stem]
            assert found.pop("key") == table["key"], f"{path} and measure are not of the same samples"
            (signal,) = found.keys() - {"shard", "unscored"}
            table[signal] = found[signal]
    for name in {name for table in tables.values() for name in table}:
        for table in tables.values():  # no model compares captions that nothing reads
            table.setdefault(name, [None] * len(table["key"]))


def counted_by_source(sources: list[str], decisions: list[Any]) -> dict[str, Any]:
    """Return {source: what `counted` says of its rows}."""
    of_each: dict[str, list[Any]] = {}
    for source, decision in zip(sources, decisions, strict=True):
        of_each.setdefault(source, []).append(decision)
    return {name: counted(found) for name, found in sorted(of_each.items())}


def counted(decisions: list[Any]) -> dict[str, Any]:
    """Return how many rows were decided on and how, and the reasons against keeping them."""
    states = Counter(decision.state for decision in decisions)
    reasons = Counter(decision.reason for decision in decisions if decision.state != "kept")
    counts = {"input": len(decisions), **{name: states[name] for name in ("kept", "dropped", "failed")}}
    return counts | {"by_reason": dict(sorted(reasons.items()))}


def _score(
    context: StageContext,
    planted: list[dict[str, Any]],
    sources: list[str],
    columns: dict[str, list[Any]],
    decisions: list[Any],
) -> None:
    """Add precision and recall per planted fault; what cannot be computed goes to `metrics.absent` with its reason."""
    from components.curation.faults import score_faults

    # Keys of two sources may be alike, and a fault's other sample is of its own source.
    keys = [f"{source}/{key}" if source else key for source, key in zip(sources, columns["key"], strict=True)]
    for source, faults in zip(sources, planted, strict=True):
        if source and "fault_source" in faults:
            faults["fault_source"] = f"{source}/{faults['fault_source']}"
    comparing = [f"low_{signal}" for signal in context.stage.given.get("comparing", ())]
    keep_scores(context, "curation", score_faults(planted, keys, decisions, comparing))


def write_shard(context: ShardContext) -> ShardResult:
    """Copy the kept samples of one shard, and write its decision rows."""
    from components.data.records import Record, read_records, write_records
    from components.data.samples import metadata_of
    from pipelines.stages.data.parquet_rows import write_rows

    args = context.task.args
    rows = args["rows"]
    faults: list[dict[str, Any]] = []

    def kept() -> Any:
        # Rows stand in the order of the shard's samples: keys alone would mix up duplicates.
        for record, (key, state, _, _) in zip(read_records(context.fetch(args["shard"])), rows, strict=True):
            assert record.key == key, f"shard {context.task.name} has changed since it was measured"
            found = metadata_of(record) if isinstance(record, Record) else None
            known = found if isinstance(found, dict) else {}
            faults.append({name: known[name] for name in ("faults", "fault_source") if name in known})
            if state == "kept":
                yield record

    write_records(context.file(f"shards/{context.task.name}.tar"), kept())
    listed = [dict(zip(DECISION_SCHEMA, [context.task.name, *row], strict=True)) for row in rows]
    write_rows(context.file(f"decisions/{context.task.name}.parquet"), listed, DECISION_SCHEMA)
    states = Counter(row[1] for row in rows)
    counts = {"input": len(rows), **{name: states[name] for name in ("kept", "dropped", "failed")}}
    return ShardResult(counts, {"faults": faults})
