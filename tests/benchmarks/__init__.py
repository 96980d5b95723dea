"""Benchmarks, run by hand: each prints a ratio against a named reference measured in the same process."""
