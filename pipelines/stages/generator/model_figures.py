"""Figures of an evaluated model, from the rows and features of its pictures: those of any data, and of benchmarks the
share that is right by category; and the protocol they depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.config.compose import flatten
from pipelines.config.schema import Config
from pipelines.judging.judge import EDITS as OF_EDITS
from pipelines.judging.judge import PROMPTS as OF_PROMPTS
from pipelines.judging.judge import RIGHT
from pipelines.judging.row_figures import Held, figures_of, grouped
from pipelines.stages.generator.any_figures import BASELINES, AnyFigures, Features, Rows
from pipelines.stages.generator.evaluated_cases import EDITS, PROMPTS
from pipelines.tracking.figures import of_edits, of_prompts

NO_TEXTS = (
    "no image-text model is named, and the store has none of its own: name a CLIP or SigLIP, as in --judge "
    "clip.kind=image_text --judge clip.path=openai/clip-vit-large-patch14"
)
NO_FEATURES = "no features are named, and the store has no encoder of its own: evaluate_generator.features={NAME: PATH}"
NO_VERDICT = "no judge gave a verdict: name a --benchmark, or a judge of kind detector or questions"
NO_SCORE = "no judge scored edits: name one of kind vlm_score, such as --benchmark gedit"
NO_TRUTH = "the prompts name no true pictures: give each line of their .jsonl a `picture`"
NO_MASKS = "the pairs have no masks of what is edited: give their file a column mask"
SIMPLE = ("similarity", "retrieval")  # figures that need no true picture
NO_RESULTS = "the pairs have no true results: give their file a column target"


class ModelFigures:
    """All figures of one evaluation."""

    def __init__(self, config: Config, said: Mapping[str, Any], seed: int) -> None:
        """`said` is what the shards say: of their `judges`, and of the `model`."""
        asked = config.evaluate_model
        assert asked is not None, "a run of pixsem evaluate has this section"
        self._asked, self._run_seed, self._seed = asked, config.seed, seed
        self._judges, self._model = said["judges"], said["model"]
        self.absent: dict[str, str] = {}
        self.intervals: dict[str, list[float]] = {}

    def metrics(self, rows: Mapping[str, Rows], features: Features) -> dict[str, Any]:
        """Return `text_to_image`, `editing`, `absent`, `intervals` and `protocol`, of rows by split, and of features of
        the prompts' pictures.
        """
        found: dict[str, Any] = {"text_to_image": {}, "editing": {}, "protocol": {}}
        if rows.get(PROMPTS):
            found["text_to_image"] = self._prompts(rows[PROMPTS], features)
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

    def _any(self, expected: Mapping[str, str]) -> AnyFigures:
        """Return what makes the figures of any data. `expected` are those there may be, and why not."""
        return AnyFigures(expected, expected, self._judges, self.absent, self.intervals, self._seed)

    def _prompts(self, rows: Rows, features: Features) -> dict[str, Any]:
        own, truth = self._model["own"], any(row["about"].get("truth") for row in rows)
        expected = of_prompts([own] if own else [], self._asked.judges, list(self._model["features"]))
        without = {name: "" if name.startswith(SIMPLE) else NO_TRUTH for name in expected}
        true = [row["about"].get("truth") for row in rows]
        once = [true.index(name) for name in dict.fromkeys(true)]
        values: dict[str, Any] = {"pictures": len(rows)}
        values |= self._any(expected if truth else without).text_to_image(rows, features, once)
        held = self._held(rows)
        by_category = grouped(held, "category")
        values |= {"by_category": by_category} if by_category else {}
        for name in values.copy():
            if name == RIGHT or name.startswith(f"{RIGHT}_"):
                self._overall(name, held, values)
        values |= self._by_question(rows)
        told = {"similarity": NO_TEXTS, RIGHT: NO_VERDICT, "frechet": NO_FEATURES if truth else NO_TRUTH}
        told |= {} if "ceiling" in values else {"ceiling": NO_TRUTH if not truth else self._no_autoencoder}
        told |= {} if self._model["decodes"] else {f"chance.{name}": self._no_autoencoder for name in expected}
        self._tell("text_to_image", told, values)
        return values

    @property
    def _no_autoencoder(self) -> str:
        return f"a {self._model['class']} has no autoencoder to send pictures through"

    def _tell(self, group: str, told: Mapping[str, str], values: Mapping[str, Any]) -> None:
        """Say why figures whose names start so are absent, where there are none."""
        given = flatten(values)
        for name, why in told.items():
            if not any(each.startswith(name) for each in given):
                self.absent.setdefault(f"{group}.{name}", why)

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

    def _edits(self, rows: Rows) -> dict[str, Any]:
        truth = any(row["of_source"] for row in rows)
        expected = of_edits(list(self._model["features"]), self._asked.lpips_weights)
        expected = {name: why if truth else NO_RESULTS for name, why in expected.items()}
        values: dict[str, Any] = {"pictures": len(rows), **self._any(expected).editing(rows)}
        if "preservation_psnr" not in values:
            self.absent["editing.preservation_psnr"] = NO_MASKS if truth else NO_RESULTS
        told = dict.fromkeys(BASELINES, NO_RESULTS if not truth else self._no_autoencoder)
        self._tell("editing", told | {"score": NO_SCORE, "similarity": NO_FEATURES}, values)
        return values

    def _held(self, rows: Rows) -> list[Held]:
        return [Held(figures_of(row["rows"], self._judges), row["category"]) for row in rows]

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
