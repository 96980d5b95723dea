"""Registered versions: pyfunc models from code, their aliases, and the champions' history."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.registry.gates import Verdict
from components.registry.mlflow_errors import TrackingError
from components.registry.named_versions import CHAMPION, SCHEME, Version, check_name, choose, parse_reference
from components.registry.tracking import MAX_TEXT, Tracker

CODE = Path(__file__).with_name("served_model.py")
HISTORY = "pixsem.champions"  # tag of a registered model: its champions in order, as JSON
REFUSED = "pixsem.refused"
DIGEST = "pixsem.digest"
VERSIONS = "mlflow.modelVersions"  # tag of a logged model: its versions, as JSON
CARD = "card"  # folder of a logged model with the pictures of its card


class Registry:
    """The registered models of a tracker. Every method may raise `TrackingError`, and ValueError for what does not
    exist.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker, self._client = tracker, tracker.client

    def log_model(
        self,
        run_id: str,
        name: str,
        tags: Mapping[str, str],
        folder: str | Path,
        loader: str,
        columns: Mapping[str, Sequence[str]],
    ) -> str:
        """Log a folder of weights as a pyfunc model from code; return the logged model's id. `columns` are those `in`
        (a `?` marks one that may be left out; a type may follow a colon) and `out`.
        """
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import save_model
        from mlflow.types import ColSpec, Schema

        def schema(names: Sequence[str]) -> Schema:
            specs: list[Any] = []
            for text in names:
                column, _, kind = text.rstrip("?").partition(":")
                specs.append(ColSpec(kind or "string", column, required=not text.endswith("?")))
            return Schema(specs)

        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            path = Path(scratch) / "model"
            # It would have type hints and an example row; the signature given says all that they would.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"mlflow\.pyfunc")
            save_model(
                str(path), python_model=str(CODE), artifacts={"model": str(folder)}, model_config={"loader": loader},
                signature=ModelSignature(schema(columns["in"]), schema(columns["out"])), pip_requirements=["pixsem"],
            )  # fmt: skip
            return self._tracker.log_model(run_id, name, tags, path)

    def register(self, name: str, model_id: str, run_id: str, tags: Mapping[str, str]) -> Version:
        """Return the version of a logged model, by its digest: the one there is, else a new one."""
        for version in self.versions(name):
            if version.tags.get(DIGEST) == tags[DIGEST]:
                self._link(version)
                return version
        if not self._known(name):
            self._tracker.attempt(lambda: self._client.create_registered_model(name))
        # Where the client is the server, MLflow would look models:/ up in the process's own tracking store, whatever
        # this one's is.
        remote = self._tracker.uri.startswith(("http://", "https://"))
        logged = self._tracker.attempt(lambda: self._client.get_logged_model(model_id))
        source = f"models:/{model_id}" if remote else logged.artifact_location
        made = self._tracker.attempt(
            lambda: self._client.create_model_version(name, source, run_id, tags=dict(tags), model_id=model_id)
        )
        version = self.version(name, str(made.version))
        self._link(version)
        return version

    def _link(self, version: Version) -> None:
        """Name the version on its logged model, as `mlflow.register_model` does: the page of models links it then."""
        model_id = self._model_of(version)
        if model_id is None:
            return
        model = self._tracker.attempt(lambda: self._client.get_logged_model(model_id))
        named = json.loads(model.tags.get(VERSIONS, "[]"))
        if any(one["name"] == version.name and str(one["version"]) == version.version for one in named):
            return  # a server does it by itself
        tags = {VERSIONS: json.dumps([*named, {"name": version.name, "version": version.version}])}
        self._tracker.attempt(lambda: self._client.set_logged_model_tags(model_id, tags))

    def _model_of(self, version: Version) -> str | None:
        """Return the id of a version's logged model. MLflow's databases keep none for a version: it is found by its
        digest.
        """
        digest = version.tags.get(DIGEST)
        return self._tracker.find_model(DIGEST, digest) if digest else None

    def measured(self, version: Version) -> dict[str, float]:
        """Return every figure logged on a version's model, else those it was judged by."""
        model_id = self._model_of(version)
        if model_id is None:
            return version.figures
        model = self._tracker.attempt(lambda: self._client.get_logged_model(model_id))
        logged = sorted(model.metrics or [], key=lambda metric: metric.timestamp)
        return {metric.key: float(metric.value) for metric in logged} | version.figures

    def describe(self, version: Version, text: str, pictures: Mapping[str, Path]) -> None:
        """Set the Markdown on a version's page. `pictures` (name -> file) go into its logged model's folder `card/`,
        where `pages.version_file` finds them.
        """
        model_id = self._model_of(version)
        if pictures and model_id is not None:
            with tempfile.TemporaryDirectory() as scratch:
                (Path(scratch) / CARD).mkdir()
                for name, path in pictures.items():
                    shutil.copyfile(path, Path(scratch) / CARD / name)
                self._tracker.attempt(lambda: self._client.log_model_artifacts(model_id, scratch))
        self._tracker.attempt(
            lambda: self._client.update_model_version(version.name, version.version, description=text[:MAX_TEXT])
        )

    def describe_model(self, name: str, text: str) -> None:
        """Set the Markdown on a registered model's page, where there is none yet."""
        model = self._tracker.attempt(lambda: self._client.get_registered_model(name))
        if not model.description:
            self._tracker.attempt(lambda: self._client.update_registered_model(name, description=text[:MAX_TEXT]))

    def settle(self, version: Version, verdicts: Sequence[Verdict], alias: str) -> str | None:
        """Give a version its alias where it passed every gate, else mark it refused; return the refusal's words."""
        failed = [verdict.words for verdict in verdicts if not verdict.passed]
        if failed:
            self._tag(version, REFUSED, "; ".join(failed))
            return "; ".join(failed)
        self.give(version, alias)
        # By an earlier judgement. It goes last: a process that is killed before leaves a version to be judged again.
        if REFUSED in version.tags:
            self._tracker.attempt(lambda: self._client.delete_model_version_tag(version.name, version.version, REFUSED))
        return None

    def retag(self, version: Version, tags: Mapping[str, str]) -> None:
        """Give a version these tags in place of those of the same names."""
        for name, value in tags.items():
            self._tag(version, name, value)

    def give(self, version: Version, alias: str) -> None:
        """Give a version an alias; champions are remembered in order."""
        if alias == CHAMPION:
            history = [v for v in self._history(version.name) if v != version.version]
            self._write_history(version.name, [*history, version.version])
        self._tracker.attempt(lambda: self._client.set_registered_model_alias(version.name, alias, version.version))

    def rollback(self, name: str) -> Version:
        """Make the champion before this one the champion again; return it. ValueError where there is none."""
        history = self._history(self._checked(name))
        if len(history) < 2:
            raise ValueError(
                f"{name} has no champion before {'version ' + history[-1] if history else 'any'}: nothing to "
                "roll back to"
            )
        self._write_history(name, history[:-1])
        self._tracker.attempt(lambda: self._client.set_registered_model_alias(name, CHAMPION, history[-2]))
        return self.version(name, history[-2])

    def champion(self, name: str) -> Version | None:
        """Return the current champion."""
        return next((v for v in self.versions(name) if CHAMPION in v.aliases), None)

    def names(self) -> list[str]:
        """Return the registered models."""
        found = self._tracker.attempt(lambda: self._client.search_registered_models())
        return sorted(str(model.name) for model in found)

    def versions(self, name: str) -> list[Version]:
        """Return a model's versions, oldest first; none where it is not registered."""
        if not self._known(name):
            return []
        aliases = self._tracker.attempt(lambda: self._client.get_registered_model(name)).aliases
        found = self._tracker.attempt(lambda: self._client.search_model_versions(f"name='{name}'"))
        made = [
            Version(
                name,
                str(v.version),
                tuple(sorted(a for a, n in aliases.items() if str(n) == str(v.version))),
                dict(v.tags),
                str(v.source),
                int(v.creation_timestamp),
                str(v.description or ""),
            )
            for v in found
        ]
        return sorted(made, key=lambda v: int(v.version))

    def version(self, name: str, version: str) -> Version:
        """Return one version. ValueError where there is none."""
        return choose(f"{SCHEME}{name}/{version}", self.versions(self._checked(name)))

    def find(self, uri: str) -> Version:
        """Return the version that `models:/NAME/VERSION` or `models:/NAME@ALIAS` names. ValueError where there is
        none.
        """
        name, _, _ = parse_reference(uri)
        return choose(uri, self.versions(self._checked(name)))

    def download(self, version: Version, folder: str | Path) -> Path:
        """Return a local folder with a version's weights."""
        from mlflow.artifacts import download_artifacts

        source = version.source
        if source.startswith(SCHEME):
            # MLflow would look the model up in the process's own tracking store, whatever this one's is.
            model_id = source.removeprefix(SCHEME)
            source = str(self._tracker.attempt(lambda: self._client.get_logged_model(model_id)).artifact_location)
        got = self._tracker.attempt(
            lambda: download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=self._tracker.uri)
        )
        return next(Path(got).glob("artifacts/*"))

    def _tag(self, version: Version, name: str, value: str) -> None:
        self._tracker.attempt(
            lambda: self._client.set_model_version_tag(version.name, version.version, name, value[:4000])
        )

    def _known(self, name: str) -> bool:
        return name in self.names()

    def _checked(self, name: str) -> str:
        return check_name(name, self.names())

    def _history(self, name: str) -> list[str]:
        model = self._tracker.attempt(lambda: self._client.get_registered_model(name))
        return list(json.loads(model.tags.get(HISTORY, "[]")))

    def _write_history(self, name: str, versions: list[str]) -> None:
        self._tracker.attempt(lambda: self._client.set_registered_model_tag(name, HISTORY, json.dumps(versions)))


__all__ = ["Registry", "TrackingError", "Version"]
