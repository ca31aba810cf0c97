"""The noise of noisy layers, and what a layer computes with it."""
