"""Figures beside what bounds them: interval, chance, ceiling, and the source where it is not edited at all.

The names say what belongs together: `text_to_image.chance.overall` is the chance of `text_to_image.overall`,
`editing.of_source.psnr` is `editing.psnr` of a source that is copied.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.gallery.material import Material

GROUPS = {"tokenizer": "Reconstruction", "text_to_image": "Text to image", "editing": "Editing"}
# How a figure's name tells that it bounds another: (pattern, the other's name, the column).
BOUNDS = (
    (r"chance\.(.+)", r"\1", "chance"),
    (r"of_others\.(.+)", r"\1", "chance"),
    (r"ceiling\.(.+)", r"\1", "ceiling"),
    (r"of_reconstructions\.(.+)", r"\1", "ceiling"),
    (r"(.+)_of_reconstructions", r"\1", "ceiling"),
    (r"of_source\.(.+)", r"\1", "copy"),
    (r"(.+)_of_source", r"\1", "copy"),
    (r"chance", "success", "chance"),
    (r"ceiling", "success", "ceiling"),
    (r"copy_source", "success", "copy"),
    (r"retrieval_frozen", "retrieval", "ceiling"),
)
LESS = re.compile(r"frechet|kernel|lpips|rfid|fid_|residue|ghost|trace|seconds|loss")
NO_SHARE = re.compile(r"psnr|frechet|kernel|lpips|fid|residue|seconds|latent|trace|loss|direction")
# What a figure says, for a stranger: the first pattern that its name matches.
MEANING = (
    (r"overall", "share of pictures that show exactly what was asked, mean of the categories"),
    (r"success", "share of edits that changed exactly what was told, and nothing else"),
    (r"instance_retrieval", "share of made pictures whose nearest true picture is the one asked for"),
    (r"retrieval_encoder", "share of pictures whose caption is found first, by the trained encoder"),
    (r"retrieval", "share of pictures whose own caption is found first among all captions"),
    (r"nearer_target", "share of results that are nearer to the true edit than to the source"),
    (r"direction", "whether the change goes the way of the true change: 1 the same, 0 across, -1 against it"),
    (r"preservation_psnr", "dB, outside the edited part, against the source"),
    (r"noise_psnr", "dB, of pictures decoded from latents with noise"),
    (r"psnr", "dB, against the true pictures"),
    (r"ssim", "likeness of structure to the true pictures, 1 is equal"),
    (r"lpips", "perceptual distance to the true pictures"),
    (r"rfid", "Frechet distance of decoded to true pictures in Inception's features"),
    (r"frechet", "distance between the features of made and of true pictures"),
    (r"kernel", "kernel distance (maximum mean discrepancy) between features of made and of true pictures"),
    (r"precision", "share of made pictures that lie among true ones"),
    (r"recall", "share of true pictures that lie among made ones"),
    (r"coverage", "share of true pictures that have a made one near"),
    (r"density", "how many true pictures a made one lies among; 1 is as true ones"),
    (r"similarity", "likeness of features: to the caption, or to the true picture"),
    (r"feature_cosine", "cosine of decoded features and the encoder's own"),
    (r"probe", "share that a linear probe of the latents gets right"),
    (r"removal_ghosts", "share of removals that leave a ghost of the object"),
    (r"removal_residue", "what is left of removed objects, mean difference from what is behind them"),
    (r"seconds_per_image", "seconds, all steps and the decoder"),
    (r"agreement", "rank correlation with the exact reader over checkpoints"),
)
HEADLINE = (
    ("text_to_image", "overall"), ("editing", "success"), ("text_to_image", "similarity"),
    ("text_to_image", "instance_retrieval"), ("text_to_image", "kernel"), ("text_to_image", "frechet"),
    ("editing", "similarity"), ("editing", "psnr"), ("tokenizer", "psnr"), ("tokenizer", "rfid"),
)  # fmt: skip
HEADLINES = 5


@dataclass
class Figure:
    """A number with its bounds. Shares have a bar of percents: value, interval, chance, ceiling."""

    group: str
    name: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    bounds: dict[str, float] = field(default_factory=dict)  # chance, ceiling, copy

    @property
    def words(self) -> str:
        """The name for people."""
        last = self.name.rpartition(".")[2]
        return re.sub(r"^(\d+)_(\d+)$", r"\1.\2", last).replace("_", " ")  # a guidance scale is a number

    @property
    def meaning(self) -> str:
        """What it says; empty where nobody wrote it down."""
        return next((words for pattern, words in MEANING if re.search(pattern, self.name)), "")

    @property
    def less_is_better(self) -> bool:
        """True for distances."""
        return LESS.search(self.name) is not None

    @property
    def is_share(self) -> bool:
        """True where it and its bounds are between 0 and 1."""
        numbers = [*self.bounds.values(), *(self.interval or ()), *([] if self.value is None else [self.value])]
        return not NO_SHARE.search(self.name) and bool(numbers) and all(0 <= number <= 1 for number in numbers)


@dataclass
class Table:
    """Figures of one part of a group; `columns` are the bounds that any of them has."""

    title: str
    figures: list[Figure]

    @property
    def columns(self) -> list[str]:
        """Bounds that are known of any figure."""
        return [name for name in ("chance", "copy", "ceiling") if any(name in figure.bounds for figure in self.figures)]

    @property
    def intervals(self) -> bool:
        """True where any figure has an interval."""
        return any(figure.interval for figure in self.figures)


@dataclass
class Group:
    """A group of figures: its tables, and what they were measured on and how."""

    name: str
    title: str
    tables: list[Table]
    facts: list[tuple[str, str]]
    protocol: str


def figure_groups(metrics: Mapping[str, Any]) -> list[Group]:
    """Return the tables of every group that the run has figures of."""
    intervals = metrics.get("intervals", {})
    found = []
    for name, title in GROUPS.items():
        figures, facts = _figures(name, metrics.get(name, {}), intervals)
        if figures or facts:
            parts: dict[str, list[Figure]] = {}
            for figure in figures:
                parts.setdefault(figure.name.rpartition(".")[0], []).append(figure)
            tables = [Table(part.replace("_", " ").replace(".", ": "), _sorted(each)) for part, each in parts.items()]
            tables.sort(key=lambda table: table.title != "")
            protocol = metrics.get("protocol", {}).get(name)
            found.append(Group(name, title, tables, facts, json.dumps(protocol, indent=1) if protocol else ""))
    return found


def _figures(
    group: str, values: Mapping[str, Any], intervals: Mapping[str, Any]
) -> tuple[list[Figure], list[tuple[str, str]]]:
    figures: dict[str, Figure] = {}
    facts = []
    for name, value in _leaves(values):
        if isinstance(value, bool | str | int) or value is None:
            facts.append((name.replace("_", " ").replace(".", ": "), str(value)))
            continue
        if not isinstance(value, float) or not math.isfinite(value):
            continue
        of, column = bounded(name, values)
        figure = figures.setdefault(of, Figure(group, of))
        if column:
            figure.bounds[column] = value
        else:
            figure.value = value
            interval = intervals.get(f"{group}.{name}")
            figure.interval = (float(interval[0]), float(interval[1])) if interval else None
    return list(figures.values()), facts


def bounded(name: str, values: Mapping[str, Any]) -> tuple[str, str]:
    """Return the figure that a figure bounds and as what: ("overall", "chance"); itself and "" where it bounds none."""
    for pattern, other, column in BOUNDS:
        found = re.fullmatch(pattern, name)
        of = found.expand(other) if found else ""
        # A bound of a figure that is not there stands for itself.
        if found and any(leaf == of for leaf, _ in _leaves(values)):
            return of, column
    return name, ""


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _sorted(figures: list[Figure]) -> list[Figure]:
    """Numbers as names in their order (samples seen, guidance scales), others as they come, the whole first."""
    last = [figure.name.rpartition(".")[2].replace("_", ".") for figure in figures]
    if all(re.fullmatch(r"\d+(\.\d+)?", name) for name in last):
        return [figure for _, figure in sorted(zip(map(float, last), figures, strict=True), key=lambda each: each[0])]
    return sorted(figures, key=lambda figure: not re.search(r"(^|\.)(overall|success)$", figure.name))


def headline(groups: list[Group]) -> list[tuple[str, Figure]]:
    """Return the few figures that say most of a run: (title of the group, figure)."""
    main = {
        group.name: (group.title, [f for table in group.tables if not table.title for f in table.figures])
        for group in groups
    }
    found: list[tuple[str, Figure]] = []
    for group, name in HEADLINE:
        title, figures = main.get(group, ("", []))
        matching = [f for f in figures if f.name == name or f.name.startswith(f"{name}_")]
        found += [(title, figure) for figure in matching[:1] if figure.value is not None]
    return found[:HEADLINES]


def absent(material: Material) -> list[tuple[str, str]]:
    """Return every figure that could not be computed, and what would make it appear."""
    return [(name, str(why)) for name, why in sorted(material.metrics.get("absent", {}).items())]
