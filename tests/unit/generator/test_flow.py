"""Formulas of the paper, and what the objective draws."""

import pytest
import torch

from components.generator.flow import at_time, dimension_shift, fixed_times, sample_times, shift_times, velocity_of
from components.generator.objective import FlowObjective, kept
from components.generator.options import FlowOptions
from tests.unit.generator.worlds import VARIANTS, inputs, transformer

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("channels", "patch", "shift"), [(96, 1, 2.449), (32, 1, 1.414), (768, 1, 6.928), (16, 2, 2.0)]
)
def test_the_dimension_aware_shift_is_the_papers(channels, patch, shift):
    assert dimension_shift(channels, patch) == pytest.approx(shift, abs=1e-3)


def test_shifted_times_keep_their_ends_and_move_towards_noise():
    times = torch.tensor([0.0, 0.5, 1.0])
    assert torch.allclose(shift_times(times, 3.0), torch.tensor([0.0, 0.75, 1.0]))
    assert torch.equal(shift_times(times, 1.0), times)


def test_times_are_logit_normal_around_their_shifted_mean():
    torch.manual_seed(0)
    times = sample_times(20_000, FlowOptions(), 2.449)
    logits = torch.logit(times.double())  # a shift of s adds ln s to the logit
    assert float(logits.mean()) == pytest.approx(0.8957, abs=0.03)
    assert float(logits.std()) == pytest.approx(1.0, abs=0.03)


def test_the_path_runs_from_data_to_noise_and_its_velocity_is_noise_minus_data():
    clean, noise = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2)
    assert torch.equal(at_time(clean, noise, torch.zeros(2)), clean)
    assert torch.equal(at_time(clean, noise, torch.ones(2)), noise)
    times = torch.tensor([0.3, 0.9])
    assert torch.allclose(velocity_of(clean, at_time(clean, noise, times), times), noise - clean, atol=1e-5)
    assert fixed_times(8, 1.0).tolist() == [(i + 0.5) / 8 for i in range(8)]


def test_text_and_sources_are_left_out_at_the_rates_asked_for_and_independently():
    torch.manual_seed(0)
    text, source = kept(40_000, FlowOptions(drop_text=0.1, drop_source=0.2))
    assert float(1 - text.float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float(1 - source.float().mean()) == pytest.approx(0.2, abs=0.01)
    assert float((~text & ~source).float().mean()) == pytest.approx(0.02, abs=0.004)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_model_that_knows_the_answer_has_no_loss_and_validation_is_the_same_each_time(name):
    values = inputs()
    batch = {"latents": values["noisy"], "ids": values["ids"], "text": values["text"]}
    objective = FlowObjective(transformer(VARIANTS[name]), FlowOptions())
    first = objective.validation_loss(batch)
    torch.randn(5)
    assert objective.validation_loss(batch) == first > 0

    noise, times = torch.randn_like(values["noisy"]), torch.tensor([0.2, 0.5, 0.8])
    objective.model.forward = lambda noisy, *rest: noise - batch["latents"]
    there = torch.ones(3, dtype=torch.bool)
    assert float(objective.loss(batch, noise, times, there, there)) == pytest.approx(0, abs=1e-9)


def test_a_sample_whose_text_and_source_are_left_out_is_seen_as_one_that_has_none():
    model, values = transformer(VARIANTS["demo"]), inputs(1)
    objective = FlowObjective(model, FlowOptions())
    batch = {"latents": values["noisy"], "ids": values["ids"], "text": values["text"]}
    noise, times, no, yes = (
        torch.ones_like(values["noisy"]),
        torch.tensor([0.5]),
        torch.tensor([False]),
        torch.tensor([True]),
    )
    with_source = {**batch, "sources": values["source"], "has_source": yes}
    dropped = objective.loss(with_source, noise, times, no, no)
    empty = {**batch, "ids": values["ids"][:, :0], "text": values["text"][:, :0]}
    assert torch.allclose(dropped, objective.loss(empty, noise, times, yes, yes), atol=1e-6)
    assert not torch.allclose(dropped, objective.loss(with_source, noise, times, yes, yes), atol=1e-4)
