"""A run of every kind of artifact that a page shows, committed to a store by hand: small, and the same every time."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from components.data.tables import write_table
from pipelines.store.artifacts import FileEntry, Manifest, Work, content_digest, find_artifact
from pipelines.store.files import Store
from pipelines.store.runs import Run, StageState, save_run
from pipelines.tracking.registering import registration_path

START = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
EVIL = (
    "<script>document.title='lost'</script><img src=x onerror=\"document.title='lost'\">'\" </script><!-- & {{ 7*7 }}"
)
ORDER = {  # stage -> seconds, inputs
    "ingest": (12, []),
    "measure": (5, ["ingest"]),
    "curate": (4, ["ingest", "measure"]),
    "synthesize_edits": (20, ["curate"]),
    "measure_pairs": (6, ["curate", "synthesize_edits"]),
    "curate_pairs": (3, ["synthesize_edits", "measure_pairs"]),
    "index": (3, ["curate", "curate_pairs"]),
    "train_encoder": (40, ["index"]),
    "train_tokenizer": (150, ["index", "train_encoder"]),
    "encode_latents": (30, ["curate", "curate_pairs", "train_tokenizer"]),
    "train_generator": (200, ["train_tokenizer", "encode_latents"]),
    "train_editor": (400, ["train_generator", "encode_latents"]),
    "evaluate_tokenizer": (33, ["index", "train_encoder", "train_tokenizer"]),
    "evaluate_generator": (90, ["index", "train_encoder", "train_tokenizer", "train_generator", "train_editor"]),
    "register": (4, ["evaluate_tokenizer", "evaluate_generator", "train_editor"]),
}
PICTURE_SCHEMA = {
    "split": "string", "kind": "string", "category": "string", "source_name": "string", "prompt": "string",
    "guidance_scale": "float64", "seed": "int64", "picture": "binary", "source": "binary", "truth": "binary",
    "right": "bool", "rows": "string",
}  # fmt: skip
COLOURS = {"red": (214, 40, 40), "green": (40, 160, 60), "blue": (40, 80, 220), "yellow": (240, 210, 30)}
SHAPES = ("circle", "square", "triangle")
METRICS = {
    "ingest": {"ingest": {"input": 500, "kept": 480, "dropped": 0, "failed": 20,
                          "failed_by_reason": {"no_image": 20}, "attribution": "Drawings by the test, CC0"}},
    "curate": {"curation": {"input": 480, "kept": 450, "dropped": 30, "failed": 0, "by_reason": {"flat_image": 30},
                            "funnel": {"came_in": 500, "ingest_no_image": 480, "flat_image": 450}}},
    "curate_pairs": {"pairs": {"funnel": {"came_in": 200}}},
    "index": {"index": {"train": 700, "held_out": 150}},
    "evaluate_tokenizer": {
        "tokenizer": {"psnr": 28.53, "ssim": 0.962, "retrieval": 0.41, "retrieval_frozen": 0.43, "pictures": 150},
        "absent": {"tokenizer.lpips": "evaluate_tokenizer.lpips_weights names no weights"},
    },
    "evaluate_generator": {
        "text_to_image": {
            "overall": 0.62, "single_object": 0.81, "counting": 0.43, "similarity_clip": 0.274,
            "frechet_dinov2": 143.2, "frechet_dinov2_of_reconstructions": 21.5,
            "chance": {"overall": 0.05, "single_object": 0.08, "counting": 0.02, "similarity_clip": 0.198},
            "ceiling": {"overall": 0.97, "single_object": 0.98, "counting": 0.96, "similarity_clip": 0.291},
            "by_guidance": {"1": 0.31, "2_5": 0.62, "10": 0.55},
            "checkpoints": {"2560": 0.1, "10240": 0.4, "5120": 0.2},
        },
        "editing": {"success": 0.48, "copy_source": 0.0, "chance": 0.01, "ceiling": 0.99, "psnr": 24.1,
                    "of_source": {"psnr": 15.2}, "of_reconstructions": {"psnr": 31.0}, "recolour": 0.6},
        "intervals": {"text_to_image.overall": [0.55, 0.69], "editing.success": [0.39, 0.57]},
        "protocol": {"text_to_image": {"images_per_prompt": 1, "seeds": [0]}},
        "absent": {"editing.lpips": "weights.lpips names no file: set evaluate_generator.judges.reference.lpips"},
    },
    **{stage: {"training": {stage.removeprefix("train_"): {"steps": 400, "samples_per_second": 100.0}}}
       for stage in ("train_encoder", "train_tokenizer", "train_generator", "train_editor")},
}  # fmt: skip
MODELS = {"models": [
    {"name": "pixsem-generator", "version": "1", "aliases": ["champion"], "digest": "abcdef0123456789", "refused": "",
     "gates": [{"metric": "text_to_image.overall", "passed": True, "words": "text_to_image.overall is 0.62"}]},
]}  # fmt: skip


def drawing(colour: str, shape: str, noise: int = 0, side: int = 64) -> Image.Image:
    """A coloured shape on paper, more or less spoilt."""
    picture = Image.new("RGB", (side, side), (245, 245, 240))
    draw, box = ImageDraw.Draw(picture), (side // 4, side // 4, 3 * side // 4, 3 * side // 4)
    if shape == "circle":
        draw.ellipse(box, COLOURS[colour])
    elif shape == "square":
        draw.rectangle(box, COLOURS[colour])
    else:
        draw.polygon([(side // 2, box[1]), (box[2], box[3]), (box[0], box[3])], COLOURS[colour])
    pixels = np.asarray(picture).astype(int)
    pixels = pixels + np.random.default_rng(noise).integers(-noise, noise + 1, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def png(picture: Image.Image) -> bytes:
    """The picture's PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def strip(noise: int) -> bytes:
    """A grid as stages draw them."""
    grid = Image.new("RGB", (8 * 68, 136), (236, 236, 236))
    for place in range(8):
        colour, shape = list(COLOURS)[place % 4], SHAPES[place % 3]
        grid.paste(drawing(colour, shape), (place * 68, 0))
        grid.paste(drawing(colour, shape, noise), (place * 68, 68))
    return png(grid)


def picture_rows(count: int = 36, edits: int = 16, words: str = "") -> list[dict]:
    """Rows of `pictures/*.parquet`: prompts, checkpoints of a few of them, edits, and captions that nobody can judge.
    `words` is put behind every text.
    """
    rows = []

    def add(split: str, kind: str, number: int, right: bool | None, noise: int, **more) -> None:
        colour, shape = list(COLOURS)[number % 4], SHAPES[number % 3]
        category = ("single_object", "counting")[number % 2] if kind == "prompt" else ("recolour", "remove")[number % 2]
        judged = {"inspector": {"right": right}, "clip": {"similarity": 0.2 + number / 1000, "note": f"seen{words}"}}
        rows.append(
            {"split": split, "kind": kind, "category": f"{category}{words}", "source_name": "",
             "prompt": f"a {colour} {shape} number {number}{words}", "guidance_scale": 2.5, "seed": number,
             "picture": png(drawing(colour, shape, noise)), "source": None, "truth": None, "right": right,
             "rows": json.dumps(judged)} | more
        )  # fmt: skip

    for number in range(count):
        add("held out prompts", "prompt", number, number % 3 != 0, 30)
    for seen, noise in ((2560, 120), (5120, 80), (10240, 40)):
        for number in range(4):
            truth = png(drawing(list(COLOURS)[number % 4], SHAPES[number % 3]))
            right = number * 2560 < seen and noise < 100
            add(f"checkpoint at {seen} samples", "prompt", number, right, noise, truth=truth)
    for number in range(edits):
        source, truth = png(drawing("blue", SHAPES[number % 3])), png(drawing("red", SHAPES[number % 3]))
        told = f"paint the {SHAPES[number % 3]} red, case {number}{words}"
        add("edits", "edit", number, number % 2 == 0, 30, source=source, truth=truth, prompt=told)
    add("held out captions", "prompt", 1, None, 20, truth=png(drawing("green", "square")))
    return rows


def curve(start: float, steps: int = 40) -> bytes:
    """A training's curve: a loss that falls, one of held-out samples now and then, and a part of it."""
    lines = []
    for step in range(1, steps + 1):
        point = {"step": 10 * step, "samples": 640 * step, "loss": start / step**0.5, "l1": start / (2 * step)}
        lines.append(json.dumps(point | ({"validation_loss": 1.1 * start / step**0.5} if step % 10 == 0 else {})))
    return "\n".join(lines).encode()


def commit(store: Store, run: Run, stage: str, files: dict[str, bytes], made_by: str = "", fingerprint: str = ""):
    """Commit a stage's artifact as made in its place of the run, or by another run."""
    seconds, inputs = ORDER[stage]
    fingerprint = fingerprint or hashlib.sha256(stage.encode()).hexdigest()[:24]
    work = Work(store, stage, fingerprint, {})
    for name, data in files.items():
        store.write_bytes(f"{work.path}/{name}", data)
    entries = [FileEntry(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()]
    found = {name: find_artifact(store, name, run.stages[name].fingerprint) for name in inputs if name in run.stages}
    known = {n: {"fingerprint": a.manifest.fingerprint, "digest": a.manifest.digest} for n, a in found.items() if a}
    counts = {"input": 500, "kept": 480, "dropped": 0, "failed": 20} if stage == "ingest" else {"input": 9, "kept": 9}
    ended = START + timedelta(seconds=run.seconds + seconds)
    external = {"drawings": hashlib.sha256(b"drawings").hexdigest()} if stage == "ingest" else {}
    work.commit(
        Manifest(
            stage, "1", fingerprint, content_digest(entries), known, external, {}, entries, counts,
            METRICS.get(stage, {}), {}, made_by or run.id, ended.isoformat(), float(seconds),
        )
    )  # fmt: skip
    cached = bool(made_by)
    run.stages[stage] = StageState("done", fingerprint, cached=cached, seconds=0.0 if cached else float(seconds))
    run.seconds += 0 if cached else seconds


def whole_run(folder: Path, rows: list[dict] | None = None, words: str = "") -> tuple[Store, Run]:
    """A completed run whose data half is cached. `rows`: its pictures; None: those of `picture_rows`; []: an evaluation
    of before pictures were kept.
    """
    store, run = Store(str(folder / "store")), Run("20261129-120000-000", "demo", state="completed")
    store.prepare()
    run.created, run.asked = START.isoformat(), ["preset=demo", f"tracking.uri=https://me:secret@there/{words}"]
    rows = picture_rows(words=words) if rows is None else rows
    table = folder / "pictures.parquet"
    if rows:
        write_table(table, {name: [row[name] for row in rows] for name in PICTURE_SCHEMA}, PICTURE_SCHEMA)
    judged = [{**{k: r[k] for k in ("split", "category", "prompt", "right", "guidance_scale")}, "read": {"n": 1}}
              for r in rows or picture_rows(words=words)]  # fmt: skip
    files = {
        "curate": {"sheet.html": b"<html>", "sheet.png": strip(0)},
        "train_generator": {"curve.jsonl": curve(1.0)}
        | {f"samples/step-{n:08d}.png": strip(n) for n in range(5, 160, 5)},
        "train_editor": {"curve.jsonl": curve(0.5), "samples/step-00000400.png": strip(20)},
        "train_encoder": {"curve.jsonl": curve(30.0)},
        "evaluate_tokenizer": {"reconstructions.png": strip(10)},
        "evaluate_generator": {
            "judgements.jsonl": "".join(json.dumps(row) + "\n" for row in judged).encode(),
            "generated.png": strip(30), "edits.png": strip(31), "convergence_pictures.png": strip(32),
            **({"pictures/evaluation.parquet": table.read_bytes()} if rows else {}),
        },
    }  # fmt: skip
    for stage in ORDER:
        old = "20261120-090000-000" if stage in ("ingest", "measure", "curate", "synthesize_edits") else ""
        commit(store, run, stage, files.get(stage, {}), old)
    store.write_json(registration_path(run.stages["register"].fingerprint), MODELS)
    save_run(store, run)
    return store, run
