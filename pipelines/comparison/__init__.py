"""The feature-space benchmark: the same stages for several latent spaces, one table, and the paper's claims held to
it.
"""
