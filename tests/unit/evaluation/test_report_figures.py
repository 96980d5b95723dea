"""Figures of curation's report are pictures, the same every time, whatever the values are."""

from __future__ import annotations

import numpy as np
import pytest

from components.evaluation.report_figures import Histogram, funnel_png, signals_png

pytestmark = pytest.mark.unit


def test_figures_are_pictures_and_the_same_every_time():
    values = np.linspace(1, 100, 200)
    signals = [
        Histogram("sharpness", values, values[:5] / 9, [0.1, 1.0, 10.0, 100.0], True, [5.0]),
        Histogram("words", np.zeros(0), np.ones(1), [0.5, 1.5, 2.5], False, [1.0, 2.0]),
    ]
    assert signals_png(signals) == signals_png(signals) != signals_png(signals[:1])
    assert signals_png([]).startswith(b"\x89PNG")
    steps = [("broken_image", True, 3, 17), ("too_small", False, 7, 10)]
    assert funnel_png(20, steps, "samples") == funnel_png(20, steps, "samples")
    assert funnel_png(0, [], "samples").startswith(b"\x89PNG")
