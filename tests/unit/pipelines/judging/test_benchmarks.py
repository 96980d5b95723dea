"""Benchmarks by name: ours are whole, a file of prompts is taken only with the right bytes, and fetched once."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.judging.benchmarks import Benchmark, benchmark_names, load_benchmark, prompt_file
from pipelines.judging.table import check_judge
from pipelines.store.files import Store

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", benchmark_names())
def test_every_benchmark_names_its_judges_with_options_that_they_take(name):
    found = load_benchmark(name)
    assert bool(found.prompts) != bool(found.pairs) and found.what
    for section in found.judges.values():
        check_judge(section)


def test_geneval_is_the_published_protocol():
    found = load_benchmark("geneval")
    options = check_judge(found.judges["geneval"])[1]
    assert found.images_per_prompt == 4 and found.guidance_scale is None and found.steps is None
    assert (options.threshold, options.counting_threshold, options.max_objects) == (0.3, 0.9, 16)
    assert (options.max_overlap, options.position_threshold) == (1.0, 0.1)


def test_a_users_own_benchmark_goes_before_ours(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    text = "what: mine\njudges:\n  mine: {kind: image_text, path: there}\n"
    (tmp_path / "benchmarks" / "geneval.yaml").write_text(text)
    (tmp_path / "benchmarks" / "bad.yaml").write_text(text + "imges: 3\n")
    assert load_benchmark("geneval", str(tmp_path)).what == "mine"
    assert {"geneval", "bad", "dpg"} <= set(benchmark_names(str(tmp_path)))
    with pytest.raises(UserError, match="imges"):
        load_benchmark("bad", str(tmp_path))
    with pytest.raises(UserError, match="did you mean 'geneval'"):
        load_benchmark("genevall")


def benchmark(address, data: bytes | None) -> Benchmark:
    digest = None if data is None else hashlib.sha256(data).hexdigest()
    prompts = {"address": str(address), "sha256": digest, "licence": "MIT"}
    return Benchmark.model_validate({"what": "x", "prompts": prompts, "judges": {}})


@pytest.fixture
def server(tmp_path):
    """A server of the folder `served`, and the paths that it was asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    (tmp_path / "served").mkdir()
    made = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served")))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}", asked
    made.shutdown()
    made.server_close()


def test_a_file_is_fetched_once_into_the_store_and_checked(tmp_path, server):
    address, asked = server
    (tmp_path / "served" / "prompts.txt").write_bytes(b"a red ball\n")
    store = Store(str(tmp_path / "store"))
    found = benchmark(f"{address}/prompts.txt", b"a red ball\n")
    path = prompt_file(found, None, store)
    assert Path(path).read_bytes() == b"a red ball\n" and Path(path).is_relative_to(tmp_path / "store")
    before = len(asked)
    assert prompt_file(found, None, store) == path and len(asked) == before
    Path(path).write_bytes(b"damaged")  # so it is asked for again
    assert Path(prompt_file(found, None, store)).read_bytes() == b"a red ball\n" and len(asked) > before


def test_other_bytes_are_refused(tmp_path, server):
    served = tmp_path / "served" / "prompts.txt"
    served.write_bytes(b"a blue ball\n")
    address, store = f"{server[0]}/prompts.txt", Store(str(tmp_path / "store"))
    with pytest.raises(UserError, match="gives another"):
        prompt_file(benchmark(address, b"a red ball\n"), None, store)
    with pytest.raises(UserError, match="is not the benchmark's file"):
        prompt_file(benchmark(address, b"a red ball\n"), str(served), store)
    with pytest.raises(UserError, match="name the file by --prompts"):
        prompt_file(benchmark(address, None), None, store)
    assert prompt_file(benchmark(address, None), str(served), store) == str(served)
