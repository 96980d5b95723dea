"""Driving a comparison: one run after another through the same runner and store, so that what two rows share is made
once.
"""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console

from pipelines.comparison.record import Record, load_record, save_record
from pipelines.comparison.rows import Entry, Plan
from pipelines.errors import Interrupted, UserError, one_line
from pipelines.store.files import Store
from pipelines.store.runs import list_run_ids, read_run
from pipelines.workflow.launch import dry_run_listing, run_new

UNTIL = "evaluate_tokenizer,evaluate_generator"  # nothing is registered: a control must not become the champion


def listing(store: Store, plan: Plan) -> list[dict[str, Any]]:
    """Return for each row and seed what would run and why. A stage that an earlier row makes is `shared_with` that
    row.
    """
    makers: dict[str, str] = {}
    rows = []
    for entry in plan.entries:
        stages = dry_run_listing(store, entry.config, UNTIL, [])
        for stage in stages:
            if not stage["cached"]:
                maker = makers.setdefault(f"{stage['stage']}/{stage['fingerprint']}", entry.key)
                stage["shared_with"] = maker if maker != entry.key else None
        rows.append(
            {
                "row": entry.name,
                "seed": entry.seed,
                "what": entry.row.what,
                "settings": entry.settings,
                "stages": stages,
            }
        )
    return rows


def listing_text(plan: Plan, rows: list[dict[str, Any]]) -> str:
    """Say it for people, a line for each run."""
    lines = [f"comparison {plan.id}, budget {plan.budget:g}"]
    width = max(len(row["row"]) for row in rows)
    for row in rows:
        makes = [s["stage"] for s in row["stages"] if not s["cached"] and not s["shared_with"]]
        shares: dict[str, list[str]] = {}
        for stage in row["stages"]:
            if not stage["cached"] and stage["shared_with"]:
                shares.setdefault(stage["shared_with"], []).append(stage["stage"])
        words = [f"would run {', '.join(makes)}"] if makes else []
        words += [f"takes {', '.join(names)} from {maker}" for maker, names in shares.items()]
        cached = sum(s["cached"] for s in row["stages"])
        words += [f"{cached} stages cached"] if cached else []
        lines.append(f"{row['row']:<{width}}  seed {row['seed']}  {'; '.join(words)}")
    return "\n".join(lines)


def drive(store: Store, plan: Plan, quiet: bool) -> Record:
    """Run what is not there yet and return the comparison's record. A row that fails is noted, and the others go on."""
    store.prepare()
    record = load_record(store, plan)
    save_record(store, record)
    console = Console(stderr=True, quiet=quiet)
    ours = "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
    try:
        for number, entry in enumerate(plan.entries, 1):
            if _stands(store, record, entry):
                continue
            console.print(
                f"\n{entry.name}, seed {entry.seed} ({number} of {len(plan.entries)}): {entry.row.what}", markup=False
            )
            error = ""
            try:
                run = run_new(store, entry.config, UNTIL, [], quiet, keep_ray=True)
            except Interrupted as stop:
                raise Interrupted(stop.signal_number, "the same pixsem compare again") from None
            except UserError as refused:
                error = one_line(refused)
                console.print(f"{entry.name}: {error}", markup=False)
            else:
                failed = [f"{name}: {s.error}" for name, s in run.stages.items() if s.state == "failed"]
                error = "; ".join(failed)
                record.entries[entry.key].run, record.entries[entry.key].mlflow_run = run.id, ""
            record.entries[entry.key].error = error
            save_record(store, record)
    finally:
        # The runs left Ray up for each other.
        if ours and "ray" in sys.modules:
            sys.modules["ray"].shutdown()
    return record


def _stands(store: Store, record: Record, entry: Entry) -> bool:
    """True where the recorded run is complete and is still what the configuration asks for."""
    known = record.entries[entry.key]
    if not known.run or known.error or known.run not in list_run_ids(store):
        return False
    run = read_run(store, known.run)
    stages = dry_run_listing(store, entry.config, UNTIL, [])
    return run.state == "completed" and all(
        s["cached"] and s["stage"] in run.stages and run.stages[s["stage"]].fingerprint == s["fingerprint"]
        for s in stages
    )
