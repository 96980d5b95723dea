"""DeepSpeed, as this project uses it: one engine a module, ZeRO 0-3, checkpoints that are read without pickle's
code.
"""

from __future__ import annotations

import os
import pickle  # for its error alone # nosec B403
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from components.training.machine import choose_precision
from components.training.optimizers import adamw, build_optimizer, split_parameters
from components.training.options import TrainingOptions


def set_up_process_group(rank: int, world: int, device: torch.device) -> None:
    """Start torch's process group where nobody has: one process on its own needs no address."""
    import torch.distributed as dist

    if not dist.is_initialized():
        assert world == 1, "several workers get their process group from what starts them"
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=rank, world_size=world)


def deepspeed_config(options: TrainingOptions, world: int, precision: str) -> dict[str, Any]:
    """Return DeepSpeed's configuration of a run."""
    config: dict[str, Any] = {
        "train_batch_size": options.batch,
        "train_micro_batch_size_per_gpu": options.batch // world // options.accumulate,
        "gradient_accumulation_steps": options.accumulate,
        "gradient_clipping": options.optimizer.clip,
        "zero_optimization": {"stage": options.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**62,
    }
    if precision == "bf16":
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return config


def build_engine(module: nn.Module, options: TrainingOptions, world: int, device: torch.device) -> Any:
    """Wrap a module and its optimizer in a DeepSpeed engine. ValueError where the batch cannot be split."""
    optimizer = options.optimizer
    if options.batch % (world * options.accumulate):
        raise ValueError(
            f"a batch of {options.batch} cannot be split over {world} workers and {options.accumulate} micro-batches: "
            "make it a multiple of both."
        )
    os.environ.setdefault("LOCAL_RANK", "0")
    os.environ.setdefault("RANK", "0")
    os.environ.setdefault("WORLD_SIZE", str(world))
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    import deepspeed

    # A shared-memory collective for CPUs that it would compile at the first start; gloo's are used instead.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel("ERROR")
    deepspeed.init_distributed(
        dist_backend="nccl" if device.type == "cuda" else "gloo", auto_mpi_discovery=False, verbose=False
    )
    config = deepspeed_config(options, world, choose_precision(options.precision, device))
    chosen: Any
    if optimizer.kind == "muon" and options.zero_stage:
        # ZeRO flattens parameters, and Muon needs matrices: DeepSpeed's own knows both.
        matrices, others = split_parameters(module)
        for parameter in matrices:
            parameter.use_muon = True  # type: ignore[attr-defined]
        for parameter in others:
            parameter.use_muon = False  # type: ignore[attr-defined]
        config["optimizer"] = {
            "type": "Muon",
            "params": {
                "muon_lr": optimizer.muon_lr, "adam_lr": optimizer.lr, "momentum": optimizer.momentum,
                "betas": list(optimizer.betas), "weight_decay": optimizer.weight_decay, "torch_adam": True,
            },
        }  # fmt: skip
        chosen = None
    elif options.zero_stage:
        matrices, others = split_parameters(module)
        chosen = adamw([*matrices, *others], optimizer)
    else:
        chosen = build_optimizer(module, optimizer)
    parameters = [p for p in module.parameters() if p.requires_grad]
    engine, *_ = deepspeed.initialize(
        model=module, optimizer=chosen, model_parameters=parameters, config=config, dist_init_required=False
    )
    engine.checkpoint_engine = _safe_checkpoint_engine(engine.checkpoint_engine)
    for group in engine.optimizer.param_groups:
        group.setdefault("peak_lr", group["lr"])
    return engine


def _safe_checkpoint_engine(given: Any) -> Any:
    """Read checkpoints as tensors and plain values only."""

    def load(path: str, map_location: Any = None) -> Any:
        from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
        from deepspeed.runtime.zero.config import ZeroStageEnum
        from deepspeed.utils.tensor_fragment import fragment_address

        known = [LossScaler, DynamicLossScaler, fragment_address, ZeroStageEnum]
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location=map_location, weights_only=True)

    given.load = load
    return given


def save_engine(engine: Any, folder: Path, tag: str) -> None:
    """Save module, optimizer and counters of an engine; every rank calls it."""
    engine.save_checkpoint(str(folder), tag=tag, save_latest=False, exclude_frozen_parameters=True)


def load_engine(engine: Any, folder: Path, tag: str) -> None:
    """Load what `save_engine` saved, at the same world size; every rank calls it."""
    try:
        found, _ = engine.load_checkpoint(
            str(folder), tag=tag, load_module_strict=False, load_lr_scheduler_states=False
        )
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{folder}/{tag} holds more than tensors and plain values: it was not written here, and is not read. "
            "Remove it, or start the stage anew with --force."
        ) from error
    if found is None:
        raise ValueError(f"{folder}/{tag} holds no checkpoint that DeepSpeed can read.")


@contextmanager
def gathered(engine: Any, write: bool = False) -> Iterator[None]:
    """For the length of a block every rank sees whole parameters, which ZeRO 3 splits; rank 0's changes stay with
    `write`.
    """
    if engine.zero_optimization_stage() < 3:
        yield
        return
    import deepspeed

    trained = [p for p in engine.module.parameters() if p.requires_grad]
    with deepspeed.zero.GatheredParameters(trained, modifier_rank=0 if write else None):
        yield


def set_learning_rate(engine: Any, share: float) -> None:
    """Set every group's learning rate to this share of its peak."""
    for group in engine.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share
