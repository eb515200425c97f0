"""Judges k00_first_steps by hand, and against numpy's own mean and clip."""

import numpy as np
import pytest

from dojo.testing import assert_close, from_scratch, pure
from katas.module_01_linear_algebra.k00_first_steps import clip, column_shares, mean

pytestmark = [
    from_scratch("numpy.mean", "numpy.average", "numpy.clip", "numpy.ndarray.mean", "numpy.ndarray.clip"),
    pure(),
]

X = np.array([[1.0, 2.0, 3.0], [5.0, 0.0, 9.0]])


class TestMean:
    def test_the_example_worked_by_hand(self):
        assert_close(mean(X), 20 / 6)

    @pytest.mark.parametrize("shape", [(1,), (4,), (3, 5), (2, 3, 4)])
    def test_matches_numpy(self, rng, shape):
        x = rng.normal(3, 2, shape)
        assert_close(mean(x), float(x.mean()))

    def test_of_integers(self):
        assert_close(mean(np.array([1, 2, 2, 6])), 2.75)


class TestClip:
    def test_the_example_worked_by_hand(self):
        assert_close(clip(X, 1, 4), np.array([[1.0, 2.0, 3.0], [4.0, 1.0, 4.0]]))

    @pytest.mark.parametrize(("low", "high"), [(-1.0, 0.5), (0.0, 2.0), (0.25, 0.25)])
    @pytest.mark.parametrize("shape", [(9,), (4, 5)])
    def test_matches_numpy(self, rng, shape, low, high):
        x = rng.normal(0, 2, shape)
        assert_close(clip(x, low, high), x.clip(low, high))

    def test_of_integers(self):
        assert_close(clip(np.array([-7, 0, 3, 8, 1000]), 0, 8), np.array([0, 0, 3, 8, 8]))


class TestColumnShares:
    def test_the_example_worked_by_hand(self):
        assert_close(column_shares(X), np.array([0.3, 0.1, 0.6]))

    @pytest.mark.parametrize("shape", [(1, 4), (5, 2), (3, 1)])
    def test_matches_a_sum_over_each_column(self, rng, shape):
        x = rng.uniform(0, 9, shape)
        total = sum(x.flatten().tolist())
        assert_close(column_shares(x), np.array([sum(column.tolist()) / total for column in x.T]))

    def test_of_integers(self):
        assert_close(column_shares(np.array([[1, 2], [3, 4]])), np.array([0.4, 0.6]))

    def test_of_negative_numbers(self):
        assert_close(column_shares(np.array([[1.0, -2.0], [3.0, 4.0]])), np.array([4 / 6, 2 / 6]))
