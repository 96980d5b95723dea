"""The machine's best precision, and its measured matrix rate."""

from __future__ import annotations

import importlib.util
import time
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

FLOAT8_CAPABILITY = (8, 9)  # of the first GPUs that multiply in float8


def best_device() -> torch.device:
    """Return the GPU that this process was given, else the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def choose_precision(precision: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return what `auto` means here: bf16 where the hardware multiplies it faster than fp32."""
    if precision != "auto":
        return "bf16" if precision == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if _cpu_prefers_bf16() else "fp32"


def float8_problem(device: torch.device) -> str:
    """Return, in words, what keeps training on a device from multiplying in float8; empty: nothing."""
    if importlib.util.find_spec("torchao") is None:
        return "float8 needs the package torchao. Install it with: pip install 'pixsem[fp8]'. Or set float8=false"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= FLOAT8_CAPABILITY:
        return ""
    here = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    return f"float8 needs a GPU of NVIDIA's Ada, Hopper or a newer line, and this is {here}. Set float8=false"


def _cpu_prefers_bf16() -> bool:
    """Whether this CPU multiplies in bf16 faster than in fp32. By its kind and not by a measurement, which other work
    could turn over.

    Knowing AVX512-BF16 does not say so: an AMD EPYC was 2.2 to 2.5 times as fast in bf16, an Intel Xeon whose AMX is
    not to be had 0.52 times.
    """
    return torch.cpu._is_amx_tile_supported() or (
        torch.cpu._is_avx512_bf16_supported() and cpu_vendor() == "AuthenticAMD"
    )


@cache
def cpu_vendor() -> str:
    """Return the vendor as Linux names it, `AuthenticAMD` or `GenuineIntel`; empty where nobody says."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")


def attention_kernels(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU attention is plain products: there the fused kernel's backward is many times slower at a few dozen
    tokens.
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def matrix_rate(device: torch.device, precision: str, size: int | None = None, seconds: float = 0.15) -> float:
    """Measured FLOP/s of square matrix products in this precision: the reference of the utilisation.

    They are large enough to be bound by arithmetic and not by their start: 1024 a side on a CPU, 8192 on a GPU.
    """
    size = size or (8192 if device.type == "cuda" else 1024)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator().manual_seed(0)  # the global generators stay as they are
    left = torch.randn(size, size, generator=generator).to(device, dtype)
    best = 0.0
    left @ left  # whatever is set up once
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends or best == 0.0:
        started = time.perf_counter()
        left @ left
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def read_rate(size: int = 64_000_000, seconds: float = 0.15) -> float:
    """Measured bytes per second that products of a matrix with a vector read from this machine's memory, as a text's
    next token reads weights. `size`: numbers of the matrix, more than a cache holds.
    """
    matrix, vector = torch.ones(size // 4096, 4096), torch.ones(4096)
    best, ends = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < ends or best == 0.0:
        started = time.perf_counter()
        matrix @ vector
        best = max(best, matrix.nbytes / (time.perf_counter() - started))
    return best
