"""Decisions: one per sample, first reason wins, duplicates found across shards, planted faults scored."""

from __future__ import annotations

import numpy as np
import pytest

from components.curation.decide import Decision, _known_language, decide
from components.curation.duplicates import find_duplicates, near_pairs
from components.curation.faults import FAULTS, apply_fault, plan_faults, score_faults
from components.curation.images import encode_png
from components.curation.options import CurationRules, FaultOptions, ImageLimits, SignalBounds
from components.curation.sheet import SheetRow, contact_sheet_png
from components.curation.signals import SIGNAL_SCHEMA, measure

pytestmark = pytest.mark.unit
WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "dog",
    "cat",
    "house",
    "tree",
    "car",
    "road",
    "sky",
    "river",
    "stone",
    "bird",
]


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))


def caption(seed: int) -> str:
    rng = np.random.default_rng(seed)
    return "the " + " and the ".join(rng.choice(WORDS, 7, replace=False))


def columns(samples: list[tuple[bytes | None, str | None]]) -> dict[str, list]:
    rows = [
        measure(data, text, ImageLimits()) | {"shard": f"{i % 3:05d}", "key": f"{i:04d}"}
        for i, (data, text) in enumerate(samples)
    ]
    return {name: [row[name] for row in rows] for name in SIGNAL_SCHEMA}


def test_planted_faults_are_found_with_high_precision_and_recall():
    count = 600
    plans = plan_faults(count, FaultOptions(), seed=1)
    samples, planted = [], []
    for i, plan in enumerate(plans):
        shown = i if plan.source is None else plan.source
        image, _, text = apply_fault(
            plan.fault, picture(shown), caption(shown), caption(shown + 5000), np.random.default_rng(i)
        )
        samples.append((image, text))
        planted.append(
            {
                "faults": [plan.fault] if plan.fault else [],
                **({"fault_source": f"{plan.source:04d}"} if plan.source is not None else {}),
            }
        )
    table = columns(samples)
    decisions = decide(table, CurationRules(max_caption_repeats=3, near_duplicate_peak=48, near_duplicate_colour=16))
    scores = score_faults(planted, table["key"], decisions)
    assert set(scores) == set(FAULTS)
    for fault, score in scores.items():
        if fault == "wrong_caption":
            assert "model" in score["absent"]
            assert "recall" not in score
        else:
            assert score["recall"] >= 0.98, fault
            assert score["precision"] >= 0.98, fault


def test_a_score_that_is_undefined_is_absent_and_never_zero():
    scores = score_faults([{"faults": ["spam_caption"]}], ["a"], [Decision("kept")])
    assert scores["spam_caption"]["recall"] == 0
    assert "precision" not in scores["spam_caption"]
    assert scores["spam_caption"]["absent"]
    assert score_faults([{"faults": []}], ["a"], [Decision("kept")]) == {}


def test_plans_meet_their_shares_and_duplicates_point_at_sound_samples():
    plans = plan_faults(1000, FaultOptions(), seed=0)
    assert plans == plan_faults(1000, FaultOptions(), seed=0)
    assert sum(p.fault == "flat_image" for p in plans) == 20
    sources = [p.source for p in plans if p.source is not None]
    assert len(set(sources)) == len(sources) == 40
    assert all(plans[s].fault is None for s in sources)


def test_the_first_failing_rule_decides_and_says_what_was_asked():
    tiny = np.zeros((8, 8, 3), np.uint8)
    (decision,) = decide(columns([(encode_png(tiny), "x")]), CurationRules())
    assert (decision.state, decision.reason) == ("dropped", "too_small")
    assert decision.detail == "min_side 8, asked for at least 32"


def test_a_copy_of_a_dropped_sample_is_kept():
    data = encode_png(picture(1))
    decisions = decide(columns([(data, "x"), (data, caption(1))]), CurationRules())
    assert [d.state for d in decisions] == ["dropped", "kept"]


def test_of_duplicates_the_largest_stays():
    small, large = picture(5), np.kron(picture(5), np.ones((2, 2, 1), np.uint8))
    decisions = decide(columns([(encode_png(small), caption(1)), (encode_png(large), caption(2))]), CurationRules())
    assert [d.reason for d in decisions] == ["near_duplicate", ""]
    assert decisions[0].detail == "of 00001/0001"


def test_captions_on_too_many_pictures_go_all():
    same = [(encode_png(picture(i)), "a picture of the same old thing") for i in range(6)]
    decisions = decide(columns([*same, (encode_png(picture(9)), caption(9))]), CurationRules(max_caption_repeats=5))
    assert [d.reason for d in decisions] == ["caption_repeated"] * 6 + [""]


def test_a_threshold_without_its_signal_is_refused():
    with pytest.raises(ValueError, match="the signal nsfw was not measured"):
        decide(columns([(encode_png(picture(1)), caption(1))]), CurationRules(signals={"nsfw": SignalBounds(max=0.5)}))


def test_a_signal_is_bounded_from_below_and_above_and_decides_nothing_without_a_bound():
    table = columns([(encode_png(picture(i)), caption(i)) for i in range(4)])
    table |= {"clip": [0.1, 0.3, 0.3, None], "nsfw": [0.0, 0.9, 0.2, 0.2]}
    rules = CurationRules(signals={"clip": SignalBounds(min=0.2), "nsfw": SignalBounds(max=0.5)})
    assert [d.reason for d in decide(table, rules)] == ["low_clip", "high_nsfw", "", "low_clip"]
    assert decide(table, rules)[0].detail == "clip 0.1, asked for at least 0.2"
    shown = CurationRules(signals={"clip": SignalBounds(), "nsfw": SignalBounds()})
    assert {d.state for d in decide(table, shown)} == {"kept"}
    with pytest.raises(ValueError, match="every sample would be dropped"):
        SignalBounds(min=2, max=1)


def test_a_wrong_caption_is_scored_by_the_signals_that_compare_pictures_with_captions():
    planted = [{"faults": ["wrong_caption"]}, {"faults": ["wrong_caption"]}, {}, {}]
    decisions = [Decision("dropped", "low_clip"), Decision("kept"), Decision("dropped", "low_clip"), Decision("kept")]
    scores = score_faults(planted, list("abcd"), decisions, comparing=["low_clip"])
    assert scores["wrong_caption"] == {"planted": 2, "caught": 1, "recall": 0.5, "precision": 0.5}


def test_every_pair_within_the_distance_is_found():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 3000, dtype=np.uint64)
    planted = {}
    for i in range(0, 200, 2):
        flips = rng.choice(64, 4, replace=False)
        hashes[i + 1] = hashes[i] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype(np.uint64))
        planted[i] = i + 1
    found = {
        (min(a, b), max(a, b)) for x, y in near_pairs(hashes, 4) for a, b in zip(x.tolist(), y.tolist(), strict=True)
    }
    assert set(planted.items()) <= found


def test_thousands_of_like_hashes_cost_linear_work():
    count = 20_000
    table = {
        "pixel_hash": [str(i) for i in range(count)], "phash": [7] * count, "thumbnail": [bytes(192)] * count,
        "width": [64] * count, "height": [64] * count, "sharpness": [1.0] * count, "characters": [9] * count,
        "shard": ["0"] * count, "key": [f"{i:06d}" for i in range(count)],
    }  # fmt: skip
    found = find_duplicates(table, np.arange(count), True, 0, 5.0, 10.0)
    assert len(found) == count - 1
    assert {kept for _, kept in found.values()} == {0}


def test_the_same_hash_with_other_colours_is_no_duplicate():
    one = picture(3)
    other = one[..., ::-1].copy()
    table = columns([(encode_png(one), caption(1)), (encode_png(other), caption(2))])
    table["phash"] = [5, 5]
    assert [d.state for d in decide(table, CurationRules())] == ["kept", "kept"]


def test_a_sheet_shows_broken_images():
    rows = [
        SheetRow("0/1", "kept", "", "", "<script>alert(1)</script>", encode_png(picture(1))),
        SheetRow("0/2", "failed", "broken_image", "cut", "b", b"junk"),
    ]
    assert contact_sheet_png(rows, {"kept": 9}).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CurationRules(min_words=9, max_words=3), "every caption would be dropped"),
        (lambda: CurationRules(languages=("english",)), "ISO 639"),
        (lambda: FaultOptions(flat_image=0.6), "more than 0.5"),
    ],
)
def test_impossible_rules_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("language", "confidence", "words", "kept"),
    [
        ("pl", 0.95, 3, True),
        ("fr", 0.56, 5, True),
        ("de", 0.18, 4, True),
        ("de", 0.9, 9, False),
        ("ru", 0.3, 2, False),
        ("und", 0.0, 5, False),
        ("", 0.0, 3, False),
    ],
)
def test_a_weak_guess_of_the_language_drops_nothing(language, confidence, words, kept):
    from components.curation.decide import rules_in_order

    (rule,) = [check for check in rules_in_order(CurationRules()) if check.reason == "caption_language"]
    assert rule.bad(_known_language(language, confidence, words)) is not kept
