"""Judges k01_play against numpy, and a few answers that are known."""

import numpy as np
import pytest
from katas.module_01_play.k01_play import (
    above,
    attend,
    bounds,
    covariance,
    entropy,
    loss,
    ranks,
    scores,
    standardize,
    words,
)

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises

pytestmark = [from_scratch("numpy.cov"), pure()]


@pytest.fixture
def rng():
    """The playground is also run where the engine's own fixture isn't registered."""
    return np.random.default_rng(5)


class TestStandardize:
    def test_columns(self, rng):
        X = rng.normal(2, 3, (6, 6))
        assert_close(standardize(X), (X - X.mean(0)) / X.std(0))


class TestCovariance:
    def test_matches_numpy(self, rng):
        X = rng.normal(1, 2, (7, 4))
        assert_close(covariance(X), np.cov(X.T))


class TestAttend:
    def test_matches_the_formula(self, rng):
        q, k, v = rng.normal(size=(5, 9)), rng.normal(size=(4, 9)), rng.normal(size=(4, 3))
        weights = np.exp(q @ k.T / 3)
        assert_close(attend(q, k, v), weights / weights.sum(1)[:, None] @ v)


class TestScores:
    def test_matches_the_formula(self, rng):
        q, k = rng.normal(size=(5, 16)), rng.normal(size=(5, 16))
        assert_close(scores(q, k), q @ k.T / 4)


class TestEntropy:
    def test_of_a_few(self, rng):
        p = rng.dirichlet(np.ones(5))
        assert_close(entropy(p), -sum(x * np.log(x) for x in p))

    def test_zero_counts_for_nothing(self):
        assert_close(entropy(np.array([0.5, 0.0, 0.5])), np.log(2))


class TestLoss:
    def test_mean_over_the_rows(self, rng):
        p = rng.dirichlet(np.ones(4), 6)
        labels = np.array([3, 1, 0, 2, 1, 3])
        assert_close(loss(p, labels), float(np.mean([-np.log(p[i, c]) for i, c in enumerate(labels)])))


class TestRanks:
    def test_of_eight(self):
        assert_close(ranks(np.array([30, 10, 50, 20, 80, 70, 40, 60])), np.array([2, 0, 4, 1, 7, 6, 3, 5]))


class TestAbove:
    def test_the_limit_itself_is_not_above(self):
        assert_close(above(np.array([1.0, 3.0, 2.0, 5.0]), 2.0), np.array([False, True, False, True]))


class TestWords:
    def test_lower_case_in_order(self):
        assert_equal(words("To be OR not"), ["to", "be", "or", "not"])

    def test_rejects_an_empty_text(self):
        with raises(ValueError, 0):
            words("")


class TestBounds:
    def test_smallest_and_largest(self):
        assert_close(bounds(np.array([2.5, -1.25, 7.75])), (-1.25, 7.75))
