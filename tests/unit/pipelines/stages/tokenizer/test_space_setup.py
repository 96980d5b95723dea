"""How latents are scaled for the generator, and which perceptual loss a configuration names."""

import pytest
import torch

from components.tokenizer.lpips import Lpips
from components.tokenizer.options import LossOptions
from pipelines.config.compose import compose_config
from pipelines.errors import UserError
from pipelines.stages.tokenizer.space_setup import fit_scaling, perceptual
from pipelines.store.files import Store
from tests.unit.generator.worlds import space
from tests.unit.tokenizer.made_weights import save_hub_file, vgg_weights

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


def test_the_perceptual_loss_is_lpips_of_the_users_files_and_a_plan_needs_none(tmp_path):
    save_hub_file(vgg_weights(), tmp_path / "weights")
    own = [f"store={tmp_path}/store", "tokenizer.model.perceptual=lpips"]
    config = compose_config([*own, f"tokenizer.model.lpips_weights={tmp_path}/weights"])
    losses = LossOptions(perceptual=1.0)
    loss = perceptual(config, losses, None, Store(str(tmp_path / "store")))
    picture = torch.zeros(1, 3, 16, 16, requires_grad=True)
    loss(picture, torch.ones(1, 3, 16, 16)).backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in loss.parameters())
    lost = compose_config([*own, f"tokenizer.model.lpips_weights={tmp_path}/none"])
    with pytest.raises(UserError, match="holds no VGG16 for LPIPS"):
        perceptual(lost, losses, None, Store(str(tmp_path / "store")))
    planned = perceptual(lost, losses, None, None)
    assert isinstance(planned, Lpips) and {weight.device.type for weight in planned.parameters()} == {"meta"}
    assert perceptual(config, LossOptions(perceptual=0.0), None, None) is None
