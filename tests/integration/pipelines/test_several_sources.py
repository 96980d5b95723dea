"""One run of several sources at once, each with its jobs: killed and resumed to the same bytes, and a further source
that asks for its own stages and what lies downstream, and for nothing else.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Pixsem, kill, processes, wait_for

from pipelines.config.compose import compose_config
from tests.unit.pipelines.stages.data.stage_chain import read_index, run_stages

pytestmark = pytest.mark.integration
WORDS = ("kitchen", "garden", "street", "window", "table", "river", "bridge", "market")


def photograph(seed: int) -> bytes:
    """Return a picture with soft light, texture and a few objects, as JPEG."""
    rng = np.random.default_rng(seed)
    light = cv2.resize(rng.integers(40, 216, (4, 5, 3), dtype=np.uint8), (160, 128), interpolation=cv2.INTER_CUBIC)
    for _ in range(4):
        centre, colour = tuple(int(v) for v in rng.integers(20, 110, 2)), tuple(int(v) for v in rng.integers(0, 256, 3))
        cv2.circle(light, centre, int(rng.integers(8, 24)), colour, -1, cv2.LINE_AA)
    noisy = np.clip(light + rng.normal(0, 6, light.shape), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def caption(seed: int) -> str:
    rng = np.random.default_rng([7, seed])
    return f"a photo of a {' and a '.join(rng.choice(WORDS, 3, replace=False))} taken in year {1900 + seed}"


def make_folder(folder: Path, first: int, count: int) -> Path:
    folder.mkdir()
    for n in range(first, first + count):
        (folder / f"{n:04d}.jpg").write_bytes(photograph(n))
        (folder / f"{n:04d}.txt").write_text(caption(n))
    return folder


def make_parquet(path: Path, first: int, count: int) -> None:
    """Write pictures as Hugging Face datasets do, in row groups of ten, with two captions each."""
    numbers = range(first, first + count)
    table = pa.table(
        {
            "image": [{"bytes": photograph(n), "path": f"{n}.jpg"} for n in numbers],
            "alt": [caption(n) for n in numbers],
            "long": [f"in detail, {caption(n)}" for n in numbers],
        }
    )
    pq.write_table(table, path, row_group_size=10)


def make_triplets(path: Path, first: int, count: int) -> None:
    """Write edit pairs as published sets do: the picture before, the one after, and instructions."""
    rows: dict[str, list] = {"src_img": [], "edited_img": [], "edited_prompt_list": [], "task": []}
    for n in range(first, first + count):
        before = cv2.imdecode(np.frombuffer(photograph(n), np.uint8), cv2.IMREAD_COLOR)
        grey = cv2.cvtColor(cv2.cvtColor(before, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        after = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        rows["src_img"].append({"bytes": photograph(n), "path": None})
        rows["edited_img"].append({"bytes": after, "path": None})
        rows["edited_prompt_list"].append(["make it black and white", "remove all colour from the picture"])
        rows["task"].append("style")
    pq.write_table(pa.table(rows), path, row_group_size=10)


def settings(root: Path, photos: int) -> list[str]:
    """Drawn scenes for the tokenizer; photographs with captions for text-to-image; triplets for editing."""
    sets = root / "sets"
    if not sets.exists():
        sets.mkdir()
        make_parquet(sets / "photos.parquet", 0, photos)
        make_triplets(sets / "pairs.parquet", photos // 2, photos)  # half of them of the captioned photographs
        make_folder(sets / "fourth", 900, 8)
    return [
        "preset=tiny", "source@sources.drawn=scenes_tiny", "sources.drawn.count=60", "sources.drawn.use=[tokenizer]",
        "sources.drawn.samples_per_shard=20", "source@sources.photos=parquet", "sources.photos.samples_per_shard=10",
        f"sources.photos.path={sets / 'photos.parquet'}", "sources.photos.columns.captions={alt: alt, long: long}",
        "sources.photos.use=[text_to_image]", "source@sources.pairs=omniedit",
        f"sources.pairs.path={sets / 'pairs.parquet'}", "sources.pairs.pairs.metadata=[]",
        "sources.pairs.samples_per_shard=10", "curate.max_caption_repeats=3", "generator.captions={long: 3, alt: 1}",
    ]  # fmt: skip


FOURTH = ["source@sources.fourth=folder", "sources.fourth.use=[text_to_image]"]


def by_stage(digests: dict[str, str]) -> dict[str, str]:
    return {name.partition("/")[0]: digest for name, digest in digests.items()}


def sides(index: Path) -> dict[str, object]:
    """What an index says of every picture's side, and the files that it says so by."""
    names = ("key", "role", "held_out")
    tables = {path.name: [read_index(path)[name] for name in names] for path in index.glob("index/*.arrow")}
    return tables | {path.name: path.read_bytes() for path in index.glob("pictures/*.parquet")}


def last_run(pixsem: Pixsem) -> dict:
    """What the last run keeps of itself."""
    return json.loads(max(pixsem.store.glob("runs/*/run.json")).read_text())


def kill_all(pixsem: Pixsem, driver, condition, seconds: float = 120.0) -> None:
    """Kill the driver and every process of its run as soon as a condition holds."""
    wait_for(lambda: condition() or driver.poll() is not None, seconds)
    assert driver.poll() is None, driver.communicate()
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    kill(processes(str(pixsem.folder)))


def test_a_killed_run_of_several_sources_ends_in_the_bytes_of_its_stages_run_one_by_one(fresh, tmp_path):
    arguments = settings(tmp_path, 12)
    expected = run_stages(tmp_path / "one_by_one", compose_config(arguments), "index")
    driver = fresh.start("run", *arguments, "--until", "index")
    kill_all(fresh, driver, lambda: list(fresh.store.glob("work/*/*/records/*.json")) or fresh.digests())
    fresh("resume")
    made = by_stage(fresh.digests())
    assert made.keys() == expected.keys()
    # An index names the shards' places, which are other places in another store.
    assert {n: d for n, d in made.items() if n != "index"} == {
        name: artifact.manifest.digest for name, artifact in expected.items() if name != "index"
    }
    (index,) = (fresh.store / "artifacts" / "index").iterdir()
    assert sides(index) == sides(Path(expected["index"].store.local(expected["index"].path)))
    report = fresh.json("report")
    assert report["metrics"]["index"] == expected["index"].manifest.metrics["index"]
    assert report["metrics"]["index"]["sharing"] == 2 * 6 and report["metrics"]["index"]["moved_pairs"] > 0
    curation = report["metrics"]["curation"]
    assert set(curation["sources"]) == {"drawn", "photos"} and curation["input"] == 60 + 12
    assert report["metrics"]["ingest"]["kept"] == 60 + 12 + 12
    assert set(report["metrics"]["index"]["sources"]) == {"drawn", "photos", "pairs"}
    before = set(fresh.digests().items())
    more = [*FOURTH, f"sources.fourth.path={tmp_path / 'sets' / 'fourth'}"]
    fresh("run", *arguments, *more, "--until", "curate")
    stages = last_run(fresh)["stages"]
    ran = {name for name, stage in stages.items() if not stage["cached"]}
    assert ran == {"ingest@fourth", "measure@fourth", "curate"} and {"ingest@drawn", "measure@photos"} <= stages.keys()
    assert before < set(fresh.digests().items())


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_whole_chain_of_several_sources_is_resumed_to_the_same_bytes_and_takes_in_a_fourth(fresh, tmp_path):
    arguments = [*settings(tmp_path, 40), "gates=any"]
    whole = Pixsem(tmp_path / "whole")
    whole.folder.mkdir()
    whole("run", *arguments, timeout=3600)
    moments = ("ingest@photos", "curate_pairs", "train_tokenizer", "train_generator")
    for attempt, moment in enumerate(moments):
        driver = fresh.start(*(["run", *arguments] if not attempt else ["resume"]))
        made = f"artifacts/{moment}/*/manifest.json"
        kill_all(fresh, driver, lambda made=made: list(fresh.store.glob(made)), seconds=1800)
    fresh("resume", timeout=3600)
    assert fresh.digests() == whole.digests()

    report = fresh.json("report")
    figures = report["metrics"]
    assert set(figures["tokenizer"]["sources"]) == {"drawn", "photos", "pairs"}
    assert figures["latents"]["captions"] == figures["curation"]["sources"]["photos"]["kept"]
    assert figures["pairs"]["kept"] == figures["latents"]["edits"] > 0
    images, editing = figures["text_to_image"], figures["editing"]
    assert {"similarity_trained_encoder", "retrieval"} <= images.keys() & images["chance"].keys()
    assert {"psnr", "ssim"} <= editing.keys() & editing["of_source"].keys() & editing["of_reconstructions"].keys()
    assert "read back" in figures["absent"]["text_to_image.overall"]
    lineage = fresh.json("lineage", "models:/pixsem-generator/1")
    assert {shard["source"] for shard in lineage["shards"]} == {"drawn", "photos", "pairs"}

    before = by_stage(fresh.digests())
    more = [*FOURTH, f"sources.fourth.path={tmp_path / 'sets' / 'fourth'}"]
    fresh("run", *arguments, *more, timeout=3600)
    ran = {stage["name"] for stage in fresh.json("report")["stages"] if not stage["cached"]}
    assert ran & {name for name in before if "@" in name} == set() and {"ingest@fourth", "measure@fourth"} <= ran
    assert last_run(fresh)["state"] == "completed"
