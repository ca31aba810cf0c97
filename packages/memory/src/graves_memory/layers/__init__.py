"""Networks with memory, and their parts, in plain PyTorch."""
