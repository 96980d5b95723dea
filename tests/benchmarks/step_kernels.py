"""Kernels of a training pass of the published generator, forward and backward, counted on a CPU: eager, and compiled as
one graph.

    python -m tests.benchmarks.step_kernels [--tokens 16] [--batch 2]

The structure of preset=single_gpu (Qwen2's decoder, time as a token, the wide DDT head, bf16 autocast) with an eighth
of the width and few layers: two depths, so that their difference is one layer's share and those of the preset's depth
can be reckoned. Eager: operators that compute, by kind; views start no kernel. A GPU fuses an RMSNorm, which a CPU
spells out.
Compiled: calls in inductor's code for the CPU. Numbers read on the host are counted in both.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import asdict
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from components.generator.hub_decoders import KNOWN
from components.generator.objective import FlowObjective
from components.generator.transformer import DeepFusionTransformer
from pipelines.config.compose import compose_config

CHANNELS, GRID, SHRUNK, DEPTHS, SEED = 96, 16, 8, (2, 3), 0
HOST = "read on the host"
KINDS = {  # of an operator, by a pattern of its name; what no pattern knows is element-wise
    HOST: r"_local_scalar_dense|is_nonzero|^equal|nonzero|masked_select",
    "matrix product": r"mm$|addmm|linear|baddbmm",
    "attention": r"scaled_dot_product",
    "copy": r"_to_copy|^copy|clone|^cat$|repeat|^stack|new_empty_strided|slice_backward|select_backward|index",
    "sum, mean or norm": r"^sum|^mean|norm|softmax|^var|embedding|cumsum|^any|^max|^amax",
    "draw or fill": r"rand|normal|uniform|exponential|arange|^zeros|^ones|full|fill|zero_|new_zeros|scalar_tensor",
}
NONE = re.compile(r"empty|detach|lift_fresh|set_")  # no kernel, beside views


class Operators(TorchDispatchMode):
    """Counts operators that compute, by kind and by name."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: Counter[str] = Counter()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not (func.is_view or NONE.search(name) or name == "_unsafe_view"):
            self.names[name] += 1
            self.kinds[kind_of(name)] += 1
        return func(*args, **(kwargs or {}))


def kind_of(name: str) -> str:
    """Return the kind of an operator."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), "element-wise")


def setting(depth: int, args: Any) -> tuple[FlowObjective, dict[str, torch.Tensor]]:
    """Return the shrunk model with its loss, and a batch."""
    settings = compose_config(["preset=single_gpu", "source.path=nowhere"]).generator
    backbone = dict(KNOWN["Qwen/Qwen2.5-0.5B"])
    backbone |= {"num_hidden_layers": depth, "vocab_size": 1000, "layer_types": None}
    for name in ("hidden_size", "intermediate_size"):
        backbone[name] //= SHRUNK
    options = asdict(settings.model)
    options["head"]["width"] //= SHRUNK
    torch.manual_seed(SEED)
    model = DeepFusionTransformer(backbone, CHANNELS, GRID, options)
    batch = {
        "latents": torch.randn(args.batch, CHANNELS, GRID, GRID).half(),
        "ids": torch.randint(1000, (args.batch, args.tokens)),
        "text": torch.ones(args.batch, args.tokens, dtype=torch.bool),
    }
    return FlowObjective(model, settings.flow), batch


def eager(depth: int, args: Any) -> Operators:
    """Count a pass as it is written. The gradients are there already, as in every step but the first."""
    objective, batch = setting(depth, args)
    with Operators() as counted, torch.autocast("cpu", torch.bfloat16):
        objective(batch, 0.0, None)[0].backward()
    return counted


def compiled(depth: int, args: Any) -> Counter[str]:
    """Count the calls in the code that inductor makes of a pass."""
    from torch._inductor.utils import run_and_get_code

    objective, batch = setting(depth, args)
    torch._dynamo.reset()
    run = torch.compile(objective, fullgraph=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = run(batch, 0.0, None)[0]
        loss.backward()

    _, codes = run_and_get_code(step)
    counts: Counter[str] = Counter()
    for code in codes:
        body = code.split("def call(")[-1]
        counts["fused element-wise, norms and copies"] += len(re.findall(r"^\s+cpp_fused\w*\(", body, re.M))
        for name in re.findall(r"^\s+(?:\w+ = )?(?:extern_kernels|torch\.ops\.\w+)\.(\w+)", body, re.M):
            if not NONE.search(name):
                counts[kind_of(name)] += 1
    return counts


def main() -> None:
    """Print both counts for both depths, and what they say of the whole model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    args = parser.parse_args()
    layers = KNOWN["Qwen/Qwen2.5-0.5B"]["num_hidden_layers"]
    first, second = DEPTHS
    for name, count in (("eager", lambda depth: eager(depth, args).kinds), ("compiled", lambda d: compiled(d, args))):
        found = [count(depth) for depth in DEPTHS]
        print(f"{name}: kind, with {first} layers, each layer more, so with {layers}", flush=True)
        rows = {kind: (found[0][kind], found[1][kind] - found[0][kind]) for kind in sorted({HOST} | set(found[1]))}
        rows["all"] = (sum(found[0].values()), sum(found[1].values()) - sum(found[0].values()))
        for kind, (few, each) in rows.items():
            print(f"  {kind:<38} {few:5} {each:5} {few + each * (layers - first):6}", flush=True)
    names = eager(second, args).names - eager(first, args).names
    print("a layer, eager: " + ", ".join(f"{name} {count}" for name, count in names.most_common()))


if __name__ == "__main__":
    main()
