"""Edit pairs: what is measured of one, which rule drops it, and how planted faults are scored."""

from __future__ import annotations

import numpy as np
import pytest

from components.curation.decide import Decision
from components.curation.images import decode_image, encode_jpeg
from components.curation.options import ImageLimits
from components.curation.pairs.decide_pairs import checks_in_order, decide_pairs, judge_score
from components.curation.pairs.options import JudgeWeights, PairFaultOptions, PairRules
from components.curation.pairs.pair_faults import (
    PAIR_FAULTS,
    REASONS,
    draw_fault,
    other_edit,
    score_pair_faults,
    spilled,
)
from components.curation.pairs.pair_sheet import PairRow, pairs_png
from components.curation.pairs.pair_signals import NOTHING, PAIR_SCHEMA, pair_signals

pytestmark = pytest.mark.unit


def picture(side: int = 128, seed: int = 0) -> np.ndarray:
    """A picture with areas, edges and some grain."""
    rng = np.random.default_rng(seed)
    areas = np.kron(rng.integers(40, 215, (4, 4, 3)), np.ones((side // 4, side // 4, 1)))
    return np.clip(areas + rng.normal(0, 6, areas.shape), 0, 255).astype(np.uint8)


def edited(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture with one square changed, and the mask of it."""
    mask = np.zeros(rgb.shape[:2], bool)
    mask[:32, :32] = True
    target = rgb.copy()
    target[mask] = 255 - target[mask] // 2
    return target, mask


def row(**changes) -> dict:
    source = picture()
    target, mask = edited(source)
    return {
        "shard": "s", "key": "k", "source_key": "k", "kind": "", "error": "", "detail": "", "exact": None,
        **pair_signals(source, target, mask, "make the corner brighter"), **changes,
    }  # fmt: skip


def decided(*rows: dict, **rules) -> list[Decision]:
    return decide_pairs({name: [row[name] for row in rows] for name in rows[0]}, PairRules(**rules))


def test_signals_say_how_much_changed_inside_and_outside_the_mask():
    source = picture()
    target, mask = edited(source)
    found = pair_signals(source, target, mask, "make it brighter, please")
    assert set(PAIR_SCHEMA) == {"shard", "key", "source_key", "kind", "error", "detail", "exact", *found}
    assert set(NOTHING) | {"words"} == set(found)
    assert found["mask_share"] == 32**2 / 128**2 and 0.8 < found["inside_share"] <= 1 and found["spill_share"] == 0
    assert found["changed_share"] == pytest.approx(found["mask_share"] * found["inside_share"], rel=0.15)
    assert found["words"] == 4 and 0.5 < found["structure"] < 1
    beyond = target.copy()
    beyond[64:96, 64:96] = 0
    assert pair_signals(source, beyond, mask, "")["spill_share"] == pytest.approx(32**2 / (128**2 - 32**2), rel=0.2)
    assert pair_signals(source, beyond, None, "")["spill_share"] is None
    whole = pair_signals(source, target, np.ones_like(mask), "")
    assert whole["spill"] is None and whole["mask_share"] == 1


def test_a_target_of_another_size_is_compared_and_one_of_another_shape_dropped():
    source = picture(256)
    larger = np.repeat(np.repeat(source, 2, 0), 2, 1)
    found = pair_signals(source, larger, None, "x")
    assert found["aspect_change"] == 1 and found["changed_share"] < 0.01 and found["structure"] > 0.95
    wide = row(**pair_signals(source, larger[:256], None, "make it wide"))
    assert decided(wide)[0].reason == "other_shape"


@pytest.mark.parametrize("quality", [60, 95])
def test_a_copy_saved_as_jpeg_is_no_change(quality):
    source = picture(512)
    copy = decode_image(encode_jpeg(source, quality), ImageLimits()).rgb
    again = decode_image(encode_jpeg(copy, 90), ImageLimits()).rgb
    assert decided(row(**pair_signals(copy, again, None, "do something", lossy=True)))[0].reason == "no_change"
    darker = np.clip(again.astype(int) - 15, 0, 255).astype(np.uint8)
    assert decided(row(**pair_signals(copy, darker, None, "make it darker", lossy=True)))[0].state == "kept"


@pytest.mark.parametrize(
    ("changes", "rules", "reason"),
    [
        ({}, {}, ""),
        ({"target_height": 20}, {}, "too_small"),
        ({"words": 0}, {}, "no_instruction"),
        ({"words": 300}, {}, "instruction_too_long"),
        ({"aspect_change": 1.2}, {}, "other_shape"),
        ({"changed_share": 0.0001}, {}, "no_change"),
        ({"spill_share": 0.3}, {}, "spills_outside_mask"),
        ({"spill_share": None, "inside_share": None}, {}, ""),
        ({"inside_share": 0.0}, {}, "no_change_in_mask"),
        ({"changed_share": 0.9}, {"max_changed_share": 0.5}, "changes_too_much"),
        ({"structure": 0.1}, {"min_structure": 0.3}, "other_picture"),
        ({"structure": 0.99}, {"max_structure": 0.98}, "too_alike"),
        ({"direction": -0.1}, {"min_direction": 0.05}, "wrong_direction"),
        ({"direction": None}, {"min_direction": 0.05}, "wrong_direction"),
        ({"instruction_direction": 0.0}, {"min_instruction_direction": 0.1}, "not_as_instructed"),
        ({"exact": "wrong_edit"}, {}, "wrong_edit"),
        ({"exact": "wrong_edit"}, {"exact_checks": False}, ""),
        ({"exact": "wrong_instruction"}, {}, "wrong_instruction"),
        ({"error": "source_broken_image"}, {}, "source_broken_image"),
    ],
)
def test_every_rule_drops_what_it_is_for_and_says_so(changes, rules, reason):
    (decision,) = decided(row(**changes), **rules)
    assert decision.reason == reason
    assert decision.state == ("kept" if not reason else "failed" if "error" in changes else "dropped")
    assert bool(decision.detail) == (decision.state == "dropped")


def test_a_judges_scores_are_weighted_and_a_pair_that_it_gave_none_is_dropped():
    scores = {"judge_compliance": 1.0, "judge_realism": 0.5, "judge_preservation": 0.5, "judge_technical": 0.0}
    assert judge_score(scores, JudgeWeights()) == pytest.approx(0.4 + 0.125 + 0.1)
    assert judge_score(scores, JudgeWeights(1, 0, 0, 0)) == 1
    silent = dict.fromkeys(scores)
    found = decided(row(**scores), row(**silent, key="l"), min_judge=0.5, exact_duplicates=False)
    assert [d.reason for d in found] == ["", "judged_bad"] and "no judge" in found[1].detail


def test_a_threshold_for_what_was_not_measured_is_refused_in_words():
    for option, model in (("min_direction", "image_text"), ("min_judge", "judge")):
        with pytest.raises(ValueError, match=f"was not measured: name a model in measure_pairs.{model}"):
            decided(row(), **{option: 0.1})


def test_of_given_duplicates_the_first_stays_and_a_worlds_own_all_stay():
    first, second = row(shard="a", key="1"), row(shard="b", key="2")
    found = decided(first, second)
    assert [d.reason for d in found] == ["", "exact_duplicate"] and found[1].detail == "of a/1"
    assert decided(first, second, exact_duplicates=False)[1].state == "kept"
    assert decided(first | {"exact": "agrees"}, second | {"exact": "agrees"})[1].state == "kept"


def test_options_that_would_drop_everything_are_refused():
    for wrong in (
        {"min_words": 9, "max_words": 3},
        {"max_aspect_change": 0.9},
        {"min_structure": 0.9, "max_structure": 0.1},
    ):
        with pytest.raises(ValueError):
            PairRules(**wrong)
    with pytest.raises(ValueError):
        PairFaultOptions(unchanged=0.4, spilled=0.2)
    with pytest.raises(ValueError):
        JudgeWeights(0, 0, 0, 0)
    assert len(checks_in_order(PairRules())) == 7


def test_planted_faults_are_drawn_by_their_shares_and_do_what_they_say():
    rng = np.random.default_rng(0)
    drawn = [draw_fault(PairFaultOptions(unchanged=0.1, spilled=0.3), rng) for _ in range(2000)]
    assert 0.07 < drawn.count("unchanged") / 2000 < 0.13 and 0.26 < drawn.count("spilled") / 2000 < 0.34
    assert set(drawn) == {"unchanged", "spilled", None}
    source = picture()
    target, mask = edited(source)
    for seed in range(8):
        made = spilled(target, mask, np.random.default_rng(seed))
        assert np.array_equal(made[mask], target[mask])
        assert decided(row(**pair_signals(source, made, mask, "x")))[0].reason == "spills_outside_mask"
        other = other_edit(source, target, np.random.default_rng(seed))
        assert decided(row(**pair_signals(source, other, mask, "x")))[0].reason == "spills_outside_mask"
    assert spilled(target, np.ones_like(mask), rng) is None
    flat = np.full((32, 32, 3), 127, np.uint8)
    assert other_edit(flat, flat, rng) is None


def test_faults_are_scored_and_what_only_a_model_sees_is_absent_with_its_reason():
    assert set(REASONS) == set(PAIR_FAULTS)
    kept, gone = Decision("kept"), Decision("dropped", "no_change")
    planted = [["unchanged"], ["unchanged"], ["wrong_instruction"], [], []]
    unseen = {"exact": [None] * 5, "spill_share": [None] * 5}
    found = score_pair_faults(planted, [gone, kept, kept, gone, kept], unseen, models=False)
    assert found["unchanged"] == {"planted": 2, "caught": 1, "recall": 0.5, "precision": 0.5}
    assert found["wrong_instruction"]["planted"] == 1 and "needs a model" in found["wrong_instruction"]["absent"]
    assert "recall" not in found["wrong_instruction"]
    of_model = score_pair_faults(planted, [gone, kept, kept, gone, kept], unseen, models=True)
    assert of_model["wrong_instruction"]["recall"] == 0 and "precision" in of_model["wrong_instruction"]["absent"]


def test_a_sheet_shows_pairs_with_and_without_masks():
    data = encode_jpeg(picture(), 80)
    rows = [
        PairRow("s/1", "kept", "", "", "<script>alert(1)</script>", data, data, data),
        PairRow("s/2", "dropped", "no_change", "changed_share 0", "nothing", data, b"", data),
        PairRow("s/3", "failed", "source_broken_image", "", "", b"", b"", b"x"),
    ]
    assert pairs_png(rows, {})[:4] == b"\x89PNG"
