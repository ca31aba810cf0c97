"""Algorithmic tasks that are made on the fly."""
