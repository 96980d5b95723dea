"""Weights by address: checked as they come, found where they already lie, and told in words where they cannot come."""

from __future__ import annotations

import functools
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from components.data.checked_download import download_checked
from components.tokenizer.lpips import Lpips
from pipelines.config.compose import compose_config
from pipelines.errors import UserError
from pipelines.judging.pretrained_measures import load_inception, load_lpips
from pipelines.preflight.weights import check_weights
from pipelines.store.files import Store
from pipelines.store.published_weights import Published, find_published, get_published, published, unreachable
from pipelines.workflow.source_digests import evaluation_files, tokenizer_files
from tests.unit.tokenizer.made_weights import head_weights, save_hub_file, vgg_weights
from tests.unit.vision_models.test_inception import SmallInception

pytestmark = pytest.mark.unit


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, Path, list[str]]]:
    """A web server on a folder: its address, the folder, and the paths that were asked for."""
    folder, asked = tmp_path / "served", list[str]()
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            asked.append(f"{self.command} {self.path}")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", folder, asked
        running.shutdown()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.hub's checkpoints of this machine are none of the test's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def entry(address: str, path: Path, **changed: object) -> Published:
    data = path.read_bytes()
    known = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "file": path.name, "address": address}
    return Published.model_validate({**known, **changed})


@pytest.fixture
def table(server, monkeypatch: pytest.MonkeyPatch) -> dict[str, Published]:
    """A table of weights made for the test, on the server."""
    address, folder, _ = server
    network = save_hub_file(vgg_weights(), folder)
    torch.save(head_weights(), folder / "vgg.pth")
    torch.jit.save(torch.jit.script(SmallInception().eval()), str(folder / "inception.pt"))
    made = {
        name: entry(f"{address}/{path.name}", path)
        for name, path in (
            ("vgg16", network), ("lpips_heads", folder / "vgg.pth"), ("inception", folder / "inception.pt")
        )
    }  # fmt: skip
    for module in (
        "store.published_weights",
        "judging.pretrained_measures",
        "preflight.weights",
        "workflow.source_digests",
    ):
        monkeypatch.setattr(f"pipelines.{module}.published", lambda: made)
    return made


def test_the_table_names_whole_hashes_of_files_that_say_theirs() -> None:
    found = published()
    assert set(found) == {"vgg16", "lpips_heads", "inception"}
    for value in found.values():
        assert re.fullmatch("[0-9a-f]{64}", value.sha256) and value.address.startswith("https://")
        assert value.address.endswith(value.file)
    assert found["vgg16"].file == f"vgg16-{found['vgg16'].sha256[:8]}.pth"


def test_fetched_weights_give_what_the_files_give_and_are_fetched_once(table, server, tmp_path) -> None:
    store, asked = Store(str(tmp_path / "store")), server[2]
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    found = load_lpips("fetch", store).distances(*pictures)
    assert torch.equal(found, Lpips.load(server[1]).distances(*pictures))
    extract, known = load_inception("fetch", store, "cpu")
    assert known == "published" and extract(pictures[0]).shape == (2, 16)
    assert load_inception(str(server[1] / "inception.pt"), store, "cpu")[1] == "published"
    before = len(asked)
    assert before >= 3
    load_lpips("fetch", store)
    load_inception("fetch", store, "cpu")
    assert len(asked) == before
    kept = {p.name for p in (tmp_path / "store" / "cache" / "weights").iterdir() if not p.name.endswith(".lock")}
    assert kept == {value.file for value in table.values()}


def test_a_file_of_another_name_is_told_by_its_digest(table, tmp_path) -> None:
    model = SmallInception()
    torch.nn.init.zeros_(model.convolution.bias)
    torch.jit.save(torch.jit.script(model.eval()), str(tmp_path / "own.pt"))
    found = load_inception(str(tmp_path / "own.pt"), Store(str(tmp_path / "store")), "cpu")[1]
    assert found == hashlib.sha256((tmp_path / "own.pt").read_bytes()).hexdigest()


def test_a_file_in_torch_hubs_cache_is_taken_if_its_content_is_right(table, server, tmp_path) -> None:
    store, name = Store(str(tmp_path / "store")), table["vgg16"].file
    hub = tmp_path / "torch" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    (hub / name).write_bytes((server[1] / name).read_bytes())
    assert find_published("vgg16", store) == hub / name == get_published("vgg16", store)
    with (hub / name).open("r+b") as file:
        file.seek(5000)
        file.write(b"x")
    assert find_published("vgg16", store) is None
    assert get_published("vgg16", store).is_relative_to(tmp_path / "store")


def test_another_content_and_more_bytes_are_refused_and_nothing_is_kept(server, tmp_path) -> None:
    address, folder, _ = server
    (folder / "weights.pth").write_bytes(b"1" * 3_000_000)
    known = hashlib.sha256(b"1" * 3_000_000).hexdigest()
    target = tmp_path / "kept" / "weights.pth"
    for sha256, limit, message in (
        ("0" * 64, 3_000_000, "gives another weights.pth"),
        (known, 2_999_999, "gives more"),
    ):
        with pytest.raises(ValueError, match=message):
            download_checked(f"{address}/weights.pth", target, sha256, limit)
        assert [p.name for p in target.parent.iterdir()] == [".weights.pth.lock"]
    assert download_checked(f"{address}/weights.pth", target, known, 3_000_000).read_bytes() == b"1" * 3_000_000


def test_a_damaged_file_in_the_cache_is_fetched_again(server, tmp_path) -> None:
    address, folder, _ = server
    (folder / "a.pth").write_bytes(b"right")
    (tmp_path / "a.pth").write_bytes(b"wrong")
    download_checked(f"{address}/a.pth", tmp_path / "a.pth", hashlib.sha256(b"right").hexdigest(), 5)
    assert (tmp_path / "a.pth").read_bytes() == b"right"


def test_without_a_server_the_error_says_how_to_go_by_path(table, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("components.data.places.PAUSE_S", 0.01)
    lost = table["inception"].model_copy(update={"address": "http://127.0.0.1:9/inception.pt"})
    table["inception"] = lost
    store = Store(str(tmp_path / "store"))
    with pytest.raises(
        UserError, match=r"inception\.pt could not be fetched: .*Without a network: bring inception\.pt"
    ):
        get_published("inception", store)
    assert "give the file's path in place of fetch" in unreachable("inception", store)
    assert unreachable("vgg16", store) == ""
    config = compose_config([f"store={tmp_path}/store", "evaluate_tokenizer.inception=fetch"])
    (words,) = check_weights(config)
    assert words.startswith("evaluate_tokenizer.inception=fetch: inception.pt is not here, and ")


def test_the_fingerprint_of_fetched_weights_is_their_known_content(table, tmp_path) -> None:
    store = Store(str(tmp_path / "store"))
    options = ["evaluate_tokenizer.lpips_weights=fetch", "evaluate_tokenizer.inception=fetch"]
    config = compose_config([f"store={tmp_path}/store", *options])
    found = evaluation_files(config, store)
    assert found == {f"weights {name}": value.sha256 for name, value in table.items()}
    table["vgg16"] = table["vgg16"].model_copy(update={"sha256": "0" * 64})
    assert evaluation_files(config, store) != found
    assert tokenizer_files(config, store) == {}


def test_a_folder_without_heads_gets_the_ones_that_are_installed(tmp_path) -> None:
    save_hub_file(vgg_weights(), tmp_path / "network")
    pictures = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    assert 0 < load_lpips(str(tmp_path / "network"), Store(str(tmp_path / "store"))).distances(*pictures) < 2


def folder_of(tmp_path: Path, **files: bytes) -> str:
    (tmp_path / "weights").mkdir()
    for name, data in files.items():
        (tmp_path / "weights" / name.replace("__", ".").replace("_", "-", name.startswith("vgg16_"))).write_bytes(data)
    return str(tmp_path / "weights")


OLD = b"\x80\x02" + bytes(100)  # as torch wrote before 1.6


@pytest.mark.parametrize(
    ("key", "files", "words"),
    [
        ("lpips_weights", {}, "there is no vgg16-*.pth and no vgg16.pth and no vgg16.safetensors in it"),
        (
            "lpips_weights",
            {"vgg16_397923af__pth": OLD},
            "has 102 bytes, the published file 553,433,881. Fetch it again.",
        ),
        ("lpips_weights", {"vgg16__pth": b"<html>"}, "vgg16.pth is no file that torch saved, or cut short."),
        ("lpips_weights", {"vgg16__pth": b"version https://git-lfs"}, "is a pointer of Git LFS"),
        ("lpips_weights", {"vgg16__safetensors": b"x"}, "vgg16.safetensors is no safetensors file, or cut short."),
        ("lpips_weights", {"vgg16__pth": OLD, "vgg__pth": OLD}, "vgg.pth has 102 bytes, the published file 7,289."),
        ("inception", {}, "there is no such file. Give inception-2015-12-05.pt, or set the key to fetch."),
    ],
)
def test_missing_and_damaged_files_are_found_before_the_first_stage(tmp_path, key, files, words) -> None:
    value = folder_of(tmp_path, **files) + ("/none.pt" if key == "inception" else "")
    config = compose_config([f"store={tmp_path}/store", f"evaluate_tokenizer.{key}={value}"])
    (found,) = check_weights(config)
    assert found.startswith(f"evaluate_tokenizer.{key}={value}: ") and words in found


def test_training_is_checked_alike_and_whole_files_pass(tmp_path) -> None:
    save_hub_file(vgg_weights(), tmp_path / "network")
    own = [f"store={tmp_path}/store", "tokenizer.model.perceptual=lpips"]
    assert not list(check_weights(compose_config([*own, f"tokenizer.model.lpips_weights={tmp_path}/network"])))
    (found,) = check_weights(compose_config([*own, f"tokenizer.model.lpips_weights={tmp_path}/none"]))
    assert found.startswith("tokenizer.model.lpips_weights=")
