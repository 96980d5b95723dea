"""Backbones, text, and what a fresh model is."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2Model, Qwen3Config, Qwen3Model

from components.generator.options import FusionOptions, HeadOptions, SmallBackboneOptions
from components.generator.text import encode_texts, load_text_tokenizer, train_text_tokenizer
from components.generator.transformer import DeepFusionTransformer
from tests.unit.generator.worlds import NO_HEAD, VARIANTS, inputs, transformer

pytestmark = pytest.mark.unit

SIZES = {
    "vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48,
}  # fmt: skip


@pytest.mark.parametrize("separate", ["shared", "separate"])
@pytest.mark.parametrize(("model", "config"), [(Qwen2Model, Qwen2Config), (Qwen3Model, Qwen3Config)])
def test_text_goes_through_a_pretrained_decoder_as_it_does_in_transformers(model, config, separate, tmp_path):
    torch.manual_seed(0)
    theirs = model(config(**SIZES)).eval()
    theirs.save_pretrained(tmp_path)
    options = FusionOptions(image_weights=separate, head=NO_HEAD)
    ours = DeepFusionTransformer.from_backbone(str(tmp_path), None, 8, 4, options).eval()
    ids = torch.randint(0, 30, (1, 6))
    cache = ours.read(ids, torch.ones(1, 6, dtype=torch.bool)).cache
    with torch.no_grad():
        wanted = theirs(input_ids=ids, use_cache=True).past_key_values
    for (key, value), layer in zip(cache, wanted.layers, strict=True):
        assert torch.allclose(key[:, :, :6], layer.keys, atol=1e-5)
        assert torch.allclose(value[:, :, :6], layer.values, atol=1e-5)


def test_other_decoders_and_missing_ones_are_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="no decoder can be loaded"):
        DeepFusionTransformer.from_backbone(str(tmp_path), None, 8, 4, FusionOptions(head=NO_HEAD))
    with pytest.raises(ValueError, match=r"the backbone is a llama. Supported: qwen2, qwen3"):
        DeepFusionTransformer({"model_type": "llama"}, 8, 4, {"head": {"depth": 0, "width": 8, "heads": 1}})
    with pytest.raises(ValueError, match="must divide the latent's grid"):
        transformer(FusionOptions(patch=3, head=NO_HEAD))
    with pytest.raises(ValueError, match="no text tokenizer can be loaded"):
        load_text_tokenizer(tmp_path)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_fresh_model_predicts_nothing_but_its_source(name):
    torch.manual_seed(0)
    small = SmallBackboneOptions(width=32, depth=2, heads=4, kv_heads=4, hidden=48)
    model = DeepFusionTransformer.fresh(small, 20, 8, 4, VARIANTS[name])
    values = inputs()
    made = model(**values)
    if VARIANTS[name].prediction == "velocity":
        assert not made.any()
    else:
        clean = values["source"] * values["has_source"][:, None, None, None]
        times = values["times"].view(-1, 1, 1, 1).clamp_min(0.05)
        assert torch.allclose(made, (values["noisy"] - clean) / times, atol=1e-6)


def test_an_edit_can_drop_its_source_by_gates_alone():
    torch.manual_seed(0)
    small = SmallBackboneOptions(width=32, depth=1, heads=4, kv_heads=4, hidden=48)
    model = DeepFusionTransformer.fresh(small, 20, 8, 4, VARIANTS["demo"])
    values = inputs()
    values["has_source"][:] = True
    times = values["times"].view(-1, 1, 1, 1).clamp_min(0.05)
    with torch.no_grad():
        model.out.bias[8:16] = -1  # of the source, nothing
        model.out.bias[16:] = 0.5  # of the noisy latent, half
    assert torch.allclose(model(**values), 0.5 * values["noisy"] / times, atol=1e-5)


def test_the_wide_head_has_the_papers_size():
    with torch.device("meta"):
        from components.generator.head import DdtHead

        head = DdtHead(HeadOptions(), 96, 96, 896, 16)
    millions = sum(p.numel() for p in head.parameters()) / 1e6
    assert 140 < millions < 165  # 653 M with a backbone of 500 M


def test_a_tokenizer_of_captions_depends_on_their_words_alone_and_reads_back(tmp_path):
    texts = ["A red circle, left of it", "a blue square"]
    first, second = train_text_tokenizer(texts), train_text_tokenizer(reversed(texts))
    assert first.get_vocab() == second.get_vocab()
    first.save_pretrained(tmp_path)
    ids, present = encode_texts(load_text_tokenizer(tmp_path), ["a red, red square", "a zebra", ""], 8)
    assert torch.equal(ids, encode_texts(first, ["a red, red square", "a zebra", ""], 8)[0])
    assert present.sum(1).tolist() == [5, 2, 0]
    assert ids[1, 1] == first.unk_token_id
    assert encode_texts(first, ["a red circle"], 2)[0].shape == (1, 2)
