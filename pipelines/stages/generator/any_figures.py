"""Figures that any data has: of held-out captions and edits with their true pictures, beside chance and ceiling.

A figure that could not be computed is absent, with what would make it appear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.judging.row_figures import Held, figures_of, grouped, intervals, means
from pipelines.judging.set_measures import distance_intervals, distances, found_own
from pipelines.stages.generator.held_out_world import ANY_EDIT, HeldOutWorld
from pipelines.stages.generator.picture_shards import OWN
from pipelines.stages.generator.picture_sheet import SNAPSHOT
from pipelines.stages.generator.world_reader import NAME as READER

Rows = Sequence[dict[str, Any]]
Features = Mapping[str, np.ndarray]  # by `SET.NAME`
FEW = "fewer than two held-out pictures have captions: bring more captioned samples, or raise held_out"
# Why held-out edits may not have a figure, by how its name starts.
WHY_NOT = {
    "preservation_psnr": "no held-out edit has a mask of what it changes: name it in the pairs' source (pairs.mask)",
    "ssim": "pictures are smaller than its window of 11 pixels: raise image_size",
    "nearer_target": "the features do not tell sources from their targets: name others in evaluate_generator.features",
    "direction": "the features do not tell sources from their targets: name others in evaluate_generator.features",
}
BASELINES = {"of_source": "of_source", "of_reconstructions": "ceiling", "of_others": "chance"}  # figures' group -> rows


class AnyFigures:
    """The figures of rows and features. Reasons of absence go to `absent`, intervals to `intervals`."""

    def __init__(
        self,
        of_prompts: Mapping[str, str],
        of_edits: Mapping[str, str],
        judges: Mapping[str, Any],
        absent: dict[str, str],
        found_intervals: dict[str, list[float]],
        seed: int,
    ) -> None:
        """`of_prompts` and `of_edits` are the figures there may be -> why not, where that is known. `judges` is what
        the shards say of theirs: `suffixed`, and `of`: prompts, edits.
        """
        self.of_prompts, self.of_edits = of_prompts, of_edits
        self.absent, self.intervals, self._seed = absent, found_intervals, seed
        self._judges = {name: about for name, about in judges.items() if name != READER}

    def text_to_image(self, rows: Rows, features: Features, once: Sequence[int] | None = None) -> dict[str, Any]:
        """Return the figures of captions; `features` are of the sets made, truth, ceiling and chance, as far as there
        are any. `once` are the rows that distances of sets are taken over, each with another true picture; None: all.
        """
        if not rows:
            self.absent |= {f"text_to_image.{name}": why or FEW for name, why in self.of_prompts.items()}
            return {}
        held = _held(rows, self._judges)
        values: dict[str, Any] = means(held)
        self._keep_intervals("text_to_image", intervals(held, self._seed))
        alone = len(rows) < 2  # there is no other caption to hold it to
        compared = {
            name: {} if alone else means(_held([row[name] for row in rows], self._judges))
            for name in ("chance", "ceiling")
        }
        by_source = grouped(held, "source")
        values |= {"by_source": by_source} if by_source else {}
        chosen = features if once is None else {name: each[list(once)] for name, each in features.items()}
        names = [name.removeprefix("truth.") for name in chosen if name.startswith("truth.") and len(chosen[name]) > 1]
        for name in names:
            of_sets = self._distances(name, chosen)
            for kind, found in of_sets.items():
                values |= found if kind == "made" else {}
                compared[kind] = compared.get(kind, {}) | (found if kind != "made" else {})
            if f"frechet_{name}" in compared["ceiling"]:  # where it was before there were ceilings
                values[f"frechet_{name}_of_reconstructions"] = compared["ceiling"].pop(f"frechet_{name}")
        compared.pop("made", None)
        if names:
            values["frechet_pictures"] = len(chosen[f"truth.{names[0]}"])
        captions = [row["prompt"] for row in rows]
        self._own("instance_retrieval", names, "truth", captions, features, values, compared)
        if f"texts.{OWN}" in features:
            self._own("retrieval", [OWN], "texts", captions, features, values, compared)
        if "retrieval" in values:
            values["retrieval_pool"] = len(set(captions))
        for name, why in self.of_prompts.items():
            if name not in values:
                few = FEW if alone else f"{len(rows)} captions are too few for it"
                self.absent.setdefault(f"text_to_image.{name}", why or few)
        return values | {name: found for name, found in compared.items() if found}

    def _distances(self, name: str, features: Features) -> dict[str, dict[str, float]]:
        """Return the distances of each set to the true pictures, in the features `name`."""
        import torch

        truth = torch.from_numpy(features[f"truth.{name}"])
        found = {}
        for kind in _kinds(features, name):
            other = torch.from_numpy(features[f"{kind}.{name}"])
            found[kind] = {f"{key}_{name}": value for key, value in distances(truth, other).items()}
            if kind == "made":
                own = distance_intervals(truth, other, self._seed)
                self._keep_intervals("text_to_image", {f"{key}_{name}": value for key, value in own.items()})
        return found

    def _own(
        self,
        figure: str,
        names: Sequence[str],
        wanted: str,
        captions: Sequence[str],
        features: Features,
        values: dict[str, Any],
        compared: dict[str, dict[str, float]],
    ) -> None:
        """Add the share of pictures whose nearest true picture, or caption, is their own."""
        import torch

        if len(set(captions)) < 2:
            return
        for name in names:
            key = figure if name == OWN else f"{figure}_{name}"
            pool = torch.from_numpy(features[f"{wanted}.{name}"])
            if bool((pool == pool[0]).all()):
                self.absent[f"text_to_image.{key}"] = "its model tells none of these captions or pictures apart"
                continue
            for kind in _kinds(features, name):
                right = found_own(torch.from_numpy(features[f"{kind}.{name}"]), pool, captions)
                into = values if kind == "made" else compared[kind]
                into[key] = sum(right) / len(right)
                if kind == "made":
                    self._keep_intervals("text_to_image", intervals([Held({key: x}) for x in right], self._seed))

    def editing(self, rows: Rows) -> dict[str, Any]:
        """Return the figures of edits with true results, beside copies of the source, the ceiling and chance."""
        if not rows:
            why = HeldOutWorld.no_edits
            self.absent |= dict.fromkeys((f"editing.{name}" for name in self.of_edits), why)
            return {}
        held = _held(rows, self._judges)
        values: dict[str, Any] = means(held)
        self._keep_intervals("editing", intervals(held, self._seed))
        for group, name in BASELINES.items():
            baseline = means(_held([row[name] for row in rows], self._judges))
            values |= {group: baseline} if baseline else {}
        by_kind, by_source = grouped(held, "category"), grouped(held, "source")
        if not by_kind and held[0].category not in ("", ANY_EDIT):
            by_kind = {held[0].category: means(held)}
        values |= {"by_kind": by_kind} if by_kind else {}
        values |= {"by_source": by_source} if by_source else {}
        preserved = [p for row in rows if (p := row.get("removal", {}).get("preserved")) is not None]
        if preserved:
            values["preservation_psnr_of_reconstructions"] = sum(preserved) / len(preserved)
        for name, why in {**self.of_edits, "preservation_psnr": ""}.items():
            if name not in values:
                told = [reason for start, reason in WHY_NOT.items() if name.startswith(start)]
                self.absent[f"editing.{name}"] = why or (told[0] if told else "no held-out edit can have it")
        return values

    def agreement(
        self, overall: Mapping[int, float], rows: Mapping[str, Rows], features: Mapping[int, Features]
    ) -> dict[str, float]:
        """Return the rank correlation of the reader's overall share with each measure, over the snapshots; distances
        count as nearness, so that 1 is agreement. `overall` and `features` are by samples seen.
        """
        import torch

        from components.evaluation.agreement import rank_correlation
        from components.evaluation.kernel import kernel_distance

        seen = list(overall)
        if len(seen) < 3:
            self.absent["text_to_image.agreement"] = (
                f"{len(seen)} snapshots have no order to compare: it needs 3 or more (generator.snapshots)"
            )
            return {}
        measures: dict[str, list[float]] = {}
        for n in seen:
            for name, value in means(_held(rows[SNAPSHOT.format(n)], self._judges)).items():
                measures.setdefault(name, []).append(value)
        truth = {k.removeprefix("truth."): v for k, v in features[seen[0]].items() if k.startswith("truth.")}
        for name, true in truth.items():
            made = [features[n][f"made.{name}"] for n in seen]
            measures[f"kernel_{name}"] = [-kernel_distance(torch.from_numpy(true), torch.from_numpy(m)) for m in made]
        found = {}
        for name, values in measures.items():
            try:
                found[name] = rank_correlation([overall[n] for n in seen], values)
            except ValueError as error:
                self.absent[f"text_to_image.agreement.{name}"] = str(error)
        return found

    def _keep_intervals(self, group: str, found: Mapping[str, list[float]]) -> None:
        self.intervals |= {f"{group}.{name}": interval for name, interval in found.items()}


def _kinds(features: Features, name: str) -> list[str]:
    return [kind for kind in ("made", "ceiling", "chance") if f"{kind}.{name}" in features]


def _held(rows: Sequence[Mapping[str, Any]], judges: Mapping[str, Any]) -> list[Held]:
    return [
        Held(figures_of(row.get("rows", {}), judges), str(row.get("category", "")), str(row.get("source_name", "")))
        for row in rows
    ]
