"""Tests of pixsem; the folders mirror its rooms."""
