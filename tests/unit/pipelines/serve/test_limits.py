"""Limits of the service: what a Serve config file may give, and what a copy of the model gets of a cluster."""

from __future__ import annotations

import pytest

from pipelines.serve.limits import Limits, read_limits
from pipelines.serve.start import sized

pytestmark = pytest.mark.unit


def test_a_config_file_gives_any_of_them():
    found = read_limits({"batch": 4, "request_s": 30, "log_prompts": True})
    assert (found.batch, found.request_s, found.log_prompts, found.port) == (4, 30.0, True, Limits().port)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batchh": 4}, "no limit 'batchh'; did you mean 'batch'"),
        ({"batch": "many"}, "limit batch is 'many'"),
        ({"batch": 0}, "limit batch is 0"),
        ({"request_s": -1}, "limit request_s is -1"),
    ],
)
def test_what_is_no_limit_is_refused_in_words(given, words):
    with pytest.raises(ValueError, match=words):
        read_limits(given)


@pytest.mark.parametrize(
    ("limits", "resources", "cpus", "gpus"),
    [
        (Limits(), {"CPU": 8.0}, 7, 0),
        (Limits(replicas=3), {"CPU": 8.0}, 2, 0),
        (Limits(replicas=4), {"CPU": 2.0}, 1, 0),
        (Limits(replicas=2), {"CPU": 16.0, "GPU": 2.0}, 1, 1),
        (Limits(gpus=0), {"CPU": 16.0, "GPU": 2.0}, 15, 0),
        (Limits(gpus=0.5, cpus=2), {"CPU": 16.0, "GPU": 2.0}, 2, 0.5),
    ],
)
def test_a_copy_takes_a_gpu_where_there_is_one_else_its_share_of_all_cores_but_one(limits, resources, cpus, gpus):
    found = sized(limits, resources)
    assert (found.cpus, found.gpus) == (cpus, gpus)
