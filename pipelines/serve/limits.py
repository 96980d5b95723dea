"""Every limit of the service, in one place. Both deployments get the same object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from pipelines.errors import nearest

LOOPBACK = "127.0.0.1"
Count = Annotated[int, Field(ge=1)]
Few = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Limits:
    """What the service takes, and how long it waits. Nothing that comes from outside is without a limit."""

    host: str = LOOPBACK  # the interface that HTTP is answered on
    port: Count = 8000
    replicas: Count = 1  # copies of the model
    gpus: Share | None = None  # of each copy; None: 1 where there are GPUs
    cpus: Share | None = None  # of each copy: the threads of its products; None: 1 beside a GPU, else its share of all
    batch: Count = 8  # most pictures that one copy makes at the same time
    batch_wait_s: Positive = 0.02  # that a picture waits for others to join its batch, where the copy is idle
    queued: Count = 64  # most pictures that wait for a copy; beyond it the answer is 429
    connections: Count = 256  # most HTTP requests that are open at the same time
    request_s: Positive = 120.0  # most time for a request; then the answer is 504
    body_s: Positive = 30.0  # most time that a client may take to send its body; then the answer is 408
    body_bytes: Count = 16 * 2**20  # of a request; beyond it the answer is 413
    held_bytes: Count = 256 * 2**20  # of the bodies of all open requests; beyond it the answer is 429
    picture_bytes: Count = 8 * 2**20  # of a file to edit; its pixels are limited by ImageLimits
    prompt_characters: Count = 4_000
    n: Count = 10  # pictures of one request
    steps: Count = 250
    guidance: Positive = 50.0
    previews: Few = 3  # pictures that a request may see on their way
    retries: Few = 3  # of a picture whose replica died
    poll_s: Positive = 10.0  # between two looks at the alias that is served
    health_s: Positive = 10.0  # between two checks of a replica's health
    stop_s: Positive = 10.0  # that requests may take to end once the service is told to stop
    log_prompts: bool = False  # True: texts of requests are written into the log

    @property
    def ongoing(self) -> int:
        """Pictures that one replica takes: those of the running batch, and those of the next one."""
        return 2 * self.batch


def read_limits(given: Mapping[str, Any]) -> Limits:
    """Return the limits that a Serve config file gives. ValueError, in words, for what is none."""
    for name in given:
        if name not in Limits.__dataclass_fields__:
            raise ValueError(f"the service has no limit {name!r}{nearest(name, Limits.__dataclass_fields__)}")
    try:
        return TypeAdapter(Limits).validate_python(dict(given))
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ValueError(f"the limit {wrong['loc'][0]} is {wrong['input']!r}: {wrong['msg']}") from None
