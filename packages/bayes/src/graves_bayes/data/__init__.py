"""Environments, replay, and data sets."""
