"""The tokenizer's half of the pipeline, from curated data to evaluated latents, on real workers at the smallest
size.
"""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from conftest import TRAINED as DATA
from conftest import artifact

import pixsem
from components.data.latent_reader import LatentDataset
from components.tokenizer.rivals import load_tokenizer
from tests.unit.tokenizer.made_weights import save_hub_file, vgg_weights
from tests.unit.vision_models.test_inception import SmallInception

pytestmark = pytest.mark.integration


def test_the_report_tells_pixels_and_meaning_and_why_a_figure_is_absent(trained):
    metrics = trained.json("report")["metrics"]
    figures = metrics["tokenizer"]
    assert {"psnr", "ssim", "noise_psnr", "feature_cosine", "retrieval", "retrieval_frozen", "probe"} <= set(figures)
    assert "frechet_trained_encoder" in figures and "rfid" not in figures and "lpips" not in figures
    assert "names no weights" in metrics["absent"]["tokenizer.rfid"] and "tokenizer.lpips" in metrics["absent"]
    assert figures["psnr"] > 15 and figures["latent"]["dead_channels"] == 0
    training = metrics["training"]["tokenizer"]
    assert training["steps"] == 6 and training["samples_per_second"] > 0
    curve = [
        json.loads(line) for line in (artifact(trained, "train_tokenizer") / "curve.jsonl").read_text().splitlines()
    ]
    assert ["critic" in row for row in curve] == [False, True, True], "the critic joins at half of the steps"
    samples = [p.name for p in sorted(artifact(trained, "train_tokenizer").glob("samples/*.png"))]
    assert samples == ["step-00000003.png", "step-00000006.png"]
    index = metrics["index"]
    assert index["held_out"] > 0 and index["train"] > index["held_out"]


def test_figures_stand_in_mlflow_on_the_model_that_was_judged(trained):
    from mlflow.tracking.client import MlflowClient

    client = MlflowClient(f"sqlite:///{trained.store}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'pixsem'")
    (model,) = client.search_logged_models([experiment.experiment_id], "name = 'pixsem-tokenizer'")
    digest = json.loads((artifact(trained, "train_tokenizer") / "manifest.json").read_text())["digest"]
    assert model.name == "pixsem-tokenizer" and model.tags["pixsem.digest"] == digest
    found = {m.key: m for m in model.metrics}
    report = trained.json("report")["metrics"]["tokenizer"]
    assert found["tokenizer.psnr"].value == pytest.approx(report["psnr"])
    held = json.loads((artifact(trained, "index") / "manifest.json").read_text())["digest"]
    assert (found["tokenizer.psnr"].dataset_name, found["tokenizer.psnr"].dataset_digest) == ("index", held[:36])
    oldest = ["attributes.start_time"]  # in later runs it is cached
    stage = client.search_runs([experiment.experiment_id], "tags.`pixsem.stage` = 'train_tokenizer'", order_by=oldest)[
        0
    ]
    curve = client.get_metric_history(stage.info.run_id, "train.loss")
    assert [point.step for point in curve] == [2, 4, 6]


def test_latents_are_standardised_readable_and_of_their_tokenizer(trained):
    digest = json.loads((artifact(trained, "train_tokenizer") / "manifest.json").read_text())["digest"]
    folder = artifact(trained, "encode_latents")
    captions = LatentDataset(sorted(folder.glob("captions/*.arrow")), digest)
    edits = LatentDataset(sorted(folder.glob("edits/*.arrow")), digest)
    counts = trained.json("report")["metrics"]["latents"]
    assert (len(captions), len(edits)) == (counts["captions"], counts["edits"])
    assert [p.stem for p in sorted(folder.glob("captions/*.arrow"))] == [
        p.stem for p in sorted(artifact(trained, "curate").glob("shards/*.tar"))
    ]
    latents = captions.batch(range(len(captions))).latents.float()
    assert latents.shape[1:] == (16, 4, 4)
    assert float(latents.var((0, 2, 3)).mean()) == pytest.approx(
        1, abs=0.25
    )  # over all channels, in their own proportions
    assert latents.mean((0, 2, 3)).tolist() == pytest.approx([0.0] * 16, abs=0.5)
    tokenizer = load_tokenizer(artifact(trained, "train_tokenizer") / "model")
    with torch.no_grad():
        assert tokenizer.decode(latents[:2]).sample.shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match="another"):
        LatentDataset(sorted(folder.glob("edits/*.arrow")), "another")


def test_a_run_from_python_encodes_a_lost_latent_shard_alone_and_tells_what_the_report_says(trained):
    folder = artifact(trained, "encode_latents")
    before = trained.digests()
    whole = {p.name: p.stat().st_mtime_ns for p in folder.glob("captions/*.arrow")}
    lost = sorted(folder.glob("captions/*.arrow"))[0]
    lost.unlink()
    done = pixsem.run(*DATA, f"store={trained.store}", quiet=True)
    assert done.state == "completed" and done.metrics["tokenizer"]["psnr"] > 0
    assert {stage["name"] for stage in done.stages} >= {"ingest", "train_editor", "register"}
    assert {stage["name"] for stage in done.stages if not stage["cached"]} == {"encode_latents"}
    assert trained.digests() == before
    after = {p.name: p.stat().st_mtime_ns for p in folder.glob("captions/*.arrow")}
    assert {name for name in whole if whole[name] != after[name]} == {lost.name}


@pytest.mark.slow
def test_one_line_swaps_the_space_for_a_pretrained_autoencoder(trained, tmp_path):
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4,
    ).save_pretrained(tmp_path / "vae")  # fmt: skip
    swap = ["tokenizer.model.space=pretrained", f"tokenizer.model.pretrained={tmp_path / 'vae'}"]
    planned = {r["stage"]: r["cached"] for r in trained.json("run", *DATA, *swap, "--dry-run")}
    assert "train_semantic" not in planned and planned["train_encoder"] and not planned["train_tokenizer"]
    trained("run", *DATA, *swap)
    metrics = trained.json("report")["metrics"]
    assert metrics["tokenizer"]["space"] == "pretrained" and "psnr" in metrics["tokenizer"]
    assert "no encoder of features" in metrics["absent"]["tokenizer.retrieval"]
    assert metrics["latents"]["shape"] == [4, 16, 16]


def test_lpips_trains_and_judges_and_rfid_judges_by_files_that_the_user_gives(trained, tmp_path):
    save_hub_file(vgg_weights(), tmp_path / "weights")
    torch.jit.save(torch.jit.script(SmallInception().eval()), str(tmp_path / "weights" / "inception.pt"))
    shutil.copytree(trained.store, tmp_path / "store")
    store = type(trained)(tmp_path)
    store(
        "run", *DATA, "--until", "evaluate_tokenizer", "tokenizer.model.perceptual=lpips",
        f"tokenizer.model.lpips_weights={tmp_path}/weights", f"evaluate_tokenizer.lpips_weights={tmp_path}/weights",
        f"evaluate_tokenizer.inception={tmp_path}/weights/inception.pt",
    )  # fmt: skip
    metrics = store.json("report")["metrics"]
    assert 0 < metrics["tokenizer"]["lpips"] < 2 and metrics["tokenizer"]["rfid"] > 0
    digest = hashlib.sha256((tmp_path / "weights" / "inception.pt").read_bytes()).hexdigest()
    assert metrics["tokenizer"]["rfid_weights"] == digest[:16]
    assert not {"tokenizer.lpips", "tokenizer.rfid"} & set(metrics["absent"])
    plain = json.loads((artifact(trained, "evaluate_tokenizer") / "manifest.json").read_text())["metrics"]
    assert metrics["tokenizer"]["psnr"] != plain["tokenizer"]["psnr"]
