"""One worker that measures what real engines hold: python held_worker.py FOLDER RANK WORLD KIND PRECISION
ACCUMULATE BUCKET ZERO... Rank 0 prints JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

import components.training.engine as engines
from components.training.engine import build_engine, copy_engine
from components.training.footprint import Sizes
from components.training.options import OptimizerOptions, TrainingOptions
from components.training.trace import Ledger

WIDTH, DEPTH = 512, 6


def measure(options: TrainingOptions, world: int, folder: Path) -> dict[str, int]:
    """Take two steps; return the bytes held after them, the most held within the second, and a checkpoint's bytes."""
    with Ledger([]) as ledger:
        module = nn.Sequential(*[nn.Linear(WIDTH, WIDTH) for _ in range(DEPTH)], nn.LayerNorm(WIDTH))
        sizes = Sizes.of(module)
        engine = build_engine(module, options, world, torch.device("cpu"))
        batch = torch.randn(1, WIDTH)
        for _ in range(2):
            gc.collect()  # what building left behind in cycles
            ledger.peak = ledger.live
            for _ in range(options.accumulate):
                engine.backward(engine(batch).square().mean())
                engine.step()
        gc.collect()
        held, peak = ledger.live, ledger.peak
    for _, write in copy_engine(engine, folder, f"zero{options.zero_stage}"):
        write()
    return {"matrices": sizes.matrices, "others": sizes.others, "held": held, "peak": peak}


def main() -> None:
    """Measure each ZeRO stage."""
    folder, rank, world, kind, precision, parts, bucket, *stages = sys.argv[1:]
    plain = engines.deepspeed_config

    def with_bucket(*args: Any) -> dict[str, Any]:
        config = plain(*args)
        config["zero_optimization"]["reduce_bucket_size"] = int(bucket)
        return config

    engines.deepspeed_config = with_bucket
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world}
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/rendezvous", int(world))
    torch.distributed.init_process_group("gloo", store=store, rank=int(rank), world_size=int(world))
    found = {}
    for stage in stages:
        optimizer = OptimizerOptions(kind=kind)  # type: ignore[arg-type]
        options = TrainingOptions(
            batch=int(world) * int(parts), accumulate=int(parts), zero_stage=int(stage),  # type: ignore[arg-type]
            precision=precision, optimizer=optimizer  # type: ignore[arg-type]
        )  # fmt: skip
        found[stage] = measure(options, int(world), Path(folder))
    torch.distributed.barrier()
    for stage, values in found.items():
        values["checkpoint"] = sum(p.stat().st_size for p in Path(folder, f"zero{stage}").rglob("*") if p.is_file())
    if rank == "0":
        print("found", json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
