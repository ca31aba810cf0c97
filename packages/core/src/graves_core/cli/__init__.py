"""The `lightning` command: experiments from YAML, for graves plugins and any Lightning module."""

from graves_core.cli.main import main

__all__ = ["main"]
