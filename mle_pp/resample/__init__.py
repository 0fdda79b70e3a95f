"""Resampling: bootstrap, jackknife, and whether intervals are honest."""

from mle_pp.resample.replicates import Bootstrap, Jackknife, bootstrap, jackknife

__all__ = ["Bootstrap", "Jackknife", "bootstrap", "jackknife"]
