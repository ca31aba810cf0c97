"""Posteriors over weights, noisy layers, networks and optimizers, in plain PyTorch."""
