"""pixsem doctor, line by line: what is well is said to be, and what is not is named with what to do."""

from __future__ import annotations

import pytest
import torch

from pipelines.config.compose import compose_config
from pipelines.doctor import checks as doctor
from pipelines.doctor import node_checks as doctor_node
from pipelines.doctor.checks import wanted_of
from pipelines.doctor.node_checks import Wanted, check_node, installed
from pipelines.errors import UserError
from pipelines.store.files import Store

pytestmark = pytest.mark.unit
NOTHING = Wanted((), (), 0, "s3://bucket/x")


def test_a_store_that_does_all_is_ok_and_left_as_it_was(tmp_path):
    store = Store(str(tmp_path / "store"))
    line = doctor._store(store)
    assert line.ok and "lets one alone make a file" in line.text, line
    assert store.files("") == {}


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = doctor._store(Store(str(tmp_path / "file")))
    assert not line.ok and "Give another with store=PATH" in line.text, line


def test_a_store_on_which_two_drivers_could_hold_one_lease_is_named(tmp_path):
    class Careless(Store):
        def create(self, relative: str, data: bytes) -> bool:
            self.write_bytes(relative, data)
            return True

    line = doctor._store(Careless(str(tmp_path / "store")))
    assert not line.ok and "two drivers could hold one lease" in line.text, line


def test_a_store_that_gives_back_something_else_is_named(tmp_path):
    class Forgetful(Store):
        def read_bytes(self, relative: str) -> bytes:
            return b"?"

    line = doctor._store(Forgetful(str(tmp_path / "store")))
    assert not line.ok and "read as something else" in line.text, line


def test_what_the_published_recipe_expects_of_nodes_is_known():
    config = compose_config(["preset=paper", "source=urls", "source.path=x.parquet"])
    wanted = wanted_of(config, Store("memory://doctor"))
    assert {"train_tokenizer", "train_editor", "encode_latents"} <= set(wanted.gpus)
    assert "ingest" not in wanted.gpus
    assert {"generator.training.precision", "latents.precision"} <= set(wanted.bf16)
    stages = [config.generator.training.zero_stage, config.tokenizer.training.zero_stage]
    assert wanted.zero_stage >= max(stages)


def test_a_node_with_other_packages_than_the_drivers_is_told_which():
    assert all(line.ok for line in doctor_node._packages(Wanted((), (), 0, "", installed())))
    (line,) = doctor_node._packages(Wanted((), (), 0, "", {**installed(), "torch": "0.1"}))
    assert not line.ok and "(driver: 0.1)" in line.text and "constraints.txt" in line.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about torch that sees no GPU")
def test_gpus_that_torch_does_not_see_are_named():
    (line,) = doctor_node._gpus(NOTHING, of_node=1.0)
    assert not line.ok and "torch sees none" in line.text
    (line,) = doctor_node._gpus(Wanted(("train_editor",), (), 0, ""), of_node=0.0)
    assert line.ok and "not for this node: train_editor" in line.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about CPUs")
def test_bf16_where_it_is_only_emulated_is_named(monkeypatch):
    monkeypatch.setattr("components.training.machine.choose_precision", lambda *_: "fp32")
    (line,) = doctor_node._precision(Wanted((), ("latents.precision",), 0, ""))
    assert not line.ok and line.text.startswith("latents.precision: bf16") and "precision=auto" in line.text
    (line,) = doctor_node._precision(NOTHING)
    assert line.ok and "auto is fp32 here" in line.text


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about CPUs")
def test_float8_on_a_node_that_has_none_is_named():
    found = list(doctor_node._precision(Wanted((), (), 0, "", float8=("generator.training.float8",))))
    assert not found[1].ok and found[1].text.startswith("generator.training.float8: float8 needs")


def test_a_disk_that_is_full_for_ray_and_little_memory_are_named(monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor_node.shutil, "disk_usage", lambda _: usage(100 << 30, 96 << 30, 4 << 30))
    (line,) = doctor_node._disk(NOTHING)
    assert not line.ok and "Make room" in line.text
    monkeypatch.setattr("psutil.virtual_memory", lambda: namedtuple("m", "available total")(1 << 30, 8 << 30))
    (line,) = doctor_node._memory()
    assert not line.ok and "1.0 GB free of 8.0 GB" in line.text


def test_an_allocator_that_gives_its_pages_back_is_named():
    (line,) = doctor_node._allocator()  # this process is no worker
    assert not line.ok and "libjemalloc" in line.text


def test_what_breaks_while_it_is_tried_is_a_line_and_the_rest_is_tried_all_the_same(monkeypatch):
    def broken(_: Wanted):
        raise RuntimeError("the op did not build")
        yield

    monkeypatch.setattr(doctor_node, "_deepspeed", broken)
    lines = {line.part: line for line in check_node(NOTHING, 0.0)}
    assert not lines["deepspeed"].ok and "RuntimeError: the op did not build" in lines["deepspeed"].text
    assert lines["packages"].ok and "disk" in lines


def test_a_store_address_that_is_none_ends_the_examination_in_words():
    lines = list(doctor.examine(compose_config(["preset=tiny", "store=nonsense://x"])))
    assert [line.part for line in lines] == ["python", "config", "store"]
    assert not lines[2].ok and "s3://bucket/path" in lines[2].text


def test_a_store_that_is_lost_while_it_is_tried_is_a_line(tmp_path):
    class Lost(Store):
        def write_bytes(self, relative: str, data: bytes, durable: bool = True) -> None:
            raise UserError("it went away")

    line = doctor._store(Lost(str(tmp_path / "store")))
    assert not line.ok and "it went away" in line.text
