"""Which versions of a run become champion: on any data, and after their gates were changed."""

from __future__ import annotations

import shutil

import pytest

from components.registry.gates import Gate
from components.registry.tracking import Tracker
from pipelines.config.compose import compose_config
from pipelines.store.artifacts import Manifest
from pipelines.store.files import Store
from pipelines.tracking.figures import skipped_gates
from pipelines.tracking.registering import Registrar, registration_path
from pipelines.tracking.run_log import is_registered

pytestmark = pytest.mark.integration
RETRIEVAL = {"text_to_image": {"retrieval": 0.4}}  # what an evaluation of any data measures


@pytest.fixture
def version(tmp_path, empty_mlflow):
    """Return a function that holds one and the same model with these figures to gates, and returns its record."""
    store = Store(str(tmp_path / "store"))
    store.prepare()
    shutil.copy(empty_mlflow, store.local("mlflow.db"))
    tracker = Tracker(f"sqlite:///{store.local('mlflow.db')}", str(store.local("mlartifacts")), "pixsem")
    run = tracker.start_run("r", {}, {})
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"w")
    logged = tracker.log_model(run, "m", {"pixsem.digest": "d"}, tmp_path / "weights")
    inputs = {"index": {"fingerprint": "i", "digest": "x"}}
    judged = Manifest("evaluate_generator", "1", "f", "e", inputs, {}, {}, [], {}, RETRIEVAL, {}, "r", "2026", 1.0)
    registrar = Registrar(tracker, store)

    def held(gates, skipped=None) -> dict:
        return registrar._version("m", logged, run, {"pixsem.digest": "d"}, judged, gates, "champion", skipped)[1]

    held.registrar = registrar
    return held


@pytest.mark.parametrize("gates", ["any", "scenes", "pictures"])
def test_a_run_on_a_folder_ends_with_a_champion_whichever_gates_its_preset_has(version, gates):
    config = compose_config(["preset=tiny", f"gates={gates}", "source=folder", "source.path=/data/photos"])
    found = version(config.register.generator, skipped_gates(config))
    assert found["aliases"] == ["champion"] and found["refused"] == ""
    said = {verdict["metric"]: verdict["words"] for verdict in found["gates"] if verdict["skipped"]}
    assert said.keys() == {gate.metric for gate in config.register.generator} - {"text_to_image.retrieval"}
    assert all(words.endswith("and the source is folder") for words in said.values())


def test_a_figure_that_the_data_can_have_and_that_was_not_measured_is_refused(version):
    config = compose_config(["preset=tiny", "source=scenes", "gates=scenes"])
    found = version(config.register.generator, skipped_gates(config))
    assert "text_to_image.overall was not measured" in found["refused"] and found["aliases"] == []


def test_a_refused_version_becomes_champion_once_its_gates_are_changed(version):
    strict, loose = ((Gate("text_to_image.retrieval", limit=limit),) for limit in (0.5, 0.3))
    assert "0.1 below the limit 0.5" in version(strict)["refused"]
    assert version(strict)["aliases"] == []
    changed = version(loose)
    assert (changed["version"], changed["aliases"], changed["refused"]) == ("1", ["champion"], "")


def test_versions_that_somebody_deleted_and_those_of_another_registry_are_not_there(version):
    registrar = version.registrar
    store, client = registrar.store, registrar.tracker.client
    config = compose_config(["preset=tiny", f"store={store.root}"])
    assert not is_registered(config, store, "f", {})
    models = [{key: version(())[key] for key in ("name", "version")}]
    store.write_json(registration_path("f"), {"tracking": registrar.tracker.uri, "models": models})
    assert is_registered(config, store, "f", {})
    assert not is_registered(config, store, "f", {"MLFLOW_TRACKING_URI": f"sqlite:///{store.root}/other.db"})
    client.delete_model_version("m", "1")
    assert not is_registered(config, store, "f", {})
    store.local("mlflow.db").unlink()
    assert not is_registered(config, store, "f", {})
