"""Making the pictures of one batch: what shares a call of the pipeline, what is told on the way, when it stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import one_line
from pipelines.serve.version import Serving
from pipelines.serving import png_bytes, read_picture, read_request

Told = dict["Job", Any]  # what each picture's caller is told: a dict as `Engine.picture` yields it, or an error
SHARED = ("num_inference_steps", "guidance_scale", "image_guidance_scale")


@dataclass(eq=False)
class Job:
    """One picture that somebody waits for."""

    asked: dict[str, Any]  # as `read_request` returns it
    previews: int = 0
    progress: bool = True  # False: told of the first step alone
    gone: bool = False  # True: nobody waits for it any more


class NobodyWaits(Exception):
    """All callers of a batch have left."""


def read_job(row: dict[str, Any], most_previews: int) -> Job:
    """Check what a caller asks for. ValueError, in words, for what is no request."""
    asked = read_request({**row, "image": None})
    if row.get("image"):
        asked["image"] = read_picture(row["image"], "the image")
    previews = row.get("previews") or 0
    if not isinstance(previews, int) or not 0 <= previews <= most_previews:
        raise ValueError(f"previews is {previews!r}; it is a whole number from 0 to {most_previews}")
    return Job(asked, previews, row.get("progress") is not False)


def groups(serving: Serving, jobs: Iterable[Job]) -> list[list[Job]]:
    """Divide a batch into what one call of the pipeline can make: the same steps, guidance, and all edits or none."""
    found: dict[Any, list[Job]] = {}
    for job in jobs:
        key = (job.asked["image"] is None, *_shared(serving, job).values())
        found.setdefault(key, []).append(job)
    return list(found.values())


def preview_steps(previews: int, steps: int) -> list[int]:
    """Return after which steps (1 is the first) a forming picture is shown; none after the first and the last."""
    wanted = {round((number + 1) * steps / (previews + 1)) for number in range(previews)}
    return sorted(step for step in wanted if 1 < step < steps)


def make(serving: Serving, jobs: Sequence[Job], tell: Callable[[Told], None]) -> None:
    """Make the pictures of one group; `tell` is called from this thread. What fails is told to each as an error."""
    try:
        tell(_make(serving, jobs, tell))
    except NobodyWaits:
        pass
    except ValueError as error:
        tell(dict.fromkeys(jobs, error))
    except Exception as error:
        tell(dict.fromkeys(jobs, RuntimeError(one_line(error)).with_traceback(error.__traceback__)))


def warm_up(serving: Serving) -> None:
    """Make a picture and edit it. ValueError, in words, where a version cannot."""
    image = None
    for _ in range(2):
        image = serving.pipe("a picture", image=image, num_inference_steps=2, output_type="pt").images
        if not image.isfinite().all():
            raise ValueError("its pictures are not numbers: the weights are broken")


def _make(serving: Serving, jobs: Sequence[Job], tell: Callable[[Told], None]) -> Told:
    import torch

    pipe, shared, began = serving.pipe, _shared(serving, jobs[0]), time.monotonic()
    steps = shared["num_inference_steps"]
    shown = {job: preview_steps(job.previews, steps) for job in jobs}
    before: list[Any] = [None]

    def after(_: Any, number: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
        if all(job.gone for job in jobs):
            raise NobodyWaits
        step, latents = number + 1, values["latents"]
        told = {"kind": "progress", "step": step, "steps": steps}
        if heard := {job: told for job in jobs if job.progress or step == 1}:
            tell(heard)
        if wanted := [job for job in jobs if step in shown[job] and not job.gone]:
            rows = [jobs.index(job) for job in wanted]
            forming = _forming(pipe, number, before[0][rows], latents[rows])
            tell(
                {
                    job: {"kind": "preview", "index": shown[job].index(step), "step": step, "png": png_bytes(picture)}
                    for job, picture in zip(wanted, forming, strict=True)
                }
            )
        before[0] = latents
        return values

    sources = [job.asked["image"] for job in jobs]
    pictures = pipe(
        [job.asked["prompt"] for job in jobs],
        image=None if sources[0] is None else sources,
        generator=[torch.Generator().manual_seed(job.asked["seed"]) for job in jobs],
        callback_on_step_end=after,
        **shared,
    ).images
    seconds = time.monotonic() - began
    return {
        job: {
            "kind": "picture",
            "png": png_bytes(picture, _settings(serving, job, shared)),
            "seed": job.asked["seed"],
            "steps": steps,
            "guidance_scale": shared["guidance_scale"],
            "model": serving.facts["id"],
            "batch": len(jobs),
            "seconds": round(seconds, 4),
        }
        for job, picture in zip(jobs, pictures, strict=True)
        if not job.gone
    }


def _shared(serving: Serving, job: Job) -> dict[str, Any]:
    """Return what all pictures of a call share, the pipeline's own values where nothing is asked for."""
    own = serving.pipe.config
    return {name: own[name] if job.asked[name] is None else job.asked[name] for name in SHARED}


def _forming(pipe: Any, number: int, before: Any, after: Any) -> Any:
    """Return the pictures that the step after which the latents are `after` was heading for.

    An Euler step goes along a straight line, so two of its points say where the line ends: at the clean latent.
    """
    import torch

    high, low = (float(sigma) for sigma in pipe.scheduler.sigmas[number : number + 2])
    clean = after - low * (after - before) / (low - high)
    with torch.no_grad():
        pictures = pipe.vae.decode(clean.to(pipe.vae.dtype)).sample.float().clamp(-1, 1)
    return pipe.image_processor.postprocess(pictures, output_type="pil")


def _settings(serving: Serving, job: Job, shared: dict[str, Any]) -> dict[str, Any]:
    found = {"prompt": job.asked["prompt"], "seed": job.asked["seed"], "model": serving.facts["id"], **shared}
    if job.asked["image"] is None:
        del found["image_guidance_scale"]
    return found
