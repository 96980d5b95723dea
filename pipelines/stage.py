"""The stage contract: what a stage declares, and what its function is given. Scheduling is in `workflow/`.

A stage is a plain function `run(context: StageContext) -> None` with declared configuration keys and inputs. It writes
only into its work folder, shard by shard through `context.map_shards`, or whole files through `context.output`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipelines.config.declared import UndeclaredKey
from pipelines.store.artifacts import Artifact, FileEntry, Manifest, ShardRecord, Work
from pipelines.store.files import Store, sha256_file
from pipelines.store.verified_read import fetch_checked

if TYPE_CHECKING:
    from pipelines.config.schema import Config


@dataclass(frozen=True)
class Stage:
    """One step of a workflow.

    `config` names the dotted keys its output depends on: they, `version` and the inputs' fingerprints are its
    fingerprint. `function` is `module:name`, imported only when the stage runs. `external`, likewise, returns the
    content digests of what the stage reads from outside the store.

    A stage that is there once for each source, or for each source and model, has instances: `base@instance`, for
    example `ingest@photos` and `score@photos.nsfw`. They share code, resources and options by the base. With one source
    without a name there is no instance, and the name is the base.
    """

    name: str
    version: str
    function: str
    config: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    external: str | None = None
    summary: str = ""
    trains: bool = False  # has workers of its own, and saves a checkpoint when it is asked to stop
    without: tuple[str, ...] = ()  # dotted keys below those of `config` that it does not read
    given: Mapping[str, Any] = field(default_factory=dict)  # JSON values from the graph; part of the fingerprint

    @property
    def base(self) -> str:
        """The name without its instance."""
        return base_of(self.name)

    @property
    def instance(self) -> str:
        """What stands behind `@`; empty where there is one stage of the base."""
        return self.name.partition("@")[2]

    @property
    def source(self) -> str:
        """The name of the source that the instance is of; empty for the one source without a name."""
        return self.instance.partition(".")[0]


def base_of(name: str) -> str:
    """Return a stage's name without its instance."""
    return name.partition("@")[0]


def instance_name(base: str, *parts: str) -> str:
    """Return the name of an instance of a stage: `base@a.b`; empty parts are left out."""
    instance = ".".join(part for part in parts if part)
    return f"{base}@{instance}" if instance else base


SHARD_OF_SOURCE = re.compile(r"([a-z][a-z0-9_]*)-")


def shard_name(source: str, name: str) -> str:
    """Return the name of a source's shard, which is unique over all sources: `photos-00012`."""
    return f"{source}-{name}" if source else name


def source_of(shard: str) -> str:
    """Return the name of the source that a shard is of, by the shard's name or path; empty for the one without a
    name.
    """
    found = SHARD_OF_SOURCE.match(PurePosixPath(shard).name)
    return found.group(1) if found else ""


def credit_of(manifest: Manifest) -> str:
    """Return whose pictures an artifact of ingest holds, where their licence asks to say so; "" elsewhere."""
    metrics, source = manifest.metrics.get("ingest", {}), manifest.stage.partition("@")[2]
    return str((metrics["sources"][source] if source else metrics).get("attribution", ""))


def load_function(reference: str) -> Callable[..., Any]:
    """Import `module:name`."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed that depends on every part, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class ShardTask:
    """One shard to make: its name, and the arguments of the function that makes it."""

    name: str
    args: Any = field(default_factory=dict)  # or a frozen dataclass of the stage's own


@dataclass
class ShardResult:
    """What a shard function returns: `counts` {input, kept, dropped, failed} that add up, and numbers for the
    metrics.
    """

    counts: dict[str, int]
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardContext:
    """What a shard function is given: its task, a seed, a folder `out` for its files, and `fetch` for its inputs."""

    task: ShardTask
    declared_seed: int | None  # None: its stage did not declare `seed`
    out: Path
    store: Store
    scratch: Path

    @property
    def seed(self) -> int:
        """The shard's own seed. `UndeclaredKey` where the stage did not declare `seed`."""
        if self.declared_seed is None:
            raise UndeclaredKey(
                f"the shard {self.task.name} reads the seed, which its stage did not declare: add `seed` to the "
                "stage's `config` in pipelines/workflow/graph.py."
            )
        return self.declared_seed

    def fetch(self, path: str) -> Path:
        """Return a local path of a store file; an artifact's is checked first."""
        return fetch_checked(self.store, path, self.scratch)

    def file(self, path: str) -> Path:
        """Return the local path of an output file, its folder made."""
        target = self.out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


@dataclass
class StageContext:
    """What a stage function is given, and where it leaves `counts` and `metrics`."""

    stage: Stage
    config: Config
    inputs: dict[str, Artifact]
    work: Work
    log: logging.Logger
    mapper: Callable[[StageContext, str, list[ShardTask]], list[ShardRecord]]
    run_id: str = ""
    progress: Callable[[str], None] = lambda _: None
    counts: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    outputs: list[FileEntry] = field(default_factory=list)

    def inputs_of(self, base: str) -> list[Artifact]:
        """Return the inputs that are instances of a stage, in the graph's order."""
        return [artifact for name, artifact in self.inputs.items() if base_of(name) == base]

    def curated_shards(self, sources: Collection[str] | None = None) -> dict[str, str]:
        """Return {name: store path} of the shards of curated samples: with new captions where a stage has added them.
        `sources` names those that are wanted; None: all.
        """
        stages = [self.inputs[name] for name in ("curate", "recaption") if name in self.inputs]
        found = {PurePosixPath(path).stem: path for made in stages for path in made.files("shards/*.tar")}
        return {name: found[name] for name in sorted(found) if sources is None or source_of(name) in sources}

    @property
    def seed(self) -> int:
        """The stage's own seed, from the configuration's."""
        return derive_seed(self.config.seed, self.stage.name)

    def shard_seed(self, shard: str) -> int | None:
        """A shard's own seed; None where the stage did not declare `seed`."""
        return derive_seed(self.seed, shard) if "seed" in self.stage.config else None

    def map_shards(self, function: str, tasks: list[ShardTask]) -> list[ShardRecord]:
        """Make every shard that is not made yet by `function` (`module:name`), as Ray tasks; return all, in order.

        The counts of all shards are added to the stage's, and their files to its output.
        """
        assert len({t.name for t in tasks}) == len(tasks), "shard names must differ"
        records = self.mapper(self, function, tasks)
        for record in records:
            for name, value in record.counts.items():
                self.counts[name] = self.counts.get(name, 0) + value
            data = record.to_bytes()
            path = f"records/{record.name}.json"
            self.outputs += [*record.files, FileEntry(path, len(data), hashlib.sha256(data).hexdigest())]
        return records

    @contextlib.contextmanager
    def output(self, path: str) -> Iterator[Path]:
        """Give a local path to write one whole file of the artifact to; it is moved in when the block ends well."""
        with tempfile.TemporaryDirectory(dir=self.work.store.scratch()) as folder:
            local = Path(folder) / Path(path).name
            yield local
            self.outputs.append(publish(self.work, local, path))

    def fetch(self, path: str) -> contextlib.AbstractContextManager[Path]:
        """Give a local path of a store file for the length of a block."""
        return fetched(self.work.store, path)


@contextlib.contextmanager
def fetched(store: Store, path: str) -> Iterator[Path]:
    """Give a local path of a store file for the length of a block; an artifact's is checked first."""
    with tempfile.TemporaryDirectory(dir=store.scratch()) as folder:
        yield fetch_checked(store, path, Path(folder))


def publish(work: Work, local: Path, path: str) -> FileEntry:
    """Move a finished local file into the work folder and return its entry."""
    entry = FileEntry(path, local.stat().st_size, sha256_file(local))
    work.store.put_file(local, f"{work.path}/{path}")
    return entry
