"""Pictures side by side: what each row makes of the same prompts, and of the same edits, with seeds that depend on the
prompt alone.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluation.grids import reconstruction_grid
from pipelines.comparison.record import Record
from pipelines.comparison.results import Result
from pipelines.config.compose import load_config
from pipelines.config.schema import Config
from pipelines.judging.cases import EditCase
from pipelines.stage import ShardContext, ShardTask, derive_seed
from pipelines.stages.evaluation import spread
from pipelines.stages.generator.judged_world import find_world
from pipelines.stages.generator.sample_sets import Maker
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store, canonical_json, sha256_text
from pipelines.store.runs import read_run
from pipelines.workflow.report import run_artifacts

COLUMNS = 12  # pictures on a grid
CAPTION = "the same prompts and seeds for every row"


def draw_grids(store: Store, record: Record, results: Sequence[Result]) -> dict[str, bytes]:
    """Return `generated.png`, and `edits.png` where there are edits, of the rows of the lowest seed that has results.

    Every row's pictures are kept under the comparison, by its weights and the prompts, and not made again.
    """
    if not results:
        return {}
    seed = min(r.seed for r in results)
    chosen = [r for r in results if r.seed == seed]
    prompts, edits = cases_of(store, chosen[0])
    instructions = [case.instruction for case in edits]
    generated: list[tuple[str, Any]] = []
    edited: list[tuple[str, Any]] = []
    if edits:
        sources = np.stack([case.source for case in edits])
        edited.append(("source", _tensor(sources)))
    for result in chosen:
        generated.append((result.row, _tensor(_pictures(store, record, result, prompts, None))))
        if edits:
            edited.append((result.row, _tensor(_pictures(store, record, result, instructions, sources))))
    found = {"generated.png": _png(generated, prompts)}
    if edits:
        edited.append(("truth", _tensor(np.stack([case.target for case in edits]))))
        found["edits.png"] = _png(edited, instructions)
    return found


def cases_of(store: Store, result: Result) -> tuple[list[str], list[EditCase]]:
    """Return the prompts and edits that `evaluate_generator` was given, evenly spread over their categories."""
    config, artifacts = _opened(store, result)
    settings, seed = config.evaluate_generator, derive_seed(config.seed, "evaluate_generator")
    with tempfile.TemporaryDirectory(dir=store.scratch()) as folder:
        context = ShardContext(ShardTask("evaluation"), None, Path(folder), store, Path(folder))
        world = find_world(config)(context, config, artifacts, derive_seed(seed, context.task.name))
        prompts = [asked.text for name in world.categories for asked in world.prompts(name, settings.prompts)]
        edits = [case for kind in world.edit_kinds for case in world.edits(kind, settings.edits)]
    return spread(prompts, COLUMNS), spread(edits, COLUMNS)


def _opened(store: Store, result: Result) -> tuple[Config, dict[str, Artifact]]:
    run = read_run(store, result.run)
    path = f"{run.path}/config.yaml"
    return load_config(store.read_bytes(path).decode(), store.path(path)), run_artifacts(store, run)


def _pictures(
    store: Store, record: Record, result: Result, prompts: list[str], sources: np.ndarray | None
) -> np.ndarray:
    """Return pictures uint8 `[N, S, S, 3]` of a row: kept ones, or new ones of its editor's weights."""
    config, artifacts = _opened(store, result)
    kind = "generated" if sources is None else "edits"
    made_of = [artifacts[n].manifest.digest for n in ("train_tokenizer", "train_editor")]
    settings = config.generator.model_dump(mode="json")
    identity = sha256_text(canonical_json([made_of, settings, prompts, kind]))[:16]
    path = f"{record.folder}/pictures/{kind}-{result.row}-{result.seed}-{identity}.npy"
    if store.exists(path):
        return np.load(io.BytesIO(store.read_bytes(path)), allow_pickle=False)
    with tempfile.TemporaryDirectory(dir=store.scratch()) as folder:
        maker = Maker(store, config, artifacts, Path(folder), derive_seed(config.seed, "comparison"))
        made = maker(kind, prompts, sources)
    buffer = io.BytesIO()
    np.save(buffer, made, allow_pickle=False)
    store.write_bytes(path, buffer.getvalue())
    return made


def _tensor(pictures: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def _png(rows: list[tuple[str, Any]], captions: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    reconstruction_grid(rows, captions).save(buffer, "PNG")
    return buffer.getvalue()
