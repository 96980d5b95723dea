"""A model's bytes do not depend on where it lay."""

from __future__ import annotations

import pytest
from diffusers import AutoencoderKL

from components.tokenizer.rivals import load_autoencoder

pytestmark = pytest.mark.unit


def test_a_model_loaded_and_saved_again_has_the_same_config_wherever_it_lay(tmp_path):
    whole = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, layers_per_block=1)
    written = []
    for name in ("here", "there"):
        whole.save_pretrained(tmp_path / name)
        load_autoencoder(str(tmp_path / name)).save_pretrained(tmp_path / f"{name}-again")
        written.append((tmp_path / f"{name}-again" / "config.json").read_bytes())
    assert written[0] == written[1]
    assert b"here" not in written[0]
