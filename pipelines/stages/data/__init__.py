"""Stages from a source to curated samples and edit pairs."""
