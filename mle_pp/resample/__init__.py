"""Resampling: bootstrap, jackknife, and whether intervals are honest."""

from mle_pp.resample.coverage import Coverage, coverage
from mle_pp.resample.replicates import Bootstrap, Jackknife, bootstrap, jackknife

__all__ = ["Bootstrap", "Coverage", "Jackknife", "bootstrap", "coverage", "jackknife"]
