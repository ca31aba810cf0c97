"""The Bayesian memory of the Kanerva machines, as pure functions."""
