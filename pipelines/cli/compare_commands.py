"""Commands of the feature-space benchmark: `pixsem compare` and `pixsem toy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.shared import AsJson, show

Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        help="spaces=[...], controls=[...], seeds=[...], budget=SHARE of the steps; and any configuration that all "
        "rows share.",
        show_default=False,
    ),
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (compare, toy):
        app.command()(command)


def compare(
    arguments: Arguments = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and why; run nothing.")] = False,
    claims: Annotated[
        Path | None,
        typer.Option(
            "--claims",
            help="Write the paper's claims with their verdicts into this file; with --dry-run, from what has run.",
        ),
    ] = None,
    config_dir: Annotated[
        str | None,
        typer.Option("--config-dir", help="Your own presets, sources and compare.yaml, laid out like conf/."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare latent spaces and controls on the same data and steps. The same command again resumes."""
    from pipelines.comparison.driving import drive, listing, listing_text
    from pipelines.comparison.page import about
    from pipelines.comparison.paper_claims import claims_page
    from pipelines.comparison.publishing import publish_results, read_toy, summary_json, summary_text
    from pipelines.comparison.record import load_record
    from pipelines.comparison.results import collect
    from pipelines.comparison.rows import plan_comparison
    from pipelines.store.files import Store

    plan = plan_comparison(arguments or [], config_dir)
    store = Store(plan.base.store)
    record = load_record(store, plan) if dry_run else drive(store, plan, as_json)
    results, missing = collect(store, record) if dry_run else publish_results(store, record, plan.base)
    if claims is not None:
        done = f"{about(record)} Runs with results: {len(results)} of {len(record.entries)}."
        claims.write_text(claims_page(done, results, read_toy(store)), "utf-8")
    if dry_run:
        rows = listing(store, plan)
        show(rows, as_json, lambda: listing_text(plan, rows))
        return
    show(summary_json(store, record, results, missing), as_json, lambda: summary_text(store, record, missing))
    if any(entry.key in missing for entry in plan.entries):
        raise typer.Exit(1)


def toy(
    steps: Annotated[int, typer.Option("--steps", min=1, help="Training steps of each network.")] = 3000,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Repetitions, each with networks and points of its own.")
    ] = 10,
    store: Annotated[
        str, typer.Option("--store", help="The store; results go into its toy/ folder.", envvar="PIXSEM_STORE")
    ] = "./store",
    as_json: AsJson = False,
) -> None:
    """Train the same flow model on letters in 2-D and in 8-D, and measure how far its samples leave the data."""
    import tempfile

    from pipelines.comparison.off_manifold import run_toy
    from pipelines.store.files import Store

    opened = Store(store)
    opened.prepare()
    with tempfile.TemporaryDirectory(dir=opened.scratch()) as folder:
        value = run_toy(Path(folder), steps, seeds, lambda line: typer.echo(line, err=True))
        for path in sorted(Path(folder).iterdir()):
            opened.put_file(path, f"toy/{path.name}")
    worst = {d: ", ".join(f"{v:.4f}" for v in runs.values()) for d, runs in value["worst"].items()}
    show(
        value,
        as_json,
        lambda: "\n".join(
            [
                f"nearest-neighbour distance of the worst 5 % after {steps} steps, by seed (fresh data: "
                f"{value['floor']:.4f})",
                *(f"  {d}-D  {text}" for d, text in worst.items()),
                f"look at {opened.path('toy/toy.png')}",
            ]
        ),
    )
