"""encode_latents, one worker from tar to Arrow shard, against the bare encoder forward on tensors in memory.

    python -m tests.benchmarks.encode_latents

Both encode the same scenes (random weights) in this process, in turns: with the PS-VAE of `preset=scenes`, whose
encoder is so small that reading and decoding a picture takes half as long as encoding it, and with one of DINOv2-S
shapes at 224 pixels.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from components.curation.images import encode_png
from components.data.records import Record, write_records
from components.scenes.options import SceneOptions
from components.scenes.render import render
from components.scenes.scene import sample_scene
from pipelines.config.compose import compose_config
from pipelines.stage import ShardContext, ShardTask
from pipelines.stages.tokenizer import encode_latents
from pipelines.store.files import Store
from tests.benchmarks.demo_space import demo_space

DINOV2_S = [
    "image_size=224",
    "encoder.small.width=384",
    "encoder.small.depth=12",
    "encoder.small.heads=6",
    "encoder.small.patch=14",
    "tokenizer.pixel_decoder.width=64",
    "latents.batch=16",
]


def main() -> None:
    """Run both sizes."""
    compare("the PS-VAE of preset=scenes, 64 px", [], 1000, 5)
    compare("DINOv2-S shapes, 224 px", DINOV2_S, 64, 3)


def compare(name: str, overrides: list[str], samples: int, rounds: int) -> None:
    """Run both in turns."""
    config = compose_config(["preset=scenes", *overrides])
    model = demo_space(config)[1].eval()
    pictures = [
        render(sample_scene(SceneOptions(size=config.image_size), np.random.default_rng(i)), config.image_size)
        for i in range(samples)
    ]
    records = [Record(f"{i:06d}", {"png": encode_png(p), "txt": b"a scene"}) for i, p in enumerate(pictures)]
    memory = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy())
    encode = encode_latents.Encoder(model, torch.device("cpu"), config.latents.precision)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_records(folder / "shard.tar", iter(records))
        encode_latents._LOADED["benchmark"] = model
        args = encode_latents.Encoding(
            "shard.tar", "captions", {"digest": "benchmark"}, config.latents.model_copy(update={"flip": False}),
            config.image_size, config.measure.limits, torch.get_num_threads(),
        )  # fmt: skip

        def bare() -> float:
            started = time.perf_counter()
            for part in memory.split(config.latents.batch):
                encode(part)
            return time.perf_counter() - started

        def whole(number: int) -> float:
            out = folder / f"out{number}"
            out.mkdir()
            context = ShardContext(ShardTask("captions-shard", args), 0, out, Store(place), folder)
            started = time.perf_counter()
            result = encode_latents.encode_shard(context)
            assert result.counts["kept"] == samples
            return time.perf_counter() - started

        bare(), whole(0)
        pairs = [(bare(), whole(n + 1)) for n in range(rounds)]
    for plain, ours in pairs:
        print(
            f"bare {samples / plain:7.1f} pictures/s   stage {samples / ours:7.1f} pictures/s   ratio "
            f"{plain / ours:.3f}"
        )
    print(
        f"{name}: encode_latents against the bare forward: {statistics.median(a / b for a, b in pairs):.3f} "
        "(wanted: at least 0.85)"
    )


if __name__ == "__main__":
    main()
