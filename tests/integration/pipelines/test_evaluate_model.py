"""`pixsem evaluate` gives a peer's model the same table as ours, once, and registered versions have it in MLflow."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import empty_store
from PIL import Image

from tests.unit.editors import tiny_generators
from tests.unit.pipelines.judging import tiny_detectors

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
LINES = [
    {"tag": "single_object", "include": [{"class": "computer mouse", "count": 1}], "prompt": "a red circle"},
    {"tag": "single_object", "include": [{"class": "dog", "count": 1}], "prompt": "a circle on the left"},
    {"tag": "counting", "include": [{"class": "mouse", "count": 2}], "exclude": [{"class": "mouse", "count": 3}],
     "prompt": "make it blue"},
]  # fmt: skip
VERSION = "models:/pixsem-generator/1"


def arguments(folder: Path) -> list[str]:
    return [
        "preset=tiny", f"store={folder}/store", "--prompts", f"{folder}/prompts.jsonl", "--judge", "g.kind=detector",
        "--judge", f"g.path={folder}/sure-of-mouse", "--images", "2", "--steps", "2", "--batch", "4",
        f"evaluate_generator.features={{dino: {folder}/dino}}",
    ]  # fmt: skip


def register_ours(folder: Path) -> None:
    """Register a tiny pipeline of our own in the store's MLflow."""
    from pipelines.config.compose import compose_config
    from pipelines.config.values import assign
    from pipelines.serving import GENERATOR_COLUMNS
    from pipelines.store.files import Store
    from pipelines.tracking.registering import Registrar
    from pipelines.tracking.run_log import open_tracker
    from tests.unit.generator.worlds import pipeline

    pipeline().save_pretrained(folder / "ours")
    store = Store(str(folder / "store"))
    store.prepare()
    tracker = open_tracker(compose_config([assign("store", str(folder / "store"))]), store, {})
    registry, run, tags = Registrar(tracker, store).registry, tracker.start_run("r", {}, {}), {"pixsem.digest": "d1"}
    model = registry.log_model(
        run, "pixsem-generator", tags, folder / "ours", "pipelines.serving:load_generator", GENERATOR_COLUMNS
    )
    registry.register("pixsem-generator", model, run, tags)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, empty_mlflow):
    """A store in which ours, by its version, and a peer's were evaluated on the same prompts; with both reports."""
    import transformers

    folder = tmp_path_factory.mktemp("evaluated")
    pixsem = empty_store(folder, empty_mlflow)
    tiny_detectors.yolos(folder / "sure-of-mouse", sure_of="mouse")
    tiny_generators.stable_diffusion(folder / "peer")
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8, "image_size": 32}
    transformers.Dinov2Model(transformers.Dinov2Config(**small)).save_pretrained(folder / "dino")
    for n, line in enumerate(LINES):
        Image.fromarray(np.full((40, 40, 3), 80 * n, np.uint8)).save(folder / f"true{n}.png")
        line["picture"] = f"true{n}.png"
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    register_ours(folder)
    pixsem.environment = {**pixsem.environment, "HF_HUB_OFFLINE": "1"}  # a hub that is not there is asked for 30 s
    pixsem.patience = 600.0
    reports = [pixsem.json("evaluate", model, *arguments(folder)) for model in (VERSION, "peer")]
    return pixsem, *reports


def metrics_of(report):
    assert report["state"] == "completed"
    return report["metrics"]


def shape_of(values):
    """The keys of a nested dict, without its values."""
    return {k: shape_of(v) if isinstance(v, dict) else None for k, v in values.items()}


def test_a_peers_model_gets_the_same_table_as_ours(evaluated):
    ours, peer = (metrics_of(report) for report in evaluated[1:])
    assert shape_of(ours) == shape_of(peer)
    for metrics in (ours, peer):  # the detector sees a mouse in everything, five times
        images = metrics["text_to_image"]
        assert images["pictures"] == 6 and images["overall_g_sure_of_mouse"] == 0.25
        assert images["by_category"]["single_object"]["right_g_sure_of_mouse"] == 0.5
        low, high = metrics["intervals"]["text_to_image.overall_g_sure_of_mouse"]
        assert 0 <= low <= 0.25 <= high <= 0.5
        assert images["frechet_pictures"] == 3 and images["ceiling"]["right_g_sure_of_mouse"] == 1 / 3
        for name in ("frechet_dino", "kernel_dino", "instance_retrieval_dino"):
            assert images[name] >= 0 and images["chance"][name] >= 0
        assert images["ceiling"]["kernel_dino"] >= 0 and images["frechet_dino_of_reconstructions"] >= 0
        assert "image-text model" in metrics["absent"]["text_to_image.similarity"]
        protocol = metrics["protocol"]["text_to_image"]
        assert (protocol["images_per_prompt"], protocol["num_inference_steps"]) == (2, 2)
        assert protocol["judges"]["g_sure_of_mouse"]["threshold"] == 0.3 and len(protocol["prompts_digest"]) == 64
    assert ours["protocol"]["text_to_image"]["class"] == "PixelSemanticPipeline"
    assert peer["protocol"]["text_to_image"]["class"] == "StableDiffusionPipeline"


def test_every_picture_is_kept_with_what_was_said_of_it(evaluated):
    from components.data.tables import read_table

    pixsem = evaluated[0]
    for path in pixsem.store.glob("artifacts/evaluate_model/*/pictures/*.parquet"):
        table = read_table(path)
        assert len(table["picture"]) == 6 and len(set(table["seed"])) == 6
        assert table["right"] == [True, True, False, False, False, False]
        found = [np.asarray(Image.open(io.BytesIO(data))) for data in table["picture"]]
        assert all(picture.shape == found[0].shape for picture in found)
        assert len({picture.tobytes() for picture in found}) == 6


def test_a_second_call_makes_nothing_again(evaluated):
    pixsem = evaluated[0]
    before = pixsem.digests()
    report = json.loads(pixsem.here("evaluate", "peer", *arguments(pixsem.folder), "--json").stdout)
    assert [stage["cached"] for stage in report["stages"]] == [True] and pixsem.digests() == before


def test_figures_are_on_the_registered_version_with_data_and_protocol(evaluated):
    from mlflow.tracking import MlflowClient

    pixsem = evaluated[0]
    client = MlflowClient(f"sqlite:///{pixsem.store}/mlflow.db")
    version = client.get_model_version("pixsem-generator", "1")
    (told,) = [json.loads(v) for name, v in version.tags.items() if name.startswith("pixsem.evaluation.")]
    assert len(told["prompts_digest"]["text_to_image"]) == 64 and (pixsem.store / told["artifact"]).is_dir()
    experiments = [each.experiment_id for each in client.search_experiments()]
    (model,) = client.search_logged_models(experiments, filter_string="tags.`pixsem.digest` = 'd1'")
    found = {metric.key: metric for metric in model.metrics}
    overall = found["text_to_image.overall_g_sure_of_mouse"]
    assert overall.value == 0.25 and told["prompts_digest"]["text_to_image"].startswith(overall.dataset_digest)
    given = [each.dataset for each in client.get_run(overall.run_id).inputs.dataset_inputs]
    (data,) = [dataset for dataset in given if dataset.digest == overall.dataset_digest]
    assert json.loads(data.profile)["judges"]["g_sure_of_mouse"]["kind"] == "detector"


def test_a_resumed_evaluation_is_logged_on_its_version_too(evaluated):
    from mlflow.tracking import MlflowClient

    pixsem, ours, _ = evaluated
    client = MlflowClient(f"sqlite:///{pixsem.store}/mlflow.db")

    def told():
        tags = client.get_model_version("pixsem-generator", "1").tags
        return {name: value for name, value in tags.items() if name.startswith("pixsem.evaluation.")}

    before = told()
    for name in before:  # as where the driver was killed before it was logged
        client.delete_model_version_tag("pixsem-generator", "1", name)
    pixsem("resume", ours["run"])
    assert before and told() == before


def test_models_are_put_side_by_side_with_intervals(evaluated):
    pixsem = evaluated[0]
    rows = pixsem.json("models", "--compare", VERSION, "peer")
    overall = next(row for row in rows if row["figure"] == "text_to_image.overall_g_sure_of_mouse")
    assert overall["data"].startswith("prompts.jsonl")
    assert [overall["values"][model]["value"] for model in (VERSION, "peer")] == [0.25, 0.25]
    assert all(len(overall["values"][model]["interval"]) == 2 for model in (VERSION, "peer"))
    shown = pixsem("models", "--compare", VERSION, "peer").stdout
    assert "overall_g_sure_of_mouse" in shown and "0.25 (0 to 0.5)" in shown


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere/at-all", "--prompts", "prompts.jsonl", "--steps", "1"], "nowhere/at-all"),
        (["peer"], "nothing to evaluate on"),
        (["peer", "--benchmark", "genevall"], "did you mean 'geneval'"),
        (["peer", "--benchmark", "geneval", "--prompts", "prompts.jsonl"], "is not the benchmark's file"),
        (["peer", "--benchmark", "dpg"], "name the file by --prompts"),
        (["peer", "--benchmark", "gedit"], "give its pairs by --pairs"),
        (["peer", "--prompts", "prompts.jsonl", "--judge", "geneval.path=x"], "no judge is called"),
        (["models:/pixsem-generator/7", "--prompts", "prompts.jsonl"], "has no version 7"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_words(evaluated, given, said, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pixsem = evaluated[0]
    done = pixsem.here("evaluate", *given, "preset=tiny", f"store={pixsem.store}")
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr
    assert said in " ".join((done.stderr + done.stdout).split())


def test_the_champions_image_text_model_judges_all_models_else_the_newest(evaluated):
    from mlflow.tracking import MlflowClient

    from pipelines.config.compose import compose_config
    from pipelines.config.values import assign
    from pipelines.store.artifacts import Manifest, Work, content_digest
    from pipelines.store.files import Store
    from pipelines.tracking.model_evaluations import own_image_text

    place = str(evaluated[0].store)
    store, config = Store(place), compose_config(["preset=tiny", assign("store", place)])
    assert own_image_text(config, store) == ""
    for name in ("old", "new"):
        made, counts = f"2026-01-0{1 + (name == 'new')}", {"input": 0, "kept": 0, "dropped": 0, "failed": 0}
        parts = ({}, {}, {}, [], counts, {}, {}, "r", made, 1.0)
        Work(store, "train_encoder", name * 8, {}).commit(
            Manifest("train_encoder", "1", name * 8, content_digest([]), *parts)
        )
    assert own_image_text(config, store) == "new" * 8
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    client.set_model_version_tag(
        "pixsem-generator", "1", "pixsem.fingerprints", json.dumps({"train_encoder": "old" * 8})
    )
    client.set_registered_model_alias("pixsem-generator", "champion", "1")
    assert own_image_text(config, store) == "old" * 8
