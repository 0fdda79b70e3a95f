"""Tests of hypotheses: likelihood ratio, Wald, score."""

from mle_pp.hypothesis.ratio import lr_test
from mle_pp.hypothesis.result import TestResult
from mle_pp.hypothesis.score import score_test
from mle_pp.hypothesis.wald import wald_test

__all__ = ["TestResult", "lr_test", "score_test", "wald_test"]
