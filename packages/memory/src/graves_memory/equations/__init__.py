"""The equations of memory addressing, as pure functions."""
