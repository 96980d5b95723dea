"""A store in which every stage of the tiny chain is cached, as an empty artifact."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.config.schema import Config
from pipelines.store.artifacts import Manifest, Work, content_digest
from pipelines.store.files import Store
from pipelines.workflow.graph import build_workflow
from pipelines.workflow.identity import identify


def commit_all(store: Store, config: Config, code: Mapping[str, dict[str, str]]) -> None:
    """Commit an artifact of every stage, made by the code at hand or, where `code` names the stage, by that."""
    digest = content_digest([])
    for name, identity in identify(build_workflow(config), config, store).items():
        inputs = {i: {"fingerprint": f, "digest": digest} for i, f in identity.inputs.items()}
        manifest = Manifest(
            name, identity.stage.version, identity.fingerprint, digest, inputs, identity.external, identity.config, [],
            {}, {}, {}, "r", "2026", 1.0, code=code.get(name, identity.code),
        )  # fmt: skip
        Work(store, name, identity.fingerprint, {}).commit(manifest)
