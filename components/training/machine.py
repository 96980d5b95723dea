"""What the machine does well: precision, and its measured matrix rate."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def choose_precision(precision: str, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return what `auto` means here: bf16 where the hardware multiplies it faster than fp32."""
    if precision != "auto":
        return "bf16" if precision == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if fast else "fp32"


def attention_kernels(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU attention is plain products: there the fused kernel's backward is many times slower at a few dozen tokens."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def matrix_rate(device: torch.device, precision: str, size: int = 1024, seconds: float = 0.15) -> float:
    """Measured FLOP/s of square matrix products in this precision: the reference of the utilisation."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    generator = torch.Generator().manual_seed(0)  # the global generators stay as they are
    left = torch.randn(size, size, generator=generator).to(device, dtype)
    best = 0.0
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends or best == 0.0:
        started = time.perf_counter()
        left @ left
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best
