"""What `pixsem evaluate` asks a model for: prompts of a file, and edit pairs of a folder or parquet file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluation.prompt_files import slug
from pipelines.config.schema import EvaluateModelSection
from pipelines.errors import UserError
from pipelines.judging.cases import Asked, EditCase
from pipelines.stage import derive_seed
from pipelines.stages.generator.picture_sheet import Section, noise_seeds, others, text_of

PROMPTS, EDITS = "prompts", "edits"  # splits
MOST_PAIRS = 5_000  # a worker holds them in memory
SHARD = 64  # pictures of a shard, or one batch where that is more


@dataclass(frozen=True)
class Pair:
    """An edit pair as its file has it: pictures as they are stored. `target` None: its file has no column for it."""

    kind: str
    instruction: str
    source: bytes
    target: bytes | None
    mask: bytes | None = None  # PNG, white where the edit is


def prompts_of(asked: EvaluateModelSection) -> list[Asked]:
    """Return the prompts, each as often as pictures are made of it. UserError where the file cannot be read."""
    from components.evaluation.prompt_files import Unreadable, read_prompts

    if asked.prompts is None:
        return []
    try:
        found = read_prompts(Path(asked.prompts)).prompts
    except Unreadable as error:
        raise UserError(str(error)) from error
    before: Counter[str] = Counter()
    kept = []
    for prompt in found:
        before[prompt.category] += 1
        if asked.limit is None or before[prompt.category] <= asked.limit:
            truth = prompt.about.get("picture")
            row = {"truth": truth} if truth else {}
            kept += [Asked(prompt.text, prompt.category, prompt.about, row)] * asked.images_per_prompt
    _check_truth(kept, Path(asked.prompts))
    return kept


def _check_truth(prompts: Sequence[Asked], file: Path) -> None:
    """Raise UserError where a true picture is not there, or some prompts name one and others none."""
    truth = has_truth(prompts)
    for each in prompts:
        if truth and "truth" not in each.row:
            raise UserError(
                f"{file}: the prompt {each.text!r} names no `picture`, and others do. Give it to all, or none."
            )
        if "truth" in each.row and not (file.parent / each.row["truth"]).is_file():
            raise UserError(f"{file}: there is no picture {file.parent / each.row['truth']}")


def has_truth(prompts: Sequence[Asked]) -> bool:
    """Return whether prompts have true pictures: all of a file have them, or none."""
    return any("truth" in each.row for each in prompts)


def pairs_of(asked: EvaluateModelSection) -> list[Pair]:
    """Return the edit pairs. UserError, with its row, for one that cannot be read: none is passed over."""
    from components.data.samples import BadRecord

    found: list[Pair] = []
    for origin, made in _records(asked.pairs) if asked.pairs else ():
        if isinstance(made, BadRecord):
            raise UserError(f"the pair {origin} of {asked.pairs} cannot be read: {made.reason}, {made.detail}")
        found.append(made)
        if len(found) > MOST_PAIRS:
            raise UserError(f"{asked.pairs} holds over {MOST_PAIRS:,} pairs: take the first ones with --limit")
        if asked.limit is not None and len(found) == asked.limit:
            break
    if asked.pairs and not found:
        raise UserError(f"{asked.pairs} holds no edit pair")
    return found


def _records(place: str) -> Iterator[tuple[str, Any]]:
    """Yield where each pair stands, and the pair or why there is none."""
    from components.data.edit_pairs import make_pair, parquet_pairs
    from components.data.list_files import ListFormat, field_names
    from components.data.options import PairColumns, ShardLimits
    from components.data.pair_folders import folder_pairs, metadata_file, scan_pairs
    from components.data.row_groups import Fault, plan_parts
    from components.data.samples import BadRecord

    path = Path(place)
    try:
        listed = path if path.is_file() else metadata_file(path, None)
        columns = set(field_names(listed, ListFormat()))
        truth = "target" in columns
        options = PairColumns(
            target="target" if truth else "source",  # without a true result the source stands for it, and is not kept
            kind=next((name for name in ("kind", "edit_type", "task_type") if name in columns), None),
            mask="mask" if "mask" in columns else None,
        )
        if path.suffix == ".parquet":  # with the pictures in it
            rows: Any = parquet_pairs([part for parts in plan_parts([place], 10**9) for part in parts], "", options)
        else:
            folder = listed.parent
            rows = folder_pairs(folder, scan_pairs(folder, listed.name, options), options, ShardLimits())
        for key, origin, value in rows:
            if isinstance(value, Fault):
                yield origin, BadRecord(key, value.reason, value.detail)
                continue
            made = make_pair(key, "pairs", value, options, ShardLimits())
            yield origin, made if isinstance(made, BadRecord) else _pair(made[0], truth)
    except (OSError, ValueError) as error:
        raise UserError(f"the pairs of {place} cannot be read: {error}") from error


def _pair(record: Any, truth: bool) -> Pair:
    import json

    parts = {name.partition(".")[0]: data for name, data in record.parts.items()}
    about = json.loads(record.parts["json"])
    target = parts["target"] if truth else None
    return Pair(about["kind"], record.parts["txt"].decode(), parts["source"], target, parts.get("mask"))


def sections_of(asked: EvaluateModelSection, prompts: Sequence[Asked], pairs: Sequence[Pair]) -> list[Section]:
    """Return what is made. Prompts with true pictures and pairs with true results are compared with them."""
    truth, scale = has_truth(prompts), asked.guidance_scale
    sets = ("made", "truth", "ceiling", "chance") if truth else ()
    of_pairs = all(pair.target is not None for pair in pairs)
    found = [
        Section(PROMPTS, PROMPTS, len(prompts), guidance=scale, truth=truth, compared=True, features=sets, sought=True),
        Section(EDITS, EDITS, len(pairs), guidance=scale, truth=of_pairs, compared=of_pairs),
    ]
    return [section for section in found if section.most]


class EvaluatedSheet:
    """The cases of one evaluation, as `sheet.Sheet` has those of a run."""

    unjudged = "its pictures are not read back exactly"

    def __init__(self, asked: EvaluateModelSection, side: int, seed: int) -> None:
        """`side` is that of the model's pictures: sources and true results are cut and resized to it."""
        self.world, self.seed = self, seed  # no world: nothing reads these pictures back exactly
        self._prompts, self._side = prompts_of(asked), side
        self._folder = Path(asked.prompts or "").parent
        pairs = pairs_of(asked)
        self._edits = [_case(pair, side) for pair in pairs]
        self.has_truth = all(pair.target is not None for pair in pairs)  # the edits have true results

    def cases(self, section: Section) -> list[Any]:
        """Return the section's prompts or edits, in order."""
        return self._edits if section.of_edits else self._prompts

    def truth(self, section: Section, case: Asked) -> np.ndarray:
        """Return the true picture of a prompt, uint8 [S, S, 3]."""
        path = self._folder / case.row["truth"]
        return _decoded(path.read_bytes(), self._side, str(path))

    def seeds(self, section: Section) -> list[int]:
        """Return the seed of each picture's noise."""
        return noise_seeds(self.seed, section.noise, [text_of(case) for case in self.cases(section)])

    def others(self, section: Section) -> list[Any]:
        """Return for each picture another one's case, to which it is held for chance."""
        cases = self.cases(section)
        ring = others(len(cases), np.random.default_rng(derive_seed(self.seed, "chance", section.split)))
        return [cases[i] for i in np.argsort(ring)]


def _case(pair: Pair, side: int) -> EditCase:
    source = _decoded(pair.source, side)
    target = source if pair.target is None else _decoded(pair.target, side)
    mask = None if pair.mask is None else _decoded(pair.mask, side)[..., 0] > 127
    return EditCase(slug(pair.kind), pair.instruction, source, target, mask)


def _decoded(data: bytes, side: int, what: str = "a picture of the pairs") -> np.ndarray:
    from components.curation.images import ImageError, ImageLimits, decode_image, square

    try:
        return np.ascontiguousarray(square(decode_image(data, ImageLimits()).rgb, side))
    except ImageError as error:
        raise UserError(f"{what} cannot be decoded: {error}") from error
