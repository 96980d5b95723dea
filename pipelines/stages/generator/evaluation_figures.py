"""The last shard of an evaluation: every figure and grid, from the rows and features of all pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluation.grids import captioned_grid, curve_figure, reconstruction_grid
from pipelines.config.declared import SentConfig
from pipelines.config.schema import Config
from pipelines.judging.judge import EDITS as OF_EDITS
from pipelines.judging.judge import PROMPTS as OF_PROMPTS
from pipelines.stage import ShardContext, ShardResult, derive_seed
from pipelines.stages.evaluation import spread
from pipelines.stages.generator.any_figures import AnyFigures
from pipelines.stages.generator.generator_setup import snapshots
from pipelines.stages.generator.judged_world import HELD_OUT, JudgedWorld, find_world
from pipelines.stages.generator.picture_rows import as_json, read_features, read_pictures, read_rows
from pipelines.stages.generator.picture_sheet import CAPTIONS, COLUMNS, EDITS, SNAPSHOT, Section
from pipelines.stages.generator.world_figures import WorldFigures
from pipelines.stages.generator.world_reader import NAME as READER
from pipelines.store.artifacts import Artifact
from pipelines.store.files import canonical_json, sha256_text
from pipelines.tracking.figures import of_edits_any, of_prompts_any

SHOWN = {HELD_OUT: 24, EDITS: 16}  # pictures on a grid
Rows = Sequence[dict[str, Any]]
File = Callable[[str], Path]  # the local path of a named file of the artifact


@dataclass(frozen=True)
class Figures:
    """What the last shard needs: what the shards before it made."""

    config: SentConfig
    made: Sequence[tuple[Section, Sequence[str]]]  # of each shard its section, and its files in the store
    judges: Mapping[str, Any]  # of each judge what it judges, how its figures are called, and its protocol
    snapshots: Sequence[int]  # samples seen
    seed: int


def snapshots_of(inputs: Mapping[str, Artifact]) -> dict[int, tuple[str, str]]:
    """Return stage and snapshot by the samples seen, of both trainings, as they were trained by their manifests."""
    found = {}
    before = 0
    for stage, key in (("train_generator", "generator.training"), ("train_editor", "generator.editing")):
        options = inputs[stage].manifest.config[key]
        for name in snapshots(inputs[stage]):
            found[before + int(name.removeprefix("step-")) * options["batch"]] = stage, name
        before += options["steps"] * options["batch"]
    return found


def make_figures(context: ShardContext) -> ShardResult:
    """Compute every figure, and write `metrics.json`, `judgements.jsonl` and the grids."""
    import torch

    args: Figures = context.task.args
    config = args.config.open()
    torch.set_num_threads(max(1, int(config.execution.resources.evaluate_generator.cpus)))
    rows: dict[str, list[dict[str, Any]]] = {}
    features: dict[str, list[Path]] = {}
    for section, paths in args.made:
        for path in paths:
            if path.endswith(".parquet"):
                rows.setdefault(section.split, []).extend(read_rows([context.fetch(path)]))
            elif path.endswith(".npz"):
                features.setdefault(section.split, []).append(context.fetch(path))
    found = Evaluation(config, find_world(config), rows, features, args.judges, args.snapshots, args.seed)
    metrics = found.metrics()
    found.grids(context.file)
    lines = [as_json(judgement(row)) + "\n" for own in rows.values() for row in own]
    context.file("judgements.jsonl").write_text("".join(lines), "utf-8")
    context.file("metrics.json").write_text(json.dumps(metrics, indent=1, sort_keys=True), "utf-8")
    return ShardResult({"input": 0, "kept": 0, "dropped": 0, "failed": 0}, metrics)


def judgement(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `judgements.jsonl` says of a picture."""
    read = row["rows"].get(READER, {})
    found = {name: row[name] for name in ("split", "category", "prompt", "right", "guidance_scale")}
    found |= {"read": read.get("read"), **row["about"]}
    found |= {"aspects": read["aspects"]} if "aspects" in read else {}
    found |= {"residue": row["removal"].get("residue")} if row["split"] == EDITS else {}
    return found | {"judges": {name: said for name, said in row["rows"].items() if name != READER}}


class Evaluation:
    """All figures and grids of rows by split."""

    def __init__(
        self,
        config: Config,
        world: type[JudgedWorld],
        rows: Mapping[str, Rows],
        features: Mapping[str, Sequence[Path]],
        judges: Mapping[str, Any],
        seen: Sequence[int],
        seed: int,
    ) -> None:
        """`features` are files of features by split, `seen` the samples of each snapshot."""
        self.config, self.world, self.rows, self._features = config, world, rows, features
        self.judges, self.seen = judges, seen
        self.absent: dict[str, str] = {}
        self.intervals: dict[str, list[float]] = {}
        draws = derive_seed(seed, "intervals")
        expected = of_prompts_any(config), of_edits_any(config)
        self.any = AnyFigures(*expected, judges, self.absent, self.intervals, draws)
        self.of_world = WorldFigures(config, world, rows, self.absent, self.intervals, draws)
        self._curve: dict[int, dict[str, float]] = {}

    def metrics(self) -> dict[str, Any]:
        """Return `text_to_image`, `editing`, `absent`, `intervals` and `protocol`."""
        captions = self.rows.get(CAPTIONS, ())
        images = self.any.text_to_image(captions, self._read(CAPTIONS))
        edits = self.any.editing(self.rows.get(EDITS, ()))
        if self.world.unjudged:
            names = ("text_to_image.overall", "text_to_image.checkpoints", "text_to_image.agreement", "editing.success")
            self.absent |= dict.fromkeys(names, self.world.unjudged)
        else:
            read = self.of_world.text_to_image()
            for name in ("chance", "ceiling"):
                read[name] = read.get(name, {}) | images.pop(name, {})
            images |= read
            edits |= self.of_world.editing()
            images |= self._convergence()
        prompts = {
            "text_to_image": [row["prompt"] for split in (HELD_OUT, CAPTIONS) for row in self.rows.get(split, ())],
            "editing": [row["prompt"] for row in self.rows.get(EDITS, ())],
        }
        protocol = protocol_of(self.config, self.judges, prompts)
        return {
            "text_to_image": images, "editing": edits, "absent": self.absent, "intervals": self.intervals,
            "protocol": protocol,
        }  # fmt: skip

    def _convergence(self) -> dict[str, Any]:
        self._curve = self.of_world.checkpoints(self.seen)
        if not self._curve:
            self.absent["text_to_image.checkpoints"] = "generator.snapshots kept none"
            return {}
        overall = {seen: each["overall"] for seen, each in self._curve.items()}
        features = {seen: self._read(SNAPSHOT.format(seen)) for seen in overall}
        agreement = self.any.agreement(overall, self.rows, features)
        found: dict[str, Any] = {"checkpoints": {str(seen): share for seen, share in overall.items()}}
        return found | ({"agreement": agreement} if agreement else {})

    def _read(self, split: str) -> dict[str, np.ndarray]:
        return read_features(self._features.get(split, ()))

    def grids(self, file: File) -> None:
        """Draw prompts with their pictures, edits between source and truth, and what became of a few prompts over
        training. Wrong ones are marked.
        """
        main, edits = (every(self.rows.get(split, ()), shown) for split, shown in SHOWN.items())
        if main:
            columns = ["picture"] + (["truth"] if self.world.unjudged else [])
            captioned_grid(_cells(main, columns), 4).save(file("generated.png"))
        if edits:
            captioned_grid(_cells(edits, ["source", "picture", "truth"]), 2).save(file("edits.png"))
        shown = {seen: rows for seen in self.seen if (rows := self.rows.get(SNAPSHOT.format(seen), ()))}
        if not shown:
            return
        self._snapshot_grid(shown, file("convergence.png" if self.world.unjudged else "convergence_pictures.png"))
        if self._curve:
            names = ("overall", *dict.fromkeys(row["category"] for row in next(iter(shown.values()))))
            curve_figure(
                {name: [(seen, each[name]) for seen, each in self._curve.items()] for name in names},
                "samples seen, text-to-image and then the mixture with edits", "share exactly right",
                file("convergence.png"),
            )  # fmt: skip

    @staticmethod
    def _snapshot_grid(shown: Mapping[int, Rows], path: Path) -> None:
        """Draw the same few prompts at every snapshot, above their true pictures."""
        import torch

        def tensor(pictures: Sequence[np.ndarray]) -> torch.Tensor:
            return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255

        first = next(iter(shown.values()))
        chosen = spread(range(len(first)), COLUMNS)
        grid = [
            (f"{seen:,} samples", tensor(read_pictures([rows[i] for i in chosen], "picture")))
            for seen, rows in shown.items()
        ]
        grid.append(("truth", tensor(read_pictures([first[i] for i in chosen], "truth"))))
        reconstruction_grid(grid, [first[i]["prompt"] for i in chosen]).save(path)


def protocol_of(
    config: Config, judges: Mapping[str, Any], prompts: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """Return what the figures depend on. `prompts` are the texts of text_to_image and of editing."""
    settings = config.generator
    shared = {
        "seed": config.seed, "images_per_prompt": 1, "guidance_scale": settings.guidance_scale,
        "sampling_steps": settings.sampling_steps, "sampling_shift": settings.sampling_shift,
    }  # fmt: skip
    found = {}
    for group, of in (("text_to_image", OF_PROMPTS), ("editing", OF_EDITS)):
        own = {name: about["protocol"] for name, about in judges.items() if of in about["of"]}
        texts = list(prompts[group])
        found[group] = {
            **shared, "judges": own, "prompts": len(texts), "prompts_digest": sha256_text(canonical_json(texts)),
        }  # fmt: skip
    about = judges.get("reference", {}).get("protocol", {})
    found["text_to_image"]["features"] = about.get("features", {})
    found["editing"]["image_guidance_scale"] = settings.image_guidance_scale
    return found


def _cells(rows: Rows, columns: Sequence[str]) -> list[tuple[str, list[np.ndarray], bool | None]]:
    pictures = [read_pictures(rows, column) for column in columns]
    return [
        (row["prompt"], list(own), row["right"]) for row, own in zip(rows, zip(*pictures, strict=True), strict=True)
    ]


def every(rows: Rows, shown: int) -> list[dict[str, Any]]:
    """Return at most `shown` of the rows, at equal steps."""
    return list(rows[:: max(1, len(rows) // shown)][:shown])
