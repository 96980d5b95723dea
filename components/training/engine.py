"""DeepSpeed, as this project uses it: one engine a module, ZeRO 0-3, checkpoints that are read without pickle's
code.
"""

from __future__ import annotations

import os
import pickle  # for its error alone # nosec B403
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.training.copies import copy_to_host
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


def host_group(world: int) -> Any:
    """Return a group of all ranks whose tensors are on the host, so that agreeing does not wait for a device; None for
    one rank. Its patience outlasts an evaluation, for which the others wait.
    """
    return torch.distributed.new_group(backend="gloo", timeout=timedelta(days=1)) if world > 1 else None


def deepspeed_config(options: TrainingOptions, world: int, precision: str) -> dict[str, Any]:
    """Return DeepSpeed's configuration of a run."""
    config: dict[str, Any] = {
        "train_batch_size": options.batch,
        "train_micro_batch_size_per_gpu": options.batch // world // options.accumulate,
        "gradient_accumulation_steps": options.accumulate,
        "gradient_clipping": options.optimizer.clip if options.zero_stage else 0.0,  # without ZeRO `take_step` clips
        "zero_optimization": {"stage": options.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**62,
    }
    if precision == "bf16":
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    return config


def import_deepspeed() -> Any:
    """Return DeepSpeed. Its autotuner, which nobody calls here, would import MLflow: 1.7 seconds and 140 MB of every
    worker.
    """
    modules: Any = sys.modules
    hidden = "mlflow" not in modules
    if hidden:
        modules["mlflow"] = None
    try:
        import deepspeed
    finally:
        if hidden:
            del modules["mlflow"]
    return deepspeed


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
    deepspeed = import_deepspeed()
    # A shared-memory collective for CPUs that it would compile at the first start; gloo's are used instead.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.utils.logger.setLevel("ERROR")
    deepspeed.init_distributed(
        dist_backend="nccl" if device.type == "cuda" else "gloo", auto_mpi_discovery=False, verbose=False
    )
    _leave_norms_unread()
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
    engine.checkpoint_engine = _checkpoint_engine(engine.checkpoint_engine)
    for group in engine.optimizer.param_groups:
        group.setdefault("peak_lr", group["lr"])
    return engine


def _leave_norms_unread() -> None:
    """Make ZeRO leave gradient norms on the device.

    DeepSpeed reads each on the host, and passes over a step whose norm is no number without a word. The loop's guard
    looks at the norms later, and ends the training.
    """
    from deepspeed.runtime.zero import stage3, stage_1_and_2

    for module in (stage_1_and_2, stage3):
        module.is_invalid_grad_norm = lambda norm: False
        module.mask_nan_or_inf_with_val_inplace = lambda *_, **__: None


def take_step(engine: Any, clip: float) -> Tensor | None:
    """Take a micro-batch's step. Where it is the optimizer's, return the norm of the whole gradient, on its device and
    before it is clipped to `clip` (0: not at all); None for another micro-batch.

    Without ZeRO the gradients are clipped here, all by one operation: DeepSpeed clips them one by one, and copies two
    numbers to the device for it, which stops the host. The arithmetic is the same.
    """
    if not engine.is_gradient_accumulation_boundary():
        engine.step()
        return None
    if engine.zero_optimization_stage():
        engine.step()
        norm = engine.get_global_grad_norm()
        return norm if isinstance(norm, Tensor) else None
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    norm = torch.stack(list(torch._foreach_norm(gradients, 2.0))).square().sum().sqrt()
    if clip:
        torch._foreach_mul_(gradients, (torch.full_like(norm, clip) / (norm + 1e-6)).clamp(max=1.0))
    engine.step()
    return norm


def _checkpoint_engine(given: Any) -> Any:
    """Keep copies of what DeepSpeed would write, and read checkpoints as tensors and plain values only."""
    write = given.save
    given.taken = []

    def save(state_dict: Any, path: str) -> None:
        given.taken.append((Path(path), partial(write, copy_to_host(state_dict), path)))

    def load(path: str, map_location: Any = None) -> Any:
        from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
        from deepspeed.runtime.zero.config import ZeroStageEnum
        from deepspeed.utils.tensor_fragment import fragment_address

        known = [LossScaler, DynamicLossScaler, fragment_address, ZeroStageEnum]
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location=map_location, weights_only=True)

    given.save, given.load = save, load
    return given


def copy_engine(engine: Any, folder: Path, tag: str) -> list[tuple[Path, Callable[[], object]]]:
    """Copy what this rank saves of an engine (module, optimizer, counters): each file below `folder`, and what writes
    it. Every rank calls it; the engine may go on before the files are written.
    """
    engine.save_checkpoint(str(folder), tag=tag, save_latest=False, exclude_frozen_parameters=True)
    taken, engine.checkpoint_engine.taken = engine.checkpoint_engine.taken, []
    return list(taken)


def load_engine(engine: Any, folder: Path, tag: str) -> None:
    """Load what was written of an engine, at the same world size; every rank calls it."""
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
