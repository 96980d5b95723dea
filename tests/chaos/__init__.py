"""Trials that hurt a running pipeline and look whether anything was lost."""
