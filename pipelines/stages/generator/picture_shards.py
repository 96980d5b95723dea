"""Shards of an evaluation: pictures of a part of a section, held to what was asked for by every judge."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluation.editing import inside_residue, object_trace, outside_psnr
from pipelines.config.declared import SentConfig
from pipelines.judging.cases import Asked, EditCase
from pipelines.judging.judge import EDITS, PROMPTS, RIGHT, Judge, Row
from pipelines.judging.named_features import Extract
from pipelines.stage import ShardContext, ShardResult, ShardTask, derive_seed
from pipelines.stages.generator.picture_rows import EDIT, PROMPT, write_features, write_pictures
from pipelines.stages.generator.picture_sheet import CAPTIONS, Section, Sheet, text_of
from pipelines.stages.generator.sample_sets import Maker, OwnModel
from pipelines.stages.generator.world_reader import NAME as READER

if TYPE_CHECKING:
    from pipelines.config.schema import Config
    from pipelines.store.artifacts import Artifact

# share of a removed object's own difference from what is behind it: more is a ghost, beside what the tokenizer leaves
GHOST = 0.05
OWN = "image_text"  # in the names of sets: vectors of the pipeline's own image-text model


@dataclass(frozen=True)
class Part:
    """What a shard makes: the cases [first, last) of a section."""

    section: Section
    first: int
    last: int
    manifests: Mapping[str, Any]  # of the stage's inputs
    config: SentConfig
    identity: str  # the stage's fingerprint: what a worker has loaded is of one stage
    seed: int
    run: str


@dataclass
class Made:
    """Rows of pictures, and their features by `SET.NAME`."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    features: dict[str, np.ndarray] = field(default_factory=dict)


class Studio:
    """Makes pictures of a sheet and has them judged."""

    def __init__(
        self,
        sheet: Sheet,
        maker: Maker,
        judges: Sequence[Judge],
        features: Mapping[str, Extract],
        guidance: float,
        own: OwnModel | None = None,
        decodes: bool = True,
    ) -> None:
        """`guidance` is the generator's own scale. `own` finds captions among pictures. A maker that does not `decode`
        has no ceiling, and no noise to be held against.
        """
        self.sheet, self.maker, self.judges, self.features = sheet, maker, list(judges), dict(features)
        self.guidance, self.own, self.decodes = guidance, own, decodes
        self._ghost_limit: float | None = None

    def protocol(self) -> dict[str, Any]:
        """Return what the judges' scores depend on, by judge, with how their figures are called."""
        return {
            judge.name: {"of": list(judge.judges), "suffixed": judge.suffixed, "protocol": judge.protocol()}
            for judge in self.judges
        }

    def make(self, section: Section, first: int, last: int) -> Made:
        """Make the pictures of the cases [first, last), fewer where there are fewer."""
        cases = self.sheet.cases(section)[first:last]
        if not cases:
            return Made()
        self.maker.use(section.weights)
        return (self._edits if section.of_edits else self._prompts)(section, first, cases)

    def _prompts(self, section: Section, first: int, asked: list[Asked]) -> Made:
        part = slice(first, first + len(asked))
        seeds = self.sheet.seeds(section)[part]
        pictures = self.maker.make([each.text for each in asked], seeds, guidance=section.guidance)
        others = self.sheet.others(section)[part]
        truth = np.stack([self.sheet.truth(section, each) for each in asked]) if section.truth else None
        sets = {"made": pictures}
        made = Made(self._rows(section, first, asked, seeds, pictures, truth))
        judged = self._judged(section, lambda judge: judge.judge_prompts(asked, pictures))
        compared: dict[str, list[dict[str, Row]]] = {}
        if truth is not None:
            sets["truth"] = truth
        if section.compared:
            compared["chance"] = self._judged(section, lambda j: j.judge_prompts(others, pictures), True)
        if section.compared and truth is not None and self.decodes:
            sets["ceiling"] = self.maker.decoded(truth)
            compared["ceiling"] = self._judged(section, lambda j: j.judge_prompts(asked, sets["ceiling"]), True)
        finds = section.sought and self.own is not None
        if self.decodes and (finds or "chance" in section.features):
            sets["chance"] = self.maker.noise([derive_seed(seed, "noise") for seed in seeds])
        made.features = self._features({name: sets[name] for name in section.features if name in sets})
        if finds and self.own is not None:
            vectors = {f"{name}.{OWN}": self.own.embed(sets[name]).numpy() for name in sets if name != "truth"}
            made.features |= vectors | {f"texts.{OWN}": self.own.texts([each.text for each in asked]).numpy()}
        self._add(made, judged, compared, others)
        return made

    def _edits(self, section: Section, first: int, cases: list[EditCase]) -> Made:
        part = slice(first, first + len(cases))
        seeds = self.sheet.seeds(section)[part]
        sources, targets = np.stack([c.source for c in cases]), np.stack([c.target for c in cases])
        pictures = self.maker.make([case.instruction for case in cases], seeds, sources)
        others = self.sheet.others(section)[part]
        judged = self._judged(section, lambda judge: judge.judge_edits(cases, pictures))
        made = Made(self._rows(section, first, cases, seeds, pictures, targets if section.truth else None))
        if not section.compared:
            self._add(made, judged, {}, others)
            return made
        compared = {
            "chance": self._judged(section, lambda judge: judge.judge_edits(others, pictures), True),
            "of_source": self._judged(section, lambda judge: judge.judge_sources(cases, sources), True),
        }
        if not self.decodes:
            self._add(made, judged, compared, others)
            return made
        kept, preserved = self.maker.decoded(targets), self.maker.decoded(sources)
        compared["ceiling"] = self._judged(section, lambda judge: judge.judge_edits(cases, kept), True)
        self._add(made, judged, compared, others)
        for i, (case, row) in enumerate(zip(cases, made.rows, strict=True)):
            if case.mask is not None:
                row["removal"] = {"preserved": outside_psnr(preserved[i], case.source, case.mask)}
            if self._removes(case):
                row["removal"] |= self._removal(section, case, pictures[i], kept[i])
                if row["right"] and row["removal"]["ghost"]:
                    row["right"] = False
        return made

    def _removes(self, case: EditCase) -> bool:
        """Return whether what is left of an object can be told."""
        return not self.sheet.world.unjudged and case.kind == "remove" and case.mask is not None

    def _removal(self, section: Section, case: EditCase, made: np.ndarray, kept: np.ndarray) -> dict[str, Any]:
        """Return what is left of a removed object, and whether it is a ghost: more is left than `GHOST` of its own
        difference from what is behind it, and than twice what the tokenizer leaves (95th percentile over removals).
        """
        assert case.mask is not None
        if self._ghost_limit is None:
            removed = [other for other in self.sheet.cases(section) if self._removes(other)]
            back = self.maker.decoded(np.stack([other.target for other in removed]))
            floor = [inside_residue(b, o.target, o.mask) for b, o in zip(back, removed, strict=True)]
            self._ghost_limit = 2 * float(np.percentile(floor, 95))
        residue, whole = (inside_residue(picture, case.target, case.mask) for picture in (made, case.source))
        return {
            "residue": residue,
            "of_source": whole,
            "of_reconstruction": inside_residue(kept, case.target, case.mask),
            "trace": object_trace(made, case.source, case.target, case.mask),
            "ghost": residue > max(self._ghost_limit, GHOST * whole),
        }

    def _judged(
        self, section: Section, ask: Callable[[Judge], list[Row]], compared: bool = False
    ) -> list[dict[str, Row]]:
        """Return for each picture {judge: row}; `compared` leaves out judges that look at made pictures alone. The
        world's reader knows its own prompts, and not the captions of other data.
        """
        what = EDITS if section.of_edits else PROMPTS
        judges = [j for j in self.judges if what in j.judges and (j.compared or not compared)]
        judges = [j for j in judges if section.split != CAPTIONS or j.name != READER]
        answers = {judge.name: ask(judge) for judge in judges}
        return [dict(zip(answers, rows, strict=True)) for rows in zip(*answers.values(), strict=True)]

    def _features(self, sets: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            f"{kind}.{name}": extract(pictures).numpy().astype(np.float32)
            for kind, pictures in sets.items()
            for name, extract in self.features.items()
        }

    def _rows(
        self,
        section: Section,
        first: int,
        cases: Sequence[Asked | EditCase],
        seeds: Sequence[int],
        pictures: np.ndarray,
        truth: np.ndarray | None,
    ) -> list[dict[str, Any]]:
        from components.curation.images import encode_png

        guidance = self.guidance if section.guidance is None else section.guidance
        rows = []
        for i, (case, seed, picture) in enumerate(zip(cases, seeds, pictures, strict=True)):
            row: dict[str, Any] = {
                "split": section.split, "kind": PROMPT, "category": category_of(case), "source_name": case.source_name,
                "prompt": text_of(case), "guidance_scale": guidance, "seed": seed, "picture": encode_png(picture, 1),
                "truth": None if truth is None else encode_png(truth[i], 1), "number": first + i,
                "about": dict(case.row),
            }  # fmt: skip
            if isinstance(case, EditCase):
                row |= {"kind": EDIT, "source": encode_png(case.source, 1)}
            rows.append(row)
        return rows

    def _add(
        self,
        made: Made,
        judged: list[dict[str, Row]],
        compared: Mapping[str, list[dict[str, Row]]],
        others: Sequence[Any],
    ) -> None:
        """Add what the judges said to the rows."""
        for row, found in zip(made.rows, judged, strict=False):  # without a judge nothing was said
            verdicts = [found[READER][RIGHT]] if READER in found else [r[RIGHT] for r in found.values() if RIGHT in r]
            row |= {"rows": found, "right": verdicts[0] if verdicts else None}
        for name, of_each in compared.items():
            for i, (row, found) in enumerate(zip(made.rows, of_each, strict=False)):
                row[name] = {"rows": found}
                if name == "chance":  # it counts where the prompt that it was held to is counted
                    row[name] |= {"category": category_of(others[i]), "source_name": others[i].source_name}


def category_of(case: Asked | EditCase) -> str:
    """Return the category of a prompt, or the kind of an edit."""
    return case.kind if isinstance(case, EditCase) else case.category


def make_pictures(context: ShardContext) -> ShardResult:
    """Make one shard: `pictures/NAME.parquet`, and `features/NAME.npz` where its section keeps features."""
    part: Part = context.task.args
    studio = open_studio(context, part)
    made = studio.make(part.section, part.first, part.last)
    name = context.task.name
    if made.rows:
        write_pictures(context.file(f"pictures/{name}.parquet"), made.rows)
    if made.features:
        write_features(context.file(f"features/{name}.npz"), made.features)
    seconds, studio.maker.seconds = studio.maker.seconds, []
    if seconds:  # of this machine at this moment: no part of the artifact's files
        context.store.write_json(f"{timing_folder(part.run)}/{name}.json", seconds)
    counts = {"input": len(made.rows), "kept": len(made.rows), "dropped": 0, "failed": 0}
    return ShardResult(counts, {"features": bool(made.features), "judges": studio.protocol()})


def timing_folder(run: str) -> str:
    """Return where the shards of a run say how long their batches took."""
    return f"runs/{run}/evaluate_generator"


_OPEN: dict[str, tuple[tempfile.TemporaryDirectory[str], Studio]] = {}  # of this worker process, by stage fingerprint


def open_studio(context: ShardContext, part: Part) -> Studio:
    """Return the studio; a worker that makes many shards loads its models and its world once."""
    if part.identity not in _OPEN:
        for folder, _ in _OPEN.values():
            folder.cleanup()
        _OPEN.clear()
        folder = tempfile.TemporaryDirectory(dir=context.store.scratch(), prefix="evaluation-")
        _OPEN[part.identity] = folder, _new_studio(context, part, Path(folder.name))
    return _OPEN[part.identity][1]


def _new_studio(context: ShardContext, part: Part, scratch: Path) -> Studio:
    import torch

    from pipelines.stages.generator.evaluation_judges import judges_of
    from pipelines.stages.generator.held_out_world import HeldOutWorld
    from pipelines.stages.generator.judged_world import find_world
    from pipelines.store.artifacts import Artifact, Manifest

    config: Config = part.config.open()
    inputs: dict[str, Artifact] = {
        n: Artifact(context.store, Manifest.from_json(v, n)) for n, v in part.manifests.items()
    }
    torch.set_num_threads(max(1, int(config.execution.resources.evaluate_generator.cpus)))
    lasting = ShardContext(ShardTask("evaluation"), None, scratch, context.store, scratch)
    world = find_world(config)(lasting, config, inputs, part.seed)
    captions = world if isinstance(world, HeldOutWorld) else HeldOutWorld(lasting, config, inputs, part.seed)
    own = OwnModel(context.store, inputs["train_encoder"], scratch)
    judges, features = judges_of(config, world, own, context.store)
    maker = Maker(context.store, config, inputs, scratch, part.seed)
    sheet = Sheet(config, world, captions, part.seed)
    return Studio(sheet, maker, judges, features, config.generator.guidance_scale, own)
