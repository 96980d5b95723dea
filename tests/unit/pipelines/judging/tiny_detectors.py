"""Tiny detectors of published classes with random weights, saved as their makers save them: by save_pretrained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.vision_models.tiny_models import SIDE, SPECIAL, TEXT, VISION, WORDS, save_tokenizer

CLASSES = ("N/A", "person", "mouse", "bench", "dog")
QUERIES = 5


def _names(classes: tuple[str, ...]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(classes)), "label2id": {name: n for n, name in enumerate(classes)}}


def yolos(folder: Path, sure_of: str | None = None) -> Path:
    """Save a YOLOS. One that is sure of a class sees it in each of its queries, and nothing else."""
    import torch
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

    torch.manual_seed(0)
    vision = {**VISION, "image_size": [SIDE, SIDE], "num_detection_tokens": QUERIES}
    model = YolosForObjectDetection(YolosConfig(**vision, **_names(CLASSES)))
    if sure_of is not None:
        last = model.class_labels_classifier.layers[-1]
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
        last.bias.data[CLASSES.index(sure_of)] = 12.0
    model.save_pretrained(folder)
    YolosImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def mask2former(folder: Path) -> Path:
    """Save a Mask2Former on a Swin: GenEval's own detector, in small."""
    import torch
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessorPil,
        SwinConfig,
    )

    torch.manual_seed(0)
    swin = SwinConfig(
        image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        dim_feedforward=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=QUERIES,
        **_names(CLASSES),
    )  # fmt: skip
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    Mask2FormerImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def owlv2(folder: Path) -> Path:
    """Save an OWLv2, which finds what it is told in words."""
    import torch
    from transformers import Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessorPil, Owlv2Processor

    torch.manual_seed(0)
    text = {**TEXT, "vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": 8, "eos_token_id": 3,
            "bos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    model = Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=VISION, projection_dim=16))
    model.save_pretrained(folder)
    seen = Owlv2ImageProcessorPil(size={"height": SIDE, "width": SIDE})
    Owlv2Processor(seen, save_tokenizer(folder, model_max_length=8)).save_pretrained(folder)
    return folder
