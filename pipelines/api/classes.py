"""The pipeline's class, with the modules of its parts: diffusers loads only classes whose module is imported."""

from __future__ import annotations

import components.generator.transformer
import components.tokenizer.rivals  # noqa: F401
from components.generator.pipeline import PixelSemanticPipeline

__all__ = ["PixelSemanticPipeline"]
