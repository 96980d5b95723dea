"""Who sees whom."""

import pytest
import torch

from components.generator.sequence import attention_mask, lay_out
from tests.unit.generator.worlds import VARIANTS, inputs, transformer

pytestmark = pytest.mark.unit


def test_the_attention_mask_is_causal_on_text_full_in_images_and_blind_to_what_is_absent():
    # start s1 s2 end | w1 w2 start | n1 n2 : two source and two noisy tokens, two words
    layout = lay_out(torch.tensor([[True, True], [True, False]]), torch.tensor([True, False]), 2)
    whole, without = attention_mask(layout)[:, 0].int().tolist()
    assert whole == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1, 1, 1, 1, 1],
    ]
    assert without[4:] == [  # no source, one word: absent tokens see themselves alone
        [0, 0, 0, 0, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0, 1, 1, 1],
        [0, 0, 0, 0, 1, 0, 1, 1, 1],
    ]
    assert layout.position.tolist() == [[0, 1, 1, 2, 3, 4, 5, 6, 6], [0, 0, 0, 0, 0, 0, 1, 2, 2]]


@pytest.mark.parametrize("name", VARIANTS)
def test_the_prediction_for_a_sample_does_not_depend_on_its_neighbours_or_on_padding(name):
    model, values = transformer(VARIANTS[name]), inputs()
    together = model(**values)
    for number in range(3):
        alone = {key: value[number : number + 1] for key, value in values.items()}
        words = alone["text"].sum()
        alone["ids"], alone["text"] = alone["ids"][:, :words], alone["text"][:, :words]
        if not alone["has_source"].any():
            alone["source"] = alone["has_source"] = None
        assert torch.allclose(model(**alone), together[number : number + 1], atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_text_source_time_and_noise_all_reach_the_prediction(name):
    model, values = transformer(VARIANTS[name]), inputs()
    base = model(**values)
    for key in ("ids", "times", "noisy", "source"):
        changed = {**values, key: values[key].flip(-1) if key == "ids" else values[key] * 0.5}
        assert (model(**changed)[0] - base[0]).abs().max() > 1e-4, key


def one_pass(model, noisy, times, ids, text, source, has_source):
    """The whole sequence at once, each token seeing what the mask allows; only the noisy tokens have a time."""
    in_sequence = model.options.source == "sequence"
    layout = lay_out(text, has_source if in_sequence else None, model.side**2)
    time = model.embed_time(times)
    prefix = model.embed_prefix(ids, source if in_sequence else None)
    tokens = torch.cat([prefix, model.embed_noisy(noisy, time, source, has_source)], 1)
    mask, rotary = attention_mask(layout), model._rotary(layout.position, tokens)
    there = torch.arange(tokens.shape[1]) >= layout.prefix
    for layer in model.layers:
        assert layer.modulation is None or not layer.modulation.bias.any()  # so a time of 0 changes nothing
        tokens, _ = layer(tokens, rotary, mask, layout.text, time[:, None] * there[None, :, None])
    shown = source * has_source[:, None, None, None]
    return model.read_out(tokens[:, layout.prefix :], noisy, times, time, shown)


@pytest.mark.parametrize("name", VARIANTS)
def test_reading_text_and_source_first_gives_what_one_pass_over_the_whole_sequence_gives(name):
    model, values = transformer(VARIANTS[name]), inputs()
    assert torch.allclose(model(**values), one_pass(model, **values), atol=1e-5)
