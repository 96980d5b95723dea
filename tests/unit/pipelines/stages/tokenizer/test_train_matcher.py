"""The matcher is trained on samples as they come, before curation, and is shown captions that are wrong by a word."""

from __future__ import annotations

import pytest

from components.curation.options import ImageLimits
from components.tokenizer.image_text import Vocabulary
from pipelines.config.compose import compose_config
from pipelines.store.files import Store
from tests.unit.pipelines.stages.data.stage_chain import run_stages

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matcher")
    config = compose_config(
        ["preset=tiny", "source.count=40", "source.samples_per_shard=10", "source.faults={broken_image: 0.1}"]
    )
    return folder, run_stages(folder / "store", config, "measure")


def rows_of(made, most: int):
    from pipelines.stages.tokenizer.train_matcher import captioned_rows

    folder, artifacts = made
    return captioned_rows(Store(str(folder / "store")), artifacts, folder / "scratch", most)


def test_it_sees_every_sample_with_a_picture_and_a_caption_or_as_many_as_asked_of_whole_shards(made):
    rows = rows_of(made, 1000)
    assert len(rows["key"]) == made[1]["measure"].manifest.counts["kept"] > 30 and all(rows["caption"])
    assert rows_of(made, 1000) == rows
    few = rows_of(made, 12)
    assert len(few["key"]) == 12 and len(set(few["shard"])) == 2


def test_a_batch_has_for_each_caption_one_that_is_wrong_by_a_word_the_same_every_time(made):
    from pipelines.stages.mixing import Draw
    from pipelines.stages.tokenizer.picture_batches import Pictures
    from pipelines.stages.tokenizer.train_matcher import MatcherSource

    folder, _ = made
    rows = rows_of(made, 1000)
    pictures = Pictures.of_rows(Store(str(folder / "store")), folder / "scratch", rows, 16, ImageLimits())
    words = Vocabulary.of(rows["caption"])
    source, again = (MatcherSource(pictures, lambda texts: words.encode(texts, 24), 8, Draw(5)) for _ in range(2))
    batch, names = source.batch(3)
    assert batch["images"].shape == (8, 3, 16, 16) and len(names) == 8
    assert all((batch[name] == again.batch(3)[0][name]).all() for name in batch)
    assert set((batch["wrong"] != batch["ids"]).sum(1).tolist()) <= {0, 1} and (batch["wrong"] != batch["ids"]).any()
    assert (batch["ids"] != 0).any(0).all()  # no column is padding alone
