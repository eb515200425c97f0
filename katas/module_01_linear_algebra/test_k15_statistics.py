"""Judges k15_statistics against scipy.stats, exact enumeration, and simulation."""

import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_01_linear_algebra.k15_statistics import (
    Welford,
    bootstrap_interval,
    covariance,
    fit_bernoulli,
    fit_gaussian,
    fit_poisson,
    permutation_test,
    t_p_value,
    t_test,
    welch_test,
)

pytestmark = [
    from_scratch(
        "scipy", "statistics", "numpy.var", "numpy.std", "numpy.cov", "numpy.corrcoef",
        "numpy.ndarray.var", "numpy.ndarray.std",
    ),
    pure(),
]  # fmt: skip


def seen(numbers):
    welford = Welford()
    for x in numbers:
        welford.update(float(x))
    return welford


class TestWelford:
    def test_the_example_worked_by_hand(self):
        welford = seen([2, 4, 9])
        assert_close((welford.mean, welford.variance()), (5.0, 13.0))

    @pytest.mark.parametrize("ddof", [0, 1, 2])
    @pytest.mark.parametrize("n", [3, 10])
    def test_matches_numpy(self, n, ddof, rng):
        x = rng.normal(3, 2, n)
        welford = seen(x)
        assert_close((welford.count, welford.mean), (n, float(x.mean())))
        assert_close(welford.variance(ddof), float(x.var(ddof=ddof)))

    def test_a_large_mean_costs_no_digits(self, rng):
        x = rng.normal(0, 1, 50)
        shifted = 1e8 + x  # the sum of squares would have 1e16 in it, and no digit of the variance left
        assert_close(seen(shifted).variance(), float((shifted - 1e8).var(ddof=1)), rtol=1e-6, atol=0)  # 1e8·1e-16·√n

    @pytest.mark.parametrize("part", [10, 25])
    def test_a_large_mean_costs_no_digits_of_a_merged_one(self, part, rng):
        shifted = 1e8 + rng.normal(0, 1, 50)
        merged = seen(shifted[:part]).merge(seen(shifted[part:]))
        assert_close(merged.variance(), float((shifted - 1e8).var(ddof=1)), rtol=1e-6, atol=0)  # 1e8·1e-16·√n

    def test_before_the_first(self):
        welford = Welford()
        assert_close((welford.count, welford.mean), (0, 0.0))

    @pytest.mark.parametrize(("count", "ddof"), [(0, 0), (0, 1), (1, 1), (2, 3), (1, 3), (2, 2)])
    def test_too_few_for_a_variance(self, count, ddof):
        with raises(ValueError, count, ddof):
            seen(range(count)).variance(ddof)

    def test_one_is_enough_for_a_variance_with_ddof_0(self):
        assert_close(seen([7.5]).variance(0), 0.0)

    @pytest.mark.parametrize(("n", "m"), [(3, 8), (7, 2), (1, 1)])
    def test_merging_is_seeing_both(self, n, m, rng):
        x, y = rng.normal(1, 2, n), rng.normal(-4, 1, m)
        both, every = seen(x).merge(seen(y)), np.concatenate([x, y])
        assert_close((both.count, both.mean, both.variance()), (n + m, float(every.mean()), float(every.var(ddof=1))))
        both.update(2.5)
        assert_close(both.variance(), float(np.append(every, 2.5).var(ddof=1)))

    @pytest.mark.parametrize(("x", "y"), [([1, 2, 6], []), ([], [1, 2, 6])])
    def test_merging_with_nothing(self, x, y):
        both = seen(x).merge(seen(y))
        assert_close((both.count, both.mean, both.variance()), (3, 3.0, 7.0))

    @pytest.mark.parametrize(("x", "y"), [([1, 2, 6], []), ([], [1, 2, 6]), ([], [])])
    def test_merging_with_nothing_gives_a_new_one(self, x, y):
        one, other = seen(x), seen(y)
        one.merge(other).update(99.0)
        assert_close([one.count, one.mean, other.count, other.mean], [len(x), 3.0 * bool(x), len(y), 3.0 * bool(y)])

    def test_merging_nothing_with_one(self):
        single = Welford().merge(seen([4]))
        assert_close((single.count, single.mean, single.variance(0)), (1, 4.0, 0.0))

    def test_merging_nothing_with_nothing(self):
        empty = Welford().merge(Welford())
        assert_close((empty.count, empty.mean), (0, 0.0))
        empty.update(5.0)
        assert_close((empty.count, empty.mean, empty.variance(0)), (1, 5.0, 0.0))

    def test_merging_with_itself(self):
        one = seen([1, 2, 6])
        both = one.merge(one)
        assert_close((both.count, both.mean, both.variance(0)), (6, 3.0, 14 / 3))
        assert_close((one.count, one.mean, one.variance()), (3, 3.0, 7.0))

    def test_merging_many_parts(self, rng):
        parts = [rng.normal(i, 1 + i, 3 + i) for i in range(5)]
        merged = Welford()
        for part in parts:
            merged = merged.merge(seen(part))
        every = np.concatenate(parts)
        assert_close(
            (merged.count, merged.mean, merged.variance()), (len(every), float(every.mean()), float(every.var(ddof=1)))
        )

    def test_asking_changes_nothing(self):
        welford = seen([1, 2, 6])
        assert_close([welford.variance(), welford.variance(0), welford.variance()], [7.0, 14 / 3, 7.0])
        welford.update(7.0)
        assert_close((welford.count, welford.mean, welford.variance()), (4, 4.0, 26 / 3))

    def test_merging_changes_neither(self):
        one, other = seen([1, 2, 6]), seen([10, 20])
        one.merge(other).update(99.0)
        assert_close((one.count, one.mean, one.variance()), (3, 3.0, 7.0))
        assert_close((other.count, other.mean, other.variance()), (2, 15.0, 50.0))


class TestCovariance:
    def test_of_three_points(self):
        x = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 8.0]])
        assert_close(covariance(x), np.array([[4.0, 6.0], [6.0, 12.0]]))

    @pytest.mark.parametrize("ddof", [0, 1, 2])
    @pytest.mark.parametrize(("n", "d"), [(7, 3), (4, 6), (5, 1)])
    def test_matches_numpy(self, n, d, ddof, rng):
        x = rng.normal(2, 3, (n, d))
        assert_close(covariance(x, ddof), np.cov(x, rowvar=False, ddof=ddof).reshape(d, d))

    def test_of_integers(self):
        assert_close(covariance(np.array([[1, 2], [3, 2], [5, 8]])), np.array([[4.0, 6.0], [6.0, 12.0]]))

    def test_a_large_mean_costs_no_digits(self, rng):
        x = 1e8 * np.array([1.0, -3.0]) + rng.normal(0, 1, (20, 2))
        expected = np.cov(x - 1e8 * np.array([1.0, -3.0]), rowvar=False)
        assert_close(covariance(x), expected, rtol=1e-6, atol=1e-6)  # 1e8·1e-16·√n


class TestFitGaussian:
    @pytest.mark.parametrize("n", [1, 5, 40])
    def test_matches_numpy(self, n, rng):
        x = rng.normal(3, 5, n)
        variance = float(x.var())
        expected = ((float(x.mean()), variance), (math.sqrt(variance / n), variance * math.sqrt(2 / n)))
        assert_close(fit_gaussian(x), expected)

    def test_a_large_mean_costs_no_digits(self, rng):
        x = 1e8 + rng.normal(0, 1, 30)
        (_, variance), _ = fit_gaussian(x)
        assert_close(variance, float((x - 1e8).var()), rtol=1e-6, atol=0)  # 1e8·1e-16·√n

    def test_errors_are_the_curvature_of_the_likelihood(self, rng):
        x = rng.normal(-1, 0.5, 30)
        (mean, variance), errors = fit_gaussian(x)

        def loss(m, v):
            return float(np.sum((x - m) ** 2) / (2 * v) + len(x) / 2 * np.log(v))

        h = 1e-4
        bends = [
            (loss(mean + h, variance) - 2 * loss(mean, variance) + loss(mean - h, variance)) / h**2,
            (loss(mean, variance + h) - 2 * loss(mean, variance) + loss(mean, variance - h)) / h**2,
        ]
        assert_close(errors, tuple(1 / math.sqrt(b) for b in bends), rtol=1e-4, atol=0)  # a second difference


class TestFitBernoulli:
    @pytest.mark.parametrize("dtype", [int, bool, float])
    @pytest.mark.parametrize("n", [6, 50])
    def test_matches_the_formula(self, n, dtype, rng):
        x = (rng.random(n) < 0.3).astype(int)
        x[:2] = 0, 1
        p = float(x.mean())
        assert_close(fit_bernoulli(x.astype(dtype)), (p, math.sqrt(p * (1 - p) / n)))

    @pytest.mark.parametrize("p", [0, 1])
    def test_nothing_but_zeros_or_ones_has_no_error(self, p):
        assert_close(fit_bernoulli(np.full(4, p)), (float(p), 0.0))

    def test_errors_are_those_of_repeated_samples(self, rng):
        fits = np.array([fit_bernoulli(rng.random(60) < 0.2)[0] for _ in range(600)])
        # The deviation of 600 estimates is known to 3%: five times that is allowed.
        assert_close(float(fits.std()), math.sqrt(0.16 / 60), rtol=0.15, atol=0)


class TestFitPoisson:
    def test_the_example_worked_by_hand(self):
        assert_close(fit_poisson(np.array([0, 2, 1, 1])), (1.0, 0.5))

    @pytest.mark.parametrize("n", [1, 7, 30])
    def test_matches_the_formula(self, n, rng):
        x = rng.poisson(4.5, n)
        assert_close(fit_poisson(x), (float(x.mean()), math.sqrt(x.mean() / n)))

    def test_errors_are_those_of_repeated_samples(self, rng):
        fits = np.array([fit_poisson(rng.poisson(3.0, 60))[0] for _ in range(600)])
        # The deviation of 600 estimates is known to 3%: five times that is allowed.
        assert_close(float(fits.std()), math.sqrt(3 / 60), rtol=0.15, atol=0)


class TestPValue:
    @pytest.mark.parametrize("t", [0.5, 1.9215, -3.0])
    def test_two_degrees_of_freedom_have_a_closed_form(self, t):
        assert_close(t_p_value(t, 2), 1 - abs(t) / math.sqrt(t**2 + 2))

    @pytest.mark.parametrize("df", [1, 1.02, 1.5, 2, 3.7, 10, 29, 200])
    @pytest.mark.parametrize("t", [0.0, 0.5, -1.3, 3.5, 40.0, -100.0])
    def test_matches_scipy(self, t, df):
        from scipy import stats

        assert_close(t_p_value(t, df), 2 * stats.t.sf(abs(t), df))

    @pytest.mark.parametrize("df", [3000, 47_000.5, 1e6])
    @pytest.mark.parametrize("t", [0.01, -1.3, 5.0, -100.0])
    def test_matches_scipy_for_many_degrees_of_freedom(self, t, df):
        from scipy import stats

        assert_close(t_p_value(t, df), 2 * stats.t.sf(abs(t), df))


class TestTTest:
    def test_the_example_worked_by_hand(self):
        assert_close(t_test(np.array([2.0, 4.0, 9.0]), 1.0), (1.9215, 0.1946), atol=1e-4, rtol=0)  # four digits

    @pytest.mark.parametrize(("n", "mean"), [(5, 0.0), (12, 1.5), (40, -0.3)])
    def test_matches_scipy(self, n, mean, rng):
        from scipy import stats

        x = rng.normal(0.4, 2, n)
        oracle = stats.ttest_1samp(x, mean)
        assert_close(t_test(x, mean), (float(oracle.statistic), float(oracle.pvalue)))

    def test_against_0_unless_told_otherwise(self, rng):
        from scipy import stats

        x = rng.normal(0.4, 2, 9)
        assert_close(t_test(x), tuple(map(float, stats.ttest_1samp(x, 0.0))))

    @pytest.mark.parametrize("x", [[3, 5], [0, 1, 1, 1]])
    def test_of_integers(self, x):
        from scipy import stats

        assert_close(t_test(np.array(x), 1), tuple(map(float, stats.ttest_1samp(x, 1))))

    def test_a_large_mean_costs_no_digits(self, rng):
        from scipy import stats

        x = 1e8 + rng.normal(0.4, 2, 15)
        oracle = stats.ttest_1samp(x - 1e8, 0.0)
        # The mean itself is known to 1e-8 only.
        assert_close(t_test(x, 1e8), (float(oracle.statistic), float(oracle.pvalue)), rtol=1e-5, atol=1e-6)


class TestWelchTest:
    @pytest.mark.parametrize(("n", "m"), [(4, 9), (12, 5), (20, 20), (2, 3)])
    def test_matches_scipy(self, n, m, rng):
        from scipy import stats

        x, y = rng.normal(0.5, 1, n), rng.normal(0, 3, m)
        oracle = stats.ttest_ind(x, y, equal_var=False)
        assert_close(welch_test(x, y), (float(oracle.statistic), float(oracle.df), float(oracle.pvalue)))

    def test_of_many_numbers(self, rng):
        from scipy import stats

        x, y = rng.normal(0, 1, 4000), rng.normal(0.02, 2, 3000)
        oracle = stats.ttest_ind(x, y, equal_var=False)
        assert_close(welch_test(x, y), (float(oracle.statistic), float(oracle.df), float(oracle.pvalue)))


def keeps_numpys_generator(function):
    """Run `function` and fail where numpy's global generator isn't left as it was."""
    before = np.random.get_state()
    function()
    after = np.random.get_state()
    if before[2] != after[2] or not np.array_equal(before[1], after[1]):
        fail("numpy's global generator is used or seeded anew; draw from `rng` alone.", evidence="global generator")


def exact_p_value(x, y):
    """Over every division of the values there is."""
    values = np.concatenate([x, y])
    observed = abs(x.mean() - y.mean())
    divisions = list(itertools.combinations(range(len(values)), len(x)))
    total = values.sum()
    as_large = 0
    for chosen in divisions:
        first = values[list(chosen)].sum()
        as_large += abs(first / len(x) - (total - first) / len(y)) >= observed - 1e-9
    return as_large / len(divisions)


class TestPermutation:
    @pytest.mark.parametrize("shift", [0.0, 1.0, -1.0])
    def test_near_the_exact_value(self, shift, rng):
        x, y = rng.normal(shift, 1, 4), rng.normal(0, 1.5, 6)
        exact = exact_p_value(x, y)
        got = permutation_test(x, y, 2000, rng)
        # A share out of 2000 has this standard deviation; the 1 above and below moves it by 1/2001.
        deviation = math.sqrt(exact * (1 - exact) / 2000)
        assert_close(got, exact, rtol=0, atol=5 * deviation + 6e-4)

    @pytest.mark.parametrize("shuffles", [4, 19])
    def test_never_0_and_the_division_that_happened_counts(self, shuffles, rng):
        x, y = np.arange(10.0), 1000 + np.arange(12.0)
        assert_close(permutation_test(x, y, shuffles, rng), 1 / (1 + shuffles))

    def test_the_generator_decides(self):
        def values():
            x, y = np.arange(6.0), np.arange(8.0) + 0.3  # exactly 0.30, with a deviation of 0.05
            return np.array([permutation_test(x, y, 99, np.random.default_rng(seed)) for seed in range(8)])

        assert_close(values(), values())
        if len(set(values().tolist())) == 1:
            fail("Eight generators give the same answer: `rng` isn't used.", evidence="same answer")

    def test_numpys_global_generator_stays_as_it_is(self, rng):
        keeps_numpys_generator(lambda: permutation_test(np.arange(4.0), np.arange(6.0), 20, rng))

    def test_integers_beside_floats(self, rng):
        # Of 126 divisions those that happened and its mirror image alone are as far apart: cut to integers, more.
        x, y = np.array([0, 0, 0, 0]), np.array([0.6, 0.6, 0.6, 0.6, 0.6])
        assert_close(permutation_test(x, y, 400, rng), 1 / 126, rtol=0, atol=5 * math.sqrt(1 / 126 / 400) + 3e-3)

    def test_equal_samples_have_p_value_1(self, rng):
        assert_close(permutation_test(np.full(5, 0.1), np.full(3, 0.1), 20, rng), 1.0)

    def test_ties_count_as_large(self, rng):
        """Every division has the difference 0.1, but for rounding, which makes two thirds of them smaller."""
        x, y = np.array([0.1, 0.1, 0.1]), np.array([0.1, 0.1, 0.4])
        assert_close(permutation_test(x, y, 200, rng), 1.0)


class TestBootstrap:
    @pytest.mark.parametrize("level", [0.95, 0.5])
    def test_of_the_mean_is_near_the_normal_interval(self, level, rng):
        from scipy import stats

        x = rng.normal(10, 3, 400)
        low, high = bootstrap_interval(x, np.mean, 2500, rng, level)
        reach = stats.norm.ppf((1 + level) / 2) * x.std() / 20
        # The quantiles of 2500 draws are off by some 0.054 standard errors: five times that is allowed.
        slack = 0.3 * x.std() / 20
        assert_close((low, high), (x.mean() - reach, x.mean() + reach), rtol=0, atol=slack)

    def test_95_percent_unless_told_otherwise(self, rng):
        x = rng.normal(size=300)
        seeds = [np.random.default_rng(7) for _ in range(2)]
        assert_close(bootstrap_interval(x, np.mean, 200, seeds[0]), bootstrap_interval(x, np.mean, 200, seeds[1], 0.95))

    def test_the_generator_decides(self, rng):
        x = rng.normal(size=30)
        one, two = (bootstrap_interval(x, np.mean, 50, np.random.default_rng(seed)) for seed in (3, 4))
        assert_close(bootstrap_interval(x, np.mean, 50, np.random.default_rng(3)), one)
        if one[0] == two[0] and one[1] == two[1]:
            fail("Two generators give the same interval: `rng` isn't used.", evidence="same interval")

    def test_draws_as_many_as_there_are_with_replacement(self, rng):
        x = rng.normal(size=9)
        drawn = []
        bootstrap_interval(x, lambda sample: drawn.append(sample.copy()) or 0.0, 50, rng)
        assert_equal({len(sample) for sample in drawn}, {9})
        assert_equal(len(drawn), 50)
        if not set(np.concatenate(drawn)) <= set(x):
            fail("Values were drawn that aren't in x.", evidence="not in x")
        if all(len(set(sample)) == 9 for sample in drawn):
            fail("Every sample has each value once: they weren't drawn with replacement.", evidence="no replacement")

    @pytest.mark.parametrize("level", [0.95, 0.8, 0.5])
    def test_the_two_quantiles_leave_out_as_much_on_each_side(self, level, rng):
        count = iter(range(1001))
        got = bootstrap_interval(rng.normal(size=4), lambda sample: float(next(count)), 1001, rng, level)
        # Of the values 0 to 1000; definitions of a quantile differ by less than the step between two of them.
        assert_close(got, (500 * (1 - level), 500 * (1 + level)), rtol=0, atol=1.5)

    def test_numpys_global_generator_stays_as_it_is(self, rng):
        keeps_numpys_generator(lambda: bootstrap_interval(np.arange(5.0), np.mean, 20, rng))

    def test_a_statistic_may_change_its_array(self, rng):
        x = rng.normal(size=6)
        kept = x.copy()

        def statistic(sample):
            if not set(sample.tolist()) <= set(kept.tolist()):
                fail("What the statistic did to its array came back in a later one.", evidence="shared array")
            sample[:] = 7.0
            return 1.0

        bootstrap_interval(x, statistic, 30, rng)
        assert_equal(x, kept)

    def test_a_statistic_that_never_changes(self, rng):
        assert_close(bootstrap_interval(rng.normal(size=5), lambda sample: 1 / 3, 7, rng), (1 / 3, 1 / 3))

    def test_any_statistic(self, rng):
        x = np.array([1.0, 2.0, 3.0, 4.0, 100.0])
        # A sample's median is at most 1 with chance 0.06, at most 2 with 0.32, and so from above: the
        # quantiles at 0.16 and 0.84 are more than six deviations of 400 draws away from the next value.
        assert_close(bootstrap_interval(x, np.median, 400, rng, 0.68), (2.0, 4.0))

    def test_covers_the_truth_as_often_as_it_says(self, rng):
        hits = 0
        for _ in range(120):
            low, high = bootstrap_interval(rng.exponential(2.0, 60), np.mean, 120, rng, level=0.8)
            hits += low <= 2.0 <= high
        # Of 120, 80% are 96, with a deviation of 4.4; the interval is a little short for a skewed sample.
        assert 70 <= hits <= 116
