"""Stages that train, judge and register the generator."""
