"""Training recurrent networks: backpropagation through time in any memory, and learning at every step."""

from graves_core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
