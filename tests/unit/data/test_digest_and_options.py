"""The digest of a source notices every change and costs only stat calls otherwise; options refuse what cannot work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.data import digest
from components.data.digest import digest_files
from components.data.options import DownloadOptions, ShardLimits, UrlListOptions

pytestmark = pytest.mark.unit

PAST = 1_600_000_000


def put(path: Path, text: str, time: int = PAST) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time, time))
    return path


def test_any_change_of_content_name_or_order_changes_the_digest(tmp_path: Path) -> None:
    files = [put(tmp_path / name, name) for name in ("a", "b", "d/c")]
    first = digest_files(files)
    assert digest_files(files) == first
    assert digest_files(files[::-1]) != first
    assert digest_files(files[:2]) != first
    put(files[0], "A")
    assert digest_files(files) != first
    put(files[0], "a")
    assert digest_files(files) == first
    files[0].rename(tmp_path / "z")
    assert digest_files([tmp_path / "z", *files[1:]]) != first


def test_moving_the_whole_source_changes_nothing(tmp_path: Path) -> None:
    def at(folder: str) -> str:
        return digest_files([put(tmp_path / folder / name, name) for name in ("a", "d/c")])

    assert at("here") == at("some/where/else")


def test_unchanged_files_are_not_read_again_and_changed_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [put(tmp_path / name, name) for name in ("a", "b")]
    read: list[str] = []
    hash_file = digest._sha256
    monkeypatch.setattr(digest, "_sha256", lambda file: read.append(Path(file).name) or hash_file(file))
    cache = tmp_path / "cache" / "digests.json"
    first = digest_files(files, cache)
    assert digest_files(files, cache) == first and read == ["a", "b"]
    put(files[0], "A", PAST + 1)
    assert digest_files(files, cache) != first and read == ["a", "b", "a"]
    assert [p.name for p in cache.parent.iterdir()] == ["digests.json"]


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("x")
    stat = file.stat()
    first = digest_files([file], tmp_path / "cache.json")
    file.write_text("y")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digest_files([file], tmp_path / "cache.json") != first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"/a": 3}', '{"/a": [1, 2, "x"]}'])
def test_a_damaged_cache_costs_time_not_truth(tmp_path: Path, content: str) -> None:
    file = put(tmp_path / "a", "x")
    cache = put(tmp_path / "cache.json", content.replace("/a", str(file)))
    assert digest_files([file], cache) == digest_files([file])


def test_a_missing_source_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing-here"):
        digest_files([tmp_path / "nothing-here"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_s": 0}, "timeout_s is 0; it must be above 0"),
        ({"retries": -1}, "retries"),
        ({"threads": 0}, "threads"),
        ({"encode_quality": 0}, "encode_quality is 0; for jpg"),
        ({"encode_format": "png", "encode_quality": 95}, "for png it must be 0 to 9"),
        ({"encode_format": "gif"}, "encode_format is 'gif'"),
        ({"resize_mode": "squash"}, "resize_mode is 'squash'"),
        ({"user_agent_token": "a\r\nX-Evil: 1"}, "user_agent_token"),
        ({"user_agent_token": ""}, "user_agent_token"),
    ],
)
def test_impossible_download_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DownloadOptions(**options)


def test_impossible_limits_and_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="max_members is 0"):
        ShardLimits(max_members=0)
    with pytest.raises(ValueError, match="column_names repeats a"):
        UrlListOptions(column_names=("a", "a"))


def test_light_modules_import_nothing_heavy() -> None:
    """Configuration and cached runs import these: they must cost milliseconds."""
    code = (
        "import sys; import components.data.options, components.data.digest, components.data.records, "
        "components.data.web_rules;"
        "heavy = {'torch', 'webdataset', 'img2dataset', 'pyarrow', 'numpy', 'pandas', 'cv2', 'PIL', "
        "'urllib.request', 'ray'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(digest.__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_downloading_is_imported_without_img2dataset_until_it_begins() -> None:
    code = "import sys; import components.data.download; print('img2dataset' in sys.modules, 'torch' in sys.modules)"
    root = Path(digest.__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
