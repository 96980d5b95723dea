"""The page of a run: one HTML file that opens offline, with every picture, script and style in it.

Prompts and captions come from strangers: templates escape whatever they are given, and the page's own policy lets no
script run but the two that it was made with, by their hashes, and loads nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from functools import cache
from importlib import resources
from typing import Any

from components.curation.report.style import STYLE
from pipelines.gallery.curves import curves, share_curve
from pipelines.gallery.data_funnel import funnels, sides, sources
from pipelines.gallery.drawn_grids import Grid, grids, samples
from pipelines.gallery.figures_table import absent, figure_groups, headline
from pipelines.gallery.judged import EDITS, PROMPTS, cards, convergence, read_rows, strips
from pipelines.gallery.lineage_graph import lineage
from pipelines.gallery.material import Album, Material
from pipelines.gallery.timeline import timeline
from pipelines.store.files import Store
from pipelines.store.runs import Run, clock

MB = 1_000_000
GRID, SINGLE = 1200, 160  # longer side of a grid of pictures and of a single picture, pixels
# Bytes of page for the pictures of each section; with text and scripts the page stays below 10 MB.
ROOM = {"data": 0.4 * MB, "grids": 2.6 * MB, "strips": 0.8 * MB, "prompts": 2.0 * MB, "edits": 2.4 * MB}
UPLOT = ("uPlot.iife.min.js", "uPlot.min.css")  # 1.6.32, MIT
CREDENTIALS = re.compile(r"(?<=://)[^/@\s'\"]+@")


def gallery_page(store: Store, run: Run, report: dict[str, Any]) -> str:
    """Return the page of a run; `report` is what `pixsem report --json` says of it. Below 10 MB: it says what it leaves
    out. `StoreError` where a manifest is damaged.
    """
    material = Material(store, run, report)
    albums = {name: Album(int(room), SINGLE if name in ("strips", "prompts", "edits") else GRID)
              for name, room in ROOM.items()}  # fmt: skip
    bars, axis = timeline(material)
    groups = figure_groups(material.metrics)
    rows, pictured = read_rows(material)
    shares = convergence(rows)
    # What the evaluation drew, where the page has nothing better to show.
    drawn = {
        "convergence.png": ("At checkpoints.", not shares and not pictured),
        "convergence_pictures.png": ("The same prompts at each checkpoint, above their truth.", not pictured),
        "generated.png": ("Prompts and what was made of them. A red frame: not as asked.", not pictured),
        "edits.png": ("Source, result and truth of each edit. A red frame: not as told.", not pictured),
    }

    def grids_of(*names: str) -> list[Grid]:
        wanted = [(name, drawn[name][0]) for name in names if drawn[name][1]]
        return grids(material, "evaluate_generator", wanted, albums["grids"])

    values = {
        "run": run,
        "took": clock(run.seconds or axis.seconds),  # a run that has not ended has none of its own
        "lead": lead(material),
        "command": CREDENTIALS.sub("…@", shlex.join(["pixsem", "run", *run.asked])),
        "stages": len(report["stages"]),
        "cached": sum(bar.state == "cached" for bar in bars),
        "bars": bars,
        "axis": axis,
        "models": report["models"],
        "groups": groups,
        "headline": headline(groups),
        "absent": absent(material),
        "sources": sources(material),
        "funnels": funnels(material, albums["data"]),
        "sides": sides(material),
        "curves": curves(material),
        "reconstructions": grids(
            material, "evaluate_tokenizer", [("reconstructions.png", "Held-out pictures before and after.")],
            albums["grids"],
        ),
        "samples": samples(material, albums["grids"]),
        "strips": strips(material, rows, albums["strips"]),
        "shares": share_curve(shares),
        "over_training": grids_of("convergence.png", "convergence_pictures.png"),
        "prompts": cards(material, rows, "prompt", PROMPTS, albums["prompts"], pictured),
        "edits": cards(material, rows, "edit", EDITS, albums["edits"], pictured),
        "drawn_prompts": grids_of("generated.png"),
        "drawn_edits": grids_of("edits.png"),
        "graph": lineage(material),
        "missing": [name for name in run.stages if name not in material.artifacts],
        "left_out": material.left_out,
    }  # fmt: skip
    for name, album in albums.items():
        if album.refused:
            material.left_out.append(f"{album.refused} pictures of {name}: too many for one page, or not readable")
    return _environment().get_template("page.html").render(**values, **_inlined())


def lead(material: Material) -> str:
    """Say in one sentence what the run did, for somebody who knows nothing of it."""
    parts = []
    funnel = material.metrics.get("curation", {}).get("funnel")
    if funnel:
        parts.append(f"kept {list(funnel.values())[-1]:,} of {funnel['came_in']:,} samples")
    trained = [name for name in material.artifacts if name.startswith("train_")]
    if trained:
        parts.append(f"trained {len(trained)} model{'s' if len(trained) > 1 else ''}")
    versions = [
        f"{m['name']}/{m['version']} ({' '.join(m['aliases']) or 'no alias'})" for m in material.report["models"]
    ]
    if versions:
        parts.append(f"registered {' and '.join(versions)}")
    did = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
    return f"This run {did}." if did else ""


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("pipelines.gallery"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = _number
    return made


def _number(value: float | None) -> str:
    """`1,234`, `0.25`, `29.5`; a dash for what is not there."""
    if value is None:
        return "–"
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"


@cache
def _inlined() -> dict[str, Any]:
    """The scripts and styles, and the policy that lets no other script run."""
    from markupsafe import Markup

    own, plots = resources.files("pipelines.gallery") / "templates", resources.files("pipelines.gallery") / "uplot"
    scripts = [(plots / UPLOT[0]).read_text("utf-8"), (own / "page.js").read_text("utf-8")]
    assert not any("</script" in script or "<!--" in script for script in scripts)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    style = STYLE + (plots / UPLOT[1]).read_text("utf-8") + (own / "page.css").read_text("utf-8")
    return {  # files of this package, as they are
        "scripts": [Markup(script) for script in scripts],  # noqa: S704 # nosec B704
        "style": Markup(style),  # noqa: S704 # nosec B704
        "policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src {allowed}",
    }
