"""What became of the data, from a run's counts: curation's own funnel, sources, what is trained on and held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.curation.report.facts import Step
from components.curation.report.page_html import Words, funnel_list
from components.curation.report.pair_report import WORDS as PAIR_WORDS
from components.curation.report.sample_report import WORDS as SAMPLE_WORDS
from pipelines.gallery.material import Album, Material, Picture
from pipelines.stage import credit_of

CAME_IN = "came_in"
# group of metrics -> its words, the stage that decides, and the one before it, which fails what cannot be read
FUNNELS = (("curation", SAMPLE_WORDS, "curate", "measure"), ("pairs", PAIR_WORDS, "curate_pairs", "measure_pairs"))
UNREADABLE = ("unknown_format", "broken_image", "no_image", "too_many_bytes", "too_many_pixels", "unreadable")


@dataclass(frozen=True)
class Funnel:
    """The funnel of samples or of edit pairs, its HTML, and where the page is that shows examples of each reason."""

    unit: str
    came_in: int
    kept: int
    html: str
    page: str
    sheet: Picture | None


def funnels(material: Material, album: Album) -> list[Funnel]:
    """Return the funnels of what the run curated."""
    found = []
    for group, words, stage, reading in FUNNELS:
        figures, made = material.metrics.get(group, {}), material.artifacts.get(stage)
        if made is None or "funnel" not in figures:
            continue
        steps = steps_of(figures["funnel"], words, stage, reading, _failed(material))
        came_in = figures["funnel"][CAME_IN]
        kept = steps[-1].left if steps else came_in
        html = funnel_list(steps, {"input": came_in, "kept": kept}, words, {})
        pages = [material.store.path(path) for path in made.files("sheet.html")]
        sheets = list(made.files("sheet.png"))
        sheet = album.add(material.read(sheets[0])) if sheets else None
        found.append(Funnel(words.unit, came_in, kept, html, pages[0] if pages else "", sheet))
    return found


def steps_of(
    funnel: Mapping[str, int], words: Words, stage: str, reading: str, failed: frozenset[str] = frozenset()
) -> list[Step]:
    """Return the steps of a funnel as metrics keep it: {came_in: rows, step: rows left after it}. A step of an earlier
    stage has that stage before its name.
    """
    steps, left = [], funnel.get(CAME_IN, 0)
    for name, rest in funnel.items():
        if name == CAME_IN:
            continue
        earlier = next((s for s in words.stages if s not in (stage, reading) and name.startswith(f"{s}_")), None)
        reason = name.removeprefix(f"{earlier}_") if earlier else name
        broken = reason in UNREADABLE or (earlier is not None and reason in failed)
        at = earlier or (reading if broken else stage)
        steps.append(Step(at, "failed" if broken else "dropped", reason, left - rest, rest))
        left = rest
    return steps


def _failed(material: Material) -> frozenset[str]:
    """The reasons for which sources could not give a sample."""
    read = material.metrics.get("ingest", {})
    groups = [read, *read.get("sources", {}).values()]
    return frozenset(reason for group in groups for reason in group.get("failed_by_reason", {}))


def sources(material: Material) -> list[dict[str, Any]]:
    """Return a row for each source: its name, what came in, what was read, what curation kept, and whom to credit."""
    read, curated = material.metrics.get("ingest", {}), material.metrics.get("curation", {}).get("sources", {})
    rows = []
    for name, artifact in material.instances("ingest").items():
        source = name.partition("@")[2]
        counts, own = artifact.manifest.counts, curated.get(source) if source else material.metrics.get("curation")
        outside = [f"{what} {digest[:12]}" for what, digest in artifact.manifest.external.items()]
        rows.append(
            {
                "name": source or "the source",
                "input": counts.get("input", 0),
                "read": counts.get("kept", 0),
                "kept": (own or {}).get("kept"),
                "credit": credit_of(artifact.manifest) if read else "",
                "outside": outside,
            }
        )
    return rows


def sides(material: Material) -> dict[str, int]:
    """Return how many rows are trained on and held out, of samples and pairs together; {} where nothing is indexed."""
    return dict(material.metrics.get("index", {}))
