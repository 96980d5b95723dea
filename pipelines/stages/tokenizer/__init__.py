"""Stages that train, judge and use the image tokenizer."""
