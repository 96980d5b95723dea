"""Validation losses of a generator in training, its data shuffled as a whole and streamed in windows of shards.

    python -m tests.benchmarks.mixing_curves STORE [--preset demo] [--steps 150] [--windows 1 2] [--seeds 0 1]

STORE holds a finished run of the preset, at least up to `index_latents`, in at most 16 shards: of more, streamed
training validates on other samples than the whole shuffle. Nothing is written into it. Each training is the stage's
own, in this process, with the same first weights for each shuffle of a seed. Beside the curves, means over the seeds:
the difference of windows from the whole shuffle, and the spread of the whole shuffle over the seeds (the largest less
the smallest).
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import torch

from components.training.loop import Hooks, Place, train
from pipelines.config.compose import compose_config
from pipelines.stage import derive_seed
from pipelines.stages.generator.latent_batches import open_samples
from pipelines.stages.generator.train_generator import build
from pipelines.store.artifacts import Artifact, find_artifact
from pipelines.store.files import Store
from pipelines.training.worker import BuildContext

INPUTS = ("train_tokenizer", "encode_latents", "index_latents")
CURVE = 10  # points of a curve


def artifact(store: Store, stage: str) -> Artifact:
    """Return the one artifact of a stage in the store."""
    found = [one for one in (find_artifact(store, stage, name) for name in fingerprints(store, stage)) if one]
    if len(found) != 1:
        raise SystemExit(f"{store.url} holds {len(found)} artifacts of {stage}; this needs a store with one")
    return found[0]


def fingerprints(store: Store, stage: str) -> list[str]:
    """Return those of a stage's artifacts."""
    folder = Path(store.local(f"artifacts/{stage}"))
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def curve(context: BuildContext, seed: int, steps: int) -> dict[int, float]:
    """Train and return the validation loss by step."""
    torch.manual_seed(seed)
    built = build(context)
    built.task.evaluate = lambda step, folder: built.task.validation()  # no pictures
    options = dataclasses.replace(
        built.options, steps=steps, sample_every=max(1, steps // CURVE), log_every=steps, checkpoint_every=steps
    )
    found: dict[int, float] = {}

    def log(step: int, figures: dict[str, float]) -> None:
        if "validation_loss" in figures:
            found[step] = figures["validation_loss"]

    folder = context.scratch / "run"
    train(built.task, built.source, options, derive_seed(seed, "steps"), folder / "checkpoints", Place(),
          Hooks(log=log, samples_folder=lambda step: folder))  # fmt: skip
    return found


def main() -> None:
    """Train under each shuffle and print the curves side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    store = Store(args.store)
    inputs = {stage: artifact(store, stage) for stage in INPUTS}
    shuffles = {"whole": ["shuffle.full_gb=64"]}
    shuffles |= {f"windows of {n}": ["shuffle.full_gb=0", f"shuffle.window_shards={n}"] for n in args.windows}
    curves: dict[str, list[dict[int, float]]] = {name: [] for name in shuffles}
    for seed in args.seeds:
        for name, setting in shuffles.items():
            with tempfile.TemporaryDirectory() as folder:
                settings = [f"preset={args.preset}", f"store={args.store}", *setting]
                context = BuildContext(
                    compose_config(settings), inputs, seed, store, Path(folder), 0, 1, torch.get_num_threads()
                )
                if not any(curves.values()):
                    captions = open_samples(context)[0].captions
                    print(f"{len(captions):,} captioned latents in {len(captions.shards)} shards, {args.steps} steps")
                curves[name].append(curve(context, seed, args.steps))
                context.cache.close()
            print(f"seed {seed}, {name}: {curves[name][-1]}", flush=True)
    whole = curves.pop("whole")
    print("step   whole   spread" + "".join(f"   {name:>12}  difference" for name in curves))
    for step in whole[0]:
        values = [found[step] for found in whole]
        mean, line = sum(values) / len(values), ""
        for streamed in curves.values():
            own = sum(found[step] for found in streamed) / len(streamed)
            line += f"   {own:12.4f}  {own - mean:+10.4f}"
        print(f"{step:4}  {mean:.4f}  {max(values) - min(values):.4f}{line}")


if __name__ == "__main__":
    main()
