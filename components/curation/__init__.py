"""Signals of images and captions, decisions from them, and edit pairs. Reads and writes no files."""
