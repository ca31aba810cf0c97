"""Models for Lightning: agents, classifiers and recognisers."""
