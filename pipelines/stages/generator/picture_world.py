"""The pictures world for the judge: prompts of held-out combinations, exact edits, and the nearest known drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from components.pictures.catalogue import HELD_OUT, TRAIN
from components.pictures.composition import TREATMENTS, Composition, render, same
from components.pictures.drawing_edits import Edit, composition_edit, held_out_edits
from components.pictures.drawing_samples import Prompt, sample_prompt
from components.pictures.options import CATEGORIES, COMPOSITION_EDITS, FACTORS, PictureOptions
from components.pictures.read import Reader
from pipelines.config.schema import Config
from pipelines.config.source_kinds import PicturesSource, judged_source
from pipelines.judging.cases import Asked, EditCase
from pipelines.stage import derive_seed
from pipelines.stages.generator.judged_world import JudgedWorld, Sizes, Split
from pipelines.stages.indexed_rows import COUNTS
from pipelines.stages.mixing import of_sources

if TYPE_CHECKING:
    from pipelines.stage import ShardContext
    from pipelines.store.artifacts import Artifact

SEEN = "seen"
ROUNDS = 4  # drawings that are asked for each edit, at most


class PictureWorld(JudgedWorld):
    """Judges drawings by the known drawing that lies nearest: of every concept and every variant that was curated."""

    edit_groups: ClassVar = {"by_factor": FACTORS}
    no_prompts = "no held-out drawing can be asked for so"
    no_edits = "no edit of the kind leads to a held-out drawing"

    def __init__(self, context: ShardContext, config: Config, inputs: dict[str, Artifact], seed: int) -> None:
        from components.data.tables import read_table
        from pipelines.stages.data.ingest_pictures import read_catalogue

        name, options = _judged(config)
        self.seed = seed
        self.categories, self.edit_kinds = _kinds(config)
        table = read_table(context.fetch(f"{inputs['index'].path}/{COUNTS}"), ["shard", "role"])
        shards = {s for s, role in zip(table["shard"], table["role"], strict=True) if role == "picture"}
        self.catalogue = read_catalogue(context.fetch(shard) for shard in of_sources(sorted(shards), [name]))
        composed = bool(options.compositions or options.composition_edits)
        self._reader = Reader(self.catalogue, composed)

    @classmethod
    def sizes(cls, config: Config) -> Sizes:
        """Return how many pictures are asked for."""
        categories, kinds = _kinds(config)
        return Sizes(categories, kinds, (Split(SEEN, "taught pictures", config.evaluate_generator.unseen_prompts),))

    def _rng(self, *what: object) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, *what))

    def prompts(self, category: str, count: int, split: str = "") -> list[Asked]:
        """Return prompts of held-out drawings, or of taught ones; compositions hold one such drawing at least."""
        rng = self._rng("prompts", category, split)
        side = TRAIN if split == SEEN else HELD_OUT
        found: dict[str, Prompt] = {}
        for _ in range(4 * count):  # the same drawing twice would count twice
            prompt = sample_prompt(self.catalogue, category, side, rng)
            if prompt is None or len(found) == count:
                break
            found.setdefault(str(prompt.composition), prompt)
        return [Asked(p.text, category, p, {"truth": p.composition.to_dict()}) for p in found.values()]

    def picture(self, asked: Asked) -> np.ndarray:
        """Return the drawing, or composition, that a prompt was made from."""
        return render(asked.about.composition, self.catalogue)

    def edits(self, kind: str, count: int) -> list[EditCase]:
        """Return edits whose result no model was trained on: to a held-out drawing, or a composition of one."""
        rng = self._rng("edits", kind)
        if kind in FACTORS:
            return [self._case(edit) for edit in held_out_edits(self.catalogue, kind, count, rng)]
        entries = self.catalogue.by_split[HELD_OUT]
        order = np.resize(rng.permutation(len(entries)), ROUNDS * count) if entries else ()
        found: list[EditCase] = []
        for number in order:  # a drawing may not allow the kind, so the next one is asked
            edit = composition_edit(self.catalogue, entries[int(number)], 1, rng, (kind,))
            if edit is not None:
                found.append(self._case(edit))
            if len(found) == count:
                break
        return found

    def _case(self, edit: Edit) -> EditCase:
        before, after = render(edit.source, self.catalogue), render(edit.target, self.catalogue)
        row = {"source": edit.source.to_dict(), "truth": edit.target.to_dict()}
        return EditCase(edit.kind, edit.instructions[0], before, after, (before != after).any(-1), edit, row)

    def read(self, pictures: np.ndarray) -> list[Composition]:
        """Return what each picture shows."""
        return self._reader.read(pictures)

    def read_edits(self, pictures: np.ndarray, cases: Sequence[EditCase]) -> list[Composition]:
        """Return what each result shows; mirrored, grey and outlined drawings are looked for where the edit is one."""
        found: list[Composition] = [Composition(())] * len(cases)
        for name in {_treatment(case) for case in cases}:
            numbers = [n for n, case in enumerate(cases) if _treatment(case) == name]
            read = self._reader.read(pictures[numbers], ("", name) if name else ("",))
            for number, composition in zip(numbers, read, strict=True):
                found[number] = composition
        return found

    def right(self, asked: Asked, reading: Composition) -> dict[str, bool]:
        """Return what is right of all that the prompt says."""
        return dict(asked.about.claim.right(reading, self.catalogue))

    def edited_right(self, case: EditCase, reading: Composition) -> bool:
        """Return whether the result shows exactly the target."""
        return same(reading, case.about.target, self.catalogue)

    def source_right(self, case: EditCase) -> bool:
        """Return whether source and target show the same."""
        return same(case.about.source, case.about.target, self.catalogue)

    def plain(self, reading: Composition) -> Any:
        """Return a reading as JSON."""
        return reading.to_dict()


def _treatment(case: EditCase) -> str:
    return case.kind if case.kind in TREATMENTS else ""


def _judged(config: Config) -> tuple[str, PictureOptions]:
    """Return the name of the source whose drawings are known, and what is made of them."""
    judged = judged_source(config.named_sources())
    assert judged is not None and isinstance(judged[1], PicturesSource)
    return judged[0], judged[1].picture


def _kinds(config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the categories of prompts and the kinds of edits that the configuration trains."""
    _, options = _judged(config)
    kinds = (FACTORS if options.factor_edits else ()) + (COMPOSITION_EDITS if options.composition_edits else ())
    return (CATEGORIES if options.compositions else CATEGORIES[:1]), kinds
