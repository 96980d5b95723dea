"""Kernel distance, precision and coverage, instance retrieval, and rank correlation against independent references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from components.evaluation import features as feature_sets
from components.evaluation.agreement import rank_correlation
from components.evaluation.coverage import precision_recall
from components.evaluation.kernel import kernel_distance
from components.evaluation.retrieval import instance_retrieval

pytestmark = pytest.mark.unit


def rows(count: int, width: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + shift


def published_cmmd(x: np.ndarray, y: np.ndarray) -> float:
    """The formula of the paper's section 4 on unit embeddings, pair by pair."""
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x.astype(np.float64), y.astype(np.float64)))
    kernel = lambda a, b: np.exp(-cdist(a, b, "sqeuclidean") / (2 * 10**2)).mean()  # noqa: E731
    return float(1000 * (kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)))


def test_the_kernel_distance_is_the_papers_formula() -> None:
    a, b = rows(70, 12, 0), rows(45, 12, 1, 0.7)
    assert kernel_distance(a, b) == pytest.approx(published_cmmd(a.numpy(), b.numpy()), rel=1e-9)


def test_the_kernel_distance_of_two_points_is_its_closed_form() -> None:
    a, b = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    wanted = 1000 * (2 - 2 * math.exp(-25 / (2 * 2.0**2)))
    assert kernel_distance(a, b, bandwidth=2.0, unit=False) == pytest.approx(wanted, rel=1e-12)


def test_a_wide_kernel_sees_means_as_torchmetrics_linear_kernel_does() -> None:
    # exp(-d^2 / 2s^2) tends to 1 - d^2 / 2s^2, whose discrepancy is that of a linear kernel over s^2.
    a, b = rows(40, 6, 2).double(), rows(40, 6, 3, 0.5).double()
    # torchmetrics leaves a row with itself out of the means; adding it back is the only difference.
    unbiased = float(poly_mmd(a, b, degree=1, gamma=1.0, coef=0.0))
    kernels = [x @ x.T for x in (a, b)]
    own = sum(float(k.mean() - (k.sum() - k.trace()) / (40 * 39)) for k in kernels)
    wide = kernel_distance(a, b, bandwidth=1e4, unit=False) / 1000 * 1e8
    assert wide - own == pytest.approx(unbiased, rel=1e-3)


def test_the_kernel_distance_of_a_set_to_itself_is_0_and_grows_with_the_shift() -> None:
    a = rows(60, 8, 4)
    assert kernel_distance(a, a) == 0
    found = [kernel_distance(a, rows(60, 8, 5, shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert found == sorted(found) and found[0] < found[-1] / 5


def brute_coverage(real: np.ndarray, made: np.ndarray, k: int) -> dict[str, float]:
    """The four figures by their definitions, one pair at a time."""
    radius = lambda s: [sorted(np.linalg.norm(s - s[i], axis=1))[k] for i in range(len(s))]  # noqa: E731
    of_real, of_made = radius(real), radius(made)
    distance = [[np.linalg.norm(r - m) for m in made] for r in real]
    n, m = len(real), len(made)
    return {
        "precision": sum(any(distance[i][j] <= of_real[i] for i in range(n)) for j in range(m)) / m,
        "recall": sum(any(distance[i][j] <= of_made[j] for j in range(m)) for i in range(n)) / n,
        "density": sum(distance[i][j] <= of_real[i] for i in range(n) for j in range(m)) / (k * m),
        "coverage": sum(min(distance[i]) <= of_real[i] for i in range(n)) / n,
    }


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_coverage_are_their_definitions(k: int) -> None:
    real, made = rows(30, 3, 6), rows(24, 3, 7, 1.2)
    found = precision_recall(real, made, k)
    assert found == pytest.approx(brute_coverage(real.double().numpy(), made.double().numpy(), k), abs=1e-12)
    assert 0 < found["precision"] < 1 and 0 < found["recall"] < 1 and 0 < found["coverage"] < 1


def test_the_same_pictures_are_precise_and_cover_and_collapsed_ones_cover_little() -> None:
    real = rows(50, 4, 8)
    assert precision_recall(real, real) == {
        "precision": 1.0, "recall": 1.0, "coverage": 1.0, "density": pytest.approx(4 / 3, abs=0.2)
    }  # fmt: skip
    collapsed = precision_recall(real, real[:1] + 0.01 * rows(50, 4, 9))
    assert collapsed["precision"] == 1.0 and collapsed["recall"] <= 0.06 and collapsed["coverage"] < 0.3
    far = precision_recall(real, real + 1000)
    assert far == {"precision": 0.0, "recall": 0.0, "density": 0.0, "coverage": 0.0}


def test_a_large_mean_and_sets_larger_than_a_chunk_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = rows(40, 5, 10).double(), rows(33, 5, 11).double()
    whole = precision_recall(real, made), kernel_distance(real, made)
    assert precision_recall(real + 1e6, made + 1e6) == whole[0]
    monkeypatch.setattr(feature_sets, "CHUNK", 7)
    assert precision_recall(real, made) == whole[0]
    assert kernel_distance(real, made) == pytest.approx(whole[1], rel=1e-12)


def test_made_pictures_find_the_truth_that_was_asked_for() -> None:
    truth = torch.eye(4)
    assert instance_retrieval(truth * torch.tensor([[3.0], [0.1], [1.0], [9.0]]), truth) == [True] * 4
    assert instance_retrieval(truth[[0, 1, 3, 2]], truth) == [True, True, False, False]


def test_equal_truths_and_truths_of_one_group_are_one_answer() -> None:
    truth, made = torch.eye(3)[[0, 0, 1, 2]], torch.eye(3)[[0, 0, 2, 1]]
    assert instance_retrieval(made, truth) == [True, True, False, False]
    assert instance_retrieval(made, truth, ["a", "b", "c", "c"]) == [True, True, True, True]
    assert instance_retrieval(made, truth, ["a", "b", "c", "d"]) == [True, True, False, False]


def test_collapsed_and_unrelated_pictures_find_their_truth_by_chance() -> None:
    truth = rows(200, 16, 12)
    assert sum(instance_retrieval(rows(1, 16, 13).expand(200, 16), truth)) == 1
    assert sum(instance_retrieval(rows(200, 16, 14), truth)) / 200 == pytest.approx(1 / 200, abs=0.02)


def test_rank_correlation_sees_order_alone_and_shares_ranks() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 8, 27, 64]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(1.5 / math.sqrt(2.5 * 1), abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_distance(torch.ones(3, 2), torch.ones(3, 4)), "one extractor"),
        (lambda: kernel_distance(torch.ones(3, 2), torch.zeros(3, 2)), "no direction"),
        (lambda: kernel_distance(torch.ones(3, 2), torch.ones(3, 2), bandwidth=0), "bandwidth is 0"),
        (lambda: kernel_distance(torch.ones(3), torch.ones(3, 2)), r"give \[N, D\]"),
        (lambda: precision_recall(torch.ones(3, 2), torch.ones(9, 2)), "3 real pictures have no 3 neighbours"),
        (lambda: precision_recall(torch.ones(9, 2), torch.full((9, 2), math.nan)), "NaN"),
        (lambda: precision_recall(torch.ones(9, 2), torch.ones(9, 2), k=0), "k is 0"),
        (lambda: instance_retrieval(torch.ones(3, 2), torch.ones(3, 2)), "the same answer"),
        (lambda: instance_retrieval(torch.eye(3), torch.eye(3)[:2]), "row i of each"),
        (lambda: instance_retrieval(torch.eye(3), torch.eye(3), ["a"]), "1 groups stand for 3"),
        (lambda: rank_correlation([1, 2], [1, 2]), "no order"),
        (lambda: rank_correlation([1, 2, 3], [2, 2, 2]), "orders nothing"),
        (lambda: rank_correlation([1, 2, math.inf], [2, 2, 3]), "infinity"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
