"""Measures of sets of features: seconds and memory, against the same figures from whole distance matrices of scipy.

    python -m tests.benchmarks.set_measures [--count 4000] [--width 768]

Prints a row for each measure: seconds, the largest memory beyond the features, and what the whole matrices take.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable

import numpy as np
import psutil
import torch
from scipy.spatial.distance import cdist

from components.evaluation.coverage import precision_recall
from components.evaluation.intervals import statistic_interval
from components.evaluation.kernel import kernel_distance


def measured(do: Callable[[], object]) -> tuple[object, float, float]:
    """Return what it gives, seconds, and the largest resident memory while it ran beyond that before, in GB."""
    process, most, done = psutil.Process(), 0, threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    result = do()
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    return result, seconds, most / 1e9


def whole_kernel(a: np.ndarray, b: np.ndarray) -> float:
    """CMMD from three whole matrices."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    means = [np.exp(-cdist(x, y, "sqeuclidean") / 200).mean() for x, y in ((a, a), (b, b), (a, b))]
    return float(1000 * (means[0] + means[1] - 2 * means[2]))


def whole_precision(real: np.ndarray, made: np.ndarray) -> float:
    """Precision from two whole matrices."""
    radii = np.partition(cdist(real, real), 3, axis=1)[:, 3]
    return float((cdist(made, real) <= radii).any(1).mean())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--width", type=int, default=768)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(options.count, options.width, generator=generator)
    made = torch.randn(options.count, options.width, generator=generator) * 0.97 + 0.02
    arrays = real.double().numpy(), made.double().numpy()
    print(f"{options.count} rows of {options.width} features in each set, {torch.get_num_threads()} threads")
    for name, ours, theirs in (
        ("kernel_distance", lambda: kernel_distance(real, made), lambda: whole_kernel(*arrays)),
        ("precision_recall", lambda: precision_recall(real, made)["precision"], lambda: whole_precision(*arrays)),
    ):
        value, seconds, memory = measured(ours)
        wanted, slow, much = measured(theirs)
        print(
            f"{name}: {value:.6g} in {seconds:.1f} s, {memory:.2f} GB; "
            f"whole: {wanted:.6g} in {slow:.1f} s, {much:.2f} GB"
        )
    few = real[:1000], made[:1000]
    interval, seconds, _ = measured(lambda: statistic_interval(kernel_distance, few, draws=50))
    print(f"interval of kernel_distance, 1000 rows, 50 draws: {interval} in {seconds:.1f} s")


if __name__ == "__main__":
    main()
