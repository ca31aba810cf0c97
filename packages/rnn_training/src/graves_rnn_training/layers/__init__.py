"""Layers in plain PyTorch: cells, learners, and the scan that keeps to a memory budget."""
