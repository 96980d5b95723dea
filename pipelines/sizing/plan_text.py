"""A plan as text: a table of the stages, the memory of those that use models, what was taken for given, what is unwise,
what will not fit.
"""

from __future__ import annotations

from pipelines.sizing.stage_sizes import Plan, StageSize

SCALES = ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def plan_text(plan: Plan) -> str:
    """Return the plan for people."""
    head = (
        "stage",
        "samples",
        "seen",
        "store",
        "while it runs",
        "trained",
        "frozen",
        "memory",
        "FLOPs",
        "hours",
        "device hours",
    )
    rows = [head, *(_cells(stage) for stage in plan.stages)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    totals = plan.totals()
    hours = ", ".join(
        f"{totals[key]:,.4g} {name}"
        for key, name in (("gpu_hours", "GPU-hours"), ("cpu_hours", "CPU core-hours"))
        if totals[key]
    )
    lines += [
        "",
        f"in all: {_scaled(totals['store_bytes'])}B in the store, at most {_scaled(totals['working_bytes'])}B "
        f"more while a stage trains; {_scaled(totals['flops'])}FLOP; {hours or 'no hours'}",
        "",
        "memory of one GPU, or of one CPU worker",
        *(_memory(stage) for stage in plan.stages if stage.memory),
        "",
        "taken for given",
        *(f"  {name}: {words}" for name, words in plan.assumed.items()),
        "",
    ]
    if warnings := plan.unwise():
        lines += ["unwise", *(f"  {w['stage']}: {w['warning']}" for w in warnings), ""]
    problems = plan.will_not_fit()
    if not problems:
        return "\n".join([*lines, "everything fits"])
    told = [f"  {p['stage']}: {p['problem']}" if p["stage"] else f"  {p['problem']}" for p in problems]
    return "\n".join([*lines, "will not fit", *told])


def _cells(stage: StageSize) -> tuple[str, ...]:
    devices = stage.workers * stage.share
    device = f"{devices:g} {stage.device}" if devices > 1 else stage.device
    return (
        stage.stage,
        _count(stage.samples),
        _count(stage.seen),
        "-" if stage.store_bytes is None else f"{_scaled(stage.store_bytes)}B",
        f"{_scaled(stage.working_bytes)}B" if stage.working_bytes else "-",
        _scaled(stage.trained).strip() if stage.trained else "-",
        _scaled(stage.frozen).strip() if stage.frozen else "-",
        f"{_scaled(stage.memory_bytes)}B" if stage.memory else "-",
        _scaled(stage.flops).strip() if stage.flops else "-",
        "-" if stage.hours is None else f"{stage.hours:,.3g}",
        "-" if stage.device_hours is None else f"{stage.device_hours:,.3g} {device}",
    )


def _memory(stage: StageSize) -> str:
    host = f"; beside it, in the node's memory: {_parts(stage.host)}" if stage.host else ""
    return f"  {stage.stage}: {_parts(stage.memory)}{host}"


def _parts(parts: dict[str, int]) -> str:
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {_scaled(size)}B" for name, size in ordered if size)


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _scaled(number: float) -> str:
    """Return a number with its unit's prefix: `1.5 G`."""
    for scale, prefix in SCALES:
        if number >= scale:
            return f"{number / scale:,.3g} {prefix}"
    return f"{number:,.0f} "
