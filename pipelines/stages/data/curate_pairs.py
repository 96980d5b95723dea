"""curate_pairs: decisions on edit pairs from their signals. Every pair gets one decision row; kept ones go into shards.

Artifact: `shards/NAME.tar` (kept pairs, bytes as they came), `decisions/NAME.parquet`, `sheet.png`, `sheet.html`, and
with `curate_pairs.keep_rejected` `preferences/NAME.parquet`: dropped targets for preference training.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from pipelines.stage import ShardContext, ShardResult, ShardTask, StageContext, source_of
from pipelines.stages.data.curate import DECISION_SCHEMA, counted, counted_by_source
from pipelines.stages.data.fault_scores import keep_scores
from pipelines.stages.data.measure_pairs import pair_shards
from pipelines.stages.data.report_page import write_pairs_report

SHEET_SAMPLES = 8  # pairs per reason on the contact sheet
# A target that was dropped, beside one that was kept for the same source and instruction where there is one. A picture
# is its file's bytes, as `datasets.Image(decode=False)` and most trainers read them.
PREFERENCE_SCHEMA = {
    "key": "string", "source_key": "string", "instruction": "string", "source": "binary", "rejected": "binary",
    "chosen": "binary", "chosen_key": "string", "reason": "string", "detail": "string",
}  # fmt: skip


def run(context: StageContext) -> None:
    """Decide over all shards together (duplicates know no shards), then write each shard."""
    from components.curation.pairs.decide_pairs import OF_MODELS, checks_in_order, decide_pairs
    from components.curation.pairs.pair_signals import PAIR_SCHEMA
    from components.data.tables import read_table

    tables = []
    for artifact in context.inputs_of("measure_pairs"):
        for path in artifact.files("signals/*.parquet"):
            with context.fetch(path) as local:
                tables.append((PurePosixPath(path).stem, read_table(local)))
    tables.sort(key=lambda table: table[0])
    rules = context.config.curate_pairs
    names = list(dict.fromkeys([*PAIR_SCHEMA, *(name for _, table in tables for name in table)]))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for _, table in tables:
        for name in names:
            columns[name].extend(table.get(name, [None] * len(table["key"])))
    context.progress(f"deciding over {len(columns['key']):,} edit pairs")
    decisions = decide_pairs(columns, rules)
    shards = pair_shards(context.inputs)
    tasks, first = [], 0
    for name, table in tables:
        end = first + len(table["key"])
        rows = [[key, d.state, d.reason, d.detail] for key, d in zip(table["key"], decisions[first:end], strict=True)]
        tasks.append(ShardTask(name, {"shard": shards[name][0], "rows": rows, "keep_rejected": rules.keep_rejected}))
        first = end
    records = context.map_shards("pipelines.stages.data.curate_pairs:write_shard", tasks)
    context.metrics["pairs"] = counted(decisions)
    sources = [source_of(shard) for shard in columns["shard"]]
    if any(sources):
        context.metrics["pairs"]["sources"] = counted_by_source(sources, decisions)
    planted = [faults for record in records for faults in record.metrics["faults"]]
    if any(planted):
        models = any(check.signal in OF_MODELS for check in checks_in_order(rules))
        unseen = [None] * len(planted)
        seen = {"exact": columns["exact"] if rules.exact_checks else unseen,
                "spill_share": columns["spill_share"] if rules.max_spill_share is not None else unseen}  # fmt: skip
        _score(context, planted, decisions, seen, models)
    _sheet(context, tasks)
    write_pairs_report(context, tasks, columns, decisions, sources)


def _score(
    context: StageContext, planted: list[list[str]], decisions: list[Any], seen: dict[str, list[Any]], models: bool
) -> None:
    """Add precision and recall per planted fault; what cannot be computed goes to `metrics.absent` with its reason."""
    from components.curation.pairs.pair_faults import score_pair_faults

    keep_scores(context, "pairs", score_pair_faults(planted, decisions, seen, models))


def write_shard(context: ShardContext) -> ShardResult:
    """Copy the kept pairs of one shard, and write its decision rows and, where asked for, its preference data."""
    from components.data.records import Record, read_records, write_records
    from components.data.samples import metadata_of
    from pipelines.stages.data.parquet_rows import write_rows

    args, name = context.task.args, context.task.name
    path, rows = context.fetch(args["shard"]), args["rows"]
    planted: list[list[str]] = []

    def kept() -> Any:
        for record, (key, state, _, _) in zip(read_records(path), rows, strict=True):
            assert record.key == key, f"shard {name} has changed since it was measured"
            about = metadata_of(record) if isinstance(record, Record) else None
            planted.append(about.get("faults", []) if isinstance(about, dict) else [])
            if state == "kept":
                yield record

    write_records(context.file(f"shards/{name}.tar"), kept())
    listed = [dict(zip(DECISION_SCHEMA, [name, *row], strict=True)) for row in rows]
    write_rows(context.file(f"decisions/{name}.parquet"), listed, DECISION_SCHEMA)
    if args["keep_rejected"]:
        write_rows(context.file(f"preferences/{name}.parquet"), preferences(path, rows), PREFERENCE_SCHEMA)
    states = Counter(row[1] for row in rows)
    counts = {"input": len(rows), **{state: states[state] for state in ("kept", "dropped", "failed")}}
    return ShardResult(counts, {"faults": planted})


def preferences(path: Any, rows: list[list[str]]) -> list[dict[str, Any]]:
    """Return a row for each dropped pair of a shard that can be read: what was rejected, and what was chosen instead.

    Chosen is the first kept target of the same source and instruction, as several tries of an editor give them.
    """
    from components.data.records import Record, read_records
    from components.data.samples import caption_of, metadata_of, side_part

    def picture(record: Any, side: str) -> bytes:
        part = side_part(record.parts, side)
        assert part is not None, "a pair without both pictures has failed"
        return bytes(part[1])

    chosen: dict[tuple[str, str], tuple[str, bytes]] = {}
    rejected: list[tuple[tuple[str, str], dict[str, Any]]] = []
    for record, (key, state, reason, detail) in zip(read_records(path), rows, strict=True):
        if state == "failed" or not isinstance(record, Record):
            continue
        about, source, target = metadata_of(record), picture(record, "source"), picture(record, "target")
        source_key = str(about.get("source_key") or key) if isinstance(about, dict) else key
        same = source_key, str(caption_of(record) or "")
        if state == "kept":
            chosen.setdefault(same, (key, target))
        else:
            rejected.append((same, {"key": key, "source_key": source_key, "instruction": same[1], "source": source,
                                    "rejected": target, "reason": reason, "detail": detail}))  # fmt: skip
    found = []
    for same, row in rejected:
        better = chosen.get(same)
        found.append(row | {"chosen_key": better[0] if better else None, "chosen": better[1] if better else None})
    return found


def _sheet(context: StageContext, tasks: list[ShardTask]) -> None:
    """Write the contact sheet: a few pairs of every reason, spread over the shards."""
    from components.curation.pairs.pair_sheet import PairRow, pairs_png
    from components.data.records import Record, read_records
    from components.data.samples import caption_of, side_part

    wanted: Counter[str] = Counter(row[2] or row[1] for task in tasks for row in task.args["rows"])
    chosen: list[PairRow] = []
    taken: Counter[str] = Counter()
    for task in tasks:
        if all(taken[label] >= min(SHEET_SAMPLES, count) for label, count in wanted.items()):
            break
        with context.fetch(task.args["shard"]) as local:
            for record, (key, state, reason, detail) in zip(read_records(local), task.args["rows"], strict=True):
                label = reason or state
                if taken[label] >= SHEET_SAMPLES:
                    continue
                taken[label] += 1
                parts = record.parts if isinstance(record, Record) else {}
                said = caption_of(record) if isinstance(record, Record) else None
                pictures = [(side_part(parts, side) or ("", b""))[1] for side in ("source", "mask", "target")]
                words = said if isinstance(said, str) else ""
                chosen.append(PairRow(f"{task.name}/{key}", state, reason, detail, words, *pictures))
    totals = dict(sorted(wanted.items()))
    with context.output("sheet.png") as path:
        path.write_bytes(pairs_png(chosen, totals))
