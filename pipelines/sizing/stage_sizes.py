"""What a plan says: a row for each stage, what was taken for given, and what will not fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class StageSize:
    """One stage. What does not apply is None, and so is what is not known: a problem then says why."""

    stage: str
    samples: int | None = None  # that go in
    seen: int | None = None  # that training sees: steps times batch
    store_bytes: int | None = None  # of its artifact, and of what it registers
    working_bytes: int = 0  # in the store while it runs: checkpoints
    trained: int | None = None  # parameters
    frozen: int | None = None
    memory: dict[str, int] = field(default_factory=dict)  # bytes by part, of one GPU or of one CPU worker
    host: dict[str, int] = field(default_factory=dict)  # the same, beside a GPU in the memory of its worker's node
    flops: float | None = None
    written_flops: float = 0.0  # those of them that wait for memory: a text's tokens, one after the other
    moved_bytes: float = 0.0  # that they read from memory
    bf16: bool = False  # whether they are counted against a peak in bf16, else fp32
    workers: int = 1
    share: float = 1.0  # of a GPU that one worker has
    device: str = ""  # GPU or CPU, where FLOPs count
    hours: float | None = None  # from its start to its end
    device_hours: float | None = None  # of all its GPUs, or of all its CPU cores
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # of what would work, and not well
    assumed: str = ""  # what was taken for given of this stage alone

    @property
    def memory_bytes(self) -> int:
        """All parts of the memory together."""
        return sum(self.memory.values())

    def to_json(self) -> dict[str, Any]:
        """Return the row with its sums."""
        return {**asdict(self), "memory_bytes": self.memory_bytes, "host_bytes": sum(self.host.values())}


@dataclass
class Plan:
    """All stages in order."""

    stages: list[StageSize]
    assumed: dict[str, str]
    problems: list[str] = field(default_factory=list)  # of no one stage

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        stages = [stage.to_json() for stage in self.stages]
        return {
            "stages": stages, "totals": self.totals(), "assumed": self.assumed, "will_not_fit": self.will_not_fit(),
            "unwise": self.unwise(),
        }  # fmt: skip

    def totals(self) -> dict[str, float]:
        """Return bytes in the store, the most that a stage holds there beside them while it runs, FLOPs, and hours by
        device.
        """
        hours = {
            f"{device.lower()}_hours": sum(s.device_hours or 0.0 for s in self.stages if s.device == device)
            for device in ("GPU", "CPU")
        }
        return {
            "store_bytes": sum(s.store_bytes or 0 for s in self.stages),
            "working_bytes": max((s.working_bytes for s in self.stages), default=0),
            "flops": sum(s.flops or 0.0 for s in self.stages),
            **hours,
        }

    def will_not_fit(self) -> list[dict[str, str]]:
        """Return every problem with its stage."""
        found = [{"stage": s.stage, "problem": problem} for s in self.stages for problem in s.problems]
        return found + [{"stage": "", "problem": problem} for problem in self.problems]

    def unwise(self) -> list[dict[str, str]]:
        """Return every warning with its stage."""
        return [{"stage": s.stage, "warning": warning} for s in self.stages for warning in s.warnings]
