"""Composition: `conf/` by Hydra, then a user's own folder, then `key=value`; checked against the schema as one whole.

Every error names the key, the nearest valid one, and the file (or the command line) the key came from.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from components.registry.mlflow_errors import without_credentials
from pipelines.config.schema import Config
from pipelines.errors import UserError, nearest

CONF = Path(__file__).resolve().parents[2] / "conf"
GROUPS = ("preset", "source")
COMMAND_LINE = "the command line"


def compose_config(overrides: list[str], config_dir: str | None = None, stand_in: str | None = None) -> Config:
    """Compose the configuration of `key=value` overrides. `config_dir` is a folder laid out like `conf/`, looked in as well.

    `stand_in` stands for what must be given and is not, for a command that can do without.
    """
    folders = [CONF] + ([_checked_folder(config_dir)] if config_dir else [])
    chosen = _check_overrides(overrides, folders)
    values, choices = _hydra(overrides, folders)
    values["preset"] = choices["preset"]
    origins = Origins(overrides, folders, {**choices, **chosen})
    return validate(values if stand_in is None else _filled(values, stand_in), origins)


def _filled(values: Any, stand_in: str) -> Any:
    if isinstance(values, dict):
        return {name: _filled(value, stand_in) for name, value in values.items()}
    return stand_in if values == "???" else values


def load_config(text: str, where: str) -> Config:
    """Read a configuration that a run kept (`config.yaml`)."""
    import yaml
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        found = OmegaConf.create(text)
        if not isinstance(found, DictConfig):
            raise UserError(f"{where} holds no configuration, but a list")
        values = OmegaConf.to_container(found)
    except (yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        raise UserError(f"{where} cannot be read as a configuration: {' '.join(str(error).split())[:400]}") from None
    return validate(typing.cast("dict[str, Any]", values), Origins([], [], {}, default=where))


def validate(values: dict[str, Any], origins: Origins) -> Config:
    """Check values against the schema; `UserError` lists every problem with its key and origin."""
    problems = [
        f"{key}: unknown key{nearest(key, known)} ({origins.of(key)})" for key, known in unknown_keys(values, Config)
    ]
    missing = [key for key, value in flatten(values).items() if value == "???"]
    problems += [f"{key}: must be given, for example {key}=... ({origins.of(key)})" for key in missing]
    if problems:
        raise UserError("configuration refused:\n  " + "\n  ".join(problems))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError("configuration refused:\n  " + "\n  ".join(_explain(error, origins))) from None


def _explain(error: ValidationError, origins: Origins) -> list[str]:
    lines = []
    for problem in error.errors():
        parts = [str(part) for part in problem["loc"]]
        # pydantic names the member of the union it chose; no user wrote that.
        if len(parts) > 1 and parts[0] == "source" and parts[1] in ("scenes", "urls", "webdataset", "folder"):
            del parts[1]
        key = ".".join(parts)
        message = problem["msg"].removeprefix("Value error, ")
        shown = without_credentials(json.dumps(problem["input"], default=str))
        given = "" if isinstance(problem["input"], dict) else f", got {shown}"
        lines.append(f"{key + ': ' if key else ''}{message}{given}" + (f" ({origins.of(key)})" if key else ""))
    return lines


def to_yaml(config: Config) -> str:
    """Return the resolved configuration as YAML, every key written out."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(to_dict(config)))


def to_dict(config: Config) -> dict[str, Any]:
    """Return the resolved configuration as plain JSON values."""
    return config.model_dump(mode="json")


def select(values: dict[str, Any], key: str) -> Any:
    """Return the value at a dotted key."""
    for part in key.split("."):
        values = values[part]
    return values


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dicts as {dotted key: leaf}; an empty dict is a leaf."""
    if not isinstance(values, dict) or not values:
        return {prefix: values} if prefix else {}
    return {
        k: v
        for name, value in values.items()
        for k, v in flatten(value, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def unknown_keys(values: Any, kind: Any, prefix: str = "") -> list[tuple[str, list[str]]]:
    """Return (dotted unknown key, dotted known keys beside it) for every key of `values` that the type `kind` lacks."""
    fields = _fields(kind, values)
    if fields is None or not isinstance(values, dict):
        return []
    found = []
    for name, value in values.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        if name not in fields:
            found.append((key, [f"{prefix}.{k}" if prefix else k for k in fields]))
        else:
            found += unknown_keys(value, fields[name], key)
    return found


def _fields(kind: Any, values: Any) -> dict[str, Any] | None:
    """Return {field: type} of a section's type, choosing the member of a union by its `kind`; None for a leaf."""
    if isinstance(kind, FieldInfo):
        kind = kind.annotation
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        members = [k for k in typing.get_args(kind) if isinstance(k, type) and issubclass(k, BaseModel)]
        wanted = values.get("kind") if isinstance(values, dict) else None
        chosen = [k for k in members if wanted in typing.get_args(k.model_fields["kind"].annotation)]
        return _fields(chosen[0], values) if chosen else None
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return dict(kind.model_fields)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    return None


class Origins:
    """Knows which file, or the command line, gave a key its value."""

    def __init__(
        self, overrides: list[str], folders: list[Path], choices: dict[str, str], default: str = "conf/"
    ) -> None:
        self._command_line = [o.split("=", 1)[0].lstrip("+~") for o in overrides]
        self._folders = folders
        self._choices = choices
        self._default = default

    def of(self, key: str) -> str:
        """Return the place a dotted key came from: the last of the command line, preset, group and base that has it."""
        if any(
            key == given or key.startswith(given + ".") or given.startswith(key + ".") for given in self._command_line
        ):
            return f"from {COMMAND_LINE}"
        group = key.split(".", 1)[0]
        candidates = [("preset", self._choices.get("preset"), key)]
        if group in self._choices and "." in key:
            candidates.append((group, self._choices[group], key.split(".", 1)[1]))
        for folder, choice, inner in candidates:
            for root in reversed(self._folders):
                path = root / folder / f"{choice}.yaml"
                if path.is_file() and _has_key(path, inner):
                    return f"from {path}"
        for root in self._folders[:1]:
            return f"from {root / 'config.yaml'}"
        return f"from {self._default}"


def _has_key(path: Path, key: str) -> bool:
    from omegaconf import OmegaConf

    return OmegaConf.select(OmegaConf.load(path), key, throw_on_missing=False) is not None or any(
        k == key or k.startswith(key + ".") for k in flatten(OmegaConf.to_container(OmegaConf.load(path)))
    )


def _checked_folder(config_dir: str) -> Path:
    folder = Path(config_dir).resolve()
    if not folder.is_dir():
        raise UserError(
            f"--config-dir {config_dir}: no such folder. It is laid out like conf/: preset/NAME.yaml, source/NAME.yaml."
        )
    return folder


def _choices_of(group: str, folders: list[Path]) -> list[str]:
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def _check_overrides(overrides: list[str], folders: list[Path]) -> dict[str, str]:
    """Refuse what is no `key=value`, and unknown choices of a group; return the groups chosen."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    chosen: dict[str, str] = {}
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise UserError(f"{text!r} is not key=value: {str(error).splitlines()[0]}") from None
        if text.startswith(("+", "~")) or (override.value() is None and "=" not in text):
            raise UserError(f"{text!r}: keys are set with key=value; none can be added or removed.")
        if override.key_or_group in GROUPS:
            known = _choices_of(override.key_or_group, folders)
            if override.value() not in known:
                value = str(override.value())
                raise UserError(
                    f"{text}: no such {override.key_or_group}{nearest(value, known)} Known: {', '.join(known)} (from {COMMAND_LINE})"
                )
            chosen[override.key_or_group] = str(override.value())
    return chosen


def _hydra(overrides: list[str], folders: list[Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the composed values, not yet checked, and the choice made in each group."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    search = (
        [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders[1:])}]"] if len(folders) > 1 else []
    )
    # Values are set with `++`, so that an unknown key meets the schema, which knows its nearest neighbour.
    settings = [o if o.split("=", 1)[0] in GROUPS else f"++{o}" for o in overrides]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            config = compose("config", overrides=settings + search, return_hydra_config=True)
            choices = {k: str(v) for k, v in config.hydra.runtime.choices.items() if k in GROUPS}
            whole = OmegaConf.to_container(config, resolve=False, throw_on_missing=False)
            assert isinstance(whole, dict)
            whole.pop("hydra")
            values = OmegaConf.to_container(OmegaConf.create(whole), resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError("configuration refused: " + " ".join(str(error).split())) from None
    return typing.cast("dict[str, Any]", values), choices
