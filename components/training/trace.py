"""What a pass costs, found without computing it: the real module runs on tensors that have shapes and hold no data.

FLOPs are torch's own formulas for each operator; memory is every tensor from its birth to its end, as autograd keeps
them. What the optimizer and ZeRO hold beside that is footprint.py's.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

Shapes = Mapping[str, tuple[tuple[int, ...], torch.dtype]]  # of a batch

ATEN = torch.ops.aten
# torch's registry has the attention kernels of GPUs; the CPU's fused one, whose memory is like theirs, stands in for
# them here.
FUSED_ATTENTION: dict[Any, Callable[..., int]] = {
    ATEN._scaled_dot_product_flash_attention_for_cpu: lambda query, key, value, *_, **__: sdpa_flop_count(
        query.shape, key.shape, value.shape
    ),
    ATEN._scaled_dot_product_flash_attention_for_cpu_backward: lambda grad, query, key, value, *_, **__: (
        sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)
    ),
}


@dataclass(frozen=True)
class Cost:
    """Of a pass: what is computed, and the most bytes that are alive at once beside weights and gradients."""

    flops: float
    activations: int


class Ledger(TorchDispatchMode):
    """For the length of a block: counts the FLOPs of every operator, and the bytes of the storages that operators make.

    `own` are tensors that are there already and are not counted. Works on real tensors as on those without data.
    """

    def __init__(self, own: Iterable[Tensor]) -> None:
        super().__init__()
        self.flops, self.live, self.peak = 0.0, 0, 0
        self._own = {tensor.untyped_storage()._cdata for tensor in own}
        self._alive: dict[int, Any] = {}  # a storage's address: a weak reference to it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        operator = func._overloadpacket
        if operator in FUSED_ATTENTION:
            self.flops += FUSED_ATTENTION[operator](*args, **kwargs)
        elif operator in flop_registry:
            self.flops += flop_registry[operator](*args, **kwargs, out_val=out)
        for value in tree_leaves(out):
            if isinstance(value, Tensor) and value.device.type != "meta":
                self._born(value)
        return out

    def _born(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self._alive or address in self._own:
            return

        def died(_: Any) -> None:
            if self._alive.pop(address, None) is not None:
                self.live -= size

        self._alive[address] = weakref.ref(storage, died)
        self.live += size
        self.peak = max(self.peak, self.live)

    def leave_out(self, tensor: Tensor) -> None:
        """Count a tensor no longer, though it lives on: a gradient, which is counted elsewhere."""
        storage = tensor.untyped_storage()
        if self._alive.pop(storage._cdata, None) is not None:
            self.live -= storage.nbytes()
            self._own.add(storage._cdata)


def without_data(modules: Iterable[nn.Module]) -> None:
    """Give modules tensors without data, inside a `FakeTensorMode`, in place of those they have (on torch's meta
    device).
    """
    made: dict[int, tuple[Tensor, Tensor]] = {}  # parameters that several modules share stay shared
    for module in modules:
        for part in module.modules():
            for tensors in (part._parameters, part._buffers):
                for name, tensor in list(tensors.items()):
                    if tensor is None:
                        continue
                    if id(tensor) not in made:
                        empty: Any = torch.empty(tensor.shape, dtype=tensor.dtype)
                        if isinstance(tensor, nn.Parameter):
                            empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
                        made[id(tensor)] = (tensor, empty)
                        made[id(empty)] = (empty, empty)
                    tensors[name] = cast(Any, made[id(tensor)][1])


def trace_training(
    module: nn.Module, critic: Any, beside: Iterable[nn.Module], shapes: Shapes, bf16: bool, fused: bool
) -> Cost:
    """Return the cost of one micro-batch, forward and backward, with the critic's own where there is one.

    All modules are on torch's meta device and are of no other use afterwards; `beside` are those that the module only
    reads. `fused`: attention by a fused kernel, as on a GPU; else by plain products, as `attention_kernels` chooses on
    a CPU. With activation checkpointing the FLOPs hold what is computed again.
    """
    whole = [module, *([critic] if critic is not None else []), *beside]
    with no_collection(), FakeTensorMode():
        without_data(whole)
        own = [tensor for part in whole for tensor in (*part.parameters(), *part.buffers())]
        with attention(fused), Ledger(own) as ledger:
            for parameter in (p for part in whole for p in part.parameters() if p.requires_grad):
                parameter.register_post_accumulate_grad_hook(lambda p: ledger.leave_out(cast(Tensor, p.grad)))
            batch = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}
            if critic is not None:
                critic.requires_grad_(False)  # it judges here, and learns below
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss, figures, pair = module(batch, 0.5, critic)
            loss.backward()
            del loss, figures
            if critic is not None:
                critic.requires_grad_(True)
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    own_loss = critic(pair[0].detach(), pair[1].detach())
                own_loss.backward()
        return Cost(ledger.flops, ledger.peak)


def trace_inference(
    modules: list[nn.Module], function: Callable[..., Any], shapes: Shapes, bf16: bool, fused: bool
) -> Cost:
    """Return the cost of `function(**batch)` without gradients. Modules and `fused` as of `trace_training`."""
    with no_collection(), FakeTensorMode():
        without_data(modules)
        own = [tensor for part in modules for tensor in (*part.parameters(), *part.buffers())]
        with attention(fused), Ledger(own) as ledger, torch.no_grad():
            batch = {name: torch.empty(shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                function(**batch)
        return Cost(ledger.flops, ledger.peak)


def attention(fused: bool) -> AbstractContextManager[None]:
    """Return the kernels of attention: fused as on a GPU, or plain products."""
    return nullcontext() if fused else sdpa_kernel(SDPBackend.MATH)


@contextmanager
def no_collection() -> Iterator[None]:
    """For the length of a block Python seeks no cycles: it took a sixth of the time, and changed no peak."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
