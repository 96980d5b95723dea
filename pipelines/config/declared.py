"""The configuration as one stage may see it: the keys that the stage declared, and `execution`, which changes no
result.

A key that is read and not declared would not enter the stage's fingerprint, so a stale artifact would be taken for a
fresh one. Reading one raises `UndeclaredKey`, in the stage's function, in its shard tasks and in its training workers
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pipelines.config.schema import Config
from pipelines.errors import UserError

ALWAYS = ("execution",)


class UndeclaredKey(UserError):
    """A stage reads a configuration key that it did not declare."""


@dataclass(frozen=True)
class SentConfig:
    """A configuration on its way to another process: all values, and which of them the stage may read there."""

    values: Mapping[str, Any]
    stage: str
    keys: tuple[str, ...]
    without: tuple[str, ...] = ()  # keys below those that it may not read

    def open(self) -> Config:
        """Return the configuration as the stage may see it."""
        return declared(Config.model_validate(self.values), self.stage, self.keys, self.without)


class _View:
    """A section, or the whole, of which only what lies at or above a declared key can be read."""

    def __init__(
        self, section: Any, stage: str, keys: tuple[str, ...], without: tuple[str, ...], prefix: str = ""
    ) -> None:
        self._section, self._stage, self._keys, self._prefix = section, stage, keys, prefix
        self._without = without

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._at(name, lambda: getattr(self._section, name))

    def named_sources(self) -> dict[str, Any]:
        """Return the sources that the stage declared, by name."""
        names = [key.removeprefix("sources.") for key in self._keys if key.startswith("sources.")]
        return {name: self.sources[name] for name in names} if names else {"": self.source}

    def __getitem__(self, name: str) -> Any:
        return self._at(name, lambda: self._section[name])

    def _at(self, name: str, read: Callable[[], Any]) -> Any:
        key = f"{self._prefix}.{name}" if self._prefix else name
        if any(key == k or key.startswith(f"{k}.") for k in self._keys):
            return _less(read(), {k.removeprefix(f"{key}.") for k in self._without if k.startswith(f"{key}.")})
        if any(k.startswith(f"{key}.") for k in self._keys):
            return _View(read(), self._stage, self._keys, self._without, key)
        raise UndeclaredKey(
            f"the stage {self._stage} reads the configuration key {key}, which it did not declare, so a change of "
            "it would not make the stage run again. Add it to the stage's `config` in pipelines/workflow/graph.py, "
            "or do without it."
        )


def _less(section: Any, names: set[str]) -> Any:
    """Return a section with some fields at their defaults, since what they are set to is not the stage's to know."""
    if not names:
        return section
    return section.model_copy(update={name: type(section).model_fields[name].get_default() for name in names})


def declared(config: Config, stage: str, keys: Sequence[str], without: Sequence[str] = ()) -> Config:
    """Return a view of a configuration in which a stage reads its declared keys, and nothing else."""
    return cast("Config", _View(config, stage, (*keys, *ALWAYS), tuple(without)))


def sent(config: Config) -> SentConfig:
    """Return the view that a stage was given, for another process. AssertionError for what is no such view."""
    assert isinstance(config, _View), "only what a stage was given is sent on"
    whole: Config = config._section
    return SentConfig(whole.model_dump(mode="json"), config._stage, config._keys, config._without)
