"""Figures of a world whose pictures are read back exactly: shares that are right by category and edit kind, beside
chance and ceiling, by guidance and over training.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from components.evaluation.intervals import mean_interval
from pipelines.config.schema import Config
from pipelines.judging.judge import RIGHT
from pipelines.stages.generator.judged_world import EXACT, HELD_OUT, SINGLE, JudgedWorld
from pipelines.stages.generator.picture_sheet import EDITS, SNAPSHOT
from pipelines.stages.generator.world_reader import NAME as READER

Rows = Sequence[dict[str, Any]]  # of pictures, by `picture_rows`
OF_REMOVALS = {
    "removal_residue": "residue",
    "removal_residue_of_reconstructions": "of_reconstruction",
    "removal_residue_of_source": "of_source",
    "removal_ghosts": "ghost",
}


class WorldFigures:
    """The figures, from the rows of each split. Reasons of absence go to `absent`, intervals to `intervals`."""

    def __init__(
        self,
        config: Config,
        world: type[JudgedWorld],
        rows: Mapping[str, Rows],
        absent: dict[str, str],
        intervals: dict[str, list[float]],
        seed: int,
    ) -> None:
        self.world, self.sizes, self.rows = world, world.sizes(config), rows
        self.settings, self.guidance = config.evaluate_generator, config.generator.guidance_scale
        self.absent, self.intervals, self._seed = absent, intervals, seed

    def text_to_image(self) -> dict[str, Any]:
        """Return the shares of pictures that hold exactly what was asked, with chance and ceiling, of each further
        split, by guidance, and at the snapshots by samples seen.
        """
        main = self.rows.get(HELD_OUT, ())
        for name in self.sizes.categories:
            if name not in {row["category"] for row in main}:
                self.absent[f"text_to_image.{name}"] = self.world.no_prompts
        if not main:
            self.absent["text_to_image.overall"] = self.world.no_prompts
            return {}
        values: dict[str, Any] = dict(shares_of(main))
        self._intervals("text_to_image", "overall", main, values)
        for name in ("chance", "ceiling"):
            values[name] = shares_of([{"category": row["category"], **row[name]} for row in main])
        for split in self.sizes.splits:
            further = self.rows.get(split.name, ())
            if further:
                values[split.metric] = shares_of(further)
            else:
                self.absent[f"text_to_image.{split.metric}"] = split.absent or self.world.no_prompts
        return values | {"by_guidance": self._by_guidance(main)}

    def _by_guidance(self, main: Rows) -> dict[str, float]:
        """The overall share at every guidance scale, of the same few prompts of each category."""
        before: Counter[str] = Counter()
        first = []
        for row in main:
            before[row["category"]] += 1
            if before[row["category"]] <= self.settings.guidance_prompts:
                first.append(row)
        found = {self.guidance: shares_of(first)["overall"]}
        for scale in self.settings.guidance_scales:
            rows = self.rows.get(f"guidance {scale:g}", ())
            if scale not in found and rows:
                found[scale] = shares_of(rows)["overall"]
        return {f"{scale:g}".replace(".", "_"): value for scale, value in sorted(found.items())}

    def checkpoints(self, seen: Sequence[int]) -> dict[int, dict[str, float]]:
        """Return the shares at each snapshot, by samples seen."""
        return {n: shares_of(rows) for n in seen if (rows := self.rows.get(SNAPSHOT.format(n), ()))}

    def editing(self) -> dict[str, Any]:
        """Return by kind the share of edits whose result is exactly the edited picture, and what became of the rest of
        it.
        """
        rows, groups = self.rows.get(EDITS, ()), self.world.edit_groups
        kinds = {row["category"] for row in rows}
        missing = [kind for kind in self.sizes.edit_kinds if kind not in kinds]
        missing += [name for name, of_group in groups.items() if not kinds & set(of_group)]
        self.absent |= {f"editing.{name}": self.world.no_edits for name in missing}
        if not rows:
            return {}
        by_kind = shares([row["category"] for row in rows], [row[RIGHT] for row in rows])
        values: dict[str, Any] = {"success": by_kind.pop("overall"), **by_kind}
        self._intervals("editing", "success", rows, values)
        for name, of_group in groups.items():
            right = [row[RIGHT] for row in rows if row["category"] in of_group]
            values |= {name: mean(right)} if right else {}
        values["copy_source"] = mean([_read(row["of_source"]) for row in rows])
        values["chance"] = mean([_read(row["chance"]) for row in rows])
        values["ceiling"] = mean([_read(row["ceiling"]) for row in rows])
        removed = [row for row in rows if "residue" in row["removal"]]
        if removed:
            values["remove_by_the_inspector_alone"] = mean([_read(row) for row in removed])
            values |= {name: mean([row["removal"][key] for row in removed]) for name, key in OF_REMOVALS.items()}
            values["removal_trace"] = mean([abs(row["removal"]["trace"]) for row in removed])
        return values

    def _intervals(self, group: str, whole: str, rows: Rows, values: Mapping[str, Any]) -> None:
        """Add the intervals of the whole share, the mean over categories or kinds, and of each of them."""
        categories, right = [row["category"] for row in rows], [float(row[RIGHT]) for row in rows]
        self.intervals[f"{group}.{whole}"] = list(mean_interval(right, categories, self._seed))
        for name in dict.fromkeys(categories):
            if name in values:
                own = [ok for category, ok in zip(categories, right, strict=True) if category == name]
                self.intervals[f"{group}.{name}"] = list(mean_interval(own, seed=self._seed))


def _read(row: Mapping[str, Any]) -> bool:
    """Return the reader's verdict of a row."""
    return bool(row["rows"][READER][RIGHT])


def shares_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the shares that are exactly right, with `overall` their mean.

    Where the world judges aspects of single objects there is also the share of each, over the prompts that say it, and
    of `EXACT`.
    """
    values = shares([row["category"] for row in rows], [_read(row) for row in rows])
    aspects: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row["category"] == SINGLE:
            for name, ok in {EXACT: _read(row), **row["rows"][READER].get("aspects", {})}.items():
                aspects[name].append(ok)
    return values | ({name: mean(oks) for name, oks in aspects.items()} if len(aspects) > 1 else {})


def shares(groups: Sequence[str], right: Sequence[bool]) -> dict[str, float]:
    """Return the share that is right in each group, and `overall`: the mean over groups, as GenEval's."""
    found: dict[str, list[bool]] = defaultdict(list)
    for group, ok in zip(groups, right, strict=True):
        found[group].append(ok)
    each = {group: mean(values) for group, values in found.items()}
    return {"overall": mean(list(each.values())) if each else 0.0, **each}


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return float(sum(values) / len(values))
