from __future__ import annotations

import pytest
import torch

from components.evaluation.retrieval import retrieval_score, retrieval_top1

pytestmark = pytest.mark.unit


def random_rows(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def names(count: int) -> list[str]:
    return [f"caption {i}" for i in range(count)]


def test_pictures_beside_their_captions_are_all_found_whatever_their_length() -> None:
    rows = random_rows(50, 16, 0)
    lengths = torch.linspace(0.1, 100, 50).unsqueeze(1)
    assert retrieval_top1(rows * lengths, rows, names(50)) == 1.0
    assert retrieval_top1(rows, rows * lengths, names(50)) == 1.0


def test_each_wrong_picture_costs_its_share() -> None:
    eye = torch.eye(4)
    assert retrieval_top1(eye[[0, 1, 3, 2]], eye, names(4)) == 0.5
    assert retrieval_top1(eye[[1, 2, 3, 0]], eye, names(4)) == 0.0


def test_it_ranks_captions_for_pictures_and_not_the_other_way_round() -> None:
    # Both pictures are nearest to caption 0; both captions have their own picture nearest.
    images = torch.tensor([[1.0, 0.0], [1.0, 0.5]])
    texts = torch.tensor([[1.0, 0.1], [0.0, 1.0]])
    assert retrieval_top1(images, texts, ["a", "b"]) == 0.5
    assert retrieval_top1(texts, images, ["a", "b"]) == 1.0


def test_equal_captions_are_the_same_answer() -> None:
    eye = torch.eye(3)
    swapped = eye[[1, 0, 2]]
    assert retrieval_top1(swapped, eye, ["a", "b", "c"]) == pytest.approx(1 / 3)
    assert retrieval_top1(swapped, eye, ["a", "a", "c"]) == 1.0
    assert retrieval_top1(swapped, eye, ["a", "A", "c"]) == pytest.approx(1 / 3)


def test_unrelated_embeddings_score_chance() -> None:
    share = retrieval_top1(
        random_rows(2500, 24, 1), random_rows(2500, 24, 2), [f"caption {i % 10}" for i in range(2500)]
    )
    assert share == pytest.approx(0.1, abs=0.03)


def test_embeddings_that_collapsed_to_one_point_score_chance_and_not_one() -> None:
    point = random_rows(1, 33, 3)
    assert retrieval_top1(point.repeat(101, 1), point.repeat(101, 1), names(101)) == pytest.approx(1 / 101)


def test_ties_go_to_the_first_row() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert retrieval_top1(images, images, ["a", "b", "c"]) == pytest.approx(2 / 3)
    # The captions differ by rounding alone, in favour of the second for the first picture.
    nearly = torch.tensor([[1.0, 1e-10], [1.0, 0.0]], dtype=torch.float64)
    assert retrieval_top1(torch.tensor([[1.0, -1.0], [1.0, 1.0]]), nearly, ["a", "b"]) == 0.5


def test_pools_larger_than_a_chunk_score_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_rows(100, 8, 4)
    texts = images + random_rows(100, 8, 5)
    whole = retrieval_top1(images, texts, names(100))
    monkeypatch.setattr("components.evaluation.retrieval.CHUNK", 7)
    assert 0.05 < whole < 0.95
    assert retrieval_top1(images, texts, names(100)) == whole


def test_a_score_carries_its_pool_and_its_chance() -> None:
    eye = torch.eye(4)
    assert retrieval_score(eye, eye, ["a", "b", "b", "c"]) == {
        "retrieval_top1": 1.0,
        "pictures": 4,
        "pool_size": 3,
        "chance": 1 / 3,
    }


@pytest.mark.parametrize(
    ("images", "texts", "captions", "message"),
    [
        (torch.eye(3), torch.eye(2), ["a", "b"], "one row for each of the 2 captions"),
        (torch.ones(2, 3), torch.ones(2, 4), ["a", "b"], "shared space"),
        (torch.ones(2, 2, 2), torch.ones(2, 2), ["a", "b"], r"give \[N, D\]"),
        (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.ones(2, 2), ["a", "b"], "drop them"),
        (torch.ones(2, 2), torch.full((2, 2), torch.inf), ["a", "b"], "NaN or infinite"),
        (torch.ones(2, 2), torch.ones(2, 2), ["a", "a"], "2 or more"),
    ],
)
def test_pools_that_cannot_be_searched_are_refused(images, texts, captions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_top1(images, texts, captions)
