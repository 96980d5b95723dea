"""rFID from a TorchScript file of Inception's interface is the FID of torchmetrics."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from components.evaluation.frechet import FeatureMoments, frechet_distance
from components.vision_models.inception import load_inception
from tests.chaos.data_bytes import tars

pytestmark = pytest.mark.unit


class SmallInception(nn.Module):
    """The published file's interface: pictures uint8 in, resized inside, 16 features out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 16, 5, stride=4)
        self.classes = nn.Linear(16, 3)

    def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
        x = F.interpolate(img.float(), size=[29, 29], mode="bilinear") / 128 - 1
        features = self.convolution(x).relu().mean([2, 3])
        return features if return_features else self.classes(features)


class Scores(nn.Module):
    """Always a tuple: another model."""

    def forward(self, img: Tensor, return_features: bool = False) -> tuple[Tensor, Tensor]:
        return img, img


class Rows(torch.utils.data.Dataset):
    """Pictures one by one, as torch-fidelity takes them."""

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, number: int) -> Tensor:
        return self.pictures[number]


@pytest.fixture
def file(tmp_path) -> Path:
    torch.jit.save(torch.jit.script(SmallInception().eval()), str(tmp_path / "inception.pt"))
    return tmp_path / "inception.pt"


def pictures(count: int, seed: int, gain: float = 1.0) -> Tensor:
    noise = torch.rand(count, 3, 40, 40, generator=torch.Generator().manual_seed(seed))
    return (noise * gain * 255).to(torch.uint8)


def test_rfid_is_torchmetrics_fid_of_the_same_features(file) -> None:
    extract, _ = load_inception(file)
    real, made = pictures(60, 1), pictures(50, 2, 0.7)
    moments = FeatureMoments(), FeatureMoments()
    for own, images in zip(moments, (real, made), strict=True):
        for batch in images.split(17):
            own.update(extract(batch))

    class OfFile(nn.Module):
        num_features = 16

        def forward(self, images: Tensor) -> Tensor:
            return extract(images)

    theirs = FrechetInceptionDistance(feature=OfFile())
    theirs.update(real, real=True)
    theirs.update(made, real=False)
    assert frechet_distance(*moments) == pytest.approx(float(theirs.compute()), rel=1e-4)
    assert frechet_distance(*moments) > 1e-3


def test_rfid_is_that_of_torch_fidelity_and_torchmetrics_with_inception_v3_itself(tmp_path) -> None:
    """On its first 192 features, which need no minutes; weights made for the test, in both packages' format."""
    pytest.importorskip("torchvision")
    fidelity = pytest.importorskip("torch_fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as InceptionV3

    class Unloaded(InceptionV3):
        def load_state_dict(self, *args: object, **options: object) -> None:
            """Keep the values that it was made with."""

    path = str(tmp_path / "weights.pth")
    torch.save({}, path)
    torch.manual_seed(0)
    torch.save(Unloaded("made", ["192"], feature_extractor_weights_path=path).state_dict(), path)

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = InceptionV3("made", ["192"], feature_extractor_weights_path=path)

        def forward(self, img: Tensor) -> Tensor:
            return self.network(img)[0]

    class File(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = torch.jit.trace(First(), pictures(2, 4))

        def forward(self, img: Tensor, return_features: bool = False) -> Tensor:
            return self.network(img)

    torch.jit.save(torch.jit.script(File().eval()), str(tmp_path / "inception.pt"))
    real, made = pictures(24, 1), pictures(20, 2, 0.7)
    extract, _ = load_inception(tmp_path / "inception.pt")
    moments = FeatureMoments(), FeatureMoments()
    # Without its own anti-aliasing, which the published network does not have.
    theirs = FrechetInceptionDistance(feature=192, feature_extractor_weights_path=path, antialias=False)
    for own, images in zip(moments, (real, made), strict=True):
        own.update(extract(images))
        theirs.update(images, real=images is real)
    ours = frechet_distance(*moments)
    assert ours > 1e-4 and ours == pytest.approx(float(theirs.compute()), rel=1e-3)
    found = fidelity.calculate_metrics(
        input1=Rows(real), input2=Rows(made), fid=True, feature_layer_fid="192", feature_extractor_weights_path=path,
        cuda=False, verbose=False, cache=False,
    )  # fmt: skip
    assert ours == pytest.approx(found["frechet_inception_distance"], rel=1e-3)


def test_the_features_are_the_models_own_and_the_digest_the_files(file) -> None:
    extract, digest = load_inception(file)
    with torch.no_grad():
        wanted = SmallInception()(pictures(3, 3), return_features=True)
    torch.testing.assert_close(extract(pictures(3, 3)), wanted)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_file_of_another_digest_is_not_opened(file, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(torch.jit, "load", lambda *a, **k: opened.append(a))
    with pytest.raises(ValueError, match="is not the published file: its sha256 is"):
        load_inception(file, sha256="0" * 64)
    assert not opened


def test_what_gives_no_features_is_refused_in_words(file, tmp_path) -> None:
    torch.jit.save(torch.jit.script(Scores()), str(tmp_path / "scores.pt"))
    torch.save(SmallInception().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "cut.pt").write_bytes(file.read_bytes()[:-1000])
    (tmp_path / "shard.pt").write_bytes(tars()[0])
    for name in ("scores", "weights", "cut", "shard"):
        with pytest.raises(ValueError, match=rf"{name}\.pt is no TorchScript file that gives Inception's features"):
            load_inception(tmp_path / f"{name}.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        load_inception(tmp_path / "nothing.pt")
