"""Scores of tokenizers and generators from tensors and callables: no models are loaded, no runs are tracked here."""
