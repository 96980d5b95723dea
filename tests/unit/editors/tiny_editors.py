"""Tiny editing pipelines of diffusers with random weights, saved as their makers save them: by save_pretrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ["make", "it", "blue", "red", "snowy", "a", "photo", "of", "dog"]


def tokenizer(folder: Path) -> Any:
    """Return CLIP's tokenizer with a few words."""
    from transformers import CLIPTokenizer

    letters = [*map(chr, range(ord("a"), ord("z") + 1))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: n for n, token in enumerate(tokens)}, merges=[], model_max_length=16)


def text_encoder() -> Any:
    """Return CLIP's text side."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=54, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=16, bos_token_id=52, eos_token_id=53, pad_token_id=53,
        )
    )  # fmt: skip


def autoencoder(channels: int, **settings: Any) -> Any:
    """Return an autoencoder that halves each side."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **settings,
    )  # fmt: skip


def small_unet(channels: int, **settings: Any) -> Any:
    """Return a UNet that takes so many channels and gives four."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, in_channels=channels, out_channels=4, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=8, **settings,
    )  # fmt: skip


def instruct_pix2pix(folder: Path) -> Path:
    """Save an InstructPix2Pix."""
    import torch
    from diffusers import DDIMScheduler, StableDiffusionInstructPix2PixPipeline

    torch.manual_seed(0)
    unet = small_unet(8)
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=autoencoder(4), text_encoder=text_encoder(), tokenizer=tokenizer(folder), unet=unet,
        scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def kontext(folder: Path) -> Path:
    """Save a FLUX Kontext."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxKontextPipeline, FluxTransformer2DModel
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    torch.manual_seed(0)
    words = PreTrainedTokenizerFast(tokenizer_object=_words(), pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    t5 = T5EncoderModel(T5Config(vocab_size=16, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    pipeline = FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=autoencoder(4, shift_factor=0.1, scaling_factor=0.3),
        text_encoder=text_encoder(), tokenizer=tokenizer(folder), text_encoder_2=t5, tokenizer_2=words,
        transformer=transformer,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def writer(folder: Path) -> Path:
    """Save a small Qwen3 that writes words at random."""
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    words = PreTrainedTokenizerFast(tokenizer_object=_words(), pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(WORDS) + 3, hidden_size=16, intermediate_size=32, num_hidden_layers=1, head_dim=8,
            num_attention_heads=2, num_key_value_heads=2, eos_token_id=1, pad_token_id=0, bos_token_id=None,
        )
    )  # fmt: skip
    model.generation_config.min_new_tokens = 5  # at random it would often stop at once
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _words() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({t: n for n, t in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made
