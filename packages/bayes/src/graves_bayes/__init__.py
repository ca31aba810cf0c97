"""Variational inference for any network, description lengths, pruning, and NoisyNet agents."""

from graves_core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
