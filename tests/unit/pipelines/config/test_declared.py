"""What a stage may read of the configuration: the keys that it declared, here and in other processes."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pipelines.config.compose import compose_config
from pipelines.config.declared import UndeclaredKey, declared, sent
from pipelines.stage import ShardContext, ShardTask
from pipelines.store.files import Store

pytestmark = pytest.mark.unit
CONFIG = compose_config(["preset=tiny"])
KEYS = ("measure.limits", "curate", "tokenizer.model.channels")


def test_a_stage_reads_what_it_declared_and_how_it_is_executed():
    config = declared(CONFIG, "toy", KEYS)
    assert config.measure.limits == CONFIG.measure.limits and config.curate == CONFIG.curate
    assert config.tokenizer.model.channels == 16
    assert config.execution.resources.measure.cpus == 1


@pytest.mark.parametrize(
    ("read", "key"),
    [
        (lambda c: c.seed, "seed"),
        (lambda c: c.measure.models, "measure.models"),
        (lambda c: c.tokenizer.model.space, "tokenizer.model.space"),
        (lambda c: c.tokenizer.training, "tokenizer.training"),
        (lambda c: c.model_dump(), "model_dump"),
    ],
)
def test_another_key_is_refused_with_stage_and_key_wherever_it_is_read(read, key):
    here = declared(CONFIG, "toy", KEYS)
    there = pickle.loads(pickle.dumps(sent(here))).open()
    for config in (here, there):
        with pytest.raises(UndeclaredKey, match=f"the stage toy reads the configuration key {key}, .*graph.py"):
            read(config)


def test_a_shard_has_no_seed_where_its_stage_declared_none(tmp_path):
    def shard(seed: int | None) -> ShardContext:
        return ShardContext(ShardTask("a"), seed, Path(tmp_path), Store(str(tmp_path)), Path(tmp_path))

    assert shard(3).seed == 3
    with pytest.raises(UndeclaredKey, match="the shard a reads the seed"):
        _ = shard(None).seed
