"""Captions and samples: what words say holds of their own picture, and what they leave unsaid is not judged."""

from __future__ import annotations

import numpy as np
import pytest

from components.pictures.captions import RELATIONS, caption, phrase
from components.pictures.catalogue import HELD_OUT, RECONSTRUCTION, TRAIN, Entry
from components.pictures.composition import PAIRS, THREE, Composition, render
from components.pictures.drawing_samples import prompt_of, sample, sample_prompt
from components.pictures.options import BACKGROUNDS, CATEGORIES, COMPOSED, WHITE
from tests.unit.pictures.drawings import ALL, CIRCLES, HEARTS, catalogue_of

pytestmark = pytest.mark.unit
KNOWN = catalogue_of(ALL)
SAID_BY = ("skin_tone", "colour", "time", "phase", "direction")  # whose value is a word of its own


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def captions_of(entry: Entry, count: int = 25):
    return [caption(entry, rng(KNOWN.at[entry.key], n)) for n in range(count)]


def samples(count: int = 300, split: str | None = None):
    made = (sample(KNOWN, n, 4, rng(n)) for n in range(len(KNOWN.entries), len(KNOWN.entries) + count))
    return [one for one in made if split in (None, one.split)]


def test_a_caption_says_in_words_exactly_what_it_claims():
    for entry in KNOWN.entries:
        for found in captions_of(entry, 8):
            assert set(found.said.factors.items()) <= set(entry.factors.items())
            assert all(found.said.of(entry).values())
            for name in set(SAID_BY) & set(entry.factors):
                value = entry.factors[name].removesuffix(" o'clock")
                assert (name not in found.said.factors) or value in found.text
            assert ("skin" in found.text) == ("skin_tone" in found.said.factors)
            assert ("hair" in found.text) == ("hair" in found.said.factors)
            assert ("facing" in found.text) == ("direction" in found.said.factors)


def test_a_caption_is_not_true_of_a_drawing_that_differs_in_what_it_says():
    for entry in KNOWN.entries:
        for name, other in KNOWN.neighbours(entry)[::5]:
            said = phrase(entry, rng(0), everything=True).said
            assert said.factors == entry.factors
            assert said.of(other) == {"concept": True} | {f: f != name for f in entry.factors}
    apple, key = KNOWN["openmoji-1F34E"], KNOWN["openmoji-1F511"]
    assert phrase(apple, rng(0)).said.of(key) == {"concept": False}


def test_every_factor_is_left_unsaid_by_some_captions_and_what_is_unsaid_is_not_judged():
    unsaid = set()
    for entry in KNOWN.entries[::3]:
        for found in captions_of(entry):
            for name, other in KNOWN.neighbours(entry):
                if name not in found.said.factors:
                    unsaid.add(name)
                    assert all(found.said.of(other).values()), (found.text, other.noun)
    assert unsaid >= {"skin_tone", "gender", "hair", "direction", "colour", "time", "phase"}


def test_most_captions_say_everything_and_there_are_many_phrasings():
    entries = [entry for entry in KNOWN.entries if entry.factors]
    found = [(entry, each) for entry in entries for each in captions_of(entry, 10)]
    assert 0.8 < sum(each.said.factors == entry.factors for entry, each in found) / len(found) < 0.95
    runner = KNOWN["openmoji-1F3C3-1F3FE-200D-2640"]
    assert len({each.text for each in captions_of(runner, 60)}) > 10
    assert all("woman running" in each.text or "someone running" in each.text for each in captions_of(runner))


def test_a_drawings_first_caption_says_everything_and_further_ones_are_distinct():
    for number, entry in enumerate(KNOWN.entries):
        made = sample(KNOWN, number, 4, rng(number))
        assert made.composition == Composition.single(entry.key) and made.split == entry.split
        assert made.captions[0].startswith("a drawing of ")
        assert all(entry.factors[name] in made.captions[0] for name in set(SAID_BY) & set(entry.factors))
        assert 1 <= len(made.captions) == len(set(made.captions)) <= 4


def test_a_sample_follows_from_its_number_and_generator_alone():
    for number in (0, 50, len(KNOWN.entries) + 3, len(KNOWN.entries) + 40):
        assert sample(KNOWN, number, 4, rng(number)) == sample(catalogue_of(ALL), number, 4, rng(number))
    assert len({str(one.composition) for one in samples(60)}) > 50


def test_compositions_are_of_every_category_and_nothing_held_out_is_in_a_training_one():
    made = samples()
    assert {one.category for one in made} == set(COMPOSED) == set(CATEGORIES) - {"single_object"}
    for one in made:
        splits = {KNOWN[key].split for key in one.composition.keys}
        assert RECONSTRUCTION not in splits and (HELD_OUT in splits) == (one.split == HELD_OUT)
    held = sum(one.split == HELD_OUT for one in made)
    assert 0.03 < held / len(made) < 0.2


def test_each_category_is_what_geneval_calls_so():
    for one in samples():
        items, keys = one.composition.items, one.composition.keys
        assert one.composition.treatment == "" and len(one.captions) == len(set(one.captions)) <= 4
        if one.category == "counting":
            assert one.composition.layout in (*PAIRS, THREE) and len(set(keys)) == 1
        elif one.category == "colours":
            assert len(items) == 1 and one.composition.background != WHITE
            assert all(one.composition.background in text for text in one.captions)
        else:
            assert one.composition.layout in PAIRS and KNOWN[keys[0]].alike != KNOWN[keys[1]].alike
        if one.category in ("position", "attribute_binding"):
            words = [word for forms in RELATIONS.values() for word in forms]
            assert all(any(f" {word} " in text for word in words) for text in one.captions)
        if one.category == "attribute_binding":
            assert all({"skin_tone", "gender"} & set(KNOWN[key].factors) for key in keys)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("split", [HELD_OUT, TRAIN])
def test_a_prompt_is_true_of_its_own_composition_and_is_about_its_split(category, split):
    for n in range(40):
        prompt = sample_prompt(KNOWN, category, split, rng(n))
        splits = [KNOWN[key].split for key in prompt.composition.keys]
        assert split in splits and set(splits) <= {split, TRAIN}
        assert all(prompt.claim.right(prompt.composition, KNOWN).values()), prompt.text
        again = sample_prompt(KNOWN, category, split, rng(n))
        assert again == prompt


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_prompt_is_not_true_of_other_drawings_counts_treatments_or_backgrounds(category):
    prompts = [sample_prompt(KNOWN, category, HELD_OUT, rng(n)) for n in range(40)]
    shown = [sorted(KNOWN[key].concept for key in prompt.composition.keys) for prompt in prompts]
    others = [
        (p, q) for p, i in zip(prompts, shown, strict=True) for q, j in zip(prompts, shown, strict=True) if i != j
    ]
    assert len(others) > 100
    assert not any(p.claim.right(q.composition, KNOWN)["exact"] for p, q in others)
    for prompt in prompts:
        one = prompt.composition
        fewer = one.with_(items=one.items[:-1] or (*one.items, *one.items))
        assert set(prompt.claim.right(fewer, KNOWN).values()) == {False}
        assert not prompt.claim.right(one.with_(treatment="greyscale"), KNOWN)["exact"]
        ground = "pink" if one.background != "pink" else "blue"
        assert prompt.claim.right(one.with_(background=ground), KNOWN)["exact"] == (prompt.claim.background == "")


def test_where_a_drawing_stands_is_judged_in_position_and_not_in_two_objects():
    for category, exact in (("position", False), ("attribute_binding", False), ("two_objects", True)):
        for n in range(20):
            prompt = sample_prompt(KNOWN, category, HELD_OUT, rng(n))
            one = prompt.composition
            swapped = one.with_(items=tuple(zip(one.layout, one.keys[::-1], strict=True)))
            right = prompt.claim.right(swapped, KNOWN)
            assert right["exact"] == exact, prompt.text
            turned = next(cells for cells in PAIRS if cells != one.layout)
            moved = one.with_(items=tuple(zip(turned, one.keys, strict=True)))
            assert prompt.claim.right(moved, KNOWN)["exact"] == exact


def test_of_one_wrong_factor_only_that_factor_is_wrong():
    seen = set()
    for entry in KNOWN.by_split[HELD_OUT]:
        prompt = prompt_of(KNOWN, "single_object", Composition.single(entry.key), rng(1), everything=True)
        for name, other in KNOWN.neighbours(entry):
            right = prompt.claim.right(Composition.single(other.key), KNOWN)
            twins = KNOWN.classes[other.alike]
            if len(twins) == 1:
                seen.add(name)
                assert right == {"exact": False, "concept": True} | {f: f != name for f in entry.factors}
    assert {"skin_tone", "gender", "direction", "hair"} <= seen


def test_a_drawing_that_is_drawn_alike_is_read_as_right():
    twins = [group for group in KNOWN.classes.values() if len(group) > 1]
    assert twins
    for one, other in ((a, b) for group in twins for a in group for b in group):
        prompt = prompt_of(KNOWN, "single_object", Composition.single(one.key), rng(0), everything=True)
        assert all(prompt.claim.right(Composition.single(other.key), KNOWN).values())


def test_a_background_is_said_where_it_is_not_white_and_judged_only_where_it_is_said():
    entry = KNOWN["openmoji-1F34E"]
    for ground in BACKGROUNDS:
        composition = Composition.single(entry.key, background=ground)
        found = [prompt_of(KNOWN, "colours", composition, rng(n)) for n in range(40)]
        said = [prompt for prompt in found if prompt.claim.background]
        assert all(f"{ground} background" in prompt.text for prompt in said)
        assert (len(said) == 40) == (ground != WHITE) and said
        assert not any("a orange" in prompt.text for prompt in found)
        unsaid = next((p for p in found if not p.claim.background), None)
        if unsaid is not None:
            assert unsaid.claim.right(composition.with_(background="pink"), KNOWN)["exact"]


def test_a_set_without_people_has_compositions_of_every_other_category():
    catalogue = catalogue_of((*HEARTS, *CIRCLES))
    assert sample_prompt(catalogue, "attribute_binding", HELD_OUT, rng(0)) is None
    made = [sample(catalogue, n, 2, rng(n)) for n in range(len(catalogue.entries), len(catalogue.entries) + 60)]
    assert {one.category for one in made} == set(COMPOSED) - {"attribute_binding"}
    assert all(render(one.composition, catalogue).shape == (32, 32, 3) for one in made[:5])


def test_a_composition_comes_back_from_json_and_nothing_else_is_taken_for_one():
    for one in samples(40):
        assert Composition.from_dict(one.composition.to_dict()) == one.composition
    value = samples(1)[0].composition.to_dict()
    for damaged in (
        None, {}, {**value, "background": "red"}, {**value, "treatment": "blur"}, {**value, "items": [["full"]]},
        {**value, "items": []}, {**value, "items": [["left", "a"], ["top", "b"]]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="this is no composition"):
            Composition.from_dict(damaged)
