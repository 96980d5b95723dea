"""Which demo a machine makes in twenty minutes."""

from __future__ import annotations

import pytest

from pipelines.config.compose import compose_config
from pipelines.sizing import demo_preset as demo

pytestmark = pytest.mark.unit


def test_a_fast_machine_takes_the_demo_and_a_slow_one_the_small():
    assert [demo.demo_preset(rate) for rate in (0.05e12, 0.2e12, 0.25e12, 0.4e12)] == [
        "demo_small",
        "demo_small",
        "demo",
        "demo",
    ]


def test_the_demo_trains_longer_than_the_small_one_in_every_stage():
    short, long = (compose_config([f"preset={name}"]) for name in ("demo_small", "demo"))
    for stage in (
        "encoder.training",
        "tokenizer.semantic",
        "tokenizer.training",
        "generator.training",
        "generator.editing",
    ):
        group, name = stage.split(".")
        assert getattr(getattr(long, group), name).steps > getattr(getattr(short, group), name).steps, stage


def test_the_choice_is_printed_alone_on_stdout_and_its_reason_on_stderr(capsys):
    demo.main()
    found = capsys.readouterr()
    assert found.out in ("demo\n", "demo_small\n")
    assert "TFLOP/s" in found.err
