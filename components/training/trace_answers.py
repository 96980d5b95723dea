"""What a vision-language model's answers cost, found without computing them: pictures and prompts at once, then token
after token with a cache of keys and values.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from components.training.trace import ATEN, Ledger, attention, without_data


@dataclass(frozen=True)
class Answers:
    """Of one batch."""

    reading: float  # FLOPs of pictures, prompts, and the first token of each answer
    writing: float  # FLOPs of all further tokens
    moved: float  # bytes of weights, keys and values that all further tokens need from memory
    cache: int  # bytes of keys and values at the end
    activations: int  # the most bytes that are alive at once beside weights, keys and values
    length: int  # tokens of a prompt with its picture


class KnownInputs(TorchDispatchMode):
    """For the length of a block, inside a `FakeTensorMode`: tensors that hold data, and ranges, are computed with until
    they meet one that holds none.

    So a model may look at its input to find its shapes: tiles of a picture, padding.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        empty = any(isinstance(value, FakeTensor) for value in tensors)
        counted = bool(tensors) or func._overloadpacket is ATEN.arange
        with unset_fake_temporarily() if counted and not empty else nullcontext():
            return func(*args, **(kwargs or {}))


def trace_answers(
    model: Any, inputs: Mapping[str, Tensor], count: int, prompt: int, tokens: int, fused: bool
) -> Answers:
    """Return the cost of `model.generate` for a batch of `count` pictures: answers of `tokens` tokens, none shorter.

    `model`: an image-text-to-text model of transformers on torch's meta device, of no other use afterwards; it computes
    in the type of its weights. `inputs`: what its processor makes of the pictures, with data. Where there are
    `input_ids` among them, they say how long a prompt is; else it is as long as its picture and `prompt` tokens.
    ValueError where the model cannot be traced: it has no features of pictures, or no cache of keys and values.
    """
    try:
        asked = inspect.signature(model.get_image_features).parameters
        decoder, head, embedding = model.get_decoder(), model.get_output_embeddings(), model.get_input_embeddings()
        width = model.config.get_text_config().hidden_size
        with FakeTensorMode(allow_non_fake_inputs=True):
            without_data([model])
            own = [*model.parameters(), *model.buffers()]
            kind = head.weight.dtype
            read = {id(weight): weight.nbytes for weight in (*decoder.parameters(), *head.parameters())}
            if head.weight is not embedding.weight:
                read.pop(id(embedding.weight), None)  # of which a token needs one row

            with attention(fused), Ledger(own) as ledger, torch.no_grad(), KnownInputs():

                def forward(length: int, cache: Any = None) -> Any:
                    hidden = torch.empty(count, length, width, dtype=kind)
                    out = decoder(inputs_embeds=hidden, past_key_values=cache, use_cache=True)
                    head(out.last_hidden_state[:, -1:])
                    return out.past_key_values

                def step(cache: Any) -> float:
                    before = ledger.flops
                    forward(1, cache)
                    return ledger.flops - before

                pictures = {
                    name: value.to(kind) if value.is_floating_point() else value
                    for name, value in inputs.items()
                    if name in asked
                }
                features = model.get_image_features(**pictures).pooler_output
                of_pictures = sum(prod(part.shape[:-1]) for part in tree_leaves(features)) // count
                length = inputs["input_ids"].shape[1] if "input_ids" in inputs else of_pictures + prompt
                cache = forward(length)
                reading, start = ledger.flops, _bytes(cache)
                activations = ledger.peak - start
                further, steps = tokens - 1, [0.0]
                if further:
                    steps = [step(cache)]
                if further > 2:
                    forward(further - 2, cache)  # what lies between the first and the last step: each has a token more
                if further > 1:
                    steps.append(step(cache))
                end = _bytes(cache)
        writing = further * sum(steps) / len(steps)
        moved = further * (sum(read.values()) + (start + end) / 2)
        return Answers(reading, writing, moved, end, activations, length)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"what a {type(model).__name__} computes cannot be traced: {said}") from error


def _bytes(cache: Any) -> int:
    return sum(part.untyped_storage().nbytes() for layer in cache.layers for part in (layer.keys, layer.values))
