"""What holds for every test."""

import os
import sys

# Before anything imports NumPy, JAX or matplotlib. Two workers share two cores, so one thread each; tests run on the
# CPU whatever else the machine has; figures need no screen.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_threads] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MPLBACKEND"] = "Agg"

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# The first call of a test may compile, so no deadline; the same examples in every run.
hypothesis.settings.register_profile("mle_pp", deadline=None, derandomize=True)
hypothesis.settings.load_profile("mle_pp")


@pytest.fixture(autouse=True)
def _close_figures():
    """Close the figures that a test leaves open: matplotlib warns about the 21st, wherever that is."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
