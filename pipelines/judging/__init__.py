"""Judges: what holds pictures to their prompts, and edits to their instructions, one by one."""
