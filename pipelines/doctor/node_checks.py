"""What `pixsem doctor` tries on a node of the cluster, in a worker like those that train. Needs nothing but the
node.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import one_line
from pipelines.versions import library_version

GB = 2**30
MEMORY_GB = 4.0  # that a node should have to spare for the demo's stages and Ray
RAY_FULL = 0.95  # share of a disk at which Ray stops to put objects on it
COMPARED = ("ray", "torch", "deepspeed", "transformers", "diffusers", "pyarrow", "numpy")


@dataclass(frozen=True)
class Line:
    """One thing that was tried: how it is, or what to do."""

    part: str
    ok: bool
    text: str
    where: str = ""  # the node; empty: this machine

    def __str__(self) -> str:
        place = f"  [{self.where}]" if self.where else ""
        return f"{'ok' if self.ok else 'TO DO':<5}  {self.part:<9}  {self.text}{place}"


@dataclass(frozen=True)
class Wanted:
    """What a configuration expects of a node."""

    gpus: tuple[str, ...]  # the stages that ask for GPUs
    bf16: tuple[str, ...]  # the keys that ask for bf16, whatever the hardware does well
    zero_stage: Literal[0, 1, 2, 3]  # the highest
    store: str
    versions: dict[str, str] = field(default_factory=dict)  # of what runs the driver
    float8: tuple[str, ...] = ()  # the keys that ask for float8 products


def installed() -> dict[str, str]:
    """Return the versions that must be the same on all nodes."""
    import platform

    return {"python": platform.python_version(), **{name: library_version(name) for name in COMPARED}}


def check_node(wanted: Wanted, gpus_of_node: float) -> list[Line]:
    """Try everything a node must do; `gpus_of_node` is what Ray says it has. Never raises."""
    tries: dict[str, Callable[[], Iterator[Line]]] = {
        "packages": lambda: _packages(wanted),
        "gpus": lambda: _gpus(wanted, gpus_of_node),
        "deepspeed": lambda: _deepspeed(wanted),
        "nccl": lambda: _nccl(gpus_of_node),
        "precision": lambda: _precision(wanted),
        "allocator": _allocator,
        "memory": _memory,
        "disk": lambda: _disk(wanted),
    }
    found: list[Line] = []
    for part, attempt in tries.items():
        try:
            found += attempt()
        except Exception as error:
            found.append(Line(part, False, f"it does not work here: {one_line(error)}"))
    return found


def _packages(wanted: Wanted) -> Iterator[Line]:
    here = installed()
    others = [f"{name} {here[name]} (driver: {v})" for name, v in wanted.versions.items() if here.get(name) != v]
    if others:
        yield Line(
            "packages",
            False,
            f"other versions than the driver's: {', '.join(others)}. Install what constraints.txt pins",
        )
    else:
        yield Line("packages", True, ", ".join(f"{name} {version}" for name, version in here.items()))


def _gpus(wanted: Wanted, of_node: float) -> Iterator[Line]:
    import torch

    names = [
        f"{p.name} {p.total_memory / GB:.0f} GB"
        for p in (torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count()))
    ]
    driver = Path("/proc/driver/nvidia/version").exists()
    if names:
        yield Line("gpus", True, f"{', '.join(names)}; CUDA {torch.version.cuda}")
    elif of_node or driver:
        build = (
            f"torch {torch.__version__} is built "
            f"{f'for CUDA {torch.version.cuda}' if torch.version.cuda else 'without CUDA'}"
        )
        yield Line(
            "gpus",
            False,
            f"there are GPUs and torch sees none: {build}. Install a torch of the driver's CUDA, and look at "
            "nvidia-smi",
        )
    else:
        said = f"; not for this node: {', '.join(wanted.gpus)}" if wanted.gpus else ", and no stage asks for one"
        yield Line("gpus", True, f"none{said}")


def _deepspeed(wanted: Wanted) -> Iterator[Line]:
    from components.training.engine_trial import try_engine

    yield Line("deepspeed", True, f"{try_engine(wanted.zero_stage)}, ZeRO {wanted.zero_stage}")


def _nccl(of_node: float) -> Iterator[Line]:
    import torch
    import torch.distributed as dist

    if not of_node:
        yield Line("nccl", True, "not needed without GPUs: workers speak over gloo")
    elif dist.is_nccl_available():
        yield Line("nccl", True, ".".join(map(str, torch.cuda.nccl.version())))
    else:
        yield Line(
            "nccl",
            False,
            "torch is built without it, so GPU workers cannot speak to each other. Install a torch with CUDA",
        )


def _precision(wanted: Wanted) -> Iterator[Line]:
    from components.training.machine import best_device, choose_precision, float8_problem, matrix_rate

    device = best_device()
    best = choose_precision("auto", device)
    rate = f"{device.type} multiplies matrices at {matrix_rate(device, best) / 1e12:.2f} TFLOP/s in {best}"
    if wanted.bf16 and best != "bf16" and not wanted.gpus:
        keys = ", ".join(wanted.bf16)
        yield Line(
            "precision", False, f"{keys}: bf16, which this hardware only emulates. Set precision=auto or fp32. {rate}"
        )
    else:
        yield Line("precision", True, f"auto is {best} here; {rate}")
    problem = float8_problem(device) if wanted.float8 else ""
    if problem and (device.type == "cuda" or not wanted.gpus):  # a node without GPUs trains nothing beside those with
        yield Line("precision", False, f"{', '.join(wanted.float8)}: {problem}")


def _allocator() -> Iterator[Line]:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        yield Line("allocator", True, "the system's: workers get another on Linux alone")
    elif "libjemalloc" in maps.read_text():
        yield Line("allocator", True, "workers keep their pages (jemalloc)")
    else:
        yield Line(
            "allocator",
            False,
            "Ray's libjemalloc.so is not loaded, and training on CPUs may be many times slower. Install Ray from "
            "its wheel",
        )


def _memory() -> Iterator[Line]:
    import psutil

    memory, shared = psutil.virtual_memory(), Path("/dev/shm")  # noqa: S108 # nosec B108
    free = memory.available / GB
    text = f"{free:.1f} GB free of {memory.total / GB:.1f} GB"
    if shared.exists():
        text += f", {shutil.disk_usage(shared).free / GB:.1f} GB shared"
    if free < MEMORY_GB:
        text += (
            f"; below {MEMORY_GB:g} GB Ray may end workers. Close what else runs, or lower execution.cache_gb "
            "and batches"
        )
    yield Line("memory", free >= MEMORY_GB, f"{text}. What models need: pixsem plan")


def _disk(wanted: Wanted) -> Iterator[Line]:
    places = {"scratch": tempfile.gettempdir()} | ({} if "://" in wanted.store else {"store": wanted.store})
    for name, place in places.items():
        usage: Any = shutil.disk_usage(place)
        text = f"{usage.free / GB:.1f} GB free of {usage.total / GB:.1f} GB at {place} ({name})"
        full = usage.used / usage.total >= RAY_FULL
        yield Line(
            "disk",
            not full,
            text + (f"; Ray puts nothing on a disk that is {RAY_FULL:.0%} full. Make room" if full else ""),
        )
