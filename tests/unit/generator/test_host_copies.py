"""What a training pass asks of the host: nothing. A copy from it would wait for the device's step before."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch._dynamo
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components.generator.objective import FlowObjective
from components.generator.options import FlowOptions
from tests.unit.generator.worlds import VARIANTS, inputs, transformer

pytestmark = pytest.mark.unit


class OnHost(TorchDispatchMode):
    """Counts operators that read or make a tensor on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type == "cpu" for tensor in tensors):
            self.found[str(func)] += 1
        return out


@pytest.mark.parametrize("edits", [False, True], ids=["text to image", "edits"])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_pass_makes_nothing_on_the_host_and_reads_nothing_there(monkeypatch, name, edits):
    # On torch's meta device, as on a GPU: a read of a number there is an error. It knows no autocast.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    objective = FlowObjective(transformer(VARIANTS[name]), FlowOptions()).to("meta")
    values = {key: value.to("meta") for key, value in inputs().items()}
    batch = {"latents": values["noisy"], "ids": values["ids"], "text": values["text"]}
    if edits:
        batch |= {"sources": values["source"], "has_source": values["has_source"]}
    with OnHost() as seen:
        loss, _, _ = objective(batch, 0.0, None)
        loss.backward()
    assert not seen.found
    with OnHost() as seen:
        torch.zeros(2).to("meta")
    assert seen.found, "a copy from the host is seen"


@pytest.mark.parametrize("name", ["paper", "demo"])
def test_a_pass_with_its_losses_is_one_graph_for_the_compiler(name):
    objective = FlowObjective(transformer(VARIANTS[name]), FlowOptions())
    values = inputs()
    batch = {"latents": values["noisy"], "ids": values["ids"], "text": values["text"]}
    batch |= {"sources": values["source"], "has_source": values["has_source"]}
    torch._dynamo.reset()
    found = torch._dynamo.explain(lambda: objective(batch, 0.0, None)[0])()
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


@pytest.mark.parametrize("patch", [1, 2])
def test_latents_become_tokens_and_back_as_torchs_unfold_and_fold_do(patch):
    from dataclasses import replace

    model = transformer(replace(VARIANTS["demo"], patch=patch))
    latent = torch.randn(3, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    tokens = model._tokens(latent)
    wanted = F.unfold(latent, patch, stride=patch).transpose(1, 2)
    assert torch.equal(tokens, wanted) and tokens.stride() == wanted.stride()
    back = model._latent(tokens)
    assert torch.equal(back, latent) and back.stride() == latent.stride()
