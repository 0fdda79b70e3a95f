"""Latent variables integrated out: the marginal log-likelihood of a hierarchical model as an `Objective`."""
