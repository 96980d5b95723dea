"""Artifacts: what a stage committed, under `artifacts/<stage>/<fingerprint>/`, and the work folder it comes from.

An artifact is whole exactly when its `manifest.json` is there; the manifest is written last. Output grows aside in
`work/`, one record per finished shard, so that an interrupted stage does only its missing shards.
"""

from __future__ import annotations

import fnmatch
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import StoreError
from pipelines.store.files import Store, canonical_json, json_bytes, parse_json, sha256_text

MANIFEST = "manifest.json"
FORMAT = 1
COUNT_NAMES = ("input", "kept", "dropped", "failed")


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact: path relative to it, size in bytes, hex sha256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an artifact is: how it was made, from what, and every file it holds."""

    stage: str
    stage_version: str
    fingerprint: str
    digest: str  # sha256 over the files' paths and hashes: equal for equal content
    inputs: dict[str, dict[str, str]]  # name -> {fingerprint, digest}
    external: dict[str, str]  # what came from outside the store: name -> content digest
    config: dict[str, Any]
    files: list[FileEntry]
    counts: dict[str, int]
    metrics: dict[str, Any]
    versions: dict[str, str]
    run: str
    created: str
    seconds: float
    format: int = FORMAT
    code: dict[str, str] = field(default_factory=dict)  # room -> digest of the code that made it; empty: not recorded

    def to_json(self) -> dict[str, Any]:
        """Return the manifest with a checksum of itself, so that damage to the manifest shows too."""
        body = asdict(self)
        if not self.code:
            del body["code"]  # as manifests were written before code was recorded
        return sealed(body)

    @staticmethod
    def from_json(value: Any, where: str) -> Manifest:
        """Read `to_json`'s value; `StoreError` where it was changed after it was written."""
        try:
            body = unsealed(value, where)
            if body["format"] != FORMAT:
                raise StoreError(f"{where}: written in format {body['format']}, this pixsem reads format {FORMAT}.")
            return Manifest(**{**body, "files": [FileEntry(**entry) for entry in body["files"]]})
        except (AttributeError, KeyError, TypeError) as error:
            raise StoreError(f"{where} is no manifest of pixsem: {error!r}.") from error


def sealed(body: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object with a checksum of itself."""
    return {**body, "checksum": sha256_text(canonical_json(body))}


def unsealed(value: Any, where: str) -> dict[str, Any]:
    """Return what `sealed` was given; `StoreError` where it was changed since."""
    try:
        body = {k: v for k, v in value.items() if k != "checksum"}
        if value["checksum"] == sha256_text(canonical_json(body)):
            return body
    except (AttributeError, KeyError, TypeError, UnicodeError) as error:
        raise StoreError(f"{where} was not written by pixsem, or was damaged since: {error!r}.") from error
    raise StoreError(f"{where}: its checksum does not match its text; it was changed after it was written.")


def content_digest(files: Sequence[FileEntry]) -> str:
    """Return the sha256 over paths and hashes, the same for the same content whatever the order."""
    return sha256_text(canonical_json(sorted((f.path, f.sha256) for f in files)))


def check_counts(counts: dict[str, int], where: str) -> None:
    """Raise where samples would be lost: kept + dropped + failed must be the input."""
    unknown = set(counts) - set(COUNT_NAMES)
    assert not unknown, f"{where}: unknown counts {sorted(unknown)}"
    total = sum(counts.get(name, 0) for name in ("kept", "dropped", "failed"))
    if counts and total != counts.get("input", 0):
        raise StoreError(f"{where}: {counts} does not add up: {total} accounted for of {counts.get('input', 0)}.")


@dataclass(frozen=True)
class Artifact:
    """A committed artifact, for reading."""

    store: Store
    manifest: Manifest

    @property
    def path(self) -> str:
        """The artifact's folder in the store."""
        return artifact_path(self.manifest.stage, self.manifest.fingerprint)

    def files(self, pattern: str = "*") -> list[str]:
        """Return the store paths of the files matching a glob, sorted."""
        names = sorted(f.path for f in self.manifest.files if fnmatch.fnmatch(f.path, pattern))
        return [f"{self.path}/{name}" for name in names]

    def problems(self, rehash: bool = False) -> dict[str, str]:
        """Return {file: what is wrong with it}; sizes only, or every byte with `rehash`."""
        present = self.store.files(self.path)
        present.pop(MANIFEST, None)
        found: dict[str, str] = {}
        for entry in self.manifest.files:
            where = f"{self.path}/{entry.path}"
            size = present.pop(entry.path) if entry.path in present else self.store.size(where)
            if size is None:
                found[entry.path] = "missing"
            elif size != entry.size:
                found[entry.path] = f"{size} bytes where {entry.size} were written"
            elif rehash and self.store.sha256(where) != entry.sha256:
                found[entry.path] = "content changed (sha256 differs)"
        if rehash:
            found.update(dict.fromkeys(present, "not written by the stage"))
        return found


def artifact_path(stage: str, fingerprint: str) -> str:
    """Return the folder of an artifact."""
    return f"artifacts/{stage}/{fingerprint}"


def find_artifact(store: Store, stage: str, fingerprint: str) -> Artifact | None:
    """Return the committed artifact, or None. `StoreError` where its manifest is damaged, or another artifact's."""
    path = f"{artifact_path(stage, fingerprint)}/{MANIFEST}"
    try:
        data = store.read_bytes(path)
    except FileNotFoundError:
        return None
    where = store.path(path)
    manifest = Manifest.from_json(parse_json(data, where), where)
    if (manifest.stage, manifest.fingerprint) != (stage, fingerprint):
        raise StoreError(f"{where} is the manifest of {manifest.stage}/{manifest.fingerprint}: files were mixed up.")
    if json_bytes(manifest.to_json()) != data:
        raise StoreError(f"{where} is not as it was written, though it says the same: it was changed since.")
    return Artifact(store, manifest)


def ancestors_of(artifact: Artifact) -> Iterator[tuple[str, str, Artifact | None]]:
    """Yield (stage, fingerprint, artifact) of everything an artifact was made from, each once, nearest first. An
    artifact is None where it is gone from the store, and with it what lies behind it.
    """
    seen: set[str] = set()
    waiting = list(artifact.manifest.inputs.items())
    while waiting:
        name, entry = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            found = find_artifact(artifact.store, name, entry["fingerprint"])
            yield name, entry["fingerprint"], found
            waiting += found.manifest.inputs.items() if found is not None else ()


def list_artifacts(store: Store, stage: str | None = None) -> Iterator[tuple[str, str, Artifact | StoreError | None]]:
    """Yield (stage, fingerprint, artifact | its damage | None where no manifest is) for all that is under
    `artifacts/`.
    """
    for name in [stage] if stage else store.folders("artifacts"):
        for fingerprint in store.folders(f"artifacts/{name}"):
            try:
                yield name, fingerprint, find_artifact(store, name, fingerprint)
            except StoreError as error:
                yield name, fingerprint, error


def damage_path(stage: str, fingerprint: str) -> str:
    """Return the file in which `pixsem verify` notes damage it found, so that the next run mends it."""
    return f"damaged/{stage}/{fingerprint}.json"


def note_damage(store: Store, stage: str, fingerprint: str, problems: dict[str, str]) -> None:
    """Write down {file: what is wrong} of an artifact, so that the next run makes the hurt parts again."""
    found = datetime.now(UTC).isoformat(timespec="milliseconds")
    store.write_json(damage_path(stage, fingerprint), {"found": found, "problems": problems})


@dataclass
class ShardRecord:
    """One finished shard: its files, its counts and what it adds to the metrics. Written after its files."""

    name: str
    files: list[FileEntry]
    counts: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the text of its file, with a checksum of itself."""
        return json_bytes(sealed(asdict(self)))


class Work:
    """The folder where a stage's output grows before it is committed.

    It is named by the fingerprint and by the content of the inputs, so that shards made from other inputs are
    never mixed in.
    """

    def __init__(self, store: Store, stage: str, fingerprint: str, input_digests: dict[str, str]) -> None:
        self.store = store
        self.stage = stage
        self.fingerprint = fingerprint
        self.input_digests = input_digests
        self.path = f"work/{stage}/{fingerprint}-{sha256_text(canonical_json(input_digests))[:12]}"

    def records(self) -> dict[str, ShardRecord]:
        """Return the finished shards by name. One that is damaged, or whose files are gone or cut, is left out and made
        again.
        """
        present = self.store.files(self.path)
        records = {}
        for name in present:
            if name.startswith("records/") and name.endswith(".json"):
                record = self._read_record(name)
                if record and all(present.get(f.path) == f.size for f in record.files):
                    records[record.name] = record
        return records

    def write_record(self, record: ShardRecord) -> None:
        """Write down that a shard is finished. Its files are there before."""
        self.store.write_bytes(f"{self.path}/records/{record.name}.json", record.to_bytes())

    def record(self, name: str) -> ShardRecord | None:
        """Return one finished shard, asked for by its name, or None as in `records`."""
        path = f"records/{name}.json"
        if not self.store.exists(f"{self.path}/{path}"):
            return None
        record = self._read_record(path)
        whole = record and all(self.store.size(f"{self.path}/{f.path}") == f.size for f in record.files)
        return record if whole else None

    def _read_record(self, name: str) -> ShardRecord | None:
        try:
            value = unsealed(self.store.read_json(f"{self.path}/{name}"), name)
            return ShardRecord(
                value["name"], [FileEntry(**f) for f in value["files"]], value["counts"], value["metrics"]
            )
        except (StoreError, KeyError, TypeError):
            return None  # damaged on the disk: its shard is made again

    def reopen(self) -> list[str]:
        """Take a damaged or half-committed artifact back as work, less what is hurt; return the names of hurt files.

        Whole shards are kept; the hurt ones, and all that was made from every shard together, are made again.
        """
        source = artifact_path(self.stage, self.fingerprint)
        if not self.store.exists(source):
            return []
        try:
            artifact = find_artifact(self.store, self.stage, self.fingerprint)
            same_inputs = artifact is not None and self.input_digests == {
                **{name: entry["digest"] for name, entry in artifact.manifest.inputs.items()},
                **artifact.manifest.external,
            }
            problems = artifact.problems(rehash=True) if artifact else {}
        except StoreError:
            same_inputs, problems = False, {MANIFEST: "damaged"}
        hurt = sorted(problems)
        if not same_inputs or self.store.exists(self.path):
            # Of no use to this work; it stays until the new artifact takes its place.
            return hurt
        self.store.move_tree(source, self.path)
        self.store.remove_tree(f"{self.path}/{MANIFEST}")
        for name in hurt:
            self.store.remove_tree(f"{self.path}/{name}")
        whole = self.records()
        owned = {f.path for record in whole.values() for f in record.files}
        owned |= {f"records/{name}.json" for name in whole}
        for name in self.store.files(self.path):
            if name not in owned:
                self.store.remove_tree(f"{self.path}/{name}")
        return hurt

    def discard_artifact(self) -> None:
        """Move the committed artifact aside into `trash/`, where `pixsem gc` finds it."""
        source = artifact_path(self.stage, self.fingerprint)
        if self.store.exists(source):
            self.store.move_tree(source, f"trash/{self.stage}-{self.fingerprint}-{uuid.uuid4().hex[:8]}")

    def clear(self) -> None:
        """Forget every finished shard."""
        self.store.remove_tree(self.path)

    def commit(self, manifest: Manifest) -> Artifact:
        """Publish the work as an artifact: manifest last, in one rename where the store has renames."""
        check_counts(manifest.counts, f"stage {self.stage}")
        target = artifact_path(self.stage, self.fingerprint)
        self._remove_strays({f.path for f in manifest.files})
        self.store.write_json(f"{self.path}/{MANIFEST}", manifest.to_json())
        self.discard_artifact()
        self.store.move_tree(self.path, target, [*(f.path for f in manifest.files), MANIFEST])
        self.store.remove_tree(damage_path(self.stage, self.fingerprint))
        return Artifact(self.store, manifest)

    def _remove_strays(self, wanted: set[str]) -> None:
        for name in self.store.files(self.path):
            if name not in wanted and name != MANIFEST:
                self.store.remove_tree(f"{self.path}/{name}")
