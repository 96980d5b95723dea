"""What a person sees of a run: a live table of stages in a terminal, plain lines elsewhere, and the same table for
`status`.
"""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store
from pipelines.store.runs import Run, StageState, clock, progress_text, read_progress

COLOURS = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "skipped": "yellow",
    "interrupted": "yellow",
    "waiting": "dim",
}


def outcome_text(artifact: Artifact) -> str:
    """Say what a stage made: a training its steps and rate, `4,815 steps, 310 samples/s`; any other what became of its
    samples.
    """
    trainings = artifact.manifest.metrics.get("training")
    if not trainings:
        return counts_text(artifact.manifest.counts)
    (figures,) = trainings.values()
    rate = figures.get("samples_per_second")
    return f"{figures.get('steps', 0):,} steps" + (f", {rate:,.0f} samples/s" if rate else "")


def counts_text(counts: dict[str, int]) -> str:
    """Say what became of the samples: `3,712 kept, 288 dropped of 4,000`."""
    if not counts:
        return ""
    parts = [f"{counts[name]:,} {name}" for name in ("kept", "dropped", "failed") if counts.get(name)]
    return f"{', '.join(parts) or '0 kept'} of {counts.get('input', 0):,}"


class StageTable:
    """The table of a run's stages. Progress is read from the store, so it shows from any machine."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.artifacts: dict[str, Artifact] = {}
        self.since: dict[str, float] = {}

    def render(self, run: Run) -> Table:
        """Return the table of a run's present state."""
        table = Table(
            title=f"run {run.id}  preset {run.preset}", title_justify="left", box=None, pad_edge=False, expand=False
        )
        for name in ("stage", "state", "progress", "time", "what"):
            table.add_column(name, overflow="fold", no_wrap=name != "what")
        for name, state in run.stages.items():
            bar, note = self._progress(run, name, state)
            label = "cached" if state.state == "done" and state.cached else state.state
            table.add_row(name, Text(label, style=COLOURS.get(state.state, "")), bar, self._time(name, state), note)
        return table

    def _time(self, name: str, state: StageState) -> str:
        if state.state == "running" and name in self.since:
            return clock(time.monotonic() - self.since[name])
        return clock(state.seconds) if state.seconds else ""

    def _progress(self, run: Run, name: str, state: StageState) -> tuple[ProgressBar | str, Text]:
        if state.state == "done":
            artifact = self.artifacts.get(name)
            made = outcome_text(artifact) if artifact else ""
            return "", Text(", ".join(words for words in (made, state.reason if state.cached else "") if words))
        if state.state != "running":
            return "", Text(state.error or state.reason)
        progress = read_progress(self.store, run.id, name)
        total = progress.get("total") or 0
        words = [
            f"{progress.get('done', 0)}/{total} {progress.get('unit', 'shards')}" if total else "",
            progress_text(progress),
            progress.get("note") or "",
        ]
        bar: ProgressBar | str = ProgressBar(total=total, completed=progress["done"], width=20) if total else ""
        return bar, Text(", ".join(word for word in words if word) or state.reason)


class LiveView:
    """Shows a run on a console: a table redrawn in place in a terminal, else one line per change."""

    def __init__(self, store: Store, console: Console) -> None:
        self.console = console
        self.table = StageTable(store)
        self._live: Live | None = None

    def __enter__(self) -> LiveView:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def stage_changed(self, run: Run, name: str, artifact: Artifact | None) -> None:
        """Show a stage's new state."""
        state = run.stages[name]
        if artifact:
            self.table.artifacts[name] = artifact
        if state.state == "running":
            self.table.since[name] = time.monotonic()
        if self._live:
            self._draw(run)
            return
        words = {"done": "cached" if state.cached else f"done in {clock(state.seconds)}"}.get(state.state, state.state)
        more = state.error or state.reason
        if artifact:
            more = ", ".join(text for text in (outcome_text(artifact), state.reason if state.cached else "") if text)
        self.console.print(
            f"{name}: {words}{f' ({more})' if more else ''}", markup=False, highlight=False, soft_wrap=True
        )

    def tick(self, run: Run) -> None:
        """Redraw the table."""
        if self._live:
            self._draw(run)

    def _draw(self, run: Run) -> None:
        assert self._live is not None
        self._live.update(Group(self.table.render(run)), refresh=True)
