"""Content digests of what stages read from outside the store, so that a changed file is noticed under an unchanged
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from pipelines.config.schema import Config
from pipelines.store.files import Store
from pipelines.store.published_weights import FETCH, INCEPTION, LPIPS, published


def files_digest(paths: Sequence[str | Path], store: Store) -> str:
    """Digest of files, in the order given. What was hashed before is remembered by size and time. Of files at addresses
    it is made of what their servers say of them.
    """
    from components.data.addresses import is_remote
    from components.data.digest import digest_files
    from components.data.places import digest_remote

    if any(is_remote(str(path)) for path in paths):
        return digest_remote([str(path) for path in paths])

    # Only a memory: it lies beside a local store, else in the user's cache. A user without a home hashes every time.
    cache = (store.local("cache") if store.is_local else Path.home() / ".cache" / "pixsem") / "source_digests.json"
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        if store.is_local:
            raise
        return digest_files(paths)
    return digest_files(paths, cache)


def _content(path: str | None, store: Store) -> dict[str, str]:
    """{} for nothing and for a hub id, whose name and revision stand in the configuration; else a folder's or a file's
    content.
    """
    if path is None or not Path(path).exists():
        return {}
    files = sorted(p for p in Path(path).rglob("*") if p.is_file()) if Path(path).is_dir() else [Path(path)]
    return {f"files of {path}": files_digest(files, store)}


def _weights(value: str | None, names: Sequence[str], store: Store) -> dict[str, str]:
    """The content of given weights; of those that are to be fetched, the one that they must have."""
    if value == FETCH:
        return {f"weights {name}": published()[name].sha256 for name in names}
    return _content(value, store)


def encoder_files(config: Config, store: Store) -> dict[str, str]:
    """The pretrained encoder's files, where it is a folder."""
    return _content(config.encoder.path, store)


def tokenizer_files(config: Config, store: Store) -> dict[str, str]:
    """The pretrained autoencoder's files, where they are a folder, and LPIPS'."""
    model = config.tokenizer.model
    return _content(model.pretrained, store) | _weights(model.lpips_weights, LPIPS, store)


def evaluation_files(config: Config, store: Store) -> dict[str, str]:
    """LPIPS' and Inception's weights."""
    settings = config.evaluate_tokenizer
    return _weights(settings.lpips_weights, LPIPS, store) | _weights(settings.inception, (INCEPTION,), store)


def judging_files(config: Config, store: Store) -> dict[str, str]:
    """LPIPS' and Inception's weights, and the files of features and judges, where they are folders."""
    settings = config.evaluate_generator
    paths = [*settings.features.values(), *(section.get("path") for section in settings.judges.values())]
    found = evaluation_files(config, store)
    for path in paths:
        found |= _content(path, store)
    return found


def backbone_files(config: Config, store: Store) -> dict[str, str]:
    """The pretrained decoder's files, where it is a folder."""
    return _content(config.generator.backbone, store)


def signal_files(config: Config, store: Store, instance: str) -> dict[str, str]:
    """The files of one model of `measure.models`, where it is a folder, or the version of the package that ships it.
    `instance` ends with the model's name.
    """
    from components.vision_models.signal_kinds import SIGNALS

    model = config.measure.models[instance.rpartition(".")[2]]
    package = SIGNALS[model.kind].package
    return _content(model.path, store) | ({package: version(package)} if package else {})


def recaption_files(config: Config, store: Store) -> dict[str, str]:
    """The vision-language model's files, and those of the model that proves it, where they are folders. A server's
    model is known by its name alone.
    """
    proof = config.measure.models.get(config.proof_of_captions() or "")
    written_by = None if config.recaption.engine == "http" else config.recaption.path
    return _content(written_by, store) | _content(proof.path if proof else None, store)


def pair_files(config: Config, store: Store, instance: str = "") -> dict[str, str]:
    """The files of the models that look at edit pairs, where they are folders."""
    settings = config.measure_pairs
    return _content(settings.image_text.path, store) | _content(settings.judge.path, store)


def editor_files(config: Config, store: Store) -> dict[str, str]:
    """The files of published editors, and of the text models that tell them what to do, where they are folders."""
    editors = config.synthesize_edits.editors.values()
    paths = [path for e in editors for path in (e.path, e.writer.path if e.writer else None)]
    return {name: digest for path in paths for name, digest in _content(path, store).items()}


def evaluated_files(config: Config, store: Store) -> dict[str, str]:
    """What `pixsem evaluate` reads: prompts, pairs, and models that are folders. A hub id is known by its name and
    revision.
    """
    asked = config.evaluate_model
    assert asked is not None, "a run of pixsem evaluate has this section"
    pairs = asked.pairs and (asked.pairs if asked.pairs.endswith(".parquet") else folder_of(asked.pairs))
    models = [value for judge in asked.judges.values() for value in judge.values() if isinstance(value, str)]
    paths = [asked.model, asked.prompts, pairs, *models, *asked.features.values()]
    found = {name: digest for path in paths for name, digest in _content(path, store).items()}
    found |= _weights(asked.lpips_weights, LPIPS, store) | _weights(asked.inception, (INCEPTION,), store)
    true = _true_pictures(asked.prompts)
    return found | ({f"true pictures of {asked.prompts}": files_digest(true, store)} if true else {})


def _true_pictures(prompts: str | None) -> list[Path]:
    """Return the pictures that lines of a file of prompts name."""
    from components.evaluation.prompt_files import read_prompts

    found = read_prompts(Path(prompts)).prompts if prompts else ()
    paths = [Path(str(prompts)).parent / each.about["picture"] for each in found if "picture" in each.about]
    return [path for path in paths if path.is_file()]


def folder_of(place: str) -> str:
    """Return the folder of edit pairs that a path names: itself, or the one of its metadata file."""
    return place if Path(place).is_dir() else str(Path(place).parent)
