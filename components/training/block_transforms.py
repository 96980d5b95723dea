"""What is done to a model's transformer blocks before training: float8 products, recomputed activations, and
compilation.
"""

from __future__ import annotations

from torch import nn

from components.training.optimizers import HasOuterLayers

FLOAT8_SIDE = 512  # of a linear layer's weights, from which on a float8 product is worth its casts
FLOAT8_MULTIPLE = 16  # of both sides, which the product asks for


def use_float8(
    module: nn.Module, blocks: tuple[type[nn.Module], ...], smallest: int = FLOAT8_SIDE, emulate: bool = False
) -> list[str]:
    """Make the large trained linear layers of these blocks multiply in float8 by torchao, each tensor scaled by its own
    largest value; return their names. Names and weights stay as they are, and so do layers that face latents or times.

    `emulate`: round as float8 would and multiply in float32, on any device, to see what it does to a loss. ValueError
    where no layer is large enough.
    """
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    inside = [part for part in module.modules() if isinstance(part, blocks)]
    outer = {
        id(layer) for part in module.modules() if isinstance(part, HasOuterLayers) for layer in part.outer_layers()
    }
    large = {
        id(layer)
        for block in inside
        for layer in block.modules()
        if isinstance(layer, nn.Linear)
        and layer.weight.requires_grad
        and min(layer.weight.shape) >= smallest
        and not any(side % FLOAT8_MULTIPLE for side in layer.weight.shape)
    } - outer
    found = [name for name, layer in module.named_modules() if id(layer) in large]
    if not found:
        raise ValueError(
            f"float8: no trained linear layer has sides of {smallest} or more that are multiples of {FLOAT8_MULTIPLE}. "
            "Set float8=false."
        )
    config = Float8LinearConfig(pad_inner_dim=True, emulate=emulate)  # padded: a batch has any number of tokens
    convert_to_float8_training(module, config=config, module_filter_fn=lambda layer, _: id(layer) in large)
    return found


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
