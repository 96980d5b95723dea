from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from components.evaluation import intervals
from components.evaluation.frechet import FeatureMoments, frechet_distance
from components.evaluation.intervals import mean_interval, statistic_interval, statistic_intervals

pytestmark = pytest.mark.unit


def draws(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(3.0, 2.0, count)


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = draws(80, 0)
    wanted = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert mean_interval(values.tolist(), draws=20_000) == pytest.approx((wanted.low, wanted.high), abs=0.03)


def test_the_interval_of_a_mean_over_groups_is_scipys_whatever_the_groups_sizes() -> None:
    groups = {"a": draws(90, 1), "b": draws(12, 2) + 4, "c": draws(30, 3) - 4}
    wanted = scipy.stats.bootstrap(
        tuple(groups.values()), lambda *g, axis: sum(x.mean(axis) for x in g) / 3, vectorized=True,
        n_resamples=20_000, method="percentile", rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    values = np.concatenate(list(groups.values())).tolist()
    names = [name for name, own in groups.items() for _ in own]
    found = mean_interval(values, names, draws=20_000)
    assert found == pytest.approx((wanted.low, wanted.high), abs=0.03)
    assert found != mean_interval(values, draws=20_000)


def test_an_interval_of_95_percent_holds_the_truth_about_that_often() -> None:
    held = 0
    for seed in range(400):
        low, high = mean_interval(draws(40, seed).tolist(), seed=seed, draws=400)
        held += low <= 3.0 <= high
    assert 0.91 <= held / 400 <= 0.98


def test_the_interval_of_a_statistic_of_a_set_holds_the_truth_about_that_often() -> None:
    held = 0
    for seed in range(200):
        low, high = statistic_interval(lambda x: float(x.mean()), [draws(40, seed)], seed=seed, draws=100)
        held += low <= 3.0 <= high
    assert 0.89 <= held / 200 <= 0.98


def test_intervals_of_a_distance_lie_about_it_and_narrow_with_more_pictures() -> None:
    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        moments = FeatureMoments(), FeatureMoments()
        moments[0].update(a)
        moments[1].update(b)
        return frechet_distance(*moments)

    widths = []
    for count in (60, 600):
        generator = torch.Generator().manual_seed(count)
        a, b = torch.randn(count, 4, generator=generator), torch.randn(count, 4, generator=generator) + 1
        low, high = statistic_interval(distance, [a, b])
        assert low < distance(a, b) < high
        widths.append(high - low)
    assert widths[1] < 0.6 * widths[0]


def test_paired_sets_are_halved_alike() -> None:
    rows = np.arange(50.0)
    assert statistic_interval(lambda a, b: float((a - b).sum()), [rows, rows], paired=True) == (0, 0)
    low, high = statistic_interval(lambda a, b: float((a - b).mean()), [rows, rows])
    assert low < 0 < high


def test_one_seed_gives_one_interval_in_any_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = draws(30, 5).tolist()
    whole = mean_interval(values, seed=7)
    assert whole == mean_interval(values, seed=7) != mean_interval(values, seed=8)
    monkeypatch.setattr(intervals, "AT_ONCE", 100)
    assert mean_interval(values, seed=7) == pytest.approx(whole, abs=1e-12)
    several = statistic_intervals(lambda a: {"mean": a.mean(), "most": a.max()}, [draws(30, 5)], seed=7)
    assert set(several) == {"mean", "most"}
    assert several["mean"] == statistic_interval(lambda a: a.mean(), [draws(30, 5)], seed=7)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert mean_interval([1, 1, 1]) == (1, 1)
    assert mean_interval([0.5], ["a"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "no values"),
        (lambda: mean_interval([1, math.nan]), "NaN"),
        (lambda: mean_interval([1, 2], ["a"]), "1 groups stand for 2 values"),
        (lambda: mean_interval([1, 2], level=1), "level is 1"),
        (lambda: mean_interval([1, 2], draws=0), "draws is 0"),
        (lambda: statistic_interval(np.mean, [np.ones(3)]), "no halves"),
        (lambda: statistic_interval(lambda a, b: 0.0, [np.ones(5), np.ones(6)], paired=True), "as many of each"),
    ],
)
def test_what_has_no_interval_is_refused_in_words(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
