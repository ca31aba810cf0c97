"""Data sets that several plugins use, read from their original files, as LightningDataModules."""

from graves_core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
