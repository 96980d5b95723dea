"""Registered versions of a run's models: made once, tagged with where they come from, held to the gates."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.registry.mlflow_errors import without_credentials
from components.registry.pages import run_page, version_file, version_page
from pipelines.config.schema import Config
from pipelines.errors import UserError
from pipelines.stage import base_of, fetched
from pipelines.store.artifacts import Artifact, Manifest, ancestors_of, find_artifact
from pipelines.store.files import Store, canonical_json, sha256_text
from pipelines.tracking.examples import example_prompt
from pipelines.tracking.figures import measured, skipped_gates
from pipelines.tracking.model_card import (
    HEADLINES,
    OF_ALL,
    PICTURES,
    attribution,
    description,
    labels,
    outcome,
)
from pipelines.versions import git_commit

if TYPE_CHECKING:
    from components.registry.gates import Gate, Verdict
    from components.registry.model_versions import Version
    from components.registry.tracking import Tracker

DATA_STAGES = ("ingest", "curate", "curate_pairs")  # whose digests a version is tagged with
TOKENIZER, GENERATOR = "pixsem-tokenizer", "pixsem-generator"


def registration_path(fingerprint: str) -> str:
    """Where what a register artifact was registered as is written down in the store."""
    return f"registrations/{fingerprint}.json"


class Registrar:
    """Makes logged models and versions of the artifacts of one store."""

    def __init__(self, tracker: Tracker, store: Store) -> None:
        from components.registry.model_versions import Registry

        self.tracker, self.store, self.registry = tracker, store, Registry(tracker)

    def logged_tokenizer(self, mlflow_run: str, made: dict[str, str]) -> str:
        """Return the logged model of `train_tokenizer`'s artifact: the one there is, else a new one."""
        from pipelines.serving import TOKENIZER_COLUMNS

        artifact = self._artifact("train_tokenizer", made["fingerprint"])
        return self._logged(
            mlflow_run, TOKENIZER, artifact, "model", "pipelines.serving:load_tokenizer", TOKENIZER_COLUMNS
        )

    def _logged(
        self, mlflow_run: str, name: str, artifact: Artifact, prefix: str, loader: str, columns: dict[str, list[str]]
    ) -> str:
        digest = artifact.manifest.digest
        found = self.tracker.find_model("pixsem.digest", digest)
        if found is not None:
            return found
        tags = {
            "pixsem.digest": digest,
            "pixsem.fingerprint": artifact.manifest.fingerprint,
            "pixsem.stage": artifact.manifest.stage,
        }
        with self._copied(artifact, prefix) as folder:
            return self.registry.log_model(mlflow_run, name, tags, folder, loader, columns)

    @contextlib.contextmanager
    def _copied(self, artifact: Artifact, prefix: str) -> Iterator[Path]:
        from pipelines.serving import SUMS

        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / prefix
            for path in artifact.files(f"{prefix}/*"):
                target = folder / path.removeprefix(f"{artifact.path}/{prefix}/")
                target.parent.mkdir(parents=True, exist_ok=True)
                with fetched(self.store, path) as local:
                    shutil.copyfile(local, target)
            # MLflow's copy is outside what the manifest covers: it carries its own list, which whoever loads it checks.
            listed = {e.path: e.sha256 for e in artifact.manifest.files if e.path.startswith(f"{prefix}/")}
            sums = {path.removeprefix(f"{prefix}/"): digest for path, digest in listed.items()}
            (folder / SUMS).write_text(json.dumps(sums, indent=1, sort_keys=True), "utf-8")
            yield folder

    def register(self, mlflow_run: str, artifact: Artifact, config: Config) -> list[dict[str, Any]]:
        """Make the versions of a `register` artifact, hold them to the gates, and write down what became of them."""
        from pipelines.serving import GENERATOR_COLUMNS

        inputs = artifact.manifest.inputs
        ancestors = dict(self.ancestors(artifact))
        evaluations = {n: ancestors[n].manifest for n in ("evaluate_tokenizer", "evaluate_generator")}
        models = []
        logged = self.logged_tokenizer(mlflow_run, inputs["train_tokenizer"])
        tags = self._lineage(ancestors, "train_tokenizer", inputs["train_tokenizer"]["digest"])
        tokenizer, told = self._version(
            TOKENIZER,
            logged,
            mlflow_run,
            tags,
            evaluations["evaluate_tokenizer"],
            config.register.tokenizer,
            config.register.alias,
            made={"train_tokenizer": ancestors["train_tokenizer"], **ancestors},
        )
        models.append(told)
        logged = self._logged(
            mlflow_run, GENERATOR, artifact, "pipeline", "pipelines.serving:load_generator", GENERATOR_COLUMNS
        )
        judged = evaluations["evaluate_generator"]
        self.tracker.log_model_metrics(
            mlflow_run, logged, measured(judged.metrics), "index", judged.inputs["index"]["digest"]
        )
        tags = self._lineage({**ancestors, "register": artifact}, "register", artifact.manifest.digest)
        tags |= {
            "pixsem.tokenizer_version": tokenizer.version,
            "pixsem.tokenizer_digest": tokenizer.tags["pixsem.digest"],
        }
        models.append(
            self._version(
                GENERATOR,
                logged,
                mlflow_run,
                tags,
                judged,
                config.register.generator,
                config.register.alias,
                skipped_gates(config),
                {"register": artifact, **ancestors},
            )[1]
        )
        self.store.write_json(
            registration_path(artifact.manifest.fingerprint),
            {"tracking": without_credentials(self.tracker.uri), "models": models},
        )
        return models

    def _version(
        self,
        name: str,
        logged: str,
        mlflow_run: str,
        tags: dict[str, str],
        judged: Manifest,
        gates: tuple[Gate, ...],
        alias: str,
        skipped: Mapping[str, str] | None = None,
        made: Mapping[str, Artifact] | None = None,
    ) -> tuple[Version, dict[str, Any]]:
        from components.registry.gates import check_gates

        figures = {key: value for key, value in _flat(judged.metrics) if isinstance(value, int | float)}
        wanted = {gate.metric for gate in gates} | set(HEADLINES)
        kept = {key: figures[key] for key in sorted(wanted & set(figures))}
        evaluation = evaluation_digest(judged)
        held = sha256_text(canonical_json([asdict(gate) for gate in gates if gate.metric not in (skipped or {})]))[:32]
        champion = self.registry.champion(name)
        version = self.registry.register(name, logged, mlflow_run, tags)
        compared = champion is not None and champion.tags.get("pixsem.evaluation") == evaluation
        theirs = champion.figures if champion is not None and compared else None
        verdicts = check_gates(gates, figures, theirs, skipped)
        other_gates = "pixsem.refused" in version.tags and version.tags.get("pixsem.gates") != held
        note = (
            ""
            if compared or champion is None
            else f"the champion, version {champion.version}, was judged by another evaluation"
        )
        anew = version.tags.get("pixsem.evaluation") != evaluation or other_gates
        if made and (anew or not version.description):
            self._describe(version, mlflow_run, made, verdicts, champion if compared else None, note)
        if anew:
            # Of a version judged anew, the later judgement holds. What it was judged by is said last: where this
            # process is killed in between, the next one judges again.
            self.registry.retag(version, {"pixsem.figures": json.dumps(kept)})
            self.registry.settle(version, verdicts, alias)
            self.registry.retag(version, {"pixsem.gates": held, "pixsem.evaluation": evaluation})
        version = self.registry.version(name, version.version)
        return version, {
            "name": name,
            "version": version.version,
            "aliases": list(version.aliases),
            "digest": version.tags["pixsem.digest"],
            "refused": version.tags.get("pixsem.refused", ""),
            "compared_with": champion.version if champion and compared else None,
            "note": note,
            "gates": [asdict(verdict) for verdict in verdicts],
        }

    def _describe(
        self,
        version: Version,
        mlflow_run: str,
        made: Mapping[str, Artifact],
        verdicts: list[Verdict],
        champion: Version | None,
        note: str,
    ) -> None:
        """Give a version its card, with pictures, and tags for people."""
        from components.registry.model_versions import CARD

        kind = version.name.rpartition("-")[2]
        links = dict[str, str]()
        for name, artifact in made.items():
            tags = {"pixsem.cached": "false", "pixsem.stage": name}
            run = self.tracker.find_run("pixsem.fingerprint", artifact.manifest.fingerprint, tags)
            links |= {name: run_page(self.tracker.experiment, run)} if run else {}
        if tokenizer := version.tags.get("pixsem.tokenizer_version"):
            links[f"{TOKENIZER}, version {tokenizer}"] = version_page(TOKENIZER, tokenizer)
        links["the run that registered it"] = run_page(self.tracker.experiment, self.tracker.parent_of(mlflow_run))
        held = (champion.version, self.registry.measured(champion)) if champion else None
        judged = made[f"evaluate_{kind}"]
        with contextlib.ExitStack() as opened:
            paths = {path.rpartition("/")[2]: path for name in PICTURES[kind] for path in judged.files(name)}
            files = {name: opened.enter_context(fetched(self.store, path)) for name, path in paths.items()}
            shown = {name: version_file(version.name, version.version, f"{CARD}/{name}") for name in files}
            prompt = example_prompt(made["evaluate_generator"])
            text = description(kind, version.name, version.version, made, verdicts, held, note, links, shown, prompt)
            self.registry.describe(version, text, files)
        self.registry.retag(version, {"outcome": outcome(verdicts), **labels(made)})
        self.registry.describe_model(version.name, OF_ALL[kind].format(name=version.name))

    def _lineage(self, ancestors: dict[str, Artifact], stage: str, digest: str) -> dict[str, str]:
        """Tags that lead from a version back to its data."""
        data = {n: a.manifest.digest for n, a in ancestors.items() if base_of(n) in DATA_STAGES}
        made = ancestors[stage].manifest
        tags = {
            **labels(ancestors),  # first: MLflow's list of versions shows tags in this order
            "pixsem.digest": digest,
            "pixsem.stage": stage,
            "pixsem.fingerprint": made.fingerprint,
            "pixsem.fingerprints": json.dumps({n: a.manifest.fingerprint for n, a in ancestors.items()}),
            "pixsem.data": json.dumps(data),
            "pixsem.config": sha256_text(canonical_json({n: a.manifest.config for n, a in ancestors.items()})),
            "pixsem.store": self.store.absolute_url,
        }
        credit = attribution(ancestors)
        tags |= {"pixsem.attribution": credit} if credit else {}
        commit = git_commit()
        return tags | ({"pixsem.git_commit": commit} if commit != "absent" else {})

    def ancestors(self, artifact: Artifact) -> Iterator[tuple[str, Artifact]]:
        """Yield (stage, artifact) of everything an artifact was made from, each once. `UserError` where one is gone."""
        for name, fingerprint, found in ancestors_of(artifact):
            if found is None:
                raise self._gone(name, fingerprint)
            yield name, found

    def _artifact(self, stage: str, fingerprint: str) -> Artifact:
        found = find_artifact(self.store, stage, fingerprint)
        if found is None:
            raise self._gone(stage, fingerprint)
        return found

    def _gone(self, stage: str, fingerprint: str) -> UserError:
        return UserError(f"the artifact {stage}/{fingerprint} is not in the store {self.store.absolute_url} any more")


def evaluation_digest(manifest: Manifest) -> str:
    """Digest of how a model was judged and on what: figures of two models compare only where it is the same."""
    config = {name: value for name, value in manifest.config.items() if not name.startswith("generator.")}
    return sha256_text(
        canonical_json({"config": config, "data": manifest.inputs["index"]["digest"], "stage": manifest.stage})
    )[:32]


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found
