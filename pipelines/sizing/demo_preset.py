"""Which demo this machine makes in twenty minutes: `python -m pipelines.sizing.demo_preset` prints the preset, and on
stderr why.
"""

from __future__ import annotations

import sys

CORES = 2  # that the demo's training takes
PRESETS = ((0.7e12, "demo_large"), (0.25e12, "demo"), (0.0, "demo_small"))  # from so many FLOP/s on


def demo_preset(rate: float) -> str:
    """Return the preset for a machine whose two cores multiply matrices at so many FLOP/s."""
    return next(preset for least, preset in PRESETS if rate >= least)


def main() -> None:
    """Measure, and choose."""
    import torch

    from components.training.machine import choose_precision, matrix_rate

    torch.set_num_threads(CORES)
    cpu = torch.device("cpu")
    precision = choose_precision("auto", cpu)
    rate = matrix_rate(cpu, precision, seconds=0.5)
    preset = demo_preset(rate)
    steps = ", ".join(f"{name} from {least / 1e12:g}" for least, name in PRESETS[:-1])
    print(f"{CORES} cores multiply matrices at {rate / 1e12:.2f} TFLOP/s in {precision} ({steps})", file=sys.stderr)
    print(preset)


if __name__ == "__main__":
    main()
