"""The procedural picture world: render, describe, edit, and read a picture back. No images come in from outside."""
