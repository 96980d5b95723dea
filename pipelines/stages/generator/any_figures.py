"""Figures that any data has: of held-out captions and edits with their true pictures, beside chance and ceiling.

A figure that could not be computed is absent, with what would make it appear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.config.schema import Config
from pipelines.judging.judge import EDITS as OF_EDITS
from pipelines.judging.judge import PROMPTS
from pipelines.judging.row_figures import Held, figures_of, grouped, intervals, means
from pipelines.judging.set_measures import distance_intervals, distances, found_own
from pipelines.stages.generator.held_out_world import ANY_EDIT, HeldOutWorld
from pipelines.stages.generator.picture_shards import OWN
from pipelines.stages.generator.picture_sheet import SNAPSHOT
from pipelines.stages.generator.world_reader import NAME as READER
from pipelines.tracking.figures import of_edits_any, of_prompts_any

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
        config: Config,
        judges: Mapping[str, Any],
        absent: dict[str, str],
        found_intervals: dict[str, list[float]],
        seed: int,
    ) -> None:
        """`judges` is what the shards say of theirs: `suffixed`, and `of`: prompts, edits."""
        self.config, self.absent, self.intervals, self._seed = config, absent, found_intervals, seed
        self._judges = {name: about for name, about in judges.items() if name != READER}

    def text_to_image(self, rows: Rows, features: Features) -> dict[str, Any]:
        """Return the figures of held-out captions; `features` are of the sets made, truth, ceiling and chance."""
        if len(rows) < 2:
            self.absent |= dict.fromkeys((f"text_to_image.{name}" for name in of_prompts_any(self.config)), FEW)
            return {}
        held = _held(rows, self._judges)
        values: dict[str, Any] = means(held)
        self._keep_intervals("text_to_image", intervals(held, self._seed))
        compared = {name: means(_held([row[name] for row in rows], self._judges)) for name in ("chance", "ceiling")}
        by_source = grouped(held, "source")
        values |= {"by_source": by_source} if by_source else {}
        names = [name.removeprefix("truth.") for name in features if name.startswith("truth.")]
        for name in names:
            of_sets = self._distances(name, features)
            for kind, found in of_sets.items():
                values |= found if kind == "made" else {}
                compared[kind] = compared.get(kind, {}) | (found if kind != "made" else {})
            reconstructed = compared["ceiling"].pop(f"frechet_{name}")  # where it was before there were ceilings
            values[f"frechet_{name}_of_reconstructions"] = reconstructed
        del compared["made"]
        values["frechet_pictures"] = len(rows)
        captions = [row["prompt"] for row in rows]
        self._own("instance_retrieval", names, "truth", captions, features, values, compared)
        self._own("retrieval", [OWN], "texts", captions, features, values, compared)
        if "retrieval" in values:
            values["retrieval_pool"] = len(set(captions))
        for name in of_prompts_any(self.config):
            if name not in values:
                self.absent[f"text_to_image.{name}"] = f"{len(rows)} held-out captions are too few for it"
        return values | compared

    def _distances(self, name: str, features: Features) -> dict[str, dict[str, float]]:
        """Return the distances of each set to the true pictures, in the features `name`."""
        import torch

        truth = torch.from_numpy(features[f"truth.{name}"])
        found = {}
        for kind in ("made", "ceiling", "chance"):
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
            for kind in ("made", "ceiling", "chance"):
                right = found_own(torch.from_numpy(features[f"{kind}.{name}"]), pool, captions)
                into = values if kind == "made" else compared[kind]
                into[key] = sum(right) / len(right)
                if kind == "made":
                    self._keep_intervals("text_to_image", intervals([Held({key: x}) for x in right], self._seed))

    def editing(self, rows: Rows) -> dict[str, Any]:
        """Return the figures of edits with true results, beside copies of the source, the ceiling and chance."""
        if not rows:
            why = HeldOutWorld.no_edits
            self.absent |= dict.fromkeys((f"editing.{name}" for name in of_edits_any(self.config)), why)
            return {}
        held = _held(rows, self._judges)
        values: dict[str, Any] = means(held)
        self._keep_intervals("editing", intervals(held, self._seed))
        for group, name in BASELINES.items():
            values[group] = means(_held([row[name] for row in rows], self._judges))
        by_kind, by_source = grouped(held, "category"), grouped(held, "source")
        if not by_kind and held[0].category != ANY_EDIT:
            by_kind = {held[0].category: means(held)}
        values |= {"by_kind": by_kind} if by_kind else {}
        values |= {"by_source": by_source} if by_source else {}
        preserved = [p for row in rows if (p := row["removal"].get("preserved")) is not None]
        if preserved:
            values["preservation_psnr_of_reconstructions"] = sum(preserved) / len(preserved)
        for name, why in {**of_edits_any(self.config), "preservation_psnr": ""}.items():
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

    def protocol(self, judges: Mapping[str, Any], prompts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Return what the figures depend on. `prompts` are the texts of text_to_image and of editing."""
        from pipelines.store.files import canonical_json, sha256_text

        settings = self.config.generator
        shared = {
            "seed": self.config.seed, "images_per_prompt": 1, "guidance_scale": settings.guidance_scale,
            "sampling_steps": settings.sampling_steps, "sampling_shift": settings.sampling_shift,
        }  # fmt: skip
        found = {}
        for group, of in (("text_to_image", PROMPTS), ("editing", OF_EDITS)):
            own = {name: about["protocol"] for name, about in judges.items() if of in about["of"]}
            texts = list(prompts[group])
            found[group] = {
                **shared, "judges": own, "prompts": len(texts), "prompts_digest": sha256_text(canonical_json(texts)),
            }  # fmt: skip
        about = judges.get("reference", {}).get("protocol", {})
        found["text_to_image"]["features"] = about.get("features", {})
        found["editing"]["image_guidance_scale"] = settings.image_guidance_scale
        return found

    def _keep_intervals(self, group: str, found: Mapping[str, list[float]]) -> None:
        self.intervals |= {f"{group}.{name}": interval for name, interval in found.items()}


def _held(rows: Sequence[Mapping[str, Any]], judges: Mapping[str, Any]) -> list[Held]:
    return [
        Held(figures_of(row.get("rows", {}), judges), str(row.get("category", "")), str(row.get("source_name", "")))
        for row in rows
    ]
