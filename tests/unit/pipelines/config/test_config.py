"""The configuration: one place for every default, typed, and traced to its origin."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pipelines.config.compose import (
    CONF,
    changed_keys,
    compose_config,
    flatten,
    load_config,
    to_dict,
    to_yaml,
)
from pipelines.config.keys import fields_of_value, members
from pipelines.config.newer_keys import GONE, NEWER
from pipelines.config.schema import Config
from pipelines.errors import UserError

pytestmark = pytest.mark.unit
NEWER_SECTIONS = (
    "matcher.", "recaption.", "measure.models", "curate.signals", "execution.resources.score.",
    "execution.resources.recaption.", "execution.training.train_matcher.", "measure_pairs.", "curate_pairs.",
    "execution.resources.measure_pairs.", "execution.resources.curate_pairs.",
    "execution.resources.index_latents.", "execution.node_cache_gb", "shuffle.", "evaluate_model",
    "execution.resources.evaluate_model.",
)  # fmt: skip

OF_OWN_DATA = ("paper", "single_gpu", "single_gpu_24gb")
ENCODING = {f"execution.resources.encode_latents.{key}" for key in ("actors", "cpus", "gpus")}
BATCHES = ("encoder.training", "tokenizer.semantic", "tokenizer.training", "generator.training", "generator.editing")
# What was changed of these presets since, so that they fit the GPUs that they name and keep the paper's batches.
FITTED = {
    "paper": {"generator.training.accumulate", "generator.editing.accumulate", "synthesize_edits.photos.share"}
    | ENCODING,
    "single_gpu": {f"{key}.batch" for key in BATCHES} | {f"{key}.accumulate" for key in BATCHES[1:]} | ENCODING,
}


def option_defaults(kind, values, prefix=""):
    """Yield (dotted key, default) of every field of the options classes below a section's type."""
    for name, inner in (fields_of_value(kind, values) or {}).items():
        key, value = f"{prefix}.{name}" if prefix else name, values[name]
        options = members(inner)
        if dataclasses.is_dataclass(kind := options[0] if options else None):
            plain = json.loads(json.dumps(dataclasses.asdict(kind())))
            yield from ((f"{key}.{k}", v) for k, v in flatten(plain).items())
        elif isinstance(value, dict):
            yield from option_defaults(inner, value, key)


@pytest.mark.parametrize(
    "source", ["pictures", "pictures_tiny", "scenes", "scenes_rich", "urls", "folder", "webdataset"]
)
def test_no_default_is_written_in_two_places(source):
    values = to_dict(compose_config([f"source={source}", "preset=paper"], stand_in="x"))
    defaults = dict(option_defaults(Config, values))
    files = [
        CONF / "config.yaml",
        *(p for group in ("encoder", "tokenizer", "generator") for p in (CONF / group).glob("*.yaml")),
    ]
    written = {path: flatten(OmegaConf.to_container(OmegaConf.load(path))) for path in files}
    written[CONF / "source" / f"{source}.yaml"] = flatten(
        OmegaConf.to_container(OmegaConf.load(CONF / "source" / f"{source}.yaml"))
    )
    twice = []
    for path, keys in written.items():
        group = "" if path.parent == CONF else f"{path.parent.name}."
        twice += [
            f"{path}: {key}"
            for key, value in keys.items()
            if value not in ({}, []) and defaults.get(group + key, "-") == value
        ]
    assert not twice


def test_presets_resolve_as_before_the_base_became_the_published_method():
    """The fixture was made at a287622 by `pixsem config --json`, when `scenes` was called `demo`. Its gates hold those
    of any data since. What differs: new keys, and Muon's rate where AdamW is the optimizer.
    """
    kept = json.loads((Path(__file__).parent / "resolved_presets.json").read_text())
    for name in ("scenes", "scenes_small", "tiny", "plain", "scenes_gpu", "paper", "single_gpu"):
        data = ["source=folder", "source.path=/data/x"] if name in OF_OWN_DATA else []
        now = flatten(json.loads(json.dumps(to_dict(compose_config([f"preset={name}", *data])))))
        delta = {"set": {}, "gone": []} if name == "scenes" else kept[name]
        before = {k: v for k, v in (kept["scenes"] | delta["set"]).items() if k not in delta["gone"]}
        before |= {k: v for k, v in {"execution.on_code_change": "note", **NEWER, **flatten(NEWER)}.items() if k in now}
        before = {k: v for k, v in before.items() if k not in GONE and not k.startswith(NEWER_SECTIONS)}
        now = {k: v for k, v in now.items() if not k.startswith(NEWER_SECTIONS)}
        differing = {k for k in before.keys() | now.keys() if before.get(k, "-") != now.get(k, "-")}
        unused = {f"generator.{stage}.optimizer.muon_lr" for stage in ("training", "editing")}
        assert differing == (unused | FITTED[name] if name in FITTED else set()), name


def test_what_a_preset_changes_is_told_with_the_file_that_says_it():
    found = {key: (value, place) for key, value, place in changed_keys(["preset=tiny", "seed=7", "encoder.size=32"])}
    assert found["seed"] == (7, "from the command line") and found["encoder.size"] == (32, "from the command line")
    assert found["latents.batch"] == (32, "from conf/preset/tiny.yaml")
    assert found["latents.precision"] == ("auto", "from conf/preset/scenes.yaml")
    assert found["tokenizer.model.scaling"] == ("whole", "from conf/tokenizer/small.yaml")
    assert found["generator.editing.optimizer.lr"] == (0.006, "from conf/optimizer/muon_fast.yaml")
    assert found["source.count"] == (240, "from conf/source/scenes_tiny.yaml")
    assert found["source.scene.graded"] == (0.0, "from conf/source/scenes.yaml")
    assert found["register.generator"][1] == "from conf/gates/scenes.yaml"
    assert not {"preset", "store", "curate.min_side", "source.faults.flat_image"} & found.keys()
    drawn = {key: (value, place) for key, value, place in changed_keys(["preset=demo", "image_size=96"])}
    assert drawn["source.picture.size"] == (96, "from conf/source/pictures.yaml")  # which says ${image_size}
    only = changed_keys(["preset=paper", "source.path=x"])
    assert {key.split(".")[0] for key, _, _ in only} == {"source", "execution", "generator", "synthesize_edits"}


def agrees(written, value):
    """Whether a value is the written one, but for defaults of its parts."""
    if isinstance(written, dict):
        return all(agrees(part, value[name]) for name, part in written.items())
    if isinstance(written, list):
        return len(written) == len(value) and all(map(agrees, written, value))
    return written == value


@pytest.mark.parametrize("preset", sorted(path.stem for path in (CONF / "preset").glob("*.yaml")))
def test_the_file_that_a_changed_key_is_traced_to_says_its_value(preset):
    data = ["source=folder", "source.path=/data/x"] if preset in OF_OWN_DATA else []
    resolved = flatten(to_dict(compose_config([f"preset={preset}", *data])))
    traced = 0
    for key, value, place in changed_keys([f"preset={preset}", *data]):
        path = CONF.parent / place.removeprefix("from ")
        if path.suffix != ".yaml":
            continue
        group = path.parent.name
        sections = {"preset": "", "conf": "", "gates": "register.", "optimizer": f"{key.rpartition('.')[0]}."}
        top = sections.get(group, f"{group}.")
        if group == "source" and (named := re.match(r"sources\.\w+\.", key)):
            top = named[0]
        written = OmegaConf.to_container(OmegaConf.load(path))
        for part in key.removeprefix(top).split("."):
            written = written[part]
        if isinstance(written, str) and written.startswith("${"):
            written = resolved[written.removeprefix("${").removesuffix("}")]
        assert agrees(written, value), f"{key} is {value}, and {place} says {written}"
        traced += 1
    assert traced > 20


def test_an_optimizer_is_chosen_for_all_trainings_or_for_one():
    every = compose_config(["optimizer=adamw"])
    assert {every.encoder.training.optimizer.kind, every.generator.editing.optimizer.kind} == {"adamw"}
    one = compose_config(["optimizer=muon", "optimizer@generator.editing.optimizer=adamw"])
    assert (one.generator.training.optimizer.kind, one.generator.editing.optimizer.kind) == ("muon", "adamw")


def metrics(*overrides):
    found = compose_config(list(overrides)).register
    return [gate.metric for gate in found.tokenizer], [gate.metric for gate in found.generator]


def test_gates_are_chosen_whole_by_preset_or_by_hand_and_given_one_by_one_for_any_source():
    psnr, of_any = ["tokenizer.psnr"], ["text_to_image.retrieval"]
    folder = ("source=folder", "source.path=/data/x")
    assert metrics("preset=single_gpu", *folder) == metrics("preset=tiny", "gates=any") == (psnr, of_any)
    assert metrics("preset=tiny", "gates=scenes")[1] == [*of_any, "text_to_image.overall", "editing.success"]
    assert metrics("preset=tiny", "gates=pictures") == (
        psnr,
        [*of_any, "text_to_image.exact", "text_to_image.concept", "editing.by_factor"],
    )
    assert metrics("preset=tiny", "register.generator=[]", *folder) == (psnr, [])
    gate = "{metric: editing.success, limit: 0.5}"
    assert metrics("preset=tiny", "gates=any", f"register.generator=[{gate}]") == (psnr, ["editing.success"])


def test_a_kept_configuration_reads_back_as_it_was():
    config = compose_config(["preset=tiny", "curate.languages=[en,de]", "seed=7"])
    assert load_config(to_yaml(config), "config.yaml") == config
    assert (config.preset, config.seed, config.curate.languages) == ("tiny", 7, ("en", "de"))


def test_the_preset_says_only_what_differs():
    base, tiny = (flatten(to_dict(compose_config([f"preset={name}"]))) for name in ("scenes", "tiny"))
    changed = {key for key in base if base[key] != tiny.get(key)}
    # Smaller, all of them, and none that looks at captions.
    models = ("encoder.", "tokenizer.", "latents.", "generator.", "evaluate_", "execution.", "measure.models.")
    assert {key for key in changed if not key.startswith((*models, "curate.signals"))} == {
        "preset", "source.count", "source.samples_per_shard", "curate.max_caption_repeats", "image_size", "held_out",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["tokenizer.channels=32"], "did you mean 'tokenizer.model.channels'? (from the command line)"),
        (["chanels=32"], "did you mean 'tokenizer.model.channels'?"),
        (["seed=1", "curate.min_words=2", "seed=2"], "seed is given twice, as 'seed=1' and 'seed=2'"),
        (["optimizer@generator.trainin.optimizer=adamw"], "did you mean 'optimizer@generator.training.optimizer'?"),
        (["encoder=dinov3"], "no such encoder; did you mean 'dinov2'?"),
        (["gates=scene"], "no such gates; did you mean 'scenes'?"),
        (["curate.max_aspec=2"], "did you mean 'curate.max_aspect'? (from the command line)"),
        (["source=scenes", "source.scene.shapes=[circle,squar]"], "did you mean 'square'?"),
        (["source=scenes", "source.scene.max_objects=two"], "source.scene.max_objects"),
        (["execution.resources.mesure.cpus=2"], "did you mean 'execution.resources.measure'?"),
        (["+curate.new=1"], "none can be added or removed"),
        (["cluster.address=ray://x", "cluster.num_cpus=2"], "cluster.num_cpus is for a local Ray only"),
        (["source=url"], "did you mean 'urls'?"),
        (["source=urls"], "source.path: must be given"),
        (["curate.min_words=5", "curate.max_words=2"], "every caption would be dropped"),
        (["source.kind=movies"], "source"),
        (["tokenizer.pixel_decoder.kind=conv"], "the start from patch PCA needs pixel_decoder.kind=patch"),
        (
            [
                "tokenizer.training.zero_stage=3",
                "tokenizer.training.optimizer.kind=adamw",
                "tokenizer.losses.gan=1",
                "tokenizer.losses.gan_start=0.5",
            ],
            "tokenizer.training.zero_stage is 3, which splits",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_key_and_origin(overrides, words):
    with pytest.raises(UserError) as caught:
        compose_config(overrides)
    assert words in str(caught.value)


def test_a_key_of_another_source_is_refused():
    with pytest.raises(UserError, match=r"source\.count: unknown key; it belongs to source=scenes \(from the command"):
        compose_config(["source=folder", "source.path=x", "source.count=3"])


def test_models_of_signals_are_a_group_of_which_several_are_taken(tmp_path):
    config = compose_config(["preset=tiny", "signals=[nsfw,clip]", "curate.signals.nsfw.max=0.3"])
    assert list(config.measure.models) == ["nsfw", "clip"] and config.measure.models["clip"].kind == "image_text"
    assert config.curate.signals["nsfw"].max == 0.3 and config.curate.signals["clip"].min == 0.2
    assert list(compose_config(["preset=tiny", "signals=matcher"]).measure.models) == ["matcher"]
    found = {key: place for key, _, place in changed_keys(["preset=tiny", "signals=[nsfw]"])}
    assert found["measure.models.nsfw.kind"] == "from conf/signals/nsfw.yaml"
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [tiny, {override /signals: [nsfw]}]\n"
        "measure: {models: {text: {kind: zero_shot, path: a/b, prompts: [text, photo]}}}\n"
    )
    assert list(compose_config(["preset=mine"], str(tmp_path)).measure.models) == ["nsfw", "text"]
    scenes = {
        name: list(compose_config([f"preset={name}"]).measure.models) for name in ("scenes", "scenes_gpu", "plain")
    }
    assert scenes == {"scenes": ["matcher"], "scenes_gpu": ["matcher"], "plain": []}
    with pytest.raises(UserError, match=r"no such signals; did you mean 'clip'\?"):
        compose_config(["preset=tiny", "signals=[nsfw,clp]"])


def test_models_may_be_given_as_a_list_with_names():
    config = compose_config(["preset=tiny", "signals=clip", "measure.models=[{name: a, kind: nsfw_onnx}]"])
    assert list(config.measure.models) == ["a"]
    assert load_config(to_yaml(config), "config.yaml") == config
    for models, said in (
        ("[{kind: nsfw_onnx}]", "every model of the list needs a name"),
        ("[{name: a, kind: nsfw_onnx}, {name: a, kind: nsfw_onnx}]", "two models have the name 'a'"),
        ("[{name: A, kind: nsfw_onnx}]", "the signal name 'A'"),
        ("{a: {kind: nsfw}}", "measure.models.a.kind"),
        ("{a: {kind: zero_shot}}", "zero_shot needs `path`"),
    ):
        with pytest.raises(UserError, match=said):
            compose_config(["preset=tiny", f"measure.models={models}"])


def test_a_key_that_is_gone_says_what_is_written_now_and_does_no_harm_in_an_old_run():
    with pytest.raises(UserError, match=r"curate\.max_nsfw: unknown key; it is gone, write curate\.signals="):
        compose_config(["preset=tiny", "curate.max_nsfw=0.5"])
    text = to_yaml(compose_config(["preset=tiny"]))
    old = text.replace("\nmeasure:\n", "\nmeasure:\n  image_text: null\n")
    old = old.replace("\ncurate:\n", "\ncurate:\n  max_nsfw: null\n")
    assert load_config(old, "config.yaml") == compose_config(["preset=tiny"])
    with pytest.raises(UserError, match="write measure"):
        load_config(text.replace("\nmeasure:\n", "\nmeasure:\n  image_text: x\n"), "config.yaml")
