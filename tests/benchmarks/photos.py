"""Real photos: TAEF2 through our interface, and a PS-VAE trained on photos by configuration alone.

    PIXSEM_ASSETS=/path/to/assets python -m tests.benchmarks.photos [--count 100] [--train]

Prints the mean PSNR and SSIM of TAEF2 on cid22 at 512 pixels. With `--train`, runs the pipeline on the captioned photos
of the assets (a folder with a captions file) up to the tokenizer's evaluation and prints its figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from components.curation.images import decode_image, square
from components.curation.options import ImageLimits
from components.evaluation.reconstruction import ReconstructionMeter
from components.tokenizer.objectives import to_pictures
from components.tokenizer.rivals import AutoencoderSpace, load_autoencoder


def taef2(assets: Path, count: int) -> None:
    """Reconstruct the first `count` photos of cid22."""
    space = AutoencoderSpace.of(load_autoencoder(str(assets / "weights" / "taef2")), 512, "pretrained").eval()
    meter = ReconstructionMeter()
    photos = sorted(
        p for p in (assets / "photos" / "cid22").rglob("*") if p.suffix.lower() in (".png", ".jpg", ".webp")
    )
    for path in photos[:count]:
        rgb = square(decode_image(path.read_bytes(), ImageLimits()).rgb, 512)
        picture = to_pictures(torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None])
        with torch.inference_mode():
            decoded = space.decode(space.encode(picture).latent_dist.mode()).sample.clamp(-1, 1)
        meter.update((picture + 1) / 2, (decoded + 1) / 2)
    figures = meter.compute()
    print(
        f"TAEF2 on {meter.count} photos of cid22 at 512 px: PSNR {figures['psnr']:.2f} dB, SSIM {figures['ssim']:.3f}"
    )


def train(assets: Path) -> None:
    """Train the PS-VAE of `preset=scenes` on the COCO photos of the assets: configuration alone differs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        for line in (assets / "photos" / "coco" / "metadata.jsonl").read_text().splitlines():
            row = json.loads(line)
            image = next((assets / "photos" / "coco").rglob(row["file_name"]))
            (folder / image.name).symlink_to(image)
            (folder / image.with_suffix(".txt").name).write_text(row["captions"][0])
        settings = [
            "preset=scenes",
            "source=folder",
            f"source.path={folder}",
            "held_out=0.2",
            f"store={name}/store",
            "encoder.training.steps=60",
            "encoder.training.batch=32",
            "tokenizer.semantic.steps=60",
            "tokenizer.training.steps=120",
        ]
        command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "run", *settings, "--json"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures = json.loads(done.stdout)["metrics"]["tokenizer"]
        shown = {k: round(v, 3) for k, v in figures.items() if isinstance(v, float)}
        print(f"PS-VAE trained on COCO photos at 64 px, held-out: {shown}")


def main() -> None:
    """Run what was asked for."""
    if "PIXSEM_ASSETS" not in os.environ:
        sys.exit("set PIXSEM_ASSETS to the folder of assets")
    assets = Path(os.environ["PIXSEM_ASSETS"])
    count = int(sys.argv[sys.argv.index("--count") + 1]) if "--count" in sys.argv else 100
    taef2(assets, count)
    if "--train" in sys.argv:
        train(assets)


if __name__ == "__main__":
    main()
