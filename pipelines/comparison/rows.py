"""What a comparison consists of: rows (latent spaces and controls of `compare.yaml`), seeds, and the configuration of
each run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from components.tokenizer.spaces import find_space
from pipelines.config.compose import CONF, GROUPS, compose_config, select, to_dict
from pipelines.config.schema import Config
from pipelines.config.source_kinds import Section
from pipelines.errors import UserError, nearest
from pipelines.store.files import canonical_json, sha256_text

FILE = "compare.yaml"
OWN = (
    "spaces",
    "controls",
    "seeds",
    "budget",
)  # keys of a comparison; all others are of the configuration that its rows share
PRETRAINED = "tokenizer.model.pretrained"
# Each row or the list of seeds says these; a shared value would be overwritten without a word.
TAKEN = {"seed": "seeds=[...]", "tokenizer.model.space": "spaces=[...]"}
BUDGETED = ("tokenizer.semantic", "tokenizer.training", "generator.training", "generator.editing")
# Of no consequence for results.
WITHOUT = ("seed", "store", "execution", "cluster", "tracking", "register")


class Row(Section):
    """A latent space or a control: by what it differs from the configuration that all rows share."""

    kind: Literal["space", "control"]
    what: str
    against: str | None = None  # the row that differs in nothing else
    settings: dict[str, Any] = Field(default_factory=dict)
    small: dict[str, Any] = Field(default_factory=dict)  # beside, where the generator is a small random one
    full: dict[str, Any] = Field(default_factory=dict)  # beside, where it is a pretrained decoder
    patch_pca: dict[str, Any] = Field(default_factory=dict)  # beside, where tokenizers start from patch PCA


class Rows(Section):
    """`compare.yaml` whole."""

    spaces: tuple[str, ...]
    controls: tuple[str, ...]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)]
    budget: Annotated[float, Field(gt=0)]
    rows: dict[str, Row]


@dataclass(frozen=True)
class Entry:
    """One run of a comparison: a row at a seed."""

    name: str
    row: Row
    seed: int
    settings: dict[str, Any]  # that the row has here
    config: Config

    @property
    def key(self) -> str:
        """Its name in the comparison's record."""
        return f"{self.name}/{self.seed}"


@dataclass(frozen=True)
class Plan:
    """A comparison as asked for. Requests with the same id share one record: a row added later joins the earlier
    ones.
    """

    id: str
    overrides: tuple[str, ...]  # of the shared configuration, as far as they matter for results
    budget: float
    entries: tuple[Entry, ...]
    base: Config


def plan_comparison(arguments: list[str], config_dir: str | None = None) -> Plan:
    """Return the comparison that `key=value` arguments ask for: `spaces=`, `controls=`, `seeds=`, `budget=`, and any
    configuration.
    """
    own, overrides = _split(arguments)
    file = load_rows(own, config_dir)
    shared = [o for o in overrides if _key(o) != PRETRAINED]
    base = compose_config(shared, config_dir)
    beside = ["full" if base.generator.backbone else "small"]
    beside += ["patch_pca"] if base.tokenizer.model.pixel_channels else []
    entries = []
    for name in _names(file):
        row = file.rows[name]
        settings = row.settings | {key: value for part in beside for key, value in getattr(row, part).items()}
        # An autoencoder that is named for one space is no part of the others, whose artifacts stand without it.
        finished = find_space(settings.get("tokenizer.model.space", base.tokenizer.model.space)).training is None
        given = overrides if finished else shared
        for seed in file.seeds:
            try:
                config = _configured(_merged(given, _overrides(settings), [f"seed={seed}"]), file.budget, config_dir)
            except UserError as error:
                raise UserError(f"row {name} of {FILE}: {error}") from None
            entries.append(Entry(name, row, seed, settings, config))
    values = {key: value for key, value in to_dict(base).items() if key not in WITHOUT}
    identity = sha256_text(canonical_json([values, file.budget]))[:12]
    told = tuple(o for o in shared if _key(o).split(".")[0] not in WITHOUT)
    return Plan(identity, told, file.budget, tuple(entries), base)


def load_rows(own: dict[str, Any], config_dir: str | None) -> Rows:
    """Return `conf/compare.yaml`, with a user's own beside and over it, and the keys given on the command line over
    both.
    """
    values = _read(CONF / FILE)
    if config_dir and (Path(config_dir) / FILE).is_file():
        mine = _read(Path(config_dir) / FILE)
        unknown = [key for key in mine if key not in values]
        if unknown:
            raise UserError(f"{Path(config_dir) / FILE}: unknown key {unknown[0]}{nearest(unknown[0], values)}")
        if not isinstance(mine.get("rows", {}), dict):
            raise UserError(f"{Path(config_dir) / FILE}: rows must be a map of names to rows, like in conf/{FILE}")
        values = {**values, **mine, "rows": {**values["rows"], **mine.get("rows", {})}}
    try:
        rows = Rows.model_validate({**values, **own})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
        raise UserError("comparison refused:\n  " + "\n  ".join(lines)) from None
    spaces = [name for name, row in rows.rows.items() if row.kind == "space"]
    for names, known, what in ((rows.spaces, spaces, "space"), (rows.controls, list(rows.rows), "control")):
        for name in names:
            if name not in known:
                raise UserError(f"no {what} {name!r}{nearest(name, known)} Known: {', '.join(known)}")
    for name, row in rows.rows.items():
        if row.against is not None and row.against not in rows.rows:
            raise UserError(
                f"row {name} is held against {row.against!r}, which is no row{nearest(row.against, rows.rows)}"
            )
        if name in (held := _baselines(name, rows.rows)):
            raise UserError(
                f"rows are held against each other in a circle: {' -> '.join((name, *held))}. Remove one `against`"
            )
    if not rows.spaces and not rows.controls:
        raise UserError("nothing to compare: name spaces=[...] or controls=[...]")
    return rows


def _read(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"{path} is no YAML that can be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values, like conf/{FILE}")
    return {str(key): value for key, value in values.items()}


def _baselines(name: str, rows: Mapping[str, Row]) -> list[str]:
    """Return the row that `name` is held against, the row that this one is, and so on, until none or a known one."""
    found: list[str] = []
    against = rows[name].against
    while against is not None and against in rows and against not in found:
        found.append(against)
        against = rows[against].against
    return found


def _names(file: Rows) -> list[str]:
    """Return the rows to run, each control after the one that it is held against."""
    found: list[str] = []

    def add(name: str) -> None:
        against = file.rows[name].against
        if against is not None and against not in found:
            add(against)
        if name not in found:
            found.append(name)

    for name in (*file.spaces, *file.controls):
        add(name)
    return found


def _key(argument: str) -> str:
    return argument.split("=", 1)[0].strip()


def _split(arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the comparison's own values, and the arguments that are of the shared configuration."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    own: dict[str, Any] = {}
    rest = []
    for argument in arguments:
        key = _key(argument)
        if key in TAKEN:
            raise UserError(f"{argument}: in a comparison {TAKEN[key]} says it.")
        if key not in OWN:
            known = (*OWN, *GROUPS, *Config.model_fields)
            if "." not in key and key.partition("@")[0] not in known and key.lstrip("+~") == key:
                raise UserError(f"{argument}: unknown key{nearest(key, known)} (from the command line)")
            rest.append(argument)
            continue
        try:
            own[key] = OverridesParser.create().parse_override(argument).value()
        except HydraException as error:
            raise UserError(f"{argument!r} is not key=value: {str(error).splitlines()[0]}") from None
    return own, rest


def _overrides(settings: dict[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def _merged(*lists: Iterable[str]) -> list[str]:
    """Return the overrides of all lists; of a key that several name, the last."""
    return list({_key(override): override for overrides in lists for override in overrides}.values())


def _configured(overrides: list[str], budget: float, config_dir: str | None) -> Config:
    """Return the configuration with every training's steps at their share; evaluations keep their places in it."""
    config = compose_config(overrides, config_dir)
    if budget == 1:
        return config
    values = to_dict(config)
    shares = {
        f"{section}.{key}": max(1, round(budget * found))
        for section in BUDGETED
        for key in ("steps", "sample_every")
        if (found := select(values, f"{section}.{key}"))
    }
    return compose_config(_merged(overrides, _overrides(shares)), config_dir)
