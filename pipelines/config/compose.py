"""Composition: `conf/` by Hydra, then a user's own folder, then `key=value`; checked against the schema as one whole.

Every error names the key, the nearest valid one, and the file (or the command line) the key came from.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import typing
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.data.addresses import without_secrets
from components.registry.mlflow_errors import without_credentials
from pipelines.config.keys import flatten, nearest_key, source_kinds, unknown_keys
from pipelines.config.newer_keys import without_gone
from pipelines.config.origins import (
    COMMAND_LINE,
    CONF,
    GROUPS,
    OPTIONS_CLASS,
    SEVERAL,
    Origins,
    choices_in,
    is_choice,
    is_named_source,
    name_of,
)
from pipelines.config.schema import Config
from pipelines.config.values import as_meant, assign, made_by_braces
from pipelines.errors import UserError, nearest

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
STORE_VARIABLE = "PIXSEM_STORE"  # names the store for every command, where no option and no key does
NOT_GIVEN = "<not given>"  # stands for a value that must be given and is not, for commands that can do without


def compose_config(overrides: list[str], config_dir: str | None = None, stand_in: str | None = None) -> Config:
    """Compose the configuration of `key=value` overrides. `config_dir` is a folder laid out like `conf/`, looked in as
    well.

    `stand_in` stands for what must be given and is not, for a command that can do without.
    """
    values, origins = _composed(overrides, config_dir, os.environ.get(STORE_VARIABLE, ""))
    return validate(values if stand_in is None else _filled(values, stand_in), origins)


def changed_keys(overrides: list[str], config_dir: str | None = None) -> list[tuple[str, Any, str]]:
    """Return (key, value, where it comes from) of every key that differs from the base, which is `conf/config.yaml`
    without a preset.
    """
    values, origins = _composed(overrides, config_dir, os.environ.get(STORE_VARIABLE, ""))
    given, standing = flatten(to_dict(validate(_filled(values, "???given"), origins))), base_values()
    differing = [key for key in given if key != "preset" and (key not in standing or given[key] != standing[key])]
    found = [(key, given[key], origins.of(key)) for key in differing]
    # What another kind of source has, and the base's has not, differs where a file says it.
    return [row for row in found if row[0] in standing or row[2] != OPTIONS_CLASS]


def base_values() -> dict[str, Any]:
    """Return {dotted key: value} of the base, which is `conf/config.yaml` without a preset."""
    base, origins = _composed(["~preset"], None)
    return flatten(to_dict(validate(_filled(base, "???given"), origins)))


def _composed(overrides: list[str], config_dir: str | None, store: str = "") -> tuple[dict[str, Any], Origins]:
    """Return the values of `key=value` overrides, not yet checked, and where each comes from. `store` is what the
    environment names as one; the command line goes before it, and files after it.
    """
    folders = [CONF] + ([_checked_folder(config_dir)] if config_dir else [])
    _check_overrides([o for o in overrides if o != "~preset"], folders)
    by_environment = store and "store" not in map(name_of, overrides)
    values, choices = _hydra([*overrides, assign("store", store)] if by_environment else overrides, folders)
    values["preset"] = choices.get("preset", "none")
    if values.get("sources"):
        _check_one_form(overrides)
        values["source"] = None  # the base's, or a preset's: `sources` stands in its place
    environment = {"store": STORE_VARIABLE} if by_environment else {}
    return values, Origins(overrides, folders, choices, environment=environment)


def _check_one_form(overrides: list[str]) -> None:
    """Refuse `source` beside `sources`: one would be left unread."""
    given = [text for text in overrides if re.match(r"source[.=]", name_of(text) + "=")]
    if given:
        raise UserError(
            f"{given[0]}: this configuration has several sources, under `sources`, and `source` is not read. Give it "
            "a name, as in sources.NAME.path=..., or leave it out."
        )


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
    return validate(without_gone(typing.cast("dict[str, Any]", values)), Origins([], [], {}, default=where))


def validate(values: dict[str, Any], origins: Origins) -> Config:
    """Check values against the schema; `UserError` lists every problem with its key and origin."""
    problems = [
        f"{key}: unknown key{nearest_key(key, known)} ({origins.of(key)})"
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
        at = {"source": 1, "sources": 2}.get(parts[0] if parts else "", len(parts))
        if len(parts) > at and parts[at] in source_kinds():
            del parts[at]
        key = ".".join(parts)
        message = problem["msg"].removeprefix("Value error, ")
        shown = without_secrets(without_credentials(json.dumps(problem["input"], default=str)))
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
            override = OverridesParser.create().parse_override(as_meant(text))
        except HydraException as error:
            raise UserError(
                f"{text!r} is not key=value: {str(error).splitlines()[0]}. A text with characters of its own goes into "
                "quotes inside the shell's, for example 'key=\"a (b)\"'."
            ) from None
        if override.is_sweep_override():
            raise UserError(f"{text!r} gives several values. A list is written in brackets: key=[a,b].")
        if is_named_source(text):
            text = text.removeprefix("+")
        if text.startswith(("+", "~")) or (override.value() is None and "=" not in text):
            raise UserError(f"{text!r}: keys are set with key=value; none can be added or removed.")
        name = name_of(text)
        if name in given:
            shell = " If the shell made them of one with braces, put that into quotes: '{0..9}'."
            hint = shell if made_by_braces(given[name], text) else ""
            raise UserError(f"{name} is given twice, as {given[name]!r} and {text!r}: leave one out.{hint}")
        given[name] = text
        group, _, package = name.partition("@")
        if package and name not in OPTIMIZERS and not is_named_source(text):
            raise UserError(
                f"{text}: no such place of a group{nearest(name, OPTIMIZERS)} Known: {', '.join(OPTIMIZERS)}"
            )
        if group in GROUPS:
            known = _choices_of(group, folders)
            chosen = choices_in(override.value()) if group in SEVERAL else [override.value()]
            if lacking := [one for one in chosen if one not in known]:
                value = str(lacking[0])
                raise UserError(
                    f"{text}: no such {group}{nearest(value, known)} Known: {', '.join(known)} (from {COMMAND_LINE})"
                )


def _compose(settings: list[str], search: list[str]) -> Any:
    """Compose by Hydra. The kind of a named source is added, or replaced where a preset names it, too."""
    from hydra import compose
    from hydra.errors import ConfigCompositionException

    while True:
        try:
            return compose("config", overrides=settings + search, return_hydra_config=True)
        except ConfigCompositionException as error:
            told = re.search(r"(?:Multiple values for|already at) '?(source@sources\.\w+)", str(error))
            there = [o for o in settings if told and name_of(o) == f"+{told.group(1)}"]
            if not there:
                raise
            settings = [o.removeprefix("+") if o in there else o for o in settings]


def _hydra(overrides: list[str], folders: list[Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the composed values, not yet checked, and the choice made in each group."""
    if folders == [CONF]:  # which nobody changes under a running process
        return copy.deepcopy(_hydra_of_conf(tuple(overrides)))
    return _hydra_anew(overrides, folders)


@functools.lru_cache(maxsize=64)
def _hydra_of_conf(overrides: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    return _hydra_anew(list(overrides), [CONF])


def _hydra_anew(overrides: list[str], folders: list[Path]) -> tuple[dict[str, Any], dict[str, str]]:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    places = ",".join(assign("", f"file://{folder}").removeprefix("=") for folder in folders[1:])
    search = [f"hydra.searchpath=[{places}]"] if places else []
    # Values are set with `++`, so that an unknown key meets the schema, which knows its nearest neighbour. An optimizer
    # is chosen for all trainings, but for those that are named with one of their own.
    listed = {name_of(o): value for o in overrides if (value := _listed_models(o)) is not None}
    plain = [o for o in overrides if name_of(o) not in listed and not is_named_source(o)]
    settings = [o if is_choice(o) else f"++{as_meant(o)}" for o in plain if name_of(o) != "optimizer"]
    settings += [f"+{o.removeprefix('+')}" for o in overrides if is_named_source(o)]
    named = {name_of(o) for o in overrides}
    for chosen in [o for o in overrides if name_of(o) == "optimizer"]:
        settings += [f"{place}={chosen.split('=', 1)[1]}" for place in OPTIMIZERS if place not in named]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            config = _compose(settings, search)
            choices = {k: str(v) for k, v in config.hydra.runtime.choices.items() if k.partition("@")[0] in GROUPS}
            choices |= {group: ",".join(_choices_of(group, folders)) for group in SEVERAL}  # Hydra does not tell which
            whole = OmegaConf.to_container(config, resolve=False, throw_on_missing=False)
            assert isinstance(whole, dict)
            whole.pop("hydra")
            values = OmegaConf.to_container(OmegaConf.create(whole), resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError("configuration refused: " + " ".join(str(error).split())) from None
    found = typing.cast("dict[str, Any]", values)
    for key, models in listed.items():
        section, _, name = key.rpartition(".")
        found[section][name] = models
    return found, choices


def _listed_models(override: str) -> list[Any] | None:
    """Return the models of `measure.models=[{name: ..., ...}]`; None for another override. A list stands for all there
    are, and Hydra would not put it in a mapping's place.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if name_of(override) != "measure.models":
        return None
    value = OverridesParser.create().parse_override(override).value()
    return value if isinstance(value, list) else None
