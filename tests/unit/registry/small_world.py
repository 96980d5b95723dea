"""A finished run with its artifacts, written by hand: nothing is trained, and the pages have all they show."""

from __future__ import annotations

import io
import json
from typing import Any

from PIL import Image

from pipelines.config.compose import compose_config, to_yaml
from pipelines.config.schema import Config
from pipelines.store.artifacts import Artifact, FileEntry, Manifest, Work, content_digest
from pipelines.store.files import Store, sha256_text
from pipelines.store.runs import Run, StageState, new_run, save_run
from pipelines.tracking.run_log import RunLog, open_tracker, register_versions
from pipelines.workflow.report import report_text

ASKED = ["preset=tiny", "source=scenes", "register.tokenizer=[]", "seed=7"]
TEXT_TO_IMAGE = {
    "overall": 0.51, "retrieval": 0.25, "frechet_clip": 3.5, "frechet_clip_of_reconstructions": 0.5,
    "seconds_per_image": 0.3, "chance": {"overall": 0.125}, "ceiling": {"overall": 0.96},
}  # fmt: skip
EDITING = {"success": 0.45, "chance": 0.05, "ceiling": 0.875, "copy_source": 0.0, "preservation_psnr": 31.5}
ROWS = [{"prompt": "a | red `circle`", "right": False}, {"prompt": "two green squares", "right": True}]


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (96, 64), colour).save(out, "PNG")
    return out.getvalue()


def judged(overall: float) -> dict[str, Any]:
    """Return what `evaluate_generator` measured."""
    intervals = {"text_to_image.overall": [overall - 0.0625, overall + 0.0625]}
    return {"text_to_image": {**TEXT_TO_IMAGE, "overall": overall}, "editing": EDITING, "intervals": intervals}


def stages(overall: float) -> dict[str, dict[str, Any]]:
    """Return the stages in order: what each was made from, and what it holds."""
    model = {"model/config.json": b"{}", "model/model.safetensors": b"weights of " + str(overall).encode()}
    samples = {f"samples/step-{step:08d}.png": png(colour) for step, colour in ((3, "red"), (6, "green"))}
    index, counts = {"index": {"train": 80, "held_out": 20}}, {"input": 100, "kept": 90, "dropped": 10, "failed": 0}
    source = {"ingest": {"attribution": "Ann Artist (CC BY 4.0)"}}
    tokenizer = {"image_size": 64, "tokenizer.model": {"space": "ps_vae"}}
    rows = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    pictures = {"generated.png": png("blue"), "edits.png": png("orange"), "judgements.jsonl": rows}
    trained = ("train_tokenizer", "train_editor")
    of_two = {"inputs": (*trained, "evaluate_tokenizer", "evaluate_generator")}
    return {
        "ingest": {"counts": {"input": 100, "kept": 100}, "metrics": source, "config": {"source": {"kind": "scenes"}}},
        "curate": {"inputs": ("ingest",), "counts": counts},
        "index": {"inputs": ("curate",), "metrics": index},
        "train_tokenizer": {"inputs": ("index",), "files": model, "config": tokenizer},
        "train_editor": {
            "inputs": ("index", "train_tokenizer"),
            "files": {**model, **samples},
            "metrics": {"training": {"editor": {"parameters": 12_345}}},
        },
        "evaluate_tokenizer": {
            "inputs": ("index", "train_tokenizer"),
            "files": {"reconstructions.png": png("purple")},
            "metrics": {"tokenizer": {"psnr": 27.5}},
        },
        "evaluate_generator": {
            "inputs": ("index", *trained), "files": pictures, "metrics": judged(overall), "config": {"seed": 7},
        },
        "register": {**of_two, "files": {"pipeline/model_index.json": b"{}", "pipeline/w.safetensors": model[
            "model/model.safetensors"]}},
    }  # fmt: skip


def artifacts(store: Store, overall: float = 0.51) -> dict[str, Artifact]:
    """Commit the artifacts of a whole pipeline; those of another `overall` are others, and data is the same."""
    found: dict[str, Artifact] = {}
    for name, told in stages(overall).items():
        inputs = {i: found[i].manifest for i in told.get("inputs", ())}
        same = name in ("ingest", "curate", "index")
        fingerprint = sha256_text(f"{name} {'' if same else overall}")[:24]
        work = Work(store, name, fingerprint, {i: m.digest for i, m in inputs.items()})
        files = []
        for path, data in told.get("files", {}).items():
            store.write_bytes(f"{work.path}/{path}", data)
            files.append(FileEntry(path, len(data), store.sha256(f"{work.path}/{path}")))
        entries = {i: {"fingerprint": m.fingerprint, "digest": m.digest} for i, m in inputs.items()}
        digest = content_digest(files) if files else sha256_text(f"{name} of {fingerprint}")
        manifest = Manifest(
            name, "1", fingerprint, digest, entries, {}, told.get("config", {}), files, told.get("counts", {}),
            told.get("metrics", {}), {}, "r", "2026-01-01T00:00:00.000+00:00", 1.0,
        )  # fmt: skip
        found[name] = work.commit(manifest)
    return found


def finished_run(store: Store, overall: float = 0.51) -> tuple[Run, Config]:
    """Write a run of all stages to the store and to MLflow."""
    config = compose_config([*ASKED, f"store={store.root}", "gates=any"])
    made = artifacts(store, overall)
    run = new_run(store, config.preset, to_yaml(config), None, [], [*ASKED, f"store={store.root}"])
    run.stages = {name: StageState(fingerprint=a.manifest.fingerprint) for name, a in made.items()}
    log = RunLog(open_tracker(config, store, {}), store, config, run)
    for name, artifact in made.items():
        for state in ("running", "done"):
            run.stages[name].state = state
            log.stage_changed(run, name, artifact if state == "done" else None)
    register_versions(log, run, made["register"])
    run.state = "completed"
    log.finish(run, None, report_text)
    save_run(store, run)
    return run, config
