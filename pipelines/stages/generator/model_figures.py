"""Figures of an evaluated model, from the rows of its pictures: means with intervals, by category and kind, beside a
copy of the source, the ceiling and chance where edits have true results; and the protocol they depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.config.schema import Config
from pipelines.judging.judge import EDITS as OF_EDITS
from pipelines.judging.judge import PROMPTS as OF_PROMPTS
from pipelines.judging.judge import RIGHT
from pipelines.judging.row_figures import Held, columns, figures_of, grouped, intervals, means
from pipelines.stages.generator.evaluated_cases import EDITS, PROMPTS

Rows = Sequence[dict[str, Any]]
BASELINES = {"of_source": "of_source", "of_reconstructions": "ceiling", "of_others": "chance"}  # figures' group -> rows
NO_JUDGE = "no judge gave a figure: name a --benchmark, or evaluate_generator.judges"


class ModelFigures:
    """All figures of one evaluation."""

    def __init__(self, config: Config, said: Mapping[str, Any], seed: int) -> None:
        """`said` is what the shards say: of their `judges`, and of the `model`."""
        assert config.evaluate_model is not None, "a run of pixsem evaluate has this section"
        self._asked, self._run_seed, self._seed = config.evaluate_model, config.seed, seed
        self._judges, self._model = said["judges"], said["model"]
        self.absent: dict[str, str] = {}
        self.intervals: dict[str, list[float]] = {}

    def metrics(self, rows: Mapping[str, Rows]) -> dict[str, Any]:
        """Return `text_to_image`, `editing`, `absent`, `intervals` and `protocol`, of rows by split."""
        found: dict[str, Any] = {"text_to_image": {}, "editing": {}, "protocol": {}}
        if rows.get(PROMPTS):
            found["text_to_image"] = self._prompts(rows[PROMPTS])
        else:
            self.absent["text_to_image"] = "no prompts were given: name a --benchmark, or a file by --prompts"
        if rows.get(EDITS):
            found["editing"] = self._edits(rows[EDITS])
        else:
            self.absent["editing"] = "no edit pairs were given: name them by --pairs"
        for group, split, of in (("text_to_image", PROMPTS, OF_PROMPTS), ("editing", EDITS, OF_EDITS)):
            if rows.get(split):
                found["protocol"][group] = self._protocol(rows[split], of)
        return found | {"absent": self.absent, "intervals": self.intervals}

    def _prompts(self, rows: Rows) -> dict[str, Any]:
        held = self._held(rows)
        values: dict[str, Any] = {"pictures": len(rows), **means(held)}
        self._keep("text_to_image", intervals(held, self._seed))
        by_category = grouped(held, "category")
        values |= {"by_category": by_category} if by_category else {}
        for name in values.copy():
            if name == RIGHT or name.startswith(f"{RIGHT}_"):
                self._overall(name, held, values)
        values |= self._by_question(rows)
        if not columns(held):
            self.absent["text_to_image.right"] = NO_JUDGE
        self._absent_of_benchmarks("text_to_image")
        return values

    def _overall(self, name: str, held: Sequence[Held], values: dict[str, Any]) -> None:
        """Add the mean over categories of the share that is right: GenEval's overall."""
        from components.evaluation.intervals import mean_interval

        known = [each for each in held if name in each.figures]
        groups, right = [each.category for each in known], [each.figures[name] for each in known]
        of_each = [
            sum(r for r, g in zip(right, groups, strict=True) if g == group) / groups.count(group)
            for group in dict.fromkeys(groups)
        ]
        overall = f"overall{name.removeprefix(RIGHT)}"
        values[overall] = sum(of_each) / len(of_each)
        self.intervals[f"text_to_image.{overall}"] = list(mean_interval(right, groups, seed=self._seed))

    def _by_question(self, rows: Rows) -> dict[str, Any]:
        """Return the share of questions answered as expected by category, over all pictures; as DPG-Bench's own they
        count whatever they depend on.
        """
        found: dict[str, dict[str, list[bool]]] = {}
        for row in rows:
            for judge, said in row["rows"].items():
                for answer in said.get("answers", ()):
                    if answer["category"] and answer["right"] is not None:
                        of_judge = found.setdefault(f"by_question_{judge}", {})
                        of_judge.setdefault(answer["category"], []).append(answer["right"])
        return {name: {c: sum(a) / len(a) for c, a in sorted(own.items())} for name, own in found.items()}

    def _absent_of_benchmarks(self, group: str) -> None:
        """What a benchmark cannot have is said: its prompts have no true pictures."""
        self.absent[f"{group}.ceiling"] = (
            "prompts of a file have no true pictures: evaluate_generator has their ceiling"
        )

    def _edits(self, rows: Rows) -> dict[str, Any]:
        held = self._held(rows)
        values: dict[str, Any] = {"pictures": len(rows), **means(held)}
        self._keep("editing", intervals(held, self._seed))
        by_kind = grouped(held, "category")
        values |= {"by_kind": by_kind} if by_kind else {}
        for group, name in BASELINES.items():
            baseline = means(self._held([row[name] for row in rows]))
            if name == "ceiling" and not self._model["ceiling"]:
                self.absent[f"editing.{group}"] = (
                    f"a {self._model['class']} has no autoencoder to send pictures through"
                )
            elif baseline:
                values[group] = baseline
            else:
                self.absent[f"editing.{group}"] = "the pairs have no true results: give their file a column target"
        if not columns(held):
            self.absent["editing.score"] = NO_JUDGE
        return values

    def _held(self, rows: Sequence[Mapping[str, Any]]) -> list[Held]:
        return [Held(figures_of(row.get("rows", {}), self._judges), str(row.get("category", ""))) for row in rows]

    def _keep(self, group: str, found: Mapping[str, list[float]]) -> None:
        self.intervals |= {f"{group}.{name}": interval for name, interval in found.items()}

    def _protocol(self, rows: Rows, of: str) -> dict[str, Any]:
        """Return what the figures depend on."""
        from pathlib import Path

        from pipelines.store.files import sha256_file

        asked = self._asked
        own = {name: about["protocol"] for name, about in self._judges.items() if of in about["of"]}
        found = {
            "model": asked.model, "revision": asked.revision, **self._model, "seed": self._run_seed,
            "benchmark": asked.benchmark, "limit": asked.limit, "pictures": len(rows), "judges": own,
        }  # fmt: skip
        if of == OF_PROMPTS and asked.prompts:
            found |= {"images_per_prompt": asked.images_per_prompt, "prompts": Path(asked.prompts).name}
            found["prompts_digest"] = sha256_file(Path(asked.prompts))
        return found
