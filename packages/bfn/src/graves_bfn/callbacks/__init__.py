"""Callbacks for a model with a flow, ours or anybody's: samples, likelihoods, quality, marginals."""
