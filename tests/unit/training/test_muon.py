"""Muon: torch's own, in the precision of the machine."""

import pytest
import torch

from components.training import muon
from components.training.muon import Muon, orthogonalised

pytestmark = pytest.mark.unit
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@pytest.mark.parametrize("shape", [(12, 12), (24, 8), (8, 24)])
def test_singular_values_come_near_to_one_and_their_directions_stay(shape):
    matrix = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    made = orthogonalised(matrix, COEFFICIENTS, 5, 1e-7)[0]
    values = torch.linalg.svdvals(made)
    assert float(values.min()) > 0.5 and float(values.max()) < 1.4
    left, _, right = torch.linalg.svd(matrix[0], full_matrices=False)
    turned = left.T @ made @ right.T  # diagonal in the matrix's own directions
    assert float((turned - turned.diag().diag()).abs().max()) < 0.05


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_its_steps_are_those_of_torchs_muon_up_to_rounding(precision, monkeypatch):
    monkeypatch.setattr(muon, "choose_precision", lambda *_: precision)

    def trained(kind) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        start = [
            torch.randn(16, 8, generator=generator),
            torch.randn(16, 8, generator=generator),
            torch.randn(6, 20, generator=generator),
        ]
        parameters = [torch.nn.Parameter(value.clone()) for value in start]
        optimizer = kind(parameters, lr=0.02, momentum=0.9, weight_decay=0.1)
        for _ in range(4):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        return [p.detach() - s for p, s in zip(parameters, start, strict=True)]

    for ours, theirs in zip(trained(Muon), trained(torch.optim.Muon), strict=True):
        assert float(torch.nn.functional.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0)) > 0.999
        assert float(ours.norm() / theirs.norm()) == pytest.approx(1, abs=0.01)


def test_a_parameter_without_a_gradient_stays_and_other_shapes_do_not_matter_to_it():
    still, moved = torch.nn.Parameter(torch.ones(4, 4)), torch.nn.Parameter(torch.ones(4, 4))
    moved.grad = torch.eye(4)
    Muon([still, moved], lr=0.1, weight_decay=0.0).step()
    assert torch.equal(still, torch.ones(4, 4)) and not torch.equal(moved, torch.ones(4, 4))
