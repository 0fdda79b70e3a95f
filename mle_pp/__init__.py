"""Maximum likelihood for the PyMC model you already have."""
