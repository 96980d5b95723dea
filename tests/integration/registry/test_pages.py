"""MLflow's pages as a person sees them: a model's card, a run's figures, pictures over steps, links between them."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest

from components.registry import ui
from components.registry.pages import model_page, run_page, version_page
from pipelines.store.files import Store
from pipelines.tracking.registering import GENERATOR, TOKENIZER, Registrar
from pipelines.tracking.run_log import open_tracker, pages_of
from tests.browser import Browser, needs_chromium
from tests.integration.registry.test_ui import ROOT
from tests.ports import free_port
from tests.unit.registry.small_world import artifacts, finished_run

pytestmark = pytest.mark.integration
PICTURES = "[...document.images].filter(i => i.naturalWidth > 0).map(i => i.currentSrc)"


@pytest.fixture(scope="module")
def world(tmp_path_factory, empty_mlflow):
    """A store with two runs, the second of a better model; its tracker and the second run."""
    store = Store(str(tmp_path_factory.mktemp("pages") / "store"))
    store.prepare()
    shutil.copy(empty_mlflow, store.local("mlflow.db"))
    finished_run(store, overall=0.51)
    run, config = finished_run(store, overall=0.75)
    return store, open_tracker(config, store, {}), run, config


@pytest.fixture(scope="module")
def address(world):
    """Where MLflow serves that store."""
    store, tracker, _, _ = world
    port = free_port()
    code = f"from components.registry.ui import serve_ui; serve_ui({tracker.uri!r}, {str(store.root)!r}, port={port})"
    server = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10)
                break
            assert time.monotonic() < end and server.poll() is None, "the server did not answer"
            time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(40)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def words(text: str) -> str:
    return " ".join(text.split())


@needs_chromium
def test_a_versions_page_shows_its_card_with_figures_gates_data_links_and_pictures(address, browser):
    browser.open(address + version_page(GENERATOR, "2"))
    text = words(browser.text("How to load it"))
    assert 'load_pipeline("models:/pixsem-generator/2")' in text
    assert "two green squares" in text  # a prompt that was drawn exactly
    assert re.search(r"figure value 95 % interval chance ceiling champion then, version 1", text)
    assert "text_to_image.overall 0.75 0.6875 to 0.8125 0.125 0.96 0.51" in text
    assert "passed: text_to_image.retrieval is 0.25, the champion's 0.25" in text
    assert "scenes scenes 100 Ann Artist (CC BY 4.0)" in text and "Curation kept 90 of 100 samples." in text
    assert "Model registry" in text  # in the menu of trainings alone
    shown = browser.until(f"(s => s.length > 1 && s)({PICTURES}.filter(s => s.includes('get-artifact')))")
    assert [path.rpartition("card%2F")[2] for path in shown] == ["generated.png", "edits.png"]
    linked = browser.ask("[...document.links].map(l => l.getAttribute('href'))")
    assert any(version_page(TOKENIZER, "2") in link for link in linked)
    browser.open(address + next(link for link in linked if link.startswith("#/experiments/") and "/runs/" in link))
    assert "train_editor" in browser.text("About this run") or "register" in browser.text()


@needs_chromium
def test_a_models_page_says_what_it_is_and_lists_versions_with_readable_tags(address, browser):
    browser.open(address + model_page(GENERATOR))
    text = words(browser.text("Version 2"))
    assert "Text-to-image and editing pipelines (diffusers)" in text
    assert "90 of 100 samples" in text and "ps_vae" in text and "champion" in text


@needs_chromium
def test_a_runs_page_shows_figures_changed_parameters_data_source_and_its_report(address, browser, world):
    _, tracker, run, _ = world
    browser.open(address + run_page(tracker.experiment, run.mlflow_run))
    text = words(browser.text("Parameters ("))
    for wanted in (
        "text_to_image.overall",
        "0.75",
        "tokenizer.psnr",
        "27.5",
        "seed 7",
        "pixsem run preset=tiny",
        "ingest",
    ):
        assert wanted in text, wanted
    assert "store.keep" not in text and "execution.stop_after" not in text
    assert "Model registry" in text and "Agent versions" not in text  # the view of trainings, not that of agents
    assert browser.until(f"{PICTURES}.filter(s => s.includes('generated.png')).length")
    assert browser.until(f"document.body.innerText.includes('{GENERATOR}, version 2')")
    assert f"run {run.id} (tiny): completed" in browser.ask("document.body.textContent")


@needs_chromium
def test_a_trainings_page_shows_its_samples_over_steps(address, browser, world):
    _, tracker, run, _ = world
    page = run_page(tracker.experiment, run.stages["train_editor"].mlflow_run).replace("?", "/model-metrics?")
    browser.open(address + page)
    samples = f"{PICTURES}.filter(s => s.includes('path=images'))"
    (first,) = browser.until(f"(s => s.length && s)({samples})")
    assert "latest%20samples%2Bstep%2B0" in first
    # The slider of the samples over steps, moved: MLflow takes the nearest step that has any.
    slider = "document.querySelector('input[type=number][max=\"6\"]')"
    browser.until(slider + " !== null")
    browser.ask(
        f"(i => {{ Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(i, '6'); "
        f"for (const e of ['input', 'change']) i.dispatchEvent(new Event(e, {{bubbles: true}})); i.blur() }})({slider})"
    )
    assert browser.until(f"{samples}.some(s => /path=images%2Fsamples%2Bstep%2B[36]%2B/.test(s))")


@needs_chromium
def test_the_list_of_logged_models_links_their_registered_versions(address, browser, world):
    _, tracker, _, _ = world
    browser.open(f"{address}#/experiments/{tracker.experiment}/models?workflowType=machine_learning")
    browser.text("evaluate_tokenizer")
    links = "[...document.links].map(l => l.getAttribute('href')).filter(h => h.includes('/models/pixsem-'))"
    linked = browser.until(f"(l => l.length > 3 && l)({links})")
    assert {f"#/models/{name}/versions/{number}" for name in (GENERATOR, TOKENIZER) for number in (1, 2)} <= {
        link.partition("?")[0] for link in linked
    }


def test_registering_again_changes_nothing(world):
    store, tracker, run, config = world

    def everything():
        registry = Registrar(tracker, store).registry
        client = tracker.client
        models = client.search_logged_models([tracker.experiment])
        return (
            [version for name in registry.names() for version in registry.versions(name)],
            [(model.name, model.description, model.tags) for model in client.search_registered_models()],
            sorted((model.model_id, sorted(model.tags.items())) for model in models),
            {str(p): p.stat().st_mtime_ns for p in store.local("mlartifacts").rglob("*") if p.is_file()},
        )

    before = everything()
    Registrar(tracker, store).register(run.stages["register"].mlflow_run, artifacts(store, 0.75)["register"], config)
    assert everything() == before


def test_what_the_page_opens_on_are_the_models_the_champion_and_the_last_run(world):
    store, tracker, run, _ = world
    assert pages_of(store, tracker) == {
        "registered models": "#/models",
        GENERATOR: model_page(GENERATOR),
        TOKENIZER: model_page(TOKENIZER),
        "champion": version_page(GENERATOR, "2"),
        "last run": run_page(tracker.experiment, run.mlflow_run),
    }


def test_a_free_port_is_taken_where_mlflows_own_is_not_and_is_said(monkeypatch, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(ui, "PORT", taken.getsockname()[1])
        found = ui._free_port("127.0.0.1")
        assert found > ui.PORT
        assert f"port {ui.PORT} of 127.0.0.1 is taken: this is on port {found}" in capsys.readouterr().out
