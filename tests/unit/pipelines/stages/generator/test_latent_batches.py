"""Batches of latents, and training on them: complete, the same for any rank count, and exact after an interruption."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from components.data.latent_reader import LatentDataset
from components.data.latents import LatentSpec, LatentWriter
from components.generator.options import FlowOptions
from components.generator.text import train_text_tokenizer
from components.training.loop import Hooks, Place, train
from components.training.options import OptimizerOptions, TrainingOptions
from pipelines.errors import UserError
from pipelines.stages.generator.generator_setup import GeneratorTask, spread_snapshots
from pipelines.stages.generator.latent_batches import WINDOW, LatentSource, Samples, text_shares
from pipelines.stages.mixing import Draw
from tests.unit.generator.worlds import CHANNELS, GRID, VARIANTS, space, transformer
from tests.unit.pipelines.stages.generator.latent_rows import latent_rows

pytestmark = pytest.mark.unit
TEXTS = [f"a {'very ' * (n % 5)}{colour} {shape}" for n, (colour, shape) in enumerate(
    (c, s) for c in ("red", "blue", "green", "pink", "grey") for s in ("circle", "square", "line", "dot"))]  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Samples:
    folder = tmp_path_factory.mktemp("latents")
    values = np.random.default_rng(0).standard_normal((2, len(TEXTS), CHANNELS, GRID, GRID)).astype(np.float16)
    for kind in ("captions", "edits"):
        spec = LatentSpec(CHANNELS, GRID, GRID, "t", (0.0,) * CHANNELS, (1.0,) * CHANNELS, kind)
        with LatentWriter(folder / f"{kind}.arrow", spec) as writer:
            keys = [f"{kind}{n}" for n in range(len(TEXTS))]
            writer.add(keys, TEXTS, values[0], values[1] if kind == "edits" else None, [False] * len(TEXTS))
    dataset = LatentDataset([folder / "captions.arrow", folder / "edits.arrow"], "t")
    texts = [(text,) for text in TEXTS]
    return Samples(*(latent_rows(folder / f"rows{shard}", dataset, shard, texts) for shard in range(2)))


@pytest.fixture
def make(samples, tmp_path) -> Callable[..., Samples]:
    """Makes samples of the captions' latents with other texts, without edits."""

    def made(texts, **more) -> Samples:
        rows = (latent_rows(tmp_path / name, samples.captions.dataset, 0, own, **more)
                for name, own in (("captions", texts), ("none", [])))  # fmt: skip
        return Samples(*rows)

    return made


def source(samples: Samples, batch: int = 10, share: float = 0.5, rank: int = 0, world: int = 1) -> LatentSource:
    return LatentSource(samples, train_text_tokenizer(TEXTS), 16, batch, share, 0, Draw(7, rank, world))


def test_every_sample_comes_once_an_epoch_and_edits_at_their_share(samples):
    made = source(samples, batch=10, share=0.5)
    keys = [key for step in range(WINDOW) for key in made.batch(step)[1]]
    assert len(keys) == 80 and sum(key.startswith("edits") for key in keys) == 40
    assert sorted(keys) == sorted(f"{kind}{n}" for kind in ("captions", "edits") for n in range(20) for _ in range(2))


def test_a_batch_holds_the_texts_and_sources_of_its_own_samples(samples):
    made = source(samples)
    batch, keys = made.batch(3)
    words = train_text_tokenizer(TEXTS)
    for row, key in enumerate(keys):
        number = int(key.removeprefix("edits").removeprefix("captions"))
        assert words.decode(batch["ids"][row][batch["text"][row]]) == TEXTS[number]
        stored = samples.captions.dataset.row(number + (20 if key.startswith("edits") else 0))
        assert np.array_equal(batch["latents"][row].numpy(), stored.latent)
        assert bool(batch["has_source"][row]) == key.startswith("edits")
        expected = np.zeros_like(stored.latent) if stored.source is None else stored.source
        assert np.array_equal(batch["sources"][row].numpy(), expected)
    assert "sources" not in source(samples, share=0.0).batch(0)[0]


def test_a_mix_of_captions_gives_each_origin_its_share_of_the_steps(make):
    mix = {"recaption": 3.0, "alt": 1.0}
    assert text_shares(("alt", "recaption", "recaption"), mix, 3) == pytest.approx((0.25, 0.375, 0.375))
    assert text_shares(("alt", "alt"), mix, 2) == (0.5, 0.5) and text_shares(("alt", "other"), mix, 2) == (1.0, 0.0)
    assert text_shares(("other",), mix, 1) is None and text_shares(None, mix, 2) is None
    assert text_shares(("alt", "recaption"), {}, 2) is None
    mixed = make([(text, f"one {text}") for text in TEXTS], origins=("alt", "recaption"), mix=mix)
    words = train_text_tokenizer(mixed.captions.texts())
    made = LatentSource(mixed, words, 16, 10, 0.0, 0, Draw(7))
    taken = [
        words.decode(ids[text])
        for batch, _ in (made.batch(step) for step in range(3 * WINDOW))
        for ids, text in zip(batch["ids"], batch["text"], strict=True)
    ]
    assert 0.65 < sum(text.startswith("one ") for text in taken) / len(taken) < 0.85


def test_sources_give_their_weights_share_and_a_resume_goes_on_in_the_same_order(make):
    named = make([(text,) for text in TEXTS], sources=["drawn"] * 15 + ["photos"] * 5)
    words = train_text_tokenizer(TEXTS)

    def made(weights: dict[str, float | None] | None) -> LatentSource:
        return LatentSource(named, words, 16, 10, 0.0, 0, Draw(7), weights=(weights, None))

    weighted = {"drawn": 1.0, "photos": 3.0}
    first = [made(weighted).batch(step)[1] for step in range(2 * WINDOW)]
    photos = [int(key.removeprefix("captions")) >= 15 for keys in first for key in keys]
    assert sum(photos) / len(photos) == 0.75
    assert made(weighted).batch(13)[1] == first[13]
    alike = {"drawn": None, "photos": None}
    assert made(alike).batch(5)[1] == made(None).batch(5)[1]
    with pytest.raises(UserError, match=r"sources\.more has a weight, and none of its samples"):
        made({**weighted, "more": 1.0})


def test_a_step_takes_one_of_a_samples_texts_and_always_the_same(make):
    texts = [(text, f"one {text}") for text in TEXTS]
    several = make(texts)
    words = train_text_tokenizer(several.captions.texts())

    def texts_of(step: int) -> list[tuple[str, str]]:
        batch, keys = LatentSource(several, words, 16, 10, 0.0, 0, Draw(7)).batch(step)
        said = [words.decode(ids[text]) for ids, text in zip(batch["ids"], batch["text"], strict=True)]
        return list(zip(keys, said, strict=True))

    taken = [pair for step in range(WINDOW) for pair in texts_of(step)]
    assert all(text in texts[int(key.removeprefix("captions"))] for key, text in taken)
    assert 0.25 < sum(text.startswith("one ") for _, text in taken) / len(taken) < 0.75
    assert texts_of(3) == texts_of(3)


def test_over_the_epochs_each_text_of_a_sample_is_told_and_which_one_follows_from_seed_and_step_alone(make):
    texts = [(text, f"one {text}") for text in TEXTS]
    several = make(texts)
    words = train_text_tokenizer(several.captions.texts())

    def told(steps, seed: int = 7, rank: int = 0, world: int = 1) -> dict[int, set[tuple[str, str]]]:
        made = LatentSource(several, words, 16, 10, 0.0, 0, Draw(seed, rank, world))
        found = {}
        for step in steps:
            batch, keys = made.batch(step)
            said = [words.decode(ids[text]) for ids, text in zip(batch["ids"], batch["text"], strict=True)]
            found[step] = set(zip(keys, said, strict=True))
        return found

    steps = range(8 * WINDOW)
    walked = told(steps)
    assert told((61, 0, 17)) == {step: walked[step] for step in (61, 0, 17)}
    ranks = [told((9, 40), rank=rank, world=2) for rank in (0, 1)]
    assert all(ranks[0][step] | ranks[1][step] == walked[step] for step in (9, 40))
    assert told(steps, seed=8) != walked
    every = {pair for step in steps for pair in walked[step]}
    assert every == {(f"captions{n}", text) for n, own in enumerate(texts) for text in own}


def test_ranks_share_each_step_and_any_step_stands_alone(samples):
    whole = source(samples)
    parts = [source(samples, rank=rank, world=2) for rank in (0, 1)]
    for step in (9, 0, 4):
        keys = [part.batch(step)[1] for part in parts]
        assert sorted(keys[0] + keys[1]) == sorted(whole.batch(step)[1])


def test_ranks_that_stream_see_every_row_of_an_epoch_once_and_know_any_step_and_what_comes(make):
    named = make([(text,) for text in TEXTS], sources=[letter for letter in "abcde" for _ in range(4)])
    words, announced = train_text_tokenizer(TEXTS), set()
    named.captions.ahead = announced.update

    def made(rank: int) -> LatentSource:
        return LatentSource(named, words, 16, 10, 0.0, 0, Draw(7, rank, 2, window=2))

    walked = [[made.batch(step)[1] for step in range(2 * WINDOW)] for made in (made(0), made(1))]
    assert [made(rank).batch(11)[1] for rank in range(2)] == [keys[11] for keys in walked]
    epochs = 2 * WINDOW * 10 // len(TEXTS)
    assert Counter(key for own in walked for keys in own for key in keys) == {
        f"captions{n}": epochs for n in range(len(TEXTS))
    }
    assert announced == set(range(5)) and walked[0][:WINDOW] != walked[0][WINDOW:]
    with pytest.raises(ValueError, match="3 workers cannot share a batch of 10"):
        LatentSource(named, words, 16, 10, 0.0, 0, Draw(7, 0, 3, window=2))
    first = made(0).first("captions", 6)
    assert first is not None and len(first["latents"]) == 6


def test_texts_of_like_length_come_together(samples):
    made = source(samples)
    padded = sum(int((~made.batch(step)[0]["text"]).sum()) for step in range(WINDOW))
    words = sum(int(made.batch(step)[0]["text"].sum()) for step in range(WINDOW))
    assert padded < 0.15 * words


def test_edits_that_are_not_there_are_missed_in_words(make):
    with pytest.raises(UserError, match=r"set generator\.edit_share=0"):
        source(make([(text,) for text in TEXTS]))


def test_snapshots_are_spread_over_the_looks_and_end_with_the_last():
    assert spread_snapshots([100, 200, 300, 400], 2) == {200, 400}
    assert spread_snapshots([100, 200], 5) == {100, 200}
    assert spread_snapshots([], 3) == spread_snapshots([100], 0) == set()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_interrupted_training_of_the_generator_ends_bit_for_bit_as_uninterrupted(samples, tmp_path, share):
    options = TrainingOptions(
        steps=12,
        batch=10,
        optimizer=OptimizerOptions(kind="muon"),
        ema=0.9,
        precision="fp32",
        log_every=4,
        sample_every=6,
        checkpoint_every=4,
    )
    ends, curves = [], []
    for name, stop_after in (("whole", None), ("stopped", 7)):
        curve: dict[int, dict[str, float]] = {}
        for attempt in range(1 if stop_after is None else 2):
            made = source(samples, share=share)
            model = transformer(VARIANTS["demo"]).train()
            task = GeneratorTask(model, FlowOptions(), made, 8, {6, 12}, space)
            steps = iter(range(1000))
            evaluations = tmp_path / name / "evaluations"
            hooks = Hooks(
                log=lambda step, figures, curve=curve: curve.update({step: figures}),
                samples_folder=lambda step, folder=evaluations: folder,
                should_stop=lambda a=attempt, s=stop_after, steps=steps: (
                    s is not None and a == 0 and next(steps) == s - 1
                ),
            )
            result = train(task, made, options, 5, tmp_path / name / "checkpoints", Place(), hooks)
        assert result.finished
        ends.append({k: v.clone() for k, v in model.state_dict().items()})
        curves.append({step: {k: v for k, v in row.items() if "loss" in k} for step, row in curve.items()})
        assert (evaluations / "samples" / "step-00000012.png").exists() and (
            evaluations / "snapshots" / "step-00000006"
        ).is_dir()
    assert [key for key in ends[0] if not torch.equal(ends[0][key], ends[1][key])] == []
    assert curves[0][12] == curves[1][12] and "validation_loss" in curves[0][6]
    assert ("validation_loss_edits" in curves[0][12]) == bool(share)
