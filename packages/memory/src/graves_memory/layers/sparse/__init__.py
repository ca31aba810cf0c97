"""Sparse memory: what is written, read, found and rolled back."""
