"""The mathematics of Bayesian Flow Networks: one flow per kind of data, plain PyTorch, no Lightning."""
