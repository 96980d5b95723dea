"""Cheap surveys of sources, and the arithmetic of file sizes, against real files."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from components.data.latents import LatentSpec, LatentWriter
from components.data.options import FolderOptions, PairColumns, UrlListOptions
from components.data.records import Record, write_records
from components.data.sizes import latent_shard_bytes, tar_bytes, tar_sample_bytes
from components.data.survey import survey_folder, survey_pair_folder, survey_parquet, survey_shards, survey_url_lists
from components.data.tables import write_table

pytestmark = pytest.mark.unit

CAPTION = "a red circle"


def picture(side: int = 24, number: int = 0) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (side, 2 * side, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


def records(count: int) -> list[Record]:
    about = json.dumps({"width": 48}).encode()
    return [Record(f"{n:06d}", {"png": picture(24, n), "txt": CAPTION.encode(), "json": about}) for n in range(count)]


@pytest.mark.parametrize("kind", ["captions", "edits"])
@pytest.mark.parametrize(("rows", "tolerance"), [(40, 0.005), (600, 0.001)])
def test_a_latent_shard_is_as_large_as_the_arithmetic_says(tmp_path, kind, rows, tolerance):
    channels, grid = 96, 8
    numbers = tuple(np.random.default_rng(0).random(channels) + 0.5)
    spec = LatentSpec(channels, grid, grid, "f" * 64, numbers, numbers, kind)
    latents = np.zeros((rows, channels, grid, grid), np.float16)
    with LatentWriter(tmp_path / "x.arrow", spec) as writer:
        keys, sources = [f"{n:09d}" for n in range(rows)], latents if kind == "edits" else None
        writer.add(keys, [CAPTION] * rows, latents, sources, [False] * rows)
    wanted = latent_shard_bytes(spec.shape, kind, rows, 9 + len(CAPTION))
    assert wanted == pytest.approx((tmp_path / "x.arrow").stat().st_size, rel=tolerance)


def test_a_latent_of_the_paper_takes_49152_bytes_and_its_data_set_half_a_terabyte():
    shape, samples = (96, 16, 16), 10_900_000
    one = latent_shard_bytes(shape, "captions", 2, 0) - latent_shard_bytes(shape, "captions", 1, 0)
    assert one == pytest.approx(49_152, abs=9)  # Arrow's own for a row
    shards = samples // 1000 * latent_shard_bytes(shape, "captions", 1000, 150)
    assert shards == pytest.approx(0.54e12, rel=0.005)  # the paper's figure has two digits, and is of latents alone


@pytest.mark.parametrize("count", [1, 7, 23])
def test_tars_are_as_large_as_the_arithmetic_says(tmp_path, count):
    made = records(count)
    sizes = [tar_sample_bytes(map(len, record.parts.values())) for record in made]
    real = 0
    for first in range(0, count, 10):
        write_records(tmp_path / "x.tar", made[first : first + 10])
        real += (tmp_path / "x.tar").stat().st_size
    assert tar_bytes(count, sum(sizes) / count, 10) == pytest.approx(real, abs=10_240)


def test_url_lists_are_counted_by_footers_and_lines(tmp_path):
    options = UrlListOptions()
    rows = [(f"http://example.org/{n}.jpg", f"picture {n}") for n in range(5)]
    write_table(
        tmp_path / "a.parquet", {"url": [u for u, _ in rows], "caption": [c for _, c in rows]},
        {"url": "string", "caption": "string"},
    )  # fmt: skip
    (tmp_path / "b.csv").write_text("url,caption\n" + "".join(f"{u},{c}\n" for u, c in rows))
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps({"url": u, "caption": c}) for u, c in rows))
    (tmp_path / "d.json").write_text(json.dumps([{"url": u, "caption": c} for u, c in rows]))
    (tmp_path / "e.txt").write_text("".join(f"{u}\n" for u, _ in rows))
    for name in "a.parquet", "b.csv", "c.jsonl", "d.json", "e.txt":
        assert survey_url_lists(str(tmp_path / name), options).samples == 5, name
    assert survey_url_lists(str(tmp_path), options).samples == 25
    headless = UrlListOptions(column_names=("url", "caption"))
    assert survey_url_lists(str(tmp_path / "b.csv"), headless).samples == 6
    with pytest.raises(ValueError, match="there is no file or folder"):
        survey_url_lists(str(tmp_path / "nowhere"), options)


def test_shards_are_taken_to_be_like_the_first(tmp_path):
    made = records(40)
    for shard in range(4):
        write_records(tmp_path / f"{shard:05d}.tar", made[10 * shard : 10 * shard + 10])
    found = survey_shards(str(tmp_path))
    assert found.samples == 40
    assert found.pixels == 24 * 48
    real = sum(path.stat().st_size for path in tmp_path.glob("*.tar"))
    assert found.samples * found.sample_bytes == pytest.approx(real, rel=0.01)
    (tmp_path / "00000.tar").write_bytes(b"no tar")
    with pytest.raises(ValueError, match="cannot be read as a tar"):
        survey_shards(str(tmp_path))


def test_a_folders_pictures_are_counted_and_looked_at(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(picture(32, number))
        (tmp_path / f"{number}.txt").write_text(CAPTION)
    found = survey_folder(str(tmp_path), FolderOptions())
    assert (found.samples, found.pixels) == (6, 32 * 64)
    assert found.sample_bytes > sum(p.stat().st_size for p in tmp_path.glob("*.png")) / 6
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no pictures"):
        survey_folder(str(tmp_path / "empty"), FolderOptions())


def test_pairs_and_pictures_in_tables_are_counted_and_looked_at(tmp_path):
    pictures = [picture(24, n) for n in range(4)]
    table = pa.table({"source": pictures, "target": pictures, "instruction": ["go"] * 4})
    (tmp_path / "t").mkdir()
    pq.write_table(table, tmp_path / "t" / "a.parquet", row_group_size=2)
    one, two = (survey_parquet(str(tmp_path / "t"), columns) for columns in (["source"], ["source", "target"]))
    assert one.samples == two.samples == 4 and one.pixels == two.pixels == 24 * 48
    assert two.sample_bytes - one.sample_bytes == pytest.approx(tar_sample_bytes([len(pictures[0])]), rel=0.05)
    for n, data in enumerate(pictures):
        (tmp_path / f"{n}.png").write_bytes(data)
    lines = [{"source": f"{n}.png", "target": "0.png", "instruction": "go"} for n in range(4)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = survey_pair_folder(str(tmp_path), None, PairColumns())
    assert found.samples == 4 and found.pixels == 24 * 48
    assert found.sample_bytes == pytest.approx(two.sample_bytes, rel=0.05)
    parts = {"source.png": pictures[0], "target.png": pictures[1], "txt": b"go", "json": b"{}"}
    write_records(tmp_path / "0.tar", [Record(f"{n}", parts) for n in range(3)])
    assert survey_shards(str(tmp_path / "0.tar")).pixels == 24 * 48
