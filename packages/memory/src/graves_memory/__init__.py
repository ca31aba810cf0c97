"""Neural networks with memory: sparse access memory, differentiable neural computers, Kanerva machines."""

from graves_core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
