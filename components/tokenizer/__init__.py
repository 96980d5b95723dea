"""Tokenizers: vision encoders, the pixel-semantic VAE, its rivals, and the losses that train them. Knows no store and
no Ray.
"""
