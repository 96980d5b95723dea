"""What the machine does well, and blocks that run compiled."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.training import machine, meter
from components.training.block_transforms import compile_blocks
from components.training.machine import choose_precision, matrix_rate
from components.training.options import TrainingOptions

CPU = torch.device("cpu")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("vendor", "avx512_bf16", "amx", "wanted"),
    [
        ("AuthenticAMD", True, False, "bf16"),
        ("GenuineIntel", True, False, "fp32"),  # it knows the instruction, and is slower by it
        ("AuthenticAMD", False, False, "fp32"),
        ("GenuineIntel", True, True, "bf16"),
        ("", True, False, "fp32"),
    ],
)
def test_auto_is_bf16_only_where_the_cpu_multiplies_it_faster(monkeypatch, vendor, avx512_bf16, amx, wanted):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(machine, "cpu_vendor", lambda: vendor)
    assert choose_precision("auto", CPU) == wanted
    assert choose_precision("bf16", CPU) == "bf16"


@pytest.mark.unit
def test_the_matrix_rate_leaves_the_global_generators_as_they_are():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert matrix_rate(CPU, "fp32", size=64, seconds=0.01) > 0
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.unit
@pytest.mark.parametrize("later", [1e9, 1.0], ids=["then undisturbed", "disturbed throughout"])
def test_a_matrix_rate_measured_beside_other_work_gives_no_utilisation_above_1(monkeypatch, caplog, later):
    rates = iter([1.0])
    monkeypatch.setattr(meter, "matrix_rate", lambda *_, **__: next(rates, later))
    measured = meter.Meter(CPU, 1, TrainingOptions(batch=4, precision="fp32"))
    measured.flops = 4.0  # of each step: far more than one a second, which the first measurement says
    for _ in range(3):
        measured.add(4)
    figures = measured.figures(3, {"loss": 0.5})
    if later > 1:
        assert 0 < figures["flops_utilisation"] <= 1
    else:
        assert "flops_utilisation" not in figures and "other work disturbed" in caplog.text
    assert figures["loss"] == 0.5 and figures["samples_per_second"] > 0


class Layer(nn.Module):
    """A block."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Add to the tokens."""
        return hidden + self.linear(hidden)


@pytest.mark.unit
def test_compiled_blocks_keep_their_names_weights_and_results():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), Layer(), Layer())
    names, data = list(model.state_dict()), torch.randn(2, 4)
    plain = model(data)
    compile_blocks(model, (Layer,))
    assert [part._compiled_call_impl is not None for part in model] == [False, True, True]
    assert list(model.state_dict()) == names
    with torch.compiler.set_stance("force_eager"):
        assert torch.equal(model(data), plain)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_compiled_generator_learns_as_an_uncompiled_one_on_a_gpu():
    from components.generator.layers import FusionLayer
    from components.generator.objective import FlowObjective
    from components.generator.options import FlowOptions, FusionOptions, SmallBackboneOptions
    from components.generator.transformer import DeepFusionTransformer

    device = torch.device("cuda", 0)
    losses = []
    for compiled in (False, True):
        torch.manual_seed(0)
        small = SmallBackboneOptions(width=64, depth=2, heads=4, kv_heads=2, hidden=128)
        model = DeepFusionTransformer.fresh(small, 20, 8, 4, FusionOptions())
        objective = FlowObjective(model, FlowOptions()).to(device)
        if compiled:
            compile_blocks(objective, (FusionLayer,))
        optimizer = torch.optim.AdamW(objective.parameters(), 1e-3)
        batch = {
            "latents": torch.randn(8, 8, 4, 4, generator=torch.Generator().manual_seed(1)).to(device),
            "ids": torch.arange(40, device=device).reshape(8, 5) % 20,
            "text": torch.ones(8, 5, dtype=torch.bool, device=device),
        }
        found = []
        for step in range(8):
            torch.manual_seed(step)
            loss = objective(batch, 0.0, None)[0]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(float(loss))
        losses.append(found)
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
