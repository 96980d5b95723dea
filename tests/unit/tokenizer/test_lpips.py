"""LPIPS from the files that everybody has gives the numbers of the packages, without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from components.tokenizer.lpips import Lpips
from tests.unit.tokenizer.made_weights import VGG16, head_weights, save_hub_file, vgg_weights

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """VGG16 as torchvision's file, the heads as the wheel's."""
    folder = tmp_path_factory.mktemp("lpips")
    save_hub_file(vgg_weights(), folder)
    torch.save(head_weights(), folder / "vgg.pth")
    return folder


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    """Three pairs, each further apart."""
    generator = torch.Generator().manual_seed(2)
    first = torch.rand(3, 3, 32, 16, generator=generator) * 2 - 1
    noise = torch.randn(first.shape, generator=generator) * torch.linspace(0, 1, 3).view(-1, 1, 1, 1)
    return first, (first + noise).clamp(-1, 1)


def by_formula(a: Tensor, b: Tensor) -> Tensor:
    """The distance as the paper's equation 1 says it, layer by layer, in float64."""
    values, heads = vgg_weights(), list(head_weights().values())
    shift, scale = (torch.tensor(v).double().view(3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    a, b = (a.double() - shift) / scale, (b.double() - shift) / scale
    total, layer, tap = torch.zeros(len(a), dtype=torch.float64), 0, 0
    for place, width in enumerate(VGG16):
        if width == "pool":
            a, b, layer = F.max_pool2d(a, 2), F.max_pool2d(b, 2), layer + 1
            continue
        weight, bias = values[f"features.{layer}.weight"].double(), values[f"features.{layer}.bias"].double()
        a, b, layer = (
            F.conv2d(a, weight, bias, padding=1).relu(),
            F.conv2d(b, weight, bias, padding=1).relu(),
            layer + 2,
        )
        if place + 1 == len(VGG16) or VGG16[place + 1] == "pool":
            difference = F.normalize(a, dim=1) - F.normalize(b, dim=1)
            total += (difference.square() * heads[tap].double()).sum(1).mean((1, 2))
            tap += 1
    assert tap == 5
    return total


def test_the_distance_is_the_papers_formula_for_each_picture(folder, pictures) -> None:
    found = Lpips.load(folder).distances(*pictures)
    assert found.tolist() == pytest.approx(by_formula(*pictures).tolist(), rel=1e-4, abs=1e-6)
    assert found[0] == 0 and found.tolist() == sorted(found.tolist()) and found[2] > 0.1


def test_the_numbers_are_those_of_torchmetrics_and_lpips(folder, pictures) -> None:
    pytest.importorskip("torchvision")
    from torchmetrics.functional.image import lpips as of_torchmetrics

    ours = Lpips.load(folder).distances(*pictures)
    theirs = of_torchmetrics._LPIPS(pretrained=False, net="vgg", pnet_rand=True).eval()
    models = [theirs]
    lpips = pytest.importorskip("lpips")
    models.append(lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False).eval())
    network = {name[9:]: value for name, value in vgg_weights().items() if name.startswith("features.")}
    for model in models:
        for number in range(1, 6):
            part = getattr(model.net, f"slice{number}")
            part.load_state_dict({k: v for k, v in network.items() if k in part.state_dict()})
        missing = model.load_state_dict(head_weights(), strict=False).missing_keys
        assert not [name for name in missing if name.startswith("lin") and not name.startswith("lins")]
        with torch.no_grad():
            assert ours.tolist() == pytest.approx(model(*pictures).flatten().tolist(), rel=1e-5, abs=1e-7)


def test_the_heads_that_torchmetrics_ships_are_the_published_ones_and_fit(folder, pictures, tmp_path) -> None:
    from pipelines.store.files import Store
    from pipelines.store.published_weights import find_published

    heads = find_published("lpips_heads", Store(str(tmp_path)))
    assert heads is not None and "torchmetrics" in str(heads)
    save_hub_file(vgg_weights(), tmp_path / "network")
    found = Lpips.load(tmp_path / "network", heads).distances(*pictures)
    assert not torch.allclose(found[1:], Lpips.load(folder).distances(*pictures)[1:])
    assert found[0] == 0 and 0 < found[2] < 1.5


def test_every_way_to_save_the_files_gives_the_same_numbers(folder, pictures, tmp_path) -> None:
    wanted = Lpips.load(folder).distances(*pictures)
    save_hub_file(vgg_weights(), tmp_path / "old", new=False)
    torch.save(head_weights(), tmp_path / "old" / "lpips_vgg.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "safe").mkdir()
    save_file(vgg_weights(), tmp_path / "safe" / "vgg16.safetensors")
    save_file(head_weights(), tmp_path / "safe" / "lpips_vgg.safetensors")
    for name in ("old", "safe"):
        assert torch.equal(Lpips.load(tmp_path / name).distances(*pictures), wanted)


def test_the_mean_is_over_pictures_and_batches_do_not_matter(folder, pictures) -> None:
    model = Lpips.load(folder)
    each = model.distances(*pictures)
    assert model.distances(*pictures, at_once=2).tolist() == pytest.approx(each.tolist(), rel=1e-5)
    assert float(model(*pictures)) == pytest.approx(float(each.mean()), rel=1e-5)


def test_pictures_whose_features_are_all_zero_still_have_a_gradient(folder) -> None:
    model = Lpips.load(folder)
    with torch.no_grad():
        model.features[0].bias.fill_(-100)  # nothing passes the first layer
    picture = torch.zeros(1, 3, 32, 32, requires_grad=True)
    model(picture, torch.ones(1, 3, 32, 32)).backward()
    assert picture.grad is not None and torch.isfinite(picture.grad).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "vgg.pth").unlink(), "holds no linear heads for LPIPS"),
        (lambda f: [p.unlink() for p in f.glob("vgg16*")], "holds no VGG16 for LPIPS"),
        (lambda f: [p.rename(f / "vgg16-00000000.pth") for p in f.glob("vgg16*")], "its name says 00000000"),
        (
            lambda f: (f / "vgg.pth").write_bytes((f / "vgg.pth").read_bytes()[:1000]),
            "cannot be read as LPIPS' heads",
        ),
        (lambda f: (f / "vgg.pth").write_bytes(b""), r"vgg\.pth cannot be read"),
        (lambda f: torch.save(vgg_weights(), f / "vgg.pth"), r"it has no 'lin0\.model\.1\.weight'"),
        (lambda f: torch.save({"lin0.model.1.weight": torch.ones(1, 32, 1, 1)}, f / "vgg.pth"), "lin0 has the shape"),
        (lambda f: torch.save([torch.ones(1)], f / "vgg.pth"), "no tensors by name"),
    ],
)
def test_missing_damaged_and_other_files_are_refused_in_words(folder, tmp_path, damage, message: str) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        Lpips.load(tmp_path)


def test_pictures_too_small_for_four_poolings_are_refused() -> None:
    with pytest.raises(ValueError, match="sides of 16 pixels"):
        Lpips().distances(torch.zeros(1, 3, 8, 64), torch.zeros(1, 3, 8, 64))
