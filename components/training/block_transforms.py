"""What is done to a model's transformer blocks before training: recomputed activations, and compilation."""

from __future__ import annotations

from torch import nn


def checkpoint_activations(module: nn.Module, blocks: tuple[type[nn.Module], ...]) -> None:
    """Make the blocks of these classes keep their input alone, and compute the rest again in the backward pass."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing

    apply_activation_checkpointing(module, check_fn=lambda m: isinstance(m, blocks))


def compile_blocks(module: nn.Module, blocks: tuple[type[nn.Module], ...]) -> None:
    """Make the blocks of these classes run compiled, all of a class by one compilation; names and weights stay as they
    are.
    """
    for part in module.modules():
        if isinstance(part, blocks):
            part.compile()
