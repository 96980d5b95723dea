"""Float8 products: which layers get them, that nothing else changes, and who is refused them."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from components.training.block_transforms import use_float8
from components.training.checkpoints import TrainingFailed
from components.training.machine import float8_problem
from components.training.options import TrainingOptions
from tests.unit.training.small_training import run

pytestmark = pytest.mark.unit
HAS_TORCHAO = importlib.util.find_spec("torchao") is not None
needs_torchao = pytest.mark.skipif(not HAS_TORCHAO, reason="torchao is not installed")


class Block(nn.Module):
    """Large layers, one that is too narrow, one of no multiple of 16, a frozen one, and one that faces times."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(64, 128), nn.Linear(128, 64, bias=False)
        self.narrow, self.odd = nn.Linear(64, 16), nn.Linear(64, 72)
        self.still, self.modulation = nn.Linear(64, 64).requires_grad_(False), nn.Linear(64, 64)

    def outer_layers(self) -> list[nn.Linear]:
        return [self.modulation]

    def forward(self, hidden):
        return self.down(torch.relu(self.up(hidden)))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.blocks = nn.Linear(64, 64), nn.ModuleList([Block(), Block()])

    def forward(self, hidden):
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.first(hidden)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about CPUs")
def test_training_in_float8_is_refused_without_its_package_or_a_gpu_that_has_it(tmp_path):
    needed = "the package torchao. Install it with: pip install 'pixsem\\[fp8\\]'" if not HAS_TORCHAO else "a GPU of"
    with pytest.raises(TrainingFailed, match=f"float8 needs {needed}"):
        run(tmp_path, float8=True, precision="auto")
    assert float8_problem(torch.device("cpu")).endswith("et float8=false")


def test_float8_beside_products_in_fp32_is_refused():
    with pytest.raises(ValueError, match="float8 goes with precision bf16 or auto"):
        TrainingOptions(float8=True, precision="fp32")


@needs_torchao
def test_large_trained_layers_of_the_blocks_multiply_in_float8_and_keep_their_names_and_weights():
    plain, model = Model(), Model()
    weights = {name: id(parameter) for name, parameter in model.named_parameters()}
    found = use_float8(model, (Block,), smallest=32, emulate=True)
    assert found == [f"blocks.{n}.{name}" for n in (0, 1) for name in ("up", "down")]
    assert {name for name, part in model.named_modules() if type(part).__name__ == "Float8Linear"} == set(found)
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == weights
    assert list(model.state_dict()) == list(plain.state_dict())
    hidden = torch.randn(10, 64)  # no multiple of 16
    losses = [made(hidden).square().mean() for made in (plain, model)]
    for loss in losses:
        loss.backward()
    assert losses[0] != losses[1], "nothing was rounded"
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.02)
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        if one.grad is not None:
            assert torch.nn.functional.cosine_similarity(one.grad.flatten(), other.grad.flatten(), dim=0) > 0.98


@needs_torchao
def test_a_model_without_a_large_layer_is_told_so():
    with pytest.raises(ValueError, match=r"no trained linear layer has sides of 512 or more.*Set float8=false"):
        use_float8(Model(), (Block,))
