"""Which demo a machine makes in twenty minutes."""

from __future__ import annotations

import pytest

from pipelines.config.compose import compose_config, flatten, to_dict
from pipelines.sizing import demo_preset as demo

pytestmark = pytest.mark.unit


def test_the_faster_a_machine_the_larger_the_demo_it_takes():
    assert [demo.demo_preset(rate) for rate in (0.05e12, 0.2e12, 0.25e12, 0.4e12, 0.7e12, 3e12)] == [
        *("demo_small", "demo_small"), *("demo", "demo"), *("demo_large", "demo_large")
    ]  # fmt: skip


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


def test_the_large_demo_is_the_demo_with_a_longer_training_of_its_editor_alone():
    usual, large = (to_dict(compose_config([f"preset={name}"])) for name in ("demo", "demo_large"))
    a, b = flatten(usual), flatten(large)
    differing = {key for key in a if a[key] != b[key]}
    assert differing == {"preset", "generator.editing.steps", "generator.editing.sample_every"}


def test_the_choice_is_printed_alone_on_stdout_and_its_reason_on_stderr(capsys):
    demo.main()
    found = capsys.readouterr()
    assert found.out.strip() in {name for _, name in demo.PRESETS} and found.out.count("\n") == 1
    assert "TFLOP/s" in found.err
