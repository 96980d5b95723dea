"""Captions that are wrong by one word: only words that were seen in the same place stand in for each other."""

from __future__ import annotations

import pytest

from components.tokenizer.image_text import Vocabulary
from components.tokenizer.word_swaps import WordSwaps

pytestmark = pytest.mark.unit
CAPTIONS = ["a red circle", "a blue circle", "a blue square", "there is nothing here"]


def test_one_word_is_swapped_for_one_that_stands_between_the_same_two():
    words = Vocabulary.of(CAPTIONS)
    ids = words.encode(CAPTIONS, 6)
    swaps = WordSwaps(ids)

    def said(row: int, seed: int) -> str:
        return " ".join(words.words[number - 2] for number in swaps.swapped(ids[row], seed).tolist() if number)

    assert {said(0, seed) for seed in range(8)} == {"a blue circle"}
    assert {said(1, seed) for seed in range(16)} == {"a red circle", "a blue square"}
    assert {said(2, seed) for seed in range(8)} == {"a blue circle"}


def test_a_caption_without_another_word_stays_and_the_seed_alone_decides():
    words = Vocabulary.of(CAPTIONS)
    ids = words.encode(CAPTIONS, 6)
    swaps = WordSwaps(ids)
    assert swaps.swapped(ids[3], 1).tolist() == ids[3].tolist()
    assert [swaps.swapped(ids[1], n).tolist() for n in range(9)] == [
        swaps.swapped(ids[1], n).tolist() for n in range(9)
    ]
    assert ids[1].tolist() == words.encode([CAPTIONS[1]], 6)[0].tolist()


def test_rivals_are_the_likeliest_captions_that_differ_by_a_word(tmp_path):
    words = Vocabulary.of(CAPTIONS)
    ids = words.encode(CAPTIONS, 6)
    swaps = WordSwaps([*ids, *words.encode(["a green circle"] * 3, 6)])

    def said(rows) -> list[str]:
        return [" ".join(words.words[n - 2] if n > 1 else "?" for n in row.tolist() if n) for row in rows]

    assert said(swaps.rivals(ids[0], 9)) == [
        "a ? circle",
        "a blue circle",
    ]  # green, which the vocabulary lacks, is likelier
    assert said(swaps.rivals(ids[0], 1)) == ["a ? circle"]
    assert len(swaps.rivals(ids[3], 9)) == 0
    swaps.save(tmp_path)
    again = WordSwaps.load(tmp_path)
    assert all((again.rivals(one, 9) == swaps.rivals(one, 9)).all() for one in ids)
    with pytest.raises(ValueError, match="no word swaps"):
        WordSwaps.load(tmp_path / "nowhere")
