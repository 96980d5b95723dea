"""Commands before a run: what a configuration would take, and whether everything it needs works."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.shared import AsJson, ConfigDir, Overrides, show


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(plan)
    app.command()(doctor)


def plan(
    overrides: Overrides = None,
    samples: Annotated[
        list[str] | None,
        typer.Option(help="Number of samples, where the source cannot be counted here: N, or SOURCE=N."),
    ] = None,
    keep: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of samples that pass download and curation.")
    ] = 1.0,
    text_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens per text in training; default: the configured maximum.")
    ] = None,
    utilisation: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1.0,
            help="Share of the peak FLOP/s that training reaches; default: 0.4 on GPUs, 0.2 on CPUs.",
        ),
    ] = None,
    peak_tflops: Annotated[
        float | None, typer.Option(min=0.001, help="Peak of one GPU; default: 312 in bf16, 19.5 in fp32 (A100).")
    ] = None,
    cpu_tflops: Annotated[
        float | None, typer.Option(min=0.001, help="Peak of one CPU worker; default: measured here.")
    ] = None,
    bandwidth_gbps: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Memory bandwidth of one GPU or CPU worker, GB/s; default: 2,039 (A100), or measured here."
        ),
    ] = None,
    memory_gb: Annotated[float | None, typer.Option(min=0.001, help="Memory of one GPU; default: 80.")] = None,
    worker_memory_gb: Annotated[
        float | None, typer.Option(min=0.001, help="Host memory of one worker; default: this machine's.")
    ] = None,
    store_gb: Annotated[
        float | None, typer.Option(min=0.001, help="Free space in the store; default: that of its disk.")
    ] = None,
    node_disk_gb: Annotated[
        float | None,
        typer.Option(min=0.001, help="Disk of one node for copies from a remote store; default: free on this machine."),
    ] = None,
    config_dir: ConfigDir = None,
    as_json: AsJson = False,
) -> None:
    """Estimate each stage: samples, bytes, parameters, memory, FLOPs, hours; name what is unwise or will not fit."""
    from pipelines.config.compose import NOT_GIVEN, compose_config
    from pipelines.preflight import refuse_problems
    from pipelines.sizing.assumptions import Assumptions
    from pipelines.sizing.plan_text import plan_text
    from pipelines.sizing.planning import make_plan

    config = compose_config(overrides or [], config_dir, stand_in=NOT_GIVEN)
    refuse_problems(config, skip_source=bool(samples))
    counts = _sample_counts(samples or [], list(config.named_sources()))
    given = Assumptions(
        counts.pop("", None), keep, text_tokens, utilisation, peak_tflops, cpu_tflops, bandwidth_gbps, memory_gb,
        worker_memory_gb, store_gb, node_disk_gb, counts,
    )  # fmt: skip
    made = make_plan(config, given)
    show({"preset": config.preset, **made.to_json()}, as_json, lambda: plan_text(made))


def _sample_counts(given: list[str], sources: list[str]) -> dict[str, int]:
    """Return {source: samples} of `N` (its name is "") and `SOURCE=N`."""
    from pipelines.errors import UserError, nearest

    found = {}
    for text in given:
        name, _, count = text.rpartition("=")
        if not count.isdecimal() or int(count) < 1:
            raise UserError(f"--samples {text}: give a number of samples, N, or SOURCE=N of one source.")
        if name and name not in sources:
            raise UserError(f"--samples {text}: no source {name!r}{nearest(name, sources)}")
        found[name] = int(count)
    return found


def doctor(overrides: Overrides = None, config_dir: ConfigDir = None, as_json: AsJson = False) -> None:
    """Check what a run needs: configuration, Ray and its nodes, GPUs, DeepSpeed, store, MLflow, memory, disk."""
    import json
    from dataclasses import asdict

    from pipelines.config.compose import NOT_GIVEN, compose_config
    from pipelines.doctor.checks import examine

    config = compose_config(overrides or [], config_dir, stand_in=NOT_GIVEN)
    lines = []
    for line in examine(config):
        lines.append(line)
        if not as_json:
            print(line, flush=True)
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=1, ensure_ascii=False))
    if not all(line.ok for line in lines):
        raise typer.Exit(1)
