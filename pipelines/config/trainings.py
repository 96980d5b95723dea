"""Where the options of each training are."""

from __future__ import annotations

TRAININGS = {  # stage: key
    "train_matcher": "matcher.training",
    "train_encoder": "encoder.training",
    "train_semantic": "tokenizer.semantic",
    "train_tokenizer": "tokenizer.training",
    "train_generator": "generator.training",
    "train_editor": "generator.editing",
}
