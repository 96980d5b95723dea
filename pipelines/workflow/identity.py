"""The plan: each stage's fingerprint, whether it is cached, and if not, why it must run. Reads only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipelines.config.compose import flatten, select, to_dict
from pipelines.config.newer_keys import NEWER, as_before
from pipelines.config.schema import Config
from pipelines.errors import StoreError
from pipelines.stage import Stage, load_function
from pipelines.store.artifacts import Artifact, Manifest, damage_path, find_artifact, list_artifacts
from pipelines.store.files import Store, canonical_json, sha256_text
from pipelines.workflow.code_digests import OLDER_CODE, changed_rooms, code_of

MAX_REASONS = 6  # differences that are named one by one


@dataclass(frozen=True)
class Identity:
    """What a stage's fingerprint is made of."""

    stage: Stage
    config: dict[str, Any]
    external: dict[str, str]
    inputs: dict[str, str]  # input stage -> fingerprint
    code: dict[str, str] = field(default_factory=dict)  # room -> digest; no part of the fingerprint
    rerun_on_code_change: bool = False

    @property
    def fingerprint(self) -> str:
        """sha256 over name, version, configuration subtree, external content and inputs' fingerprints; 24 hex
        digits.
        """
        parts = [self.stage.name, self.stage.version, self.config, self.external, self.inputs]
        return sha256_text(canonical_json(parts))[:24]


@dataclass
class StagePlan:
    """One stage of a plan. `artifact` is set where it is cached; `reasons` where it would run.

    `conditional`: it stands, and runs only if an input that is made again comes out with other content.
    """

    identity: Identity
    artifact: Artifact | None
    reasons: list[str]
    conditional: bool = False

    @property
    def note(self) -> str:
        """`made by older code of ...` for a cached stage; empty where the code is the same."""
        return older_code(self.identity, self.artifact) if self.artifact is not None else ""

    @property
    def cached(self) -> bool:
        """True where nothing is to be done."""
        return not self.reasons


def identify(stages: list[Stage], config: Config, store: Store) -> dict[str, Identity]:
    """Return every stage's identity. Reads the sources outside the store (content digests, cached by size and time)."""
    values = to_dict(config)
    code = code_of(stages)
    identities: dict[str, Identity] = {}
    for stage in stages:
        identities[stage.name] = Identity(
            stage=stage,
            config=_config(stage, values),
            external=_external(stage, config, store),
            inputs={name: identities[name].fingerprint for name in stage.inputs},
            code=code[stage.name],
            rerun_on_code_change=config.execution.on_code_change == "rerun",
        )
    return identities


def _external(stage: Stage, config: Config, store: Store) -> dict[str, str]:
    """Return the digests of what a stage reads from outside the store; an instance is asked for by its own name."""
    if not stage.external:
        return {}
    digests = load_function(stage.external)
    return digests(config, store, stage.instance) if stage.instance else digests(config, store)


def _config(stage: Stage, values: dict[str, Any]) -> dict[str, Any]:
    """Return what of the configuration is part of a stage's identity."""
    found = {key: select(values, key) for key in stage.config}
    newer = {key for key, value in found.items() if key in NEWER and value == NEWER[key]}
    return {key: _read(stage, key, value) for key, value in found.items() if key not in newer} | dict(stage.given)


def _read(stage: Stage, key: str, value: Any) -> Any:
    """Return what a stage reads at a dotted key that it declared."""
    left_out = {k.removeprefix(f"{key}.") for k in stage.without if k.startswith(f"{key}.")}
    value = {name: part for name, part in value.items() if name not in left_out} if left_out else value
    return as_before(key, value)


def state_of(store: Store, identity: Identity, inputs: dict[str, Artifact]) -> tuple[Artifact | None, list[str]]:
    """Return (artifact, []) where the stage is cached for these inputs, else (None, reasons).

    The content of an input that is not given is not looked at.
    """
    stage = identity.stage
    try:
        artifact = find_artifact(store, stage.name, identity.fingerprint)
    except StoreError:
        return None, ["its manifest is damaged"]
    if artifact is None:
        return None, explain_missing(store, identity)
    if store.exists(damage_path(stage.name, identity.fingerprint)):
        return None, ["pixsem verify found damage in its files"]
    for name, entry in artifact.manifest.inputs.items():
        if name in inputs and inputs[name].manifest.digest != entry["digest"]:
            return None, [f"input {name} has other content than it was made from"]
    if identity.rerun_on_code_change and (made_by := older_code(identity, artifact)):
        return None, [made_by]
    problems = artifact.problems()
    if problems:
        name, what = next(iter(problems.items()))
        return None, [
            f"damaged: {name} {what}" + (f", and {len(problems) - 1} more files" if len(problems) > 1 else "")
        ]
    return artifact, []


def older_code(identity: Identity, artifact: Artifact) -> str:
    """Say `made by older code of ROOM, ROOM`; empty where the code is the same, or is not recorded."""
    rooms = changed_rooms(artifact.manifest.code, identity.code)
    return f"{OLDER_CODE}{', '.join(rooms)}" if rooms else ""


def explain_missing(store: Store, identity: Identity) -> list[str]:
    """Say what differs from the nearest artifact the stage made before."""
    stage = identity.stage
    before = [a.manifest for _, _, a in list_artifacts(store, stage.name) if isinstance(a, Artifact)]
    if not before:
        return ["never made in this store"]
    newest_first = sorted(before, key=lambda manifest: manifest.created, reverse=True)
    reasons = min((_differences(identity, manifest) for manifest in newest_first), key=len)
    return (
        reasons
        if len(reasons) <= MAX_REASONS
        else [*reasons[:MAX_REASONS], f"and {len(reasons) - MAX_REASONS} more differences"]
    )


def _differences(identity: Identity, manifest: Manifest) -> list[str]:
    found = []
    if manifest.stage_version != identity.stage.version:
        found.append(f"stage version {manifest.stage_version} -> {identity.stage.version}")
    old, new = flatten(manifest.config), flatten(identity.config)
    for key in sorted(set(old) | set(new)):
        if old.get(key) != new.get(key):
            found.append(f"config {key}: {_short(old.get(key, 'unset'))} -> {_short(new.get(key, 'unset'))}")
    for name in sorted(set(manifest.external) | set(identity.external)):
        if manifest.external.get(name) != identity.external.get(name):
            found.append(f"{name} changed")
    for name, fingerprint in identity.inputs.items():
        if manifest.inputs.get(name, {}).get("fingerprint") != fingerprint:
            found.append(f"input {name} changes")
    return found or ["its artifact is gone"]


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 40 else text[:37] + "..."


def make_plan(
    stages: list[Stage], identities: dict[str, Identity], store: Store, force: list[str], wanted: list[str]
) -> dict[str, StagePlan]:
    """Plan the wanted stages. A stage after one that runs is planned by its fingerprint; its input's content is not yet
    known.
    """
    plans: dict[str, StagePlan] = {}
    for stage in stages:
        if stage.name not in wanted:
            continue
        identity = identities[stage.name]
        known = {name: artifact for name in stage.inputs if (artifact := plans[name].artifact) is not None}
        open_ones = [name for name in stage.inputs if name not in known]
        artifact, reasons = (None, ["forced"]) if stage.name in force else state_of(store, identity, known)
        if artifact is not None and open_ones:
            reasons = [f"only if input {', '.join(open_ones)} comes out with other content"]
            plans[stage.name] = StagePlan(identity, None, reasons, conditional=True)
        else:
            plans[stage.name] = StagePlan(identity, artifact, reasons)
    return plans
