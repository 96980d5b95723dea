"""Composition: `conf/` by Hydra, then a user's own folder, then `key=value`; checked against the schema as one whole.

Every error names the key, the nearest valid one, and the file (or the command line) the key came from.
"""

from __future__ import annotations

import dataclasses
import difflib
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
GROUPS = ("source", "encoder", "tokenizer", "generator", "optimizer", "preset")
OPTIMIZERS = tuple(
    f"optimizer@{name}.optimizer"
    for name in (
        "encoder.training",
        "tokenizer.semantic",
        "tokenizer.training",
        "generator.training",
        "generator.editing",
    )
)
NOT_GIVEN = "<not given>"  # stands for a value that must be given and is not, for commands that can do without
COMMAND_LINE = "the command line"
OPTIONS_CLASS = "from its options class"  # a default that no file says


def compose_config(overrides: list[str], config_dir: str | None = None, stand_in: str | None = None) -> Config:
    """Compose the configuration of `key=value` overrides. `config_dir` is a folder laid out like `conf/`, looked in as
    well.

    `stand_in` stands for what must be given and is not, for a command that can do without.
    """
    values, origins = _composed(overrides, config_dir)
    return validate(values if stand_in is None else _filled(values, stand_in), origins)


def changed_keys(overrides: list[str], config_dir: str | None = None) -> list[tuple[str, Any, str]]:
    """Return (key, value, where it comes from) of every key that differs from the base, which is `conf/config.yaml`
    without a preset.
    """
    values, origins = _composed(overrides, config_dir)
    given = flatten(to_dict(validate(_filled(values, "???given"), origins)))
    base, base_origins = _composed(["~preset"], None)
    standing = flatten(to_dict(validate(_filled(base, "???given"), base_origins)))
    found = [(key, value, origins.of(key)) for key, value in given.items() if key != "preset"]
    # What another kind of source has, and the base's has not, differs where a file says it.
    return [row for row in found if (row[1] != standing[row[0]] if row[0] in standing else row[2] != OPTIONS_CLASS)]


def _composed(overrides: list[str], config_dir: str | None) -> tuple[dict[str, Any], Origins]:
    """Return the values of `key=value` overrides, not yet checked, and where each comes from."""
    folders = [CONF] + ([_checked_folder(config_dir)] if config_dir else [])
    _check_overrides([o for o in overrides if o != "~preset"], folders)
    values, choices = _hydra(overrides, folders)
    values["preset"] = choices.get("preset", "none")
    return values, Origins(overrides, folders, choices)


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
        f"{key}: unknown key{_nearest_key(key, known)} ({origins.of(key)})"
        for key, known in unknown_keys(values, Config)
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
        if len(parts) > 1 and parts[0] == "source" and parts[1] in source_kinds():
            del parts[1]
        key = ".".join(parts)
        message = problem["msg"].removeprefix("Value error, ")
        shown = without_credentials(json.dumps(problem["input"], default=str))
        given = "" if isinstance(problem["input"], dict) else f", got {shown}"
        lines.append(f"{key + ': ' if key else ''}{message}{given}" + (f" ({origins.of(key)})" if key else ""))
    return lines


def source_kinds() -> list[str]:
    """Return the kinds of sources that the schema has."""
    sections = _members(Config.model_fields["source"])
    return [str(typing.get_args(section.model_fields["kind"].annotation)[0]) for section in sections]


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


def _nearest_key(key: str, beside: list[str]) -> str:
    """Return `; did you mean 'x'?`: the same name elsewhere in its section, else a key beside it that is spelt alike,
    else one of the tree.
    """
    whole = all_keys(Config)
    *path, last = key.split(".")
    names = [k.rpartition(".")[2] for k in whole]
    alike = last if last in names else next(iter(difflib.get_close_matches(last, names, 1, cutoff=0.8)), "")
    same_name = [k for k, name in zip(whole, names, strict=True) if name == alike]
    ranked = sorted(same_name, key=lambda k: (-len(set(path) & set(k.split("."))), k.count("."), k))
    if ranked and path and alike == last and ranked[0].startswith(f"{path[0]}."):
        return f"; did you mean '{ranked[0]}'?"
    return nearest(key, beside) or (f"; did you mean '{ranked[0]}'?" if ranked else "")


def all_keys(kind: Any, prefix: str = "") -> list[str]:
    """Return every dotted key of a section's type, those of each member of a union."""
    found = []
    for part in _members(kind):
        for name, inner in (_fields_of(part) or {}).items():
            key = f"{prefix}.{name}" if prefix else name
            found += [key, *all_keys(inner, key)]
    return list(dict.fromkeys(found))


def _fields(kind: Any, values: Any) -> dict[str, Any] | None:
    """Return {field: type} of a section's type, choosing the member of a union by its `kind`; None for a leaf."""
    members = _members(kind)
    if len(members) > 1:
        wanted = values.get("kind") if isinstance(values, dict) else None
        members = [k for k in members if wanted in typing.get_args(k.model_fields["kind"].annotation)]
    return _fields_of(members[0]) if members else None


def _members(kind: Any) -> list[Any]:
    """Return the types that hold fields: one, or each of a union of sections; none for a leaf."""
    if isinstance(kind, FieldInfo):
        kind = kind.annotation
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    return [k for k in kinds if isinstance(k, type) and _fields_of(k) is not None]


def _fields_of(kind: Any) -> dict[str, Any] | None:
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
        self._command_line = [_name(o) for o in overrides if not _is_choice(o)]
        self._folders = folders
        self._choices = choices
        self._default = default

    def of(self, key: str) -> str:
        """Return the place a dotted key came from: the last of base, groups, preset and command line that has it."""
        if any(
            key == given or key.startswith(given + ".") or given.startswith(key + ".") for given in self._command_line
        ):
            return f"from {COMMAND_LINE}"
        for choice in reversed(self._choices):  # as Hydra merges them: the preset last
            group, _, package = choice.partition("@")
            package = package or ("" if group == "preset" else group)
            if package and key != package and not key.startswith(package + "."):
                continue
            inner = key[len(package) :].lstrip(".")
            for path in self._files(group, self._choices[choice]):
                if inner and _has_key(path, inner):
                    return f"from {_shown(path)}"
        base = CONF / "config.yaml"
        if not self._folders:
            return f"from {self._default}"
        return f"from {_shown(base)}" if _has_key(base, key) else OPTIONS_CLASS

    def _files(self, group: str, choice: str) -> list[Path]:
        """Return the file of a choice, and below it those of its own group that it starts from."""
        from omegaconf import OmegaConf

        for root in reversed(self._folders):
            path = root / group / f"{choice}.yaml"
            if path.is_file():
                parts = OmegaConf.to_container(OmegaConf.load(path))
                assert isinstance(parts, dict)
                start = [name for name in parts.get("defaults", []) if isinstance(name, str) and name != "_self_"]
                return [path, *(file for name in reversed(start) for file in self._files(group, name))]
        return []


def _shown(path: Path) -> str:
    """Return a path as a user knows it: those of pixsem itself from `conf/` on."""
    return str(path.relative_to(CONF.parent)) if path.is_relative_to(CONF) else str(path)


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


def _check_overrides(overrides: list[str], folders: list[Path]) -> None:
    """Refuse what is no `key=value`, a key given twice, and unknown choices of a group."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    given: dict[str, str] = {}
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise UserError(f"{text!r} is not key=value: {str(error).splitlines()[0]}") from None
        if text.startswith(("+", "~")) or (override.value() is None and "=" not in text):
            raise UserError(f"{text!r}: keys are set with key=value; none can be added or removed.")
        name = _name(text)
        if name in given:
            raise UserError(f"{name} is given twice, as {given[name]!r} and {text!r}: leave one out.")
        given[name] = text
        group, _, package = name.partition("@")
        if package and name not in OPTIMIZERS:
            raise UserError(
                f"{text}: no such place of a group{nearest(name, OPTIMIZERS)} Known: {', '.join(OPTIMIZERS)}"
            )
        if group in GROUPS:
            known = _choices_of(group, folders)
            if override.value() not in known:
                value = str(override.value())
                raise UserError(
                    f"{text}: no such {group}{nearest(value, known)} Known: {', '.join(known)} (from {COMMAND_LINE})"
                )


def _name(override: str) -> str:
    return override.split("=", 1)[0].strip()


def _is_choice(override: str) -> bool:
    return _name(override).partition("@")[0] in GROUPS or override == "~preset"


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
    # Values are set with `++`, so that an unknown key meets the schema, which knows its nearest neighbour. An optimizer
    # is chosen for all trainings, but for those that are named with one of their own.
    settings = [o if _is_choice(o) else f"++{o}" for o in overrides if _name(o) != "optimizer"]
    named = {_name(o) for o in overrides}
    for chosen in [o for o in overrides if _name(o) == "optimizer"]:
        settings += [f"{place}={chosen.split('=', 1)[1]}" for place in OPTIMIZERS if place not in named]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            config = compose("config", overrides=settings + search, return_hydra_config=True)
            choices = {k: str(v) for k, v in config.hydra.runtime.choices.items() if k.partition("@")[0] in GROUPS}
            whole = OmegaConf.to_container(config, resolve=False, throw_on_missing=False)
            assert isinstance(whole, dict)
            whole.pop("hydra")
            values = OmegaConf.to_container(OmegaConf.create(whole), resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError("configuration refused: " + " ".join(str(error).split())) from None
    return typing.cast("dict[str, Any]", values), choices
