"""Shapes of decoders on the hub, for planning where their configuration is not at hand. Nothing is loaded by them.

Each row is what the named repository's config.json says.
"""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig


def _qwen2(width: int, hidden: int, depth: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "vocab_size": 151_936,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    }


KNOWN = {
    "Qwen/Qwen2.5-0.5B": _qwen2(896, 4864, 24, 14),
    "Qwen/Qwen2.5-1.5B": _qwen2(1536, 8960, 28, 12),
    "Qwen/Qwen2.5-3B": _qwen2(2048, 11_008, 36, 16),
}


def backbone_shape(path: str, revision: str | None = None) -> tuple[dict[str, Any], str]:
    """Return a decoder's configuration, for `DeepFusionTransformer`, and where it comes from: its own where a folder or
    the hub's cache has it, else the table above. ValueError where neither has.
    """
    try:
        config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=False, local_files_only=True)
        return config.to_dict(), f"{path}'s own config.json"
    except (OSError, ValueError) as error:
        if path not in KNOWN:
            raise ValueError(
                f"the shapes of generator.backbone={path} are not known: it is no folder here, nothing of it is "
                f"in the hub's cache, and it is none of {', '.join(KNOWN)}. Give a folder with its config.json."
            ) from error
        return KNOWN[path], f"the table of known shapes (huggingface.co/{path}, config.json)"
