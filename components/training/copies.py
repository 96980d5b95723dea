"""Copies on the host of what is trained, so that it can be written while training goes on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def copy_to_host(state: Any) -> Any:
    """Return a deep copy of a state whose tensors are on the host, complete when this returns.

    Tensors that share memory share it in the copy too, so that files of both have the same bytes on a CPU. Copies of a
    GPU's tensors are in pinned memory, which torch keeps for the next copy.
    """
    storages: dict[int, torch.UntypedStorage] = {}
    made: dict[int, Any] = {}  # what deepcopy finds as already copied
    devices = set()
    for tensor in _tensors(state, set()):
        storage = tensor.untyped_storage()
        if storage._cdata not in storages:
            source = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            target = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=tensor.is_cuda)
            storages[storage._cdata] = target.copy_(source, non_blocking=True).untyped_storage()
            devices.add(tensor.device)
        host: Tensor = torch.empty(0, dtype=tensor.dtype)
        host.set_(storages[storage._cdata], tensor.storage_offset(), tensor.size(), tensor.stride())
        made[id(tensor)] = host.requires_grad_(tensor.requires_grad)
        host.__dict__.update(copy.deepcopy(tensor.__dict__, made))  # ZeRO 3 notes things on tensors
    for device in devices:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return copy.deepcopy(state, made)


def _tensors(state: Any, seen: set[int]) -> Iterator[Tensor]:
    """Every plain tensor in dicts, lists and tuples; what is elsewhere is deepcopy's."""
    if id(state) in seen:
        return
    seen.add(id(state))
    if type(state) is Tensor:
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value, seen)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from _tensors(value, seen)
