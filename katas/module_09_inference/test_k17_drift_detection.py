"""Judges k17_drift_detection by scipy, by brute force, and by how often its tests raise the alarm, rightly and wrongly."""

import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_09_inference.k17_drift_detection import (
    benjamini_hochberg,
    classifier_test,
    gaussian_kernel,
    holm,
    ks_test,
    mmd_squared,
    mmd_test,
    psi,
)

pytestmark = [from_scratch("scipy", "sklearn", "statsmodels"), pure()]


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def psi_by_counting(reference, current, bins: int) -> float:
    edges = sorted({float(np.quantile(reference, k / bins)) for k in range(1, bins)})
    total = 0.0
    for b in range(len(edges) + 1):
        shares = []
        for values in (reference, current):
            count = sum(sum(edge <= v for edge in edges) == b for v in values.tolist())
            shares.append((count + 0.5) / (len(values) + (len(edges) + 1) / 2))
        total += (shares[1] - shares[0]) * math.log(shares[1] / shares[0])
    return total


class TestPsi:
    def test_the_example_worked_by_hand(self):
        found = psi(np.arange(1.0, 9.0), floats(7, 7, 8, 8, 1, 8, 7, 8), 4)
        assert_close(found, -0.1 * math.log(0.6) - 0.4 * math.log(0.2) + 0.5 * math.log(3))

    @pytest.mark.parametrize("bins", [2, 5, 10])
    @pytest.mark.parametrize(("n", "m"), [(60, 35), (48, 90)])  # no quantile is exactly a value, but for rounding
    def test_equals_counting(self, rng, n, m, bins):
        reference, current = rng.normal(0, 1, n), rng.normal(0.4, 1.5, m)
        assert_close(psi(reference, current, bins), psi_by_counting(reference, current, bins))

    @pytest.mark.parametrize("current", [[1.0, 1.5, 2.0], [8.0, 9.0]], ids=["in the first bin", "in the last bin"])
    def test_all_in_one_bin(self, current):
        reference = np.arange(1.0, 9.0)
        assert_close(psi(reference, np.array(current), 4), psi_by_counting(reference, np.array(current), 4))

    @pytest.mark.parametrize("bins", [3, 8])
    def test_values_on_an_edge_belong_above(self, rng, bins):
        reference, current = rng.integers(0, 4, 50).astype(float), rng.integers(-1, 6, 44).astype(float)
        assert_close(psi(reference, current, bins), psi_by_counting(reference, current, bins))

    def test_equal_edges_are_one(self):
        reference, current = floats(*[0] * 30, 1, 2, 3), floats(*[0] * 10, *[2] * 10)
        assert_close(psi(reference, current, 10), psi_by_counting(reference, current, 10))

    def test_a_feature_that_is_constant(self):
        assert_close(
            psi(floats(2, 2, 2), floats(2, 2, 2, 2), 10), psi_by_counting(floats(2, 2, 2), floats(2, 2, 2, 2), 10)
        )
        assert_close(psi(floats(2, 2, 2), floats(1, 1, 2), 10), psi_by_counting(floats(2, 2, 2), floats(1, 1, 2), 10))

    def test_beyond_the_reference(self):
        reference = np.arange(40.0)
        assert_close(psi(reference, floats(-500, 900, 900), 4), psi_by_counting(reference, floats(-500, 900, 900), 4))

    def test_ten_bins_unless_it_is_said(self, rng):
        reference, current = rng.normal(0, 1, 80), rng.normal(1, 1, 70)
        assert_close(psi(reference, current), psi_by_counting(reference, current, 10))

    def test_a_sample_and_itself(self, rng):
        values = rng.normal(0, 1, 90)
        assert_close(psi(values, rng.permutation(values)), 0.0)

    @pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (0, 0)])
    def test_an_empty_sample(self, n, m):
        with raises(ValueError, "empty"):
            psi(np.arange(n, dtype=float), np.arange(m, dtype=float))

    def test_without_drift_it_is_as_small_as_chance_makes_it(self, rng):
        found = np.mean([psi(rng.normal(0, 1, 500), rng.normal(0, 1, 500)) for _ in range(60)])
        # Its mean is about (bins - 1) (1/n + 1/m) = 0.036; a standard error is 0.0022.
        if not 0.02 < found < 0.052:
            fail(
                f"Over 60 pairs of equal samples PSI is {found:.4f} on average; it should be about 0.036.",
                evidence=float(found),
            )

    def test_a_shift_by_one_deviation_is_above_a_quarter(self, rng):
        assert_equal(psi(rng.normal(0, 1, 2000), rng.normal(1, 1, 2000)) > 0.25, True)


class TestKsTest:
    def test_the_example_worked_by_hand(self):
        d, p = ks_test(floats(1, 2, 3, 4), floats(3, 4, 5, 6))
        assert_close(d, 0.5)
        assert_close(p, 2 * (math.exp(-1) - math.exp(-4) + math.exp(-9) - math.exp(-16)), atol=1e-6)

    @pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (20, 20), (35, 50), (200, 90)])
    @pytest.mark.parametrize("shift", [0.0, 0.5, 3.0])
    def test_matches_scipy(self, rng, n, m, shift):
        from scipy import special, stats

        x, y = rng.normal(0, 1, n), rng.normal(shift, 1.3, m)
        d = stats.ks_2samp(x, y).statistic
        p = special.kolmogorov(d * math.sqrt(n * m / (n + m)))
        assert_close(ks_test(x, y), (float(d), float(p)), atol=1e-9)

    @pytest.mark.parametrize("highest", [1, 3, 10])
    def test_ties(self, rng, highest):
        from scipy import special, stats

        x, y = rng.integers(0, highest + 1, 60).astype(float), rng.integers(0, highest + 2, 45).astype(float)
        d = stats.ks_2samp(x, y).statistic
        assert_close(ks_test(x, y), (float(d), float(special.kolmogorov(d * math.sqrt(60 * 45 / 105)))), atol=1e-9)

    def test_a_difference_to_either_side(self):
        low, high = floats(1, 2, 3), floats(2.5, 3.5, 4.5, 5.5)
        assert_close([ks_test(low, high)[0], ks_test(high, low)[0]], [0.75, 0.75])

    def test_equal_samples(self):
        assert_close(ks_test(floats(3, 1, 2, 2), floats(2, 3, 2, 1)), (0.0, 1.0))

    def test_one_value_against_many(self):
        assert_close(ks_test(floats(0.5), np.arange(10.0))[0], 0.9)

    @pytest.mark.parametrize("n", [5000, 20000])
    def test_p_where_the_sum_converges_slowly(self, n):
        x = np.arange(float(n))
        d, p = ks_test(x, x + 1)  # λ is 0.014 and 0.007
        assert_close((d, p), (1 / n, 1.0), atol=1e-9)

    @pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7, 10, 30, 60])
    def test_p_over_the_whole_range(self, k):
        from scipy import special

        x = np.arange(200.0)
        expected = float(special.kolmogorov(k / 200 * 10))
        assert_close(ks_test(x, x + k), (k / 200, expected), atol=1e-9)

    def test_false_alarms_are_as_rare_as_promised(self, rng):
        alarms = sum(ks_test(rng.normal(0, 1, 80), rng.normal(0, 1, 120))[1] <= 0.1 for _ in range(400))
        # At most 40 on average, standard deviation 6; the limit formula makes it somewhat rarer.
        if not 8 <= alarms <= 75:
            fail(f"At a level of 10% there are {alarms} alarms in 400 pairs of equal samples.", evidence=alarms)

    def test_planted_shifts_are_found(self, rng):
        found = [ks_test(rng.normal(0, 1, 300), rng.normal(*to, 300))[1] < 0.001 for to in [(1, 1), (-1, 1), (0, 4)]]
        assert_equal(found, [True] * 3)


HALF = math.sqrt(1 / (2 * math.log(2)))
"""The σ for which the kernel is 2^(-d²)."""


def kernel_by_pairs(z: np.ndarray, sigma: float) -> np.ndarray:
    return floats(*[math.exp(-(math.dist(a, b) ** 2) / (2 * sigma**2)) for a in z for b in z]).reshape(len(z), len(z))


class TestGaussianKernel:
    def test_the_example_worked_by_hand(self):
        expected = [[1, 0.5, 0.5, 0.0625], [0.5, 1, 1, 0.5], [0.5, 1, 1, 0.5], [0.0625, 0.5, 0.5, 1]]
        assert_close(gaussian_kernel(floats(0, 1, 1, 2)[:, None], HALF), np.array(expected))

    @pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
    @pytest.mark.parametrize("d", [1, 2, 5])
    def test_equals_the_formula_pair_by_pair(self, rng, d, sigma):
        z = rng.normal(0, 1, (7, d))
        assert_close(gaussian_kernel(z, sigma), kernel_by_pairs(z, sigma))

    @pytest.mark.parametrize("n", [2, 5, 6, 9])
    def test_the_median_of_the_distances(self, rng, n):
        from scipy.spatial.distance import pdist

        z = rng.normal(0, 2, (n, 3))
        assert_close(gaussian_kernel(z), kernel_by_pairs(z, float(np.median(pdist(z)))))

    def test_a_median_of_0(self):
        z = floats(1, 1, 1, 1, 3)[:, None]
        assert_close(gaussian_kernel(z), kernel_by_pairs(z, 1.0))

    def test_far_from_the_origin(self, rng):
        z = rng.integers(-1000, 1000, (6, 2)) / 1024  # adding 2^20 rounds nothing, but squaring then does
        assert_close(gaussian_kernel(z + 2.0**20, 0.5), kernel_by_pairs(z, 0.5))
        assert_close(gaussian_kernel(z + 2.0**20), gaussian_kernel(z))


def mmd_by_pairs(kernel: np.ndarray, x: list[int], y: list[int]) -> float:
    within = [np.mean([kernel[i, j] for i in part for j in part if i != j]) for part in (x, y)]
    return float(sum(within) - 2 * np.mean([kernel[i, j] for i in x for j in y]))


class TestMmdSquared:
    def test_the_example_worked_by_hand(self):
        kernel = np.array([[1, 0.5, 0.5, 0.0625], [0.5, 1, 1, 0.5], [0.5, 1, 1, 0.5], [0.0625, 0.5, 0.5, 1]])
        assert_close(mmd_squared(kernel, 2), -0.03125)

    @pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 5), (6, 3), (7, 7)])
    def test_equals_the_formula_pair_by_pair(self, rng, n, m):
        kernel = kernel_by_pairs(rng.normal(0, 1, (n + m, 2)), 1.2)
        assert_close(mmd_squared(kernel, n), mmd_by_pairs(kernel, list(range(n)), list(range(n, n + m))))

    def test_without_drift_it_is_0_on_average(self, rng):
        found = [mmd_squared(kernel_by_pairs(rng.normal(0, 1, (8, 1)), 1.0), 4) for _ in range(400)]
        mean, error = float(np.mean(found)), float(np.std(found)) / 20
        if abs(mean) > 6 * error:
            fail(f"Over 400 pairs of equal samples MMD² is {mean:.4f} on average; it should be 0.", evidence=mean)


class TestMmdTest:
    def test_the_example_worked_by_hand(self, rng):
        found, p = mmd_test(floats(0, 1)[:, None], floats(1, 2)[:, None], 9, rng, HALF)
        assert_close(found, -0.03125)
        assert_close(p * 10, float(round(p * 10)))

    @pytest.mark.parametrize("sigma", [None, 0.7])
    @pytest.mark.parametrize(("n", "m"), [(4, 9), (8, 3)])
    def test_mmd_of_the_pooled_rows(self, rng, n, m, sigma):
        from scipy.spatial.distance import pdist

        x, y = rng.normal(0, 1, (n, 2)), rng.normal(1, 1, (m, 2))
        z = np.concatenate([x, y])
        kernel = kernel_by_pairs(z, sigma or float(np.median(pdist(z))))
        expected = mmd_by_pairs(kernel, list(range(n)), list(range(n, n + m)))
        assert_close(mmd_test(x, y, 3, rng, sigma)[0], expected)

    @pytest.mark.parametrize(("n", "m", "shift"), [(4, 4, 0.5), (3, 5, 1.0), (5, 3, -0.3), (4, 4, 1.5)])
    def test_p_is_near_that_of_all_splits(self, rng, n, m, shift):
        x, y = rng.normal(0, 1, (n, 2)), rng.normal(shift, 1, (m, 2))
        kernel = kernel_by_pairs(np.concatenate([x, y]), 1.0)
        rows = range(n + m)
        splits = [
            mmd_by_pairs(kernel, list(c), [i for i in rows if i not in c]) for c in itertools.combinations(rows, n)
        ]
        expected = float(np.mean(np.array(splits) >= splits[0] - 1e-9))
        found = mmd_test(x, y, 1000, rng, 1.0)[1]
        # Six standard errors of the share of 1000 shuffles.
        if abs(found - expected) > 6 * math.sqrt(expected * (1 - expected) / 1000) + 0.002:
            fail(f"p is {found:.4f}; over all {len(splits)} splits it is {expected:.4f}.", evidence=found)

    def test_an_equal_mmd_counts_though_its_sums_are_rounded_otherwise(self, rng):
        x, y = floats(0, 0, 0.3, 0.9, 0)[:, None], floats(0.9, 0.3, 0.9, 0, 0.9)[:, None]  # many splits are alike
        kernel = kernel_by_pairs(np.concatenate([x, y]), 0.7)
        splits = [
            mmd_by_pairs(kernel, list(c), [i for i in range(10) if i not in c])
            for c in itertools.combinations(range(10), 5)
        ]
        expected = float(np.mean(np.array(splits) >= splits[0] - 1e-9))
        found = mmd_test(x, y, 1000, rng, 0.7)[1]
        if abs(found - expected) > 6 * math.sqrt(expected * (1 - expected) / 1000) + 0.002:
            fail(f"p is {found:.4f}; over all {len(splits)} splits it is {expected:.4f}.", evidence=found)

    @pytest.mark.parametrize("rounds", [1, 19, 50])
    def test_the_true_labels_count_as_one_shuffle(self, rng, rounds):
        x, y = rng.normal(0, 0.01, (12, 2)), rng.normal(9, 0.01, (12, 2))
        assert_close(mmd_test(x, y, rounds, rng)[1], 1 / (1 + rounds))

    def test_equal_rows_are_no_evidence(self, rng):
        x = np.ones((3, 2))
        assert_close(mmd_test(x, np.ones((4, 2)), 20, rng), (0.0, 1.0))

    def test_other_numbers_other_shuffles(self, rng):
        x, y = rng.normal(0, 1, (6, 2)), rng.normal(0.5, 1, (6, 2))
        found = {mmd_test(x, y, 60, np.random.default_rng(i))[1] for i in range(12)}
        if len(found) == 1:
            fail("Twelve generators give the same p. Draw the shuffles from `rng`.", evidence=sorted(found))

    def test_the_same_generator_gives_the_same_p(self, rng):
        x, y = rng.normal(0, 1, (6, 2)), rng.normal(0.5, 1, (6, 2))
        found = [mmd_test(x, y, 40, np.random.default_rng(5)) for _ in range(2)]
        assert_equal(found[0] == found[1], True)

    @pytest.mark.parametrize(("n", "m"), [(1, 4), (3, 1), (0, 6)])
    def test_too_few_rows(self, rng, n, m):
        with raises(ValueError, n, m):
            mmd_test(np.ones((n, 2)), np.ones((m, 2)), 10, rng)

    def test_false_alarms_are_as_rare_as_promised(self, rng):
        alarms = sum(
            mmd_test(rng.normal(0, 1, (8, 2)), rng.normal(0, 1, (10, 2)), 19, rng)[1] <= 0.2 for _ in range(150)
        )
        # 30 on average, standard deviation 4.9.
        if not 4 <= alarms <= 58:
            fail(f"At a level of 20% there are {alarms} alarms in 150 pairs of equal samples.", evidence=alarms)

    def test_drift_that_no_single_feature_shows_is_found(self, rng):
        x = rng.normal(0, 1, (60, 1)) * [1, 1] + rng.normal(0, 0.1, (60, 2))
        y = rng.normal(0, 1, (60, 1)) * [1, -1] + rng.normal(0, 0.1, (60, 2))  # each feature alone is as before
        assert_close(mmd_test(x, y, 99, rng)[1], 0.01)


class Spied:
    """A classifier by the means of the two samples, which notes what it is given."""

    def __init__(self):
        self.rows, self.labels, self.judged, self.fits = None, None, [], 0

    def __call__(self, rows, labels):
        self.rows, self.labels, self.fits = np.array(rows), np.array(labels), self.fits + 1
        towards = self.rows[self.labels == 1].mean(axis=0) - self.rows[self.labels == 0].mean(axis=0)

        def score(rows):
            self.judged.extend(np.asarray(rows).tolist())
            return np.asarray(rows) @ towards

        self.score = lambda rows: np.asarray(rows) @ towards
        return score


def by_heart(rows, labels):
    """A classifier that knows the rows that it has seen, and says 0 to all others."""
    seen = {tuple(row): 2.0 * label - 1 for row, label in zip(rows.tolist(), labels.tolist(), strict=True)}
    return lambda rows: np.array([seen.get(tuple(row), 0.0) for row in rows.tolist()])


class TestClassifierTest:
    def test_the_example_worked_by_hand(self, rng):
        scores = {0: [1.0, 3.0], 1: [2.0, 4.0, 5.0]}

        def fit(rows, labels):
            return lambda rows: np.array([scores[int(row[0])].pop() for row in rows])

        found = classifier_test(np.zeros((4, 1)), np.ones((5, 1)), fit, rng)
        assert_close(found, (5 / 6, math.erfc(1 / 3 / math.sqrt(6 / 72) / math.sqrt(2)) / 2))

    @pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 8), (40, 31), (9, 60)])
    def test_halves(self, rng, n, m):
        x, y = rng.normal(0, 1, (n, 3)), rng.normal(0, 1, (m, 3))
        spied = Spied()
        classifier_test(x, y, spied, rng)
        trained = {tuple(r) for r in spied.rows.tolist()}
        judged = [tuple(r) for r in spied.judged]
        everyone = [tuple(r) for r in np.concatenate([x, y]).tolist()]
        if trained & set(judged):
            fail(
                "Rows that were trained on are judged, too. Keep half of each sample back.",
                evidence=len(trained & set(judged)),
            )
        assert_equal(sorted([*trained, *judged]), sorted(everyone))
        of_x = {tuple(r) for r in x.tolist()}
        assert_equal((len(trained & of_x), len(trained)), (n // 2, n // 2 + m // 2))

    def test_labels(self, rng):
        x, y = rng.normal(0, 1, (9, 2)), rng.normal(0, 1, (16, 2))
        spied = Spied()
        classifier_test(x, y, spied, rng)
        of_y = {tuple(r) for r in y.tolist()}
        expected = [int(tuple(row) in of_y) for row in spied.rows.tolist()]
        assert_equal([int(label) for label in spied.labels], expected)
        assert_equal((spied.fits, spied.rows.shape, spied.labels.shape), (1, (12, 2), (12,)))

    def test_halves_are_random(self, rng):
        x, y = np.arange(8.0)[:, None], np.arange(100.0, 110.0)[:, None]
        seen = []
        for i in range(20):
            spied = Spied()
            classifier_test(x, y, spied, np.random.default_rng(i))
            seen.append(sorted(spied.rows[:, 0].tolist()))
        for part, size in ((lambda v: v < 50, 8), (lambda v: v >= 50, 10)):
            if len({tuple(filter(part, rows)) for rows in seen}) < 4:
                fail(
                    f"The half of the {size} rows is hardly ever another one. Draw it at random from `rng`.",
                    evidence=size,
                )
            every = {v for rows in seen for v in rows if part(v)}
            assert_equal(len(every), size)

    def test_the_same_generator_gives_the_same_halves(self, rng):
        x, y = rng.normal(0, 1, (12, 2)), rng.normal(1, 1, (12, 2))
        found = [classifier_test(x, y, Spied(), np.random.default_rng(3)) for _ in range(2)]
        assert_equal(found[0] == found[1], True)

    @pytest.mark.parametrize(("n", "m", "shift"), [(30, 45, 0.0), (61, 20, 0.5), (12, 12, 2.0), (50, 50, 0.2)])
    def test_auc_and_p_match_scipy(self, rng, n, m, shift):
        from scipy.stats import mannwhitneyu

        x, y = rng.normal(0, 1, (n, 2)), rng.normal(shift, 1, (m, 2))
        spied = Spied()
        found = classifier_test(x, y, spied, rng)
        trained, of_x = {tuple(r) for r in spied.rows.tolist()}, {tuple(r) for r in x.tolist()}
        judged = [r for r in np.concatenate([x, y]).tolist() if tuple(r) not in trained]
        scores = spied.score(judged)
        is_x = np.array([tuple(r) in of_x for r in judged])
        test = mannwhitneyu(
            scores[~is_x], scores[is_x], alternative="greater", method="asymptotic", use_continuity=False
        )
        assert_close(found, (float(test.statistic) / (is_x.sum() * (~is_x).sum()), float(test.pvalue)))

    def test_equal_scores_count_half(self, rng):
        def fit(rows, labels):
            return lambda rows: np.floor(rows[:, 0])

        x, y = np.full((12, 1), 1.25), np.full((8, 1), 1.75)
        assert_close(classifier_test(x, y, fit, rng), (0.5, 0.5))

    def test_scores_of_which_some_are_equal(self, rng):
        scores = {0: [1.0, 2.0, 2.0], 1: [2.0, 2.0, 3.0, 1.0]}

        def fit(rows, labels):
            return lambda rows: np.array([scores[int(row[0])].pop() for row in rows])

        auc = (1 + 0.5 + 0.5 + 1 + 0.5 + 0.5 + 1 + 1 + 1 + 0.5) / 12
        z = (auc - 0.5) / math.sqrt(8 / 144)
        assert_close(
            classifier_test(np.zeros((6, 1)), np.ones((8, 1)), fit, rng), (auc, math.erfc(z / math.sqrt(2)) / 2)
        )

    def test_below_a_half_is_no_sign(self, rng):
        def fit(rows, labels):
            return lambda rows: -rows[:, 0]

        auc, p = classifier_test(np.zeros((20, 1)), np.ones((20, 1)), fit, rng)
        assert_close(auc, 0.0)
        assert_equal(p > 0.999, True)

    @pytest.mark.parametrize(("n", "m"), [(1, 4), (3, 1), (0, 6)])
    def test_too_few_rows(self, rng, n, m):
        with raises(ValueError, n, m):
            classifier_test(np.ones((n, 2)), np.ones((m, 2)), Spied(), rng)

    def test_what_was_learnt_by_heart_is_no_sign(self, rng):
        x, y = rng.normal(0, 1, (30, 2)), rng.normal(0, 1, (30, 2))
        assert_close(classifier_test(x, y, by_heart, rng), (0.5, 0.5))

    def test_false_alarms_are_as_rare_as_promised(self, rng):
        alarms = 0
        for _ in range(200):
            x, y = rng.normal(0, 1, (30, 4)), rng.normal(0, 1, (40, 4))
            alarms += classifier_test(x, y, Spied(), rng)[1] <= 0.2
        # 40 on average, standard deviation 5.7.
        if not 8 <= alarms <= 72:
            fail(f"At a level of 20% there are {alarms} alarms in 200 pairs of equal samples.", evidence=alarms)

    def test_a_planted_shift_is_found(self, rng):
        x, y = rng.normal(0, 1, (200, 5)), rng.normal(0.5, 1, (200, 5))
        assert_equal(classifier_test(x, y, Spied(), rng)[1] < 0.001, True)


def holm_by_closed_testing(p: list[float], alpha: float) -> list[bool]:
    """A test is significant if every set of tests that it is in has one with p ≤ alpha / the size of the set."""
    sets = [s for size in range(1, len(p) + 1) for s in itertools.combinations(range(len(p)), size)]
    good = {s: min(p[i] for i in s) <= alpha / len(s) for s in sets}
    return [all(good[s] for s in sets if i in s) for i in range(len(p))]


class TestHolm:
    def test_the_example_of_the_drawing(self):
        assert_equal(holm([0.01, 0.02, 0.03, 0.04]), np.array([True, False, False, False]))

    @pytest.mark.parametrize("alpha", [0.05, 0.3])
    @pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
    def test_equals_closed_testing(self, rng, n, alpha):
        for _ in range(12):
            p = (rng.random(n) * alpha * rng.choice([0.5, 1, 2])).tolist()
            assert_equal(holm(p, alpha), np.array(holm_by_closed_testing(p, alpha)))

    def test_the_order_of_the_p_values_is_kept(self):
        assert_equal(holm([0.9, 0.001, 0.5, 0.002]), np.array([False, True, False, True]))

    def test_the_first_that_fails_ends_it(self):
        assert_equal(holm([0.001, 0.03, 0.035, 0.04]), np.array([True, False, False, False]))

    def test_a_p_value_on_its_threshold_is_significant(self):
        assert_equal(holm([0.5, 0.125, 0.25, 0.15625], 0.5), np.array([True] * 4))

    def test_equal_p_values(self):
        assert_equal(holm([0.25, 0.25], 0.5), np.array([True, True]))
        assert_equal(holm([0.375, 0.375], 0.5), np.array([False, False]))

    def test_no_tests(self):
        found = holm([])
        assert_equal((found.shape, found.dtype.kind), ((0,), "b"))

    def test_an_array(self):
        assert_equal(holm(floats(0.2, 0.01)), np.array([False, True]))

    def test_no_false_alarm_in_most_days(self, rng):
        alarms = sum(bool(holm(rng.random(40), 0.2).any()) for _ in range(300))
        # On each of 300 days 40 features without drift: 1 - (1 - 0.2/40)^40 = 18%, 55 days, standard deviation 6.7.
        if not 18 <= alarms <= 95:
            fail(f"At a level of 20% there is a false alarm on {alarms} of 300 days.", evidence=alarms)


class TestBenjaminiHochberg:
    def test_the_example_of_the_drawing(self):
        assert_equal(benjamini_hochberg([0.01, 0.02, 0.03, 0.04]), np.array([True] * 4))

    @pytest.mark.parametrize("alpha", [0.05, 0.3])
    @pytest.mark.parametrize("n", [1, 2, 5, 12, 50])
    def test_matches_scipy(self, rng, n, alpha):
        from scipy.stats import false_discovery_control

        for _ in range(12):
            p = rng.random(n) ** rng.choice([1, 3]) * rng.choice([alpha, 1])
            assert_equal(benjamini_hochberg(p, alpha), false_discovery_control(p) <= alpha)

    def test_the_order_of_the_p_values_is_kept(self):
        assert_equal(benjamini_hochberg([0.9, 0.001, 0.5, 0.002]), np.array([False, True, False, True]))

    def test_5_percent_unless_told_otherwise_and_fewer_after_many(self):
        found = [benjamini_hochberg(p).tolist() for p in ([0.012, 0.03, 0.04, 0.06], [0.06], [0.04])]
        assert_equal(found, [[True, False, False, False], [False], [True]])

    def test_a_p_value_of_0_stands_first(self):
        assert_equal(benjamini_hochberg([0.0, 0.9, 0.5]), np.array([True, False, False]))

    def test_one_below_a_significant_one_is_significant(self):
        assert_equal(benjamini_hochberg([0.03, 0.034, 0.036, 0.9]), np.array([True, True, True, False]))

    def test_a_p_value_on_its_threshold_is_significant(self):
        assert_equal(benjamini_hochberg([0.75, 0.25, 0.25, 0.75], 0.5), np.array([False, True, True, False]))

    def test_equal_p_values(self):
        assert_equal(benjamini_hochberg([0.5] * 4, 0.5), np.array([True] * 4))

    def test_none_is_significant(self):
        assert_equal(benjamini_hochberg([0.06, 0.5, 0.9]), np.array([False] * 3))

    def test_no_tests(self):
        found = benjamini_hochberg([])
        assert_equal((found.shape, found.dtype.kind), ((0,), "b"))

    def test_few_of_its_alarms_are_false(self, rng):
        shares = []
        for _ in range(200):
            p = np.concatenate([rng.random(30), rng.random(10) * 0.001])  # the last ten have truly drifted
            found = benjamini_hochberg(p, 0.2)
            assert_equal(bool(found[30:].all()), True)
            shares.append(found[:30].sum() / max(1, found.sum()))
        mean = float(np.mean(shares))  # 0.2 · 30/40 = 0.15, standard error about 0.008
        if not 0.1 < mean < 0.2:
            fail(f"At a level of 20%, {mean:.1%} of the alarms are false on average; it should be 15%.", evidence=mean)
