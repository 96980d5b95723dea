"""Any data, which nothing reads back: prompts and edits of the index, and the whole table of figures of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from components.curation.images import encode_png, square
from components.tokenizer.image_text import ImageTextModel, Vocabulary, small_encoder
from pipelines.config.compose import compose_config
from pipelines.judging.similarity_judge import ImageText
from pipelines.stage import ShardContext, ShardTask
from pipelines.stages.generator.held_out_world import HeldOutWorld
from pipelines.stages.generator.judged_world import find_world
from pipelines.stages.generator.picture_sheet import others
from pipelines.stages.generator.sample_sets import OwnModel
from pipelines.tracking.figures import of_edits_any, of_prompts_any
from tests.unit.pipelines.stages.generator.evaluated import evaluate, pieces
from tests.unit.pipelines.stages.generator.fake_world import Prepared, key_of
from tests.unit.pipelines.stages.tokenizer import test_picture_batches as shards

pytestmark = pytest.mark.unit
CONFIG = compose_config(["preset=tiny", "source=folder", "source.path=photos", "evaluate_generator.prompts=3"])
F = "trained_encoder"
indexed = shards.indexed  # a fixture: 20 samples in one shard, every other one edited


class Known(OwnModel):
    """The pipeline's own model before its training, with what trained ones know of these pictures told to it: a
    caption's number is the picture's own features.
    """

    def __init__(self, world: HeldOutWorld) -> None:
        torch.manual_seed(0)
        self._model = ImageTextModel(small_encoder(shards.SMALL, 32), 8, shards.SMALL).eval()
        self._vocabulary, self._device = Vocabulary(["caption"]), torch.device("cpu")
        self._true = {a.text: world.picture(a) for a in world.prompts("captions", 100)}
        self._encoded = self._encode

    def texts(self, captions):
        return self.embed(np.stack([self._true[caption] for caption in captions]))


def world_of(indexed, folder, seed: int = 0) -> HeldOutWorld:
    context = ShardContext(ShardTask("evaluation"), 0, folder, indexed[0], folder)
    return HeldOutWorld(context, CONFIG, {"index": indexed[1]}, seed)


@pytest.fixture
def world(indexed, tmp_path) -> HeldOutWorld:
    return world_of(indexed, tmp_path)


def evaluated(folder, world, change=lambda truth, cases: {}):
    """Evaluate a generator that makes the truth but for what is changed."""
    folder.mkdir(exist_ok=True)
    own = Known(world)
    judges = [ImageText(F, own.embed, own.texts, {})]
    studio, sections = pieces(CONFIG, world, Prepared({}), world)
    cases = {s.split: studio.sheet.cases(s) for s in sections}
    truth = {c.text: world.picture(c) for split, found in cases.items() if split != "edits" for c in found}
    truth |= {key_of(c): c.target for c in cases["edits"]}
    maker = Prepared(truth | change(truth, cases))
    rest = {"captions": world, "features": {F: own.features}, "own": own, "snapshots": {48: ("g", "a"), 96: ("g", "b")}}
    return evaluate(folder, CONFIG, world, maker, judges=judges, **rest)


def test_prompts_are_held_out_captions_and_edits_held_out_pairs_with_their_true_pictures(indexed, tmp_path, world):
    again = world_of(indexed, tmp_path, 1)
    rows = world._pictures.rows
    asked = world.prompts("captions", 2)
    assert asked == again.prompts("captions", 2)
    for a in asked:
        number = int(a.text.removeprefix("caption "))
        assert f"k{number:03d}" in rows["group"]
        assert np.array_equal(world.picture(a), square(shards.picture(number), 32))
    assert len(world.prompts("captions", 100)) == rows["role"].count("picture")
    (first, *_) = cases = world.edits("edits", 100)
    assert len(cases) == rows["role"].count("target") and first.instruction == "do it" and first.mask is None
    number = int(first.row["source"].removeprefix("edits/k")[:3])
    assert np.array_equal(first.source, square(shards.picture(number), 32))
    assert np.array_equal(first.target, square(shards.picture(100 + number), 32))


def test_an_edit_has_the_kind_and_the_mask_that_its_pair_has(tmp_path, monkeypatch):
    white = np.zeros((16, 16, 3), np.uint8)
    white[:8] = 255

    def masked(count: int = 20):
        for record in plain(count):
            about = record.parts["json"].removesuffix(b"}") + b', "kind": "Swap Sky"}'
            yield shards.Record(record.key, record.parts | {"mask.png": encode_png(white), "json": about})

    plain = shards.pairs
    monkeypatch.setattr(shards, "pairs", masked)
    store = shards.indexed.__wrapped__(tmp_path)
    cases = world_of(store, tmp_path).edits("edits", 3)
    assert {case.kind for case in cases} == {"swap_sky"}
    assert all(case.mask is not None and case.mask[:16].all() and not case.mask[16:].any() for case in cases)


def test_any_data_get_the_whole_table_beside_chance_and_ceiling(tmp_path, world):
    assert find_world(CONFIG) is HeldOutWorld
    found = evaluated(tmp_path / "truth", world)
    metrics = found.metrics()
    images, edits = metrics["text_to_image"], metrics["editing"]
    few = {f"precision_{F}", f"recall_{F}", f"coverage_{F}"}  # six held-out captions have no five neighbours
    missing = {name.split(".")[1] for name in metrics["absent"] if name.startswith("text_to_image")}
    given = set(of_prompts_any(CONFIG)) - missing
    assert given >= set(of_prompts_any(CONFIG)) - few
    ceilings = given - {f"frechet_{F}"}  # has a name of its own
    assert given <= images.keys() and given <= images["chance"].keys() and ceilings <= images["ceiling"].keys()
    assert images["retrieval"] == images[f"instance_retrieval_{F}"] == 1
    assert images[f"similarity_{F}"] == pytest.approx(1) == images["ceiling"][f"similarity_{F}"]
    assert images[f"kernel_{F}"] < 1e-6 < images["chance"][f"kernel_{F}"]
    told = {name for name, why in of_edits_any(CONFIG).items() if not why}
    for group in (edits, edits["of_source"], edits["of_reconstructions"], edits["of_others"]):
        assert told <= group.keys()
    assert edits["psnr"] == 100 and edits[f"nearer_target_{F}"] == 1
    assert edits[f"direction_{F}"] == pytest.approx(1)
    assert edits["of_source"][f"nearer_target_{F}"] == 0 == edits["of_source"][f"direction_{F}"]
    assert {"text_to_image.retrieval", f"text_to_image.similarity_{F}", "editing.psnr"} <= metrics["intervals"].keys()
    absent = metrics["absent"]
    assert "lpips_weights" in absent["editing.lpips"] and "pairs.mask" in absent["editing.preservation_psnr"]
    assert "scenes and pictures" in absent["text_to_image.overall"] and "editing.success" in absent
    protocol = metrics["protocol"]
    assert F in protocol["text_to_image"]["judges"] and "reference" in protocol["editing"]["judges"]
    assert len(protocol["text_to_image"]["prompts_digest"]) == 64


def test_shuffled_captions_score_as_chance_says_and_copied_sources_as_no_edit(tmp_path, world):
    def shuffled(truth, cases):
        asked = [c.text for c in cases["held out captions"]]
        ring = others(len(asked), np.random.default_rng(3))
        wrong = {asked[i]: truth[asked[j]] for i, j in enumerate(ring)}
        return wrong | {key_of(c): c.source for c in cases["edits"]}

    metrics = evaluated(tmp_path / "shuffled", world, shuffled).metrics()
    images, edits = metrics["text_to_image"], metrics["editing"]
    assert images["retrieval"] == images[f"instance_retrieval_{F}"] == 0
    assert images[f"kernel_{F}"] == pytest.approx(0, abs=1e-6)  # the set is that of the true pictures
    true = evaluated(tmp_path / "true", world).metrics()["text_to_image"]
    chance, ceiling = (true[group][f"similarity_{F}"] for group in ("chance", "ceiling"))
    assert abs(images[f"similarity_{F}"] - chance) < 0.25 * (ceiling - chance)
    names = ("psnr", "ssim", f"nearer_target_{F}", f"similarity_{F}", f"direction_{F}")
    assert {n: edits[n] for n in names} == pytest.approx({n: edits["of_source"][n] for n in names})


def test_an_evaluation_of_any_data_leaves_pictures_edits_convergence_and_rows_without_verdicts(tmp_path, world):
    found = evaluated(tmp_path / "out", world)
    found.metrics()
    found.grids(lambda name: tmp_path / name)
    sizes = {name: Image.open(tmp_path / f"{name}.png").size for name in ("generated", "edits", "convergence")}
    assert sizes["convergence"][1] > 3 * 96  # two snapshots above the truth
    rows = [row for own in found.rows.values() for row in own]
    assert {row["right"] for row in rows} == {None} and all(row["prompt"] and row["about"]["truth"] for row in rows)
    counts = {split: len(own) for split, own in found.rows.items()}
    assert counts["held out prompts"] == 3 and counts["edits"] == 2 and counts["checkpoint at 96 samples"] == 1
