"""Pictures side by side: what each row makes of the same prompts, and of the same edits, with seeds that depend on the
prompt alone.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluation.grids import reconstruction_grid
from components.scenes.render import render
from components.scenes.scene import Scene
from pipelines.comparison.record import Record
from pipelines.comparison.results import Result
from pipelines.config.compose import load_config
from pipelines.config.schema import Config
from pipelines.stage import derive_seed, fetched
from pipelines.stages.evaluation import spread
from pipelines.stages.generator.sample_sets import Maker
from pipelines.stages.tokenizer.picture_batches import Pictures
from pipelines.store.artifacts import Artifact
from pipelines.store.files import Store, canonical_json, sha256_text
from pipelines.store.runs import read_run
from pipelines.workflow.report import run_artifacts

COLUMNS = 12  # pictures on a grid
CAPTION = "the same prompts and seeds for every row"


def draw_grids(store: Store, record: Record, results: Sequence[Result]) -> dict[str, bytes]:
    """Return `generated.png`, and `edits.png` where edits were judged, of the rows of the lowest seed that has results.

    Every row's pictures are kept under the comparison, by its weights and the prompts, and not made again.
    """
    if not results:
        return {}
    seed = min(r.seed for r in results)
    chosen = [r for r in results if r.seed == seed]
    prompts, edits = cases_of(store, chosen[0])
    generated: list[tuple[str, Any]] = []
    edited: list[tuple[str, Any]] = []
    if edits:
        size = _opened(store, chosen[0])[0].image_size
        sources = np.stack([render(Scene.from_dict(e["source"]), size) for e in edits])
        edited.append(("source", _tensor(sources)))
    for result in chosen:
        generated.append((result.row, _tensor(_pictures(store, record, result, prompts, None))))
        if edits:
            edited.append(
                (result.row, _tensor(_pictures(store, record, result, [e["prompt"] for e in edits], sources)))
            )
    found = {"generated.png": _png(generated, prompts)}
    if edits:
        truth = np.stack([render(Scene.from_dict(e["truth"]), size) for e in edits])
        found["edits.png"] = _png([*edited, ("truth", _tensor(truth))], [e["prompt"] for e in edits])
    return found


def cases_of(store: Store, result: Result) -> tuple[list[str], list[dict[str, Any]]]:
    """Return prompts, and edits as the judge wrote them down, evenly spread over their categories; held-out captions
    where none was judged.
    """
    config, artifacts = _opened(store, result)
    artifact = artifacts["evaluate_generator"]
    with fetched(store, f"{artifact.path}/judgements.jsonl") as path:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    prompts = [row["prompt"] for row in rows if row["split"] == "held out prompts"]
    if not prompts:
        with tempfile.TemporaryDirectory(dir=store.scratch()) as folder:
            held_out = Pictures(
                store, artifacts["index"], Path(folder), ("picture",), True, config.image_size, config.measure.limits
            )
            prompts = [caption for caption in held_out.rows["caption"] if caption]
    edits = [row for row in rows if row["split"] == "edits"]
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
