"""What networks with memory are trained on."""
