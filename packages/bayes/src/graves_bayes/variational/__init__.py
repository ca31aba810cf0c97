"""The mathematics of variational inference and of description lengths: pure functions on tensors."""
