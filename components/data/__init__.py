"""Bringing data in and out: downloads, WebDataset shards, tables, content digests. No decisions about samples."""
