"""Which file, or the command line, gave a key its value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.config.keys import flatten

CONF = Path(__file__).resolve().parents[2] / "conf"
# In the order of their merge.
GROUPS = (
    "source", "encoder", "tokenizer", "generator", "optimizer", "gates", "signals", "execution", "preset",
)  # fmt: skip
SEVERAL = ("signals",)  # groups of which several choices may be taken: signals=[nsfw,clip]
# That a group's values belong to, where it is not called like the group.
SECTIONS = {"gates": "register", "signals": "", "preset": ""}
COMMAND_LINE = "the command line"
OPTIONS_CLASS = "from its options class"  # a default that no file says


def name_of(override: str) -> str:
    """Return the key, or the group, of `key=value`."""
    return override.split("=", 1)[0].strip()


def is_choice(override: str) -> bool:
    """True for a choice of a group."""
    return name_of(override).partition("@")[0] in GROUPS or override == "~preset"


def choices_in(value: object) -> list[str]:
    """Return the choices that a group's value names: one, or of `SEVERAL` a list, or names with commas between."""
    return [str(one) for one in value] if isinstance(value, list) else str(value).split(",")


def is_named_source(override: str) -> bool:
    """True for the kind of a named source: `source@sources.NAME=KIND`, with or without Hydra's `+`."""
    return name_of(override).removeprefix("+").startswith("source@sources.")


class Origins:
    """Knows which file, or the command line, gave a key its value."""

    def __init__(
        self,
        overrides: list[str],
        folders: list[Path],
        choices: dict[str, str],
        default: str = "conf/",
        environment: dict[str, str] | None = None,
    ) -> None:
        self._command_line = [name_of(o) for o in overrides if not is_choice(o) and not is_named_source(o)]
        self._folders = folders
        self._choices = choices
        self._default = default
        self._environment = environment or {}  # key -> the variable that gave it
        self._read: dict[Path, Any] = {}  # a file is asked for many keys

    def of(self, key: str) -> str:
        """Return the place a dotted key came from: the last of base, groups, preset and command line that has it."""
        if any(
            key == given or key.startswith(given + ".") or given.startswith(key + ".") for given in self._command_line
        ):
            return f"from {COMMAND_LINE}"
        if key in self._environment:
            return f"from {self._environment[key]}"
        # Hydra lists choices in an order of its own; what is merged last is asked first.
        for choice in sorted(self._choices, key=lambda c: -GROUPS.index(c.partition("@")[0])):
            group, _, package = choice.partition("@")
            package = package or SECTIONS.get(group, group)
            if package and key != package and not key.startswith(package + "."):
                continue
            inner = key[len(package) :].lstrip(".")
            taken = choices_in(self._choices[choice])
            for path in [path for one in reversed(taken) for path in self._files(group, one)]:
                if inner and self._has_key(path, inner):
                    return f"from {_shown(path)}"
        base = CONF / "config.yaml"
        if not self._folders:
            return f"from {self._default}"
        return f"from {_shown(base)}" if self._has_key(base, key) else OPTIONS_CLASS

    def _files(self, group: str, choice: str) -> list[Path]:
        """Return the file of a choice, and below it those of its own group that it starts from."""
        for root in reversed(self._folders):
            path = root / group / f"{choice}.yaml"
            if path.is_file():
                listed = self._load(path).get("defaults", [])
                start = [name for name in listed if isinstance(name, str) and name != "_self_"]
                return [path, *(file for name in reversed(start) for file in self._files(group, name))]
        return []

    def _load(self, path: Path) -> Any:
        from omegaconf import OmegaConf

        if path not in self._read:
            self._read[path] = OmegaConf.load(path)
        return self._read[path]

    def _has_key(self, path: Path, key: str) -> bool:
        from omegaconf import OmegaConf

        file = self._load(path)
        # A file alone cannot resolve what refers to another one, e.g. ${image_size}.
        found = OmegaConf.select(file, key, throw_on_missing=False, throw_on_resolution_failure=False)
        keys = flatten(OmegaConf.to_container(file))
        return found is not None or any(k == key or k.startswith(key + ".") for k in keys)


def _shown(path: Path) -> str:
    """Return a path as a user knows it: those of pixsem itself from `conf/` on."""
    return str(path.relative_to(CONF.parent)) if path.is_relative_to(CONF) else str(path)
