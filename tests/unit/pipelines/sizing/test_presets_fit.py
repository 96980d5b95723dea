"""The presets for GPUs fit the hardware that they name, with a tenth of its memory to spare. Reckoned, not run."""

from __future__ import annotations

import dataclasses

import pytest

from pipelines.config.compose import compose_config
from pipelines.sizing.assumptions import Assumptions
from pipelines.sizing.data_volume import find_flow, find_flows, joined
from pipelines.sizing.hardware import Hardware
from pipelines.sizing.planning import make_plan
from pipelines.sizing.stage_sizes import StageSize

pytestmark = pytest.mark.unit

PHOTOS = ["source=folder", "source.path=/nowhere"]
LIST = ["source=urls", "source.path=nowhere.parquet"]
# Preset -> its source, the samples of it, and the memory of a GPU.
PRESETS = {
    "paper": (LIST, 10_900_000, 80),
    "single_gpu": (PHOTOS, 1_000_000, 80),
    "single_gpu_24gb": (PHOTOS, 1_000_000, 24),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_fits_with_a_tenth_of_the_gpu_to_spare(preset):
    source, samples, gigabytes = PRESETS[preset]
    config = compose_config([f"preset={preset}", *source])
    plan = make_plan(config, Assumptions(samples=samples, memory_gb=0.9 * gigabytes, worker_memory_gb=64, store_gb=2e4))
    assert plan.will_not_fit() == []
    # A GPU reads photos sooner than the preset's eight cores for each decode them: said, and no more than that.
    assert {warning["stage"] for warning in plan.unwise()} == {"train_encoder", "encode_latents"}
    assert max(row.host.get("index", 0) for row in plan.stages) < 2e9  # its rows are mapped


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_trains_by_the_papers_method_in_the_papers_batches(preset):
    base, config = (compose_config([f"preset={name}", *PHOTOS]) for name in ("paper", preset))
    spread = {"steps", "accumulate", "checkpoint_activations", "zero_stage", "compile"}  # what does not change a step
    for of in (lambda c: c.encoder.training, lambda c: c.tokenizer.semantic, lambda c: c.tokenizer.training,
               lambda c: c.generator.training, lambda c: c.generator.editing):  # fmt: skip
        method = [{k: v for k, v in dataclasses.asdict(of(c)).items() if k not in spread} for c in (base, config)]
        assert method[0] == method[1]
    assert (config.tokenizer.semantic.batch, config.generator.training.batch, config.generator.editing.batch) == (
        96, 736, 736
    )  # fmt: skip


def test_the_papers_list_gives_the_papers_edit_pairs():
    flow = find_flow(compose_config(["preset=paper", *LIST]), Assumptions(samples=10_900_000))
    assert flow.pairs == pytest.approx(1.2e6, rel=0.01)
    assert flow.kept == 10_900_000


def test_the_papers_own_data_is_priced_in_the_papers_composition():
    """The latent space of ImageNet, pictures of texts from captioned ones, edits as they are given."""
    config = compose_config(["preset=paper_data"])
    of = {"imagenet": 1_281_167, "cc12m": 10_900_000, "omniedit": 1_200_000}
    flow = joined(find_flows(config, Assumptions(of_source=of)))
    space, captioned, edits = flow.trained_on, flow.captioned, flow.pairs
    assert (space, captioned, edits) == (of["imagenet"], of["cc12m"], of["omniedit"])
    assert flow.captioned_pairs == 0  # and nothing is made of photos
    paper = compose_config(["preset=paper", *LIST])  # which is held against its GPUs above
    assert config.execution.training == paper.execution.training
    assert (config.tokenizer, config.generator.training, config.generator.editing) == (
        paper.tokenizer, paper.generator.training, paper.generator.editing
    )  # fmt: skip


def test_a_stage_that_shares_a_gpu_is_held_against_its_share():
    config = compose_config(["preset=single_gpu_24gb", *PHOTOS])  # encode_latents has a quarter
    found = {}
    for gigabytes in (24, 16):
        row = StageSize("encode_latents", memory={"activations": 5 * 10**9})
        hardware = Hardware(config, Assumptions(memory_gb=gigabytes))
        hardware.place(row, "bf16")
        hardware.fit(row)
        found[gigabytes] = row.problems
    assert found[24] == []
    assert "needs 5.0 GB of memory, and its share of 0.25 of a GPU (--memory-gb) has 4.0" in found[16][0]
    assert "Lower latents.batch" in found[16][0]


def test_a_validation_that_no_gpu_holds_is_answered_with_its_samples():
    row = StageSize("train_editor", device="GPU", memory={"validation": 20 * 10**9, "weights": 5 * 10**9})
    Hardware(compose_config(["preset=single_gpu_24gb", *PHOTOS]), Assumptions(memory_gb=24)).fit(row)
    assert row.problems[0].endswith("most of it: validation, 20.0 GB. Lower generator.validation_samples.")
