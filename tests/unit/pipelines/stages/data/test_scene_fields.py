"""A column of somebody's data that is called like a field of ours is theirs."""

from __future__ import annotations

import numpy as np
import pytest

from components.scenes.options import SceneOptions
from components.scenes.scene import sample_scene
from pipelines.stages.data.synthesize_edits import is_scene

pytestmark = pytest.mark.unit


def test_only_a_scene_of_ours_is_taken_for_one():
    ours = sample_scene(SceneOptions(), np.random.default_rng(0)).to_dict()
    assert is_scene({"scene": ours, "scene_options": {}}) and is_scene({"scene": ours})
    for theirs in ("kitchen", {"room": "kitchen"}, None, ["kitchen"], {**ours, "background": "beach"}):
        assert not is_scene({"scene": theirs, "scene_options": {}})
    assert not is_scene({"scene": ours, "scene_options": "many"}) and not is_scene({})
