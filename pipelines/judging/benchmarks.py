"""Published benchmarks by name: `conf/benchmarks/NAME.yaml` says where the prompts lie, and who judges how."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Field, ValidationError

from pipelines.config.compose import CONF
from pipelines.config.source_kinds import Section
from pipelines.errors import UserError, nearest
from pipelines.store.files import Store

FOLDER = "benchmarks"
MOST_BYTES = 64 * 2**20  # of a file of prompts


class PromptsAt(Section):
    """Where a benchmark's file of prompts lies. It is not copied into the repository."""

    address: str
    sha256: Annotated[str, Field(pattern="[0-9a-f]{64}")] | None  # null: not known, so the file must be given by path
    licence: str


class Benchmark(Section):
    """One benchmark."""

    what: str
    prompts: PromptsAt | None = None
    pairs: str | None = None  # of one of edits: where its pictures are to be had; they are given by --pairs
    judges: dict[str, dict[str, Any]]
    images_per_prompt: Annotated[int, Field(ge=1, le=100)] = 1
    guidance_scale: float | None = None  # null: the model's own
    steps: Annotated[int, Field(ge=1)] | None = None  # null: the model's own


def benchmark_names(config_dir: str | None = None) -> list[str]:
    """Return the benchmarks there are."""
    return sorted({path.stem for folder in _folders(config_dir) for path in folder.glob("*.yaml")})


def load_benchmark(name: str, config_dir: str | None = None) -> Benchmark:
    """Return a benchmark by name; one of `--config-dir` goes before ours. UserError where there is none."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    known = benchmark_names(config_dir)
    if name not in known:
        raise UserError(f"there is no benchmark {name!r}{nearest(name, known) or '.'} Known: {', '.join(known)}")
    path = next(p for folder in _folders(config_dir) if (p := folder / f"{name}.yaml").is_file())
    try:
        return Benchmark.model_validate(OmegaConf.to_container(OmegaConf.load(path)))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
        raise UserError(f"{path}: {'; '.join(lines)}") from None
    except (OmegaConfBaseException, YAMLError, OSError) as error:
        raise UserError(f"{path} is no YAML that can be read: {' '.join(str(error).split())}") from None


def _folders(config_dir: str | None) -> list[Path]:
    return [*([Path(config_dir) / FOLDER] if config_dir else []), CONF / FOLDER]


def prompt_file(benchmark: Benchmark, given: str | None, store: Store) -> str | None:
    """Return the path of the benchmark's file of prompts: the one given, one fetched before, or fetched now into the
    store. UserError where its bytes are not the benchmark's, or there is no way to have it.
    """
    at = benchmark.prompts
    if at is None:
        return given
    if given is not None:
        if at.sha256 and (found := _digest(Path(given))) != at.sha256:
            raise UserError(
                f"{given} is not the benchmark's file: its sha256 is {found[:12]}..., not {at.sha256[:12]}... Leave "
                "--benchmark out to be judged on prompts of your own."
            )
        return given
    if at.sha256 is None:
        raise UserError(
            f"the hash of {at.address} is not known here. Download it yourself, and name the file by --prompts."
        )
    if not store.is_local:
        raise UserError("the store is remote: download the prompts, and name the file by --prompts.")
    from components.data.checked_download import download_checked

    path = store.local(f"downloads/{at.sha256}{PurePosixPath(at.address).suffix}")
    try:
        return str(download_checked(at.address, path, at.sha256, MOST_BYTES))
    except (OSError, ValueError) as error:
        raise UserError(
            f"the prompts cannot be fetched: {error}. Without a network, name the file by --prompts."
        ) from error


def _digest(path: Path) -> str:
    from pipelines.store.files import sha256_file

    try:
        return sha256_file(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
