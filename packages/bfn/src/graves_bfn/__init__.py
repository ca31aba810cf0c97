"""Bayesian Flow Networks for continuous, discretised and discrete data."""

from graves_core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
