"""What cannot work is found before the first stage, in words, by every command alike."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path

import pytest
import transformers
from diffusers import AutoencoderKL
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.config.compose import CONF, compose_config
from pipelines.doctor.checks import examine
from pipelines.preflight import problems
from pipelines.tracking.figures import skipped_gates

pytestmark = pytest.mark.unit
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """An encoder of 32 pixels in patches of 8, a BERT, a decoder without its text tokenizer, an autoencoder of stride
    16; and broken ones.
    """
    folder = tmp_path_factory.mktemp("models")
    transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, patch_size=8, image_size=32)).save_pretrained(
        folder / "dino"
    )
    transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=16)).save_pretrained(folder / "bert")
    qwen = transformers.Qwen2Config(**SMALL, num_key_value_heads=2, vocab_size=16)
    transformers.Qwen2Model(qwen).save_pretrained(folder / "qwen")
    AutoencoderKL(
        block_out_channels=(8,) * 5,
        down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5,
        norm_num_groups=4,
    ).save_pretrained(folder / "kl")
    for name in ("pickled", "bare"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text((folder / "dino" / "config.json").read_text())
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"x")
    for name, content in (
        ("cut", (folder / "dino" / "model.safetensors").read_bytes()[:-4]),
        ("pointer", b"version https://git-lfs"),
    ):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text((folder / "dino" / "config.json").read_text())
        (folder / name / "model.safetensors").write_bytes(content)
    qwen.layer_types = ["sliding_attention"]
    qwen.save_pretrained(folder / "sliding")
    for name, pipeline, weights in (
        ("drawer", "DDPMPipeline", "model.safetensors"),
        ("unsafe", "StableDiffusionInstructPix2PixPipeline", "model.bin"),
        ("pix2pix", "StableDiffusionInstructPix2PixPipeline", "model.safetensors"),
    ):
        (folder / name / "unet").mkdir(parents=True)
        (folder / name / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
        shutil.copy(folder / "dino" / "model.safetensors", folder / name / "unet" / weights)
    (folder / "shards").mkdir()
    (folder / "shards" / "a.tar").touch()
    (folder / "photos").mkdir()
    (folder / "photos" / "a.png").write_bytes(b"x")
    (folder / "photos" / "metadata.csv").write_text("file_name,caption\na.png,a cat\n")
    (folder / "list.csv").write_text("url,words\nhttp://x/a.png,a cat\n")
    return folder


PHOTOS = ["source=folder", "source.path={}/photos", "source.files.caption_column=caption"]
EDITED = ["synthesize_edits.photos.family_weights.model=1"]
BROKEN = {
    "no folder": (["encoder.path=./nowhere"], ["encoder.path=./nowhere: there is no such folder"]),
    "another type": (
        ["encoder.path={}/bert"],
        ["encoder.path={}/bert: models of type 'bert' are not supported. Supported: dinov2"],
    ),
    "pickles": (
        ["encoder.path={}/pickled"],
        ["its weights (pytorch_model.bin) are no safetensors, and pickles are not read. Convert them"],
    ),
    "no weights": (["encoder.path={}/bare"], ["the folder has no *.safetensors"]),
    "cut weights": (["encoder.path={}/cut"], ["encoder.path={}/cut: model.safetensors has", "where its header says"]),
    "a pointer": (["encoder.path={}/pointer"], ["is a pointer of Git LFS, not weights. Fetch them with: git lfs pull"]),
    "sliding": (["generator.backbone={}/sliding"], ["it attends in sliding windows"]),
    "halving": (
        ["tokenizer.model.space=kl_vae", "image_size=36", "encoder.small.patch=12"],
        ["the ratio must be a power of two"],
    ),
    "no TorchScript": (["evaluate_tokenizer.inception={}/list.csv"], ["it is no TorchScript file"]),
    "address": (
        ["source=folder", "source.path=s3://b/x"],
        ["s3://b/x is an address", "Mount it or copy it"],
    ),
    "empty shards": (["source=webdataset", "source.shards={}/shards"], ["a.tar is empty"]),
    "negative share": (
        ["register.generator=[{{metric: editing.success, limit: -0.1}}]"],
        ["it is a share, 0 to 1, and limit is -0.1"],
    ),
    "other model's figure": (
        ["register.tokenizer=[{{metric: editing.success, limit: 0.1}}]"],
        ["Put it under register.generator"],
    ),
    "no unseen": (
        ["register.generator=[{{metric: text_to_image.unseen.overall, limit: 0.1}}]", "source.scene.held_out=[]"],
        ["source.scene.held_out"],
    ),
    "edit of no kind": (["register.generator=[{{metric: editing.move, limit: 0.1}}]"], ["does not name move"]),
    "too few objects": (
        ["register.generator=[{{metric: text_to_image.counting, limit: 0.1}}]", "source.scene.max_objects=1"],
        ["have 1 to 1 objects"],
    ),
    "size": (
        ["encoder.path={}/dino", "encoder.size=30"],
        ["encoder.size is 30: the encoder's patches have 8 pixels", "nearest is encoder.size=32"],
    ),
    "known size": (
        ["encoder.path=facebook/dinov2-base", "encoder.size=225"],
        ["patches have 14 pixels", "encoder.size=224"],
    ),
    "grid": (
        ["encoder.path={}/dino", "image_size=34"],
        ["image_size is 34", "gives a grid of 4, which must divide it"],
    ),
    "patch": (
        ["encoder.path={}/dino", "generator.model.patch=3"],
        ["generator.model.patch is 3: it must divide the latent's grid of 4"],
    ),
    "backbone": (
        ["generator.backbone={}/bert"],
        ["generator.backbone={}/bert: models of type 'bert' are not supported. Supported: qwen2, qwen3"],
    ),
    "float8 without a GPU": (
        ["generator.training.float8=true"],
        ["generator.training.float8 is for GPUs", "execution.training.train_generator.gpus is 0"],
    ),
    "no text tokenizer": (["generator.backbone={}/qwen"], ["has no text tokenizer"]),
    "autoencoder": (
        ["tokenizer.model.space=pretrained", "tokenizer.model.pretrained={}/dino"],
        ["pretrained={}/dino: models of type None"],
    ),
    "stride": (
        [
            "tokenizer.model.space=pretrained",
            "tokenizer.model.pretrained={}/kl",
            "image_size=40",
            "register.tokenizer=[]",
        ],
        ["image_size is 40", "so 16 must divide it"],
    ),
    "signal's model": (
        ["measure.models={{clip: {{kind: image_text, path: {}/dino}}}}"],
        ["measure.models.clip.path={}/dino", "models of type 'dinov2' compare no pictures with texts"],
    ),
    "signal's pickle": (
        ["measure.models={{a: {{kind: image_classification, path: {}/pickled, label: LABEL_1}}}}"],
        ["measure.models.a.path={}/pickled: its weights (pytorch_model.bin) are no safetensors"],
    ),
    "signal's class": (
        ["measure.models={{a: {{kind: image_classification, path: {}/dino, label: LABEL_7}}}}"],
        ["measure.models.a: the model '{}/dino' has no class 'LABEL_7'; did you mean 'LABEL_"],
    ),
    "signal's name": (["measure.models={{contrast: {{kind: nsfw_onnx}}}}"], ["contrast is measured without a model"]),
    "threshold without a model": (
        ["measure.models={{nsfw: {{kind: nsfw_onnx}}}}", "curate.signals={{nfsw: {{max: 0.5}}}}"],
        ["curate.signals.nfsw: no model of measure.models gives this signal; did you mean 'nsfw'?"],
    ),
    "captions without a proof": (["recaption.path=a/b"], ["nothing can prove that the model sees its pictures"]),
    "a proof that is none": (
        ["recaption.path=a/b", "measure.models={{nsfw: {{kind: nsfw_onnx}}}}", "recaption.proof=nsfw"],
        ["recaption.proof=nsfw: a model of kind nsfw_onnx compares no captions"],
    ),
    "captions by what sees no prompts": (
        ["recaption.path={}/dino"],
        ["recaption.path={}/dino: models of type 'dinov2' answer no prompts", "has no preprocessor_config.json"],
    ),
    "captions by a folder that is gone": (["recaption.path=./gone"], ["recaption.path=./gone: there is no such"]),
    "captions by a vLLM that is not there": (
        ["recaption.path=a/b", "recaption.engine=vllm"],
        ["recaption.engine=vllm needs the package vllm. Install it", "runs on whole GPUs", "recaption.gpus is 0"],
    ),
    "a judge that sees no prompts": (
        ["measure_pairs.judge.path={}/dino"],
        ["measure_pairs.judge.path={}/dino: models of type 'dinov2' answer no prompts about pictures"],
    ),
    "an editor that is gone": (
        [*EDITED, "synthesize_edits.editors={{a: {{path: ./gone, templates: [{{instruction: redden}}]}}}}"],
        ["synthesize_edits.editors.a.path=./gone: there is no such folder", "model_index.json"],
    ),
    "an editor that is no pipeline": (
        [*EDITED, "synthesize_edits.editors={{a: {{path: {0}/kl, writer: {{path: {0}/dino}}}}}}"],
        [
            "synthesize_edits.editors.a.path={}/kl: the folder has no model_index.json, so it is no pipeline",
            "synthesize_edits.editors.a.writer.path={}/dino: models of type 'dinov2' write no text",
        ],
    ),
    "an editor that takes no picture": (
        [*EDITED, "synthesize_edits.editors={{a: {{path: {}/drawer, templates: [{{instruction: redden}}]}}}}"],
        ["synthesize_edits.editors.a: the editor '{}/drawer' is a DDPMPipeline, which takes no image with a prompt"],
    ),
    "an editor's pickle": (
        [*EDITED, "synthesize_edits.editors={{a: {{path: {0}/unsafe, writer: {{path: {0}/qwen}}}}}}"],
        [
            "synthesize_edits.editors.a.path={}/unsafe: its weights (model.bin) are no safetensors",
            "a.writer.path={}/qwen: the folder has no text tokenizer",
        ],
    ),
    "an editor's argument": (
        [
            *EDITED,
            "synthesize_edits.editors={{a: {{path: {}/pix2pix, arguments: {{guidance: 2}}, "
            "templates: [{{instruction: redden}}]}}}}",
        ],
        ["the editor '{}/pix2pix' takes no argument 'guidance' of a configuration"],
    ),
    "column of a list": (["source=urls", "source.path={}/list.csv"], ["source: ", "caption"]),
    "column of captions": (["source=folder", "source.path={}/photos"], ["source: ", "'text'"]),
    "no source": (
        ["source=webdataset", "source.shards={}/none/*.tar"],
        ["source: no file matches"],
    ),
    "figure of no data": (
        [*PHOTOS, "register.generator=[{{metric: text_to_image.overal, limit: 0.1}}]"],
        ["there is no such figure", "did you mean 'text_to_image.overall'?"],
    ),
    "other model's figure of other data": (
        [*PHOTOS, "register.tokenizer=[{{metric: editing.success, limit: 0.1}}]"],
        ["Put it under register.generator"],
    ),
    "no snapshots": (
        ["register.generator=[{{metric: text_to_image.checkpoints.96, limit: 0.1}}]", "generator.snapshots=0"],
        ["generator.snapshots keeps none"],
    ),
    "share": (
        ["register.generator=[{{metric: editing.success, limit: 1.5}}]"],
        ["it is a share, 0 to 1, and limit is 1.5"],
    ),
    "unknown figure": (
        ["register.tokenizer=[{{metric: tokenizer.pnsr, limit: 20}}]"],
        ["did you mean 'tokenizer.psnr'?"],
    ),
    "unmeasured": (
        ["register.tokenizer=[{{metric: tokenizer.rfid, limit: 9, higher_is_better: false}}]"],
        ["evaluate_tokenizer.inception names no weights"],
    ),
    "space": (
        ["tokenizer.model.space=p_vae", "register.tokenizer=[{{metric: tokenizer.retrieval, limit: 0.1}}]"],
        ["the space p_vae holds no features"],
    ),
}


def filled(texts: list[str], folder: Path) -> list[str]:
    return [text.format(folder) for text in texts]


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_work_is_told_in_words(models, name):
    overrides, words = (filled(texts, models) for texts in BROKEN[name])
    found = "\n".join(problems(compose_config(["preset=tiny", *overrides])))
    assert all(word in found for word in words), found


@pytest.mark.parametrize("name", ["size", "pickles", "unknown figure", "no source"])
def test_run_dry_run_plan_and_doctor_find_the_same(models, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = ["preset=tiny", *filled(BROKEN[name][0], models)]
    found = problems(compose_config(overrides))
    assert found
    for command in (["run"], ["run", "--dry-run"], ["plan"]):
        result = CliRunner().invoke(app, [*command, *overrides])
        assert isinstance(result.exception, ValueError), result.output
        assert all(problem in str(result.exception) for problem in found), command
    assert not (tmp_path / "store").exists()
    lines = [line.text for line in islice(examine(compose_config(overrides)), 1 + len(found)) if not line.ok]
    assert lines == found


@pytest.mark.parametrize(
    ("model", "metric"),
    [
        ("generator", "text_to_image.seconds_per_image"),
        ("generator", "text_to_image.retrieval_pool"),
        ("generator", "text_to_image.by_guidance.1"),
        ("generator", "text_to_image.checkpoints.96"),
        ("generator", "editing.removal_ghosts"),
        ("tokenizer", "tokenizer.latent.std_max"),
        ("tokenizer", "tokenizer.pictures"),
        ("tokenizer", "tokenizer.frechet_trained_encoder"),
    ],
)
def test_gates_on_figures_that_are_measured_are_no_problem(model, metric):
    gate = f"register.{model}=[{{metric: {metric}, limit: 0.5}}]"
    assert problems(compose_config(["preset=tiny", gate])) == []


@pytest.mark.parametrize(
    ("metric", "limit", "higher", "refused"),
    [
        ("text_to_image.kernel_trained_encoder", 3, False, False),
        ("text_to_image.chance.frechet_trained_encoder", 20, True, False),
        ("text_to_image.similarity_trained_encoder", 1.5, True, True),
        ("text_to_image.instance_retrieval_trained_encoder", 1.5, True, True),
        ("editing.psnr", 20, True, False),
        ("editing.by_kind.recolour.psnr", 20, True, False),
        ("editing.of_source.nearer_target_trained_encoder", 2, False, True),
        ("editing.direction_trained_encoder", 2, True, True),
        ("editing.direction_trained_encoder", -0.5, True, False),
        ("text_to_image.kernel_trained_encoder", -1, False, True),
    ],
)
def test_gates_on_figures_of_any_data_may_ask_for_what_such_a_figure_can_be(models, metric, limit, higher, refused):
    gate = f"register.generator=[{{metric: {metric}, limit: {limit}, higher_is_better: {str(higher).lower()}}}]"
    found = problems(compose_config(["preset=tiny", *filled(PHOTOS, models), gate]))
    assert bool(found) == refused and all("cannot be passed" in words for words in found)


@pytest.mark.parametrize(
    ("metric", "kinds"),
    [
        ("text_to_image.overall", "scenes and pictures"),
        ("text_to_image.unseen.overall", "scenes"),
        ("text_to_image.checkpoints.96", "scenes and pictures"),
        ("text_to_image.seen.concept", "pictures"),
        ("editing.replace_shape", "scenes"),
        ("editing.by_factor", "pictures"),
    ],
)
def test_gates_on_figures_that_this_data_cannot_have_are_skipped_and_no_problem(models, metric, kinds):
    gate = f"register.generator=[{{metric: {metric}, limit: 0.5}}]"
    config = compose_config(["preset=tiny", *filled(PHOTOS, models), gate])
    assert problems(config) == []
    assert skipped_gates(config) == {metric: f"only {kinds} have it, and the source is folder"}


@pytest.mark.parametrize("gates", ["any", "scenes", "pictures"])
def test_any_data_may_be_held_to_any_of_the_gates(models, gates):
    for source in (["source=scenes"], filled(PHOTOS, models)):
        config = compose_config(["preset=tiny", *source, f"gates={gates}"])
        assert problems(config) == []
        assert "text_to_image.retrieval" not in skipped_gates(config)


def test_an_empty_shard_among_others_is_left_to_ingest(tmp_path):
    (tmp_path / "a.tar").touch()
    (tmp_path / "b.tar").write_bytes(b"x")
    source = ["source=webdataset", f"source.shards={tmp_path}"]
    assert problems(compose_config(["preset=tiny", *source])) == []


def test_a_run_that_ends_before_a_broken_part_is_not_refused(models):
    config = compose_config(["preset=tiny", f"encoder.path={models}/bert"])
    assert problems(config, ["ingest", "curate"]) == []
    assert len(problems(config, ["ingest", "train_encoder"])) == 1


def test_each_source_is_checked_by_its_name_and_each_training_needs_one_that_serves_it(tmp_path):
    drawn = ["preset=tiny", "source@sources.drawn=scenes_tiny", "sources.drawn.use=[tokenizer]"]
    photos = ["source@sources.photos=folder", f"sources.photos.path={tmp_path / 'photos'}"]
    (told,) = problems(compose_config([*drawn, *photos]))
    assert told.startswith("sources.photos: ")
    assert problems(compose_config([*drawn, *photos]), ["ingest@drawn", "measure@drawn"]) == []
    none, nor_edits = problems(compose_config(drawn))
    assert none.startswith("sources: none serves text_to_image, and train_generator has nothing to train on")
    assert nor_edits.startswith("sources: none serves editing")
    assert problems(compose_config(drawn), ["train_tokenizer"]) == []
    assert len(problems(compose_config([*drawn, "generator.edit_share=0"]))) == 1


NEED_DATA = {"paper", "single_gpu", "single_gpu_24gb", "paper_data"}  # of one's own, or from a hub


@pytest.mark.parametrize("preset", sorted({p.stem for p in (CONF / "preset").glob("*.yaml")} - NEED_DATA))
def test_presets_have_no_problems(preset):
    assert problems(compose_config([f"preset={preset}"])) == []


@pytest.mark.parametrize("preset", ["paper", "single_gpu", "single_gpu_24gb"])
def test_presets_for_real_data_have_no_problems_with_a_source(preset, models):
    data = ["source=folder", f"source.path={models}/photos", "source.files.caption_column=caption"]
    assert problems(compose_config([f"preset={preset}", *data])) == []
