"""Marginal likelihoods of hierarchical models: their latent variables are integrated by Laplace approximation."""
