"""How latents are scaled for the generator."""

import pytest
import torch

from pipelines.stages.tokenizer.space_setup import fit_scaling
from tests.unit.generator.worlds import space

pytestmark = pytest.mark.unit


@torch.no_grad()
@pytest.mark.parametrize("scaling", ["channel", "whole"])
def test_latents_have_one_deviation_each_or_one_for_all_that_keeps_their_proportions(scaling):
    pictures = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    model = space()
    raw = model.moments(pictures.float() / 127.5 - 1, model.encoder(pictures.float() / 127.5 - 1))[0]
    fit_scaling(model, [pictures[:5], pictures[5:]], scaling)
    latent = model.encode(pictures.float() / 127.5 - 1).latent_dist.mode()
    before, after = raw.std((0, 2, 3), correction=0), latent.std((0, 2, 3), correction=0)
    torch.testing.assert_close(latent.mean((0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
    if scaling == "channel":
        torch.testing.assert_close(after, torch.ones(8), atol=1e-3, rtol=0)
    else:
        assert float(after.square().mean()) == pytest.approx(1, abs=1e-3)
        torch.testing.assert_close(after / after[0], before / before[0], atol=1e-3, rtol=1e-3)
