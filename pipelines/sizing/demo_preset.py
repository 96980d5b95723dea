"""Which demo this machine makes in twenty minutes: `python -m pipelines.sizing.demo_preset` prints the preset, and on
stderr why.
"""

from __future__ import annotations

import sys

CORES = 2  # that the demo's training takes
FAST = 0.25e12  # FLOP/s


def demo_preset(rate: float) -> str:
    """Return the preset for a machine whose two cores multiply matrices at so many FLOP/s."""
    return "demo" if rate >= FAST else "demo_small"


def main() -> None:
    """Measure, and choose."""
    import torch

    from components.training.machine import choose_precision, matrix_rate

    torch.set_num_threads(CORES)
    cpu = torch.device("cpu")
    precision = choose_precision("auto", cpu)
    rate = matrix_rate(cpu, precision, seconds=0.5)
    preset = demo_preset(rate)
    print(
        f"{CORES} cores multiply matrices at {rate / 1e12:.2f} TFLOP/s in {precision} ({FAST / 1e12:g} and more: "
        "demo, below: demo_small)",
        file=sys.stderr,
    )
    print(preset)


if __name__ == "__main__":
    main()
