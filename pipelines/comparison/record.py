"""A comparison's own state in the store: `comparisons/<id>.json`, which names the run of every row and seed. Results
are the runs'.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.comparison.rows import Plan
from pipelines.errors import StoreError
from pipelines.store.files import Store
from pipelines.store.runs import now


@dataclass
class Recorded:
    """A row at a seed, and the run that holds its results; `error` where the last run of it failed."""

    row: str
    seed: int
    kind: str
    what: str
    against: str | None
    settings: dict[str, Any]
    run: str = ""
    error: str = ""
    mlflow_run: str = ""


@dataclass
class Record:
    """What `comparisons/<id>.json` holds."""

    id: str
    created: str
    overrides: list[str]
    budget: float
    entries: dict[str, Recorded] = field(default_factory=dict)  # by `row/seed`
    mlflow_run: str = ""

    @property
    def folder(self) -> str:
        """Where its page and figures are, in the store."""
        return f"comparisons/{self.id}"

    @property
    def path(self) -> str:
        """Its own file in the store."""
        return f"{self.folder}.json"


def load_record(store: Store, plan: Plan) -> Record:
    """Return the record of a comparison, a new one where there is none. Rows that are defined otherwise by now have
    lost their run.
    """
    record = Record(plan.id, now(), list(plan.overrides), plan.budget)
    if store.exists(record.path):
        value = store.read_json(record.path)
        try:
            entries = {key: Recorded(**entry) for key, entry in value.pop("entries").items()}
            record = Record(**value, entries=entries)
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{store.path(record.path)} is no record of a comparison: {error!r}. Remove it; the runs are kept."
            ) from error
    for entry in plan.entries:
        known = record.entries.get(entry.key)
        if known is None or known.settings != entry.settings:
            row = entry.row
            record.entries[entry.key] = Recorded(
                entry.name, entry.seed, row.kind, row.what, row.against, entry.settings
            )
    return record


def save_record(store: Store, record: Record) -> None:
    """Write the record whole."""
    store.write_json(record.path, asdict(record))
