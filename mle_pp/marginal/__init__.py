"""Hierarchical models: latent variables integrated out by Laplace's approximation."""
