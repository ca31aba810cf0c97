"""What the graves plugins share, each piece useful in any Lightning project."""

from graves_core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
