"""What every plugin is put through: recipes, equality over ranks, kill and resume, safe checkpoints."""

from graves_core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
