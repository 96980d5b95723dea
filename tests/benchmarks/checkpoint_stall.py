"""How long a training stands still for a checkpoint: written beside it, and at once, in turns in one process.

    python -m tests.benchmarks.checkpoint_stall [--gb 1] [--interval 20] [--rounds 3] [--folder FOLDER]

The state is that of DeepSpeed's engine: weights and AdamW's two states of one module, `--gb` in all, and the average.
Between checkpoints the training is simulated by sleep, as a GPU's host would wait: `--interval` seconds. Wanted: a
stall of under 5 % of an interval at 10 GB. The stall beside training is what copying takes, and waiting where the
checkpoint before is not yet whole; at once it is writing and hashing.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from components.training.checkpoints import Checkpoints
from components.training.copies import copy_to_host
from components.training.ema import WeightAverage
from components.training.engine import build_engine, copy_engine, set_up_process_group
from components.training.machine import best_device
from components.training.options import OptimizerOptions, TrainingOptions
from components.training.writer import CheckpointWriter

WIDTH = 2048


def main() -> None:
    """Measure both ways in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=1.0, help="of state")
    parser.add_argument("--interval", type=float, default=20.0, help="seconds between checkpoints")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where checkpoints are written")
    args = parser.parse_args()
    device = best_device()
    set_up_process_group(0, 1, device)
    layers = max(1, round(args.gb * 1e9 / (4 * 4 * WIDTH**2)))  # weights, two states, the average
    module = nn.Sequential(*[nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(layers)]).to(device)
    average = WeightAverage(module, 0.999)
    options = TrainingOptions(batch=1, precision="fp32", optimizer=OptimizerOptions())
    engine = build_engine(module, options, 1, device)
    engine.backward(engine(torch.randn(1, WIDTH, device=device)).square().mean())
    engine.step()
    state = 4 * 4 * layers * WIDTH**2
    print(f"{state / 1e9:.2f} GB of state on {device.type}, a checkpoint every {args.interval:g} s", flush=True)

    folder = Path(tempfile.mkdtemp(dir=args.folder))
    checkpoints = Checkpoints(folder, keep=1)
    writer = CheckpointWriter(checkpoints, 0, 1, None, lambda *_: None, lambda path: None)
    stalls: dict[str, list[float]] = {"beside training": [], "at once": []}
    step = 0
    with writer:
        for _ in range(args.rounds):
            for way, found in stalls.items():
                step += 1
                started = time.perf_counter()
                aside = checkpoints.aside(step)
                aside.mkdir(parents=True)
                files = copy_engine(engine, aside, "model")
                path = aside / "average.safetensors"
                files.append((path, partial(save_file, copy_to_host(average.values), path)))
                writer.start(step, files, {})
                del files
                if way == "at once":
                    writer.wait()
                found.append(time.perf_counter() - started)
                time.sleep(args.interval)
                began = time.perf_counter()
                writer.wait()  # what is not whole by the next checkpoint stalls it
                found[-1] += time.perf_counter() - began
                print(f"  {way}: {found[-1]:.2f} s", flush=True)
    shutil.rmtree(folder)
    for way, found in stalls.items():
        middle = statistics.median(found)
        print(f"{way:16} stall {middle:6.2f} s, {middle / (args.interval + middle):6.1%} of an interval")


if __name__ == "__main__":
    main()
