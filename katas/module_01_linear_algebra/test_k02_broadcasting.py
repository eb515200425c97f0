"""Judges k02_broadcasting against scipy, plain loops, and a count of the lines that run."""

import numpy as np
import pytest

from dojo.testing import assert_close, fail, from_scratch, pure, python_steps, raises
from katas.module_01_linear_algebra.k02_broadcasting import (
    moving_average,
    normalize_columns,
    one_hot,
    pairwise_distances,
    sample_rows,
    sliding_windows,
)

pytestmark = [
    from_scratch(
        "scipy", "sklearn", "numpy.vectorize", "numpy.apply_along_axis",
        "numpy.lib.stride_tricks.sliding_window_view",
    ),
    pure(),
]  # fmt: skip


def check_no_loop(function, few, many):
    """Python must not run more lines for many rows than for few, some bookkeeping aside."""
    grown = python_steps(function, *many) - python_steps(function, *few)
    if grown > 20:
        fail("Python walks over the rows: the lines that run grow with the data.", evidence="a loop")


class TestOneHot:
    def test_the_example_worked_by_hand(self):
        assert_close(one_hot(np.array([2, 0]), 3), np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))

    @pytest.mark.parametrize("dtype", [np.int64, np.uint8])
    @pytest.mark.parametrize(("n", "k"), [(7, 4), (3, 9), (5, 5), (0, 3)])
    def test_matches_a_loop(self, n, k, dtype, rng):
        labels = rng.integers(0, k, n).astype(dtype)
        expected = np.zeros((n, k))
        for i, label in enumerate(labels):
            expected[i, label] = 1
        assert_close(one_hot(labels, k), expected)

    @pytest.mark.parametrize(("dtype", "k"), [(np.uint8, 300), (np.int8, 200), (np.int8, 257)])
    def test_small_labels_of_many_classes(self, dtype, k):
        expected = np.zeros((2, k))
        expected[0, 3] = expected[1, 120] = 1
        assert_close(one_hot(np.array([3, 120], dtype), k), expected)

    @pytest.mark.parametrize("label", [4, 5, -1, -4])
    def test_rejects_a_label_out_of_range(self, label):
        with raises(ValueError, label, 4):
            one_hot(np.array([0, 3, label, 1]), 4)

    def test_without_a_loop(self):
        check_no_loop(one_hot, (np.arange(5), 5), (np.arange(500) % 5, 5))


class TestPairwiseDistances:
    def test_the_example_worked_by_hand(self):
        got = pairwise_distances(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[3.0, 0.0]]))
        assert_close(got, np.array([[3.0], [4.0]]))

    @pytest.mark.parametrize(("n", "m", "d"), [(5, 3, 4), (2, 6, 1), (1, 1, 7)])
    def test_matches_scipy(self, n, m, d, rng):
        from scipy.spatial.distance import cdist

        x, y = rng.normal(size=(n, d)), rng.normal(1, 2, size=(m, d))
        assert_close(pairwise_distances(x, y), cdist(x, y))

    def test_never_nan(self, rng):
        x = rng.normal(size=(60, 30))
        got = pairwise_distances(x, x)
        from scipy.spatial.distance import cdist

        assert_close(got, cdist(x, x), rtol=1e-6, atol=1e-6)  # rounding, as the stub says

    def test_small_whole_numbers_do_not_overflow(self):
        x, y = np.array([[100, 100], [3, 0]], np.int8), np.array([[-100, 100], [0, 4]], np.int8)
        assert_close(pairwise_distances(x, y), np.array([[200.0, np.hypot(100, 96)], [np.hypot(103, 100), 5.0]]))

    def test_unsigned_numbers_have_negative_differences(self):
        x, y = np.array([[3, 9]], np.uint8), np.array([[7, 6]], np.uint8)
        assert_close(pairwise_distances(x, y), np.array([[5.0]]))

    @pytest.mark.parametrize(("width", "other"), [(3, 5), (3, 1), (1, 3)])
    def test_rejects_rows_of_two_widths(self, width, other):
        with raises(ValueError, width, other):
            pairwise_distances(np.zeros((2, width)), np.zeros((4, other)))

    def test_without_a_loop(self, rng):
        few, many = rng.normal(size=(4, 3)), rng.normal(size=(200, 3))
        check_no_loop(pairwise_distances, (few, few), (many, many))


class TestSlidingWindows:
    def test_of_five_numbers(self):
        expected = np.array([[2.5, -1.0, 4.0], [-1.0, 4.0, 7.0], [4.0, 7.0, 0.5]])
        assert_close(sliding_windows(np.array([2.5, -1.0, 4.0, 7.0, 0.5]), 3), expected)

    @pytest.mark.parametrize(("n", "width"), [(8, 3), (8, 1), (5, 5), (9, 8)])
    def test_matches_slices(self, n, width, rng):
        x = rng.normal(size=n)
        assert_close(sliding_windows(x, width), np.stack([x[i : i + width] for i in range(n - width + 1)]))

    @pytest.mark.parametrize("step", [2, -1, 3])
    def test_of_a_view(self, step, rng):
        # From the middle of an array: a wrong stride then reads numbers that are the same in every run.
        x = rng.normal(size=72)[24:48][::step]
        assert_close(sliding_windows(x, 4), np.stack([x[i : i + 4] for i in range(len(x) - 3)]))

    def test_keeps_the_dtype(self):
        assert_close(sliding_windows(np.array([3, 1, 2], np.int16), 2), np.array([[3, 1], [1, 2]], np.int16))

    @pytest.mark.parametrize("step", [1, 2, -1])
    def test_shares_the_memory_of_x(self, step, rng):
        x = rng.normal(size=20)[::step]
        if not np.shares_memory(sliding_windows(x, 3), x):
            fail("The windows are a copy, but they should be a view of x.", evidence="a copy")


class TestMovingAverage:
    def test_the_example_worked_by_hand(self):
        assert_close(moving_average(np.array([1.0, 2.0, 3.0, 6.0]), 2), np.array([1.5, 2.5, 4.5]))

    @pytest.mark.parametrize(("n", "width"), [(9, 4), (9, 1), (6, 6), (7, 2)])
    def test_matches_the_mean_of_each_window(self, n, width, rng):
        x = rng.normal(3, 2, size=n)
        assert_close(moving_average(x, width), np.array([x[i : i + width].mean() for i in range(n - width + 1)]))

    def test_whole_numbers_have_an_average_that_is_not(self):
        assert_close(moving_average(np.array([1, 2, 4, 4]), 2), np.array([1.5, 3.0, 4.0]))

    def test_small_whole_numbers_do_not_overflow(self):
        assert_close(moving_average(np.full(6, 100, np.int8), 3), np.full(4, 100.0))

    def test_single_precision_is_computed_in_double(self, rng):
        x = rng.uniform(0, 100, 1000).astype(np.float32)
        assert_close(moving_average(x, 7), np.convolve(x.astype(np.float64), np.full(7, 1 / 7), "valid"))

    def test_of_a_long_series(self, rng):
        x = rng.uniform(0, 100, 10_000)
        assert_close(moving_average(x, 7), np.convolve(x, np.full(7, 1 / 7), "valid"))

    def test_without_a_loop(self, rng):
        check_no_loop(moving_average, (rng.normal(size=8), 3), (rng.normal(size=800), 3))


class TestNormalizeColumns:
    def test_the_example_worked_by_hand(self):
        half = np.sqrt(0.5)
        assert_close(normalize_columns(np.array([[3.0, 1.0], [4.0, 1.0]])), np.array([[0.6, half], [0.8, half]]))

    @pytest.mark.parametrize("shape", [(4, 3), (2, 6), (5, 1)])
    def test_matches_numpys_norm(self, shape, rng):
        x = rng.normal(size=shape) * 10
        assert_close(normalize_columns(x), x / np.linalg.norm(x, axis=0))

    def test_a_column_of_zeros_stays(self):
        got = normalize_columns(np.array([[0.0, 2.5], [0.0, 0.0], [0.0, -6.0]]))
        assert_close(got, np.array([[0.0, 5 / 13], [0.0, 0.0], [0.0, -12 / 13]]))

    @pytest.mark.parametrize("size", [1e-140, 1e-9, 1e140])
    def test_a_short_column_is_no_column_of_zeros(self, size):
        assert_close(normalize_columns(size * np.array([[3.0, 0.0], [4.0, 0.0]])), np.array([[0.6, 0.0], [0.8, 0.0]]))

    def test_whole_numbers(self):
        assert_close(normalize_columns(np.array([[3, 0], [4, 2]])), np.array([[0.6, 0.0], [0.8, 1.0]]))

    def test_small_whole_numbers_do_not_overflow(self):
        assert_close(normalize_columns(np.array([[30], [-40]], np.int8)), np.array([[0.6], [-0.8]]))

    def test_single_precision_is_computed_in_double(self):
        got = normalize_columns(np.array([[1.0], [-2.0]], np.float32))
        assert_close(got, np.array([[0.2**0.5], [-(0.8**0.5)]]))

    def test_without_a_loop(self, rng):
        check_no_loop(normalize_columns, (rng.normal(size=(4, 4)),), (rng.normal(size=(300, 200)),))


class TestSampleRows:
    @pytest.mark.parametrize("k", [0, 1, 4, 9])
    def test_k_different_rows_of_x(self, k, rng):
        x = rng.normal(size=(9, 3))
        got = sample_rows(x, k, seed=5)
        assert_close(np.array(got.shape), np.array([k, 3]))
        equal = (got[:, None] == x).all(axis=2)
        places = [int(row.argmax()) if row.any() else -1 for row in equal]
        if -1 in places or len(set(places)) != k:
            fail("These aren't k different rows of x.", evidence=tuple(places))

    def test_keeps_the_dtype(self):
        assert_close(np.sort(sample_rows(np.array([[3], [1]], np.int16), 2, seed=3), axis=0), np.array([[1], [3]], np.int16))

    def test_the_same_seed_gives_the_same_rows(self, rng):
        x = rng.normal(size=(20, 2))
        first = sample_rows(x, 6, seed=11)
        np.random.rand(3)  # what others draw in between changes nothing
        sample_rows(x, 3, seed=12)
        assert_close(sample_rows(x, 6, seed=11), first)

    def test_other_seeds_give_other_rows(self):
        x = np.arange(60.0).reshape(30, 2)
        samples = {tuple(sample_rows(x, 8, seed=s)[:, 0].tolist()) for s in range(10)}
        assert len(samples) == 10

    def test_every_row_is_as_likely(self):
        x = np.arange(5.0)[:, None]
        drawn = np.concatenate([sample_rows(x, 2, seed=s)[:, 0] for s in range(750)])
        counts = np.bincount(drawn.astype(int), minlength=5)
        # 300 each are expected, with a standard deviation of 13.4: five of them are allowed.
        assert_close(counts.astype(float), np.full(5, 300.0), rtol=0, atol=67)

    def test_every_set_of_rows_is_as_likely(self):
        x = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]])
        sums = np.array([sample_rows(x, 2, seed=s).sum() for s in range(750)])
        # The sum says which two rows they are.
        counts = np.array([(sums == 2.0**i + 2.0**j).sum() for j in range(5) for i in range(j)])
        # 75 each are expected, with a standard deviation of 8.2: more than five of them are allowed.
        assert_close(counts.astype(float), np.full(10, 75.0), rtol=0, atol=45)

    def test_the_global_state_is_left_alone(self, rng):
        _, before, place, *_ = np.random.get_state()
        sample_rows(rng.normal(size=(6, 2)), 3, seed=1)
        _, after, new_place, *_ = np.random.get_state()
        if place != new_place or not np.array_equal(before, after):
            fail("numpy's global random state was changed.", evidence="global state")

    def test_rejects_more_rows_than_there_are(self):
        with raises(ValueError, 8, 7):
            sample_rows(np.zeros((7, 2)), 8, seed=0)
