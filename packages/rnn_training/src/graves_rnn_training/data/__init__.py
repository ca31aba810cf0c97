"""Data sets: the copy task, and texts as streams."""
