"""Pictures per second of the service on loopback, beside a bare loop of the same pipeline at the same batch.

python -m tests.benchmarks.serve_load FOLDER [--clients 1 4 16] [--seconds 15] [--batch 8] [--steps N]

FOLDER is a pipeline (a version's, or one of `register`). Each client asks for its next picture once it has one. The
bare loop runs before and after each level, with as many threads, while the service idles: on a busy machine both slow
down. CPU milliseconds per picture, by process, say what the HTTP side costs whatever else runs.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import threading
import time
from http.client import HTTPConnection
from typing import Any

import psutil
import torch

from pipelines.serve.limits import Limits
from pipelines.serve.start import started
from pipelines.serving import open_pipeline
from tests.ports import free_port

PROMPT = "a picture of a cat"
ROLES = {"Engine": "engine", "Front": "front", "ProxyActor": "proxy"}


def bare(pipe: Any, batch: int, steps: int | None, seconds: float) -> tuple[float, float]:
    """Return pictures per second of calls of the pipeline one after another, and CPU seconds per picture."""
    made, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        generators = [torch.Generator().manual_seed(made + number) for number in range(batch)]
        pipe([PROMPT] * batch, generator=generators, num_inference_steps=steps)
        made += batch
    return made / (time.perf_counter() - began), (time.process_time() - cpu) / made


class Clients:
    """Clients that each ask for one picture after another."""

    def __init__(self, port: int, count: int, steps: int | None) -> None:
        self.port, self.steps, self.seconds = port, steps, []
        self.ends = 0.0
        self.threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def run(self, seconds: float) -> tuple[float, list[float]]:
        """Return pictures per second, and the seconds of each request."""
        began = time.perf_counter()
        self.ends = began + seconds
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join()
        return len(self.seconds) / (time.perf_counter() - began), self.seconds

    def _ask(self, number: int) -> None:
        connection, seed = HTTPConnection("127.0.0.1", self.port, timeout=120), number * 10_000
        while (began := time.perf_counter()) < self.ends:
            body: dict[str, Any] = {"prompt": PROMPT, "seed": seed}
            body |= {"steps": self.steps} if self.steps else {}
            connection.request("POST", "/v1/images/generations", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            told = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}: {told[:300]!r}")
            self.seconds.append(time.perf_counter() - began)
            seed += 1


def cpu_by_role() -> dict[str, float]:
    """Return CPU seconds so far of this process (the clients) and of the service's."""
    me = psutil.Process()
    found = {"clients": sum(me.cpu_times()[:2]), "engine": 0.0, "front": 0.0, "proxy": 0.0, "ray": 0.0}
    for process in me.children(recursive=True):
        try:
            name, used = " ".join(process.cmdline()), sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
        found[next((role for part, role in ROLES.items() if part in name), "ray")] += used
    return found


def main() -> None:
    """Print a line for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--batch", type=int, default=Limits().batch)
    parser.add_argument("--threads", type=int, default=max(1, (psutil.cpu_count() or 1) - 1))
    parser.add_argument("--steps", type=int)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(asked.threads)
    pipe = open_pipeline(asked.folder)
    limits = Limits(port=free_port(), batch=asked.batch, cpus=asked.threads)
    with started(asked.folder, "", limits):
        Clients(limits.port, 2 * asked.batch, asked.steps).run(1)  # everything is loaded and warm
        bare(pipe, asked.batch, asked.steps, 1)
        for count in asked.clients:
            batch = min(count, asked.batch)
            before = bare(pipe, batch, asked.steps, asked.seconds / 3)
            cpu = cpu_by_role()
            rate, seconds = Clients(limits.port, count, asked.steps).run(asked.seconds)
            used = {role: (now - cpu[role]) / len(seconds) * 1000 for role, now in cpu_by_role().items()}
            after = bare(pipe, batch, asked.steps, asked.seconds / 3)
            alone, alone_cpu = (statistics.mean(pair) for pair in zip(before, after, strict=True))
            p50, p95 = (statistics.quantiles(seconds, n=100)[at] for at in (49, 94))
            print(
                f"{count:>3} clients: {rate:6.2f} pictures/s, p50 {p50:.3f} s, p95 {p95:.3f} s; bare loop at batch "
                f"{batch}: {before[0]:.2f} and {after[0]:.2f}/s: ratio {rate / alone:.2f}"
            )
            parts = ", ".join(f"{role} {each:.1f}" for role, each in used.items())
            print(f"     CPU ms per picture: {parts}; bare loop {alone_cpu * 1000:.1f}", flush=True)


if __name__ == "__main__":
    main()
