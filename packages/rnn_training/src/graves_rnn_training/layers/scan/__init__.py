"""Backpropagation through time within a memory budget."""
