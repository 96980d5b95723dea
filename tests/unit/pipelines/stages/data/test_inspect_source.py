"""`pixsem inspect`: what a source would be read as, by the code that reads it; a path is enough where it shows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from components.data.records import Record, write_records
from pipelines.cli.main import app
from pipelines.stages.data.guess_source import guess_source

pytestmark = pytest.mark.unit


def picture(number: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9 + number, 5)).save(buffer, "PNG")
    return buffer.getvalue()


def inspect(*args: str) -> dict:
    done = CliRunner().invoke(app, ["inspect", *args, "--json"])
    assert done.exit_code == 0, done.output + str(done.exception)
    return json.loads(done.stdout)


def test_a_path_is_guessed_and_its_samples_are_read_as_ingest_reads_them(tmp_path: Path) -> None:
    table = pa.table({"picture": [picture(), None, picture(2)], "TEXT": ["a cat", "b", ["x"][0]], "id": [1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = inspect(str(tmp_path / "a.parquet"), "--count", "2")
    assert found["configuration"] == [
        "source=parquet", f"source.path={tmp_path}/a.parquet", "source.columns.image_column=picture",
        "source.columns.caption_column=TEXT",
    ]  # fmt: skip
    assert found["columns"] == {"picture": "binary", "TEXT": "string", "id": "int64"}
    assert found["roles"] == {"picture": "picture", "TEXT": "caption [TEXT]"}
    assert found["samples"][0]["texts"] == [["caption", "a cat"]]
    assert found["samples"][0]["pictures"] == {"picture": "png 9x5, 0 KB"}
    assert found["samples"][1]["problem"] == "no_picture: the picture is null" and len(found["samples"]) == 2


def test_pairs_are_told_from_pictures_and_a_published_layout_by_its_columns(tmp_path: Path) -> None:
    both = {"bytes": picture(), "path": None}
    columns = {"omni_edit_id": ["a"], "task": ["add"], "src_img": [both], "edited_img": [both]}
    pq.write_table(pa.table({**columns, "edited_prompt_list": [["one", "two"]]}), tmp_path / "o.parquet")
    assert guess_source(str(tmp_path / "o.parquet"))[0] == "source=omniedit"
    pq.write_table(pa.table({"before": [both], "after": [both], "edit": ["go"]}), tmp_path / "p.parquet")
    found = inspect(str(tmp_path / "p.parquet"))
    assert found["kind"] == "edit_pairs (parquet)"
    assert found["roles"] == {"before": "source", "after": "target", "edit": "instruction"}
    assert found["samples"][0]["texts"][0] == ["instruction", "go"]


def test_tars_folders_and_lists_are_told_by_what_is_in_them(tmp_path: Path) -> None:
    parts = {"png": picture(), "json": b'{"caption": "a cat", "n": 1}'}
    (tmp_path / "t").mkdir()
    write_records(tmp_path / "t" / "0.tar", [Record("k", parts)])
    found = inspect(str(tmp_path / "t"))
    assert found["configuration"][2:] == ["source.caption_field=caption"]
    assert found["columns"] == {"json": "part", "png": "part", "caption": "field of json", "n": "field of json"}
    assert found["samples"][0]["texts"] == [["caption", "a cat"]]
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.png").write_bytes(picture())
    (tmp_path / "f" / "metadata.jsonl").write_text('{"file_name": "a.png", "caption": ["a", "b"]}')
    found = inspect(str(tmp_path / "f"))
    assert found["samples"][0]["texts"] == [["caption [caption]", "a"], ["caption [caption]", "b"]]
    (tmp_path / "l.csv").write_text("URL,TEXT\nhttp://x/a.png,a cat\n")
    found = inspect(str(tmp_path / "l.csv"))
    assert found["samples"][0]["pictures"] == {"address": "http://x/a.png"} and found["kind"] == "urls"


def test_a_configuration_is_taken_as_it_is_and_a_misspelt_column_names_the_nearest(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [picture()], "caption": ["a"]}), tmp_path / "a.parquet")
    settings = ["source=parquet", f"source.path={tmp_path}/a.parquet"]
    assert inspect(*settings)["samples"][0]["texts"] == [["caption", "a"]]
    named = ["+source@sources.photos=parquet", f"sources.photos.path={tmp_path}/a.parquet"]
    assert inspect(*named, "--source", "photos")["samples"][0]["texts"] == [["caption", "a"]]
    done = CliRunner().invoke(app, ["inspect", *settings, "source.columns.caption_column=captoin"])
    assert done.exit_code != 0 and "did you mean 'caption'" in str(done.exception)
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "none")])
    assert "there is no file or folder" in str(done.exception)
    done = CliRunner().invoke(app, ["inspect", "pipe:touch pwned"])
    assert "runs a command of the shell" in str(done.exception)
