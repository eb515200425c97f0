"""Judges k13_probability against scipy.stats, exactly where it can, and by Kolmogorov and Smirnov's test."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, fail, from_scratch, pure, raises
from katas.module_01_linear_algebra.k13_probability import (
    bernoulli_pmf,
    binomial_logpmf,
    box_muller,
    discrete_from_uniform,
    exponential_from_uniform,
    gaussian_logpdf,
    gaussian_pdf,
    monte_carlo,
    poisson_logpmf,
    rejection_sample,
    standardized_means,
)

pytestmark = [from_scratch("scipy", "math.lgamma", "math.gamma", "math.factorial", "math.comb"), pure()]

# A right sampler fails a Kolmogorov–Smirnov test at this level once in a hundred million runs.
SURE = 1e-8


class TestBernoulli:
    @pytest.mark.parametrize("p", [0.3, 0.85])
    def test_ones_zeros_and_the_rest(self, p):
        assert_close(bernoulli_pmf(np.array([0, 1, 1, 2, -1, 0]), p), np.array([1 - p, p, p, 0.0, 0.0, 1 - p]))

    def test_of_any_shape(self):
        assert_close(bernoulli_pmf(np.array([[1, 0, 1]]), 0.2), np.array([[0.2, 0.8, 0.2]]))


class TestBinomial:
    def test_the_example_worked_by_hand(self):
        assert_close(np.exp(binomial_logpmf(np.array([2]), 3, 0.5)), np.array([0.375]))

    @pytest.mark.parametrize(("n", "p"), [(0, 0.3), (1, 0.3), (7, 0.9), (40, 0.05), (600, 0.4), (3000, 0.5), (9, 1e-13)])
    def test_matches_scipy_and_nothing_is_outside(self, n, p):
        from scipy.stats import binom

        k = np.arange(-2, n + 3)
        assert_close(binomial_logpmf(k, n, p), binom.logpmf(k, n, p))

    def test_of_any_shape(self):
        from scipy.stats import binom

        k = np.array([[0, 3, 5], [9, 2, 1]])
        assert_close(binomial_logpmf(k, 6, 0.25), binom.logpmf(k, 6, 0.25))

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
    def test_of_integers_of_any_width(self, dtype):
        from scipy.stats import binom

        k = np.array([0, 3, 127], dtype)
        assert_close(binomial_logpmf(k, 300, 0.25), binom.logpmf(k.astype(int), 300, 0.25))


class TestPoisson:
    def test_the_example_worked_by_hand(self):
        assert_close(poisson_logpmf(np.array([3]), 2.0), np.array([3 * math.log(2) - 2 - math.log(6)]))

    @pytest.mark.parametrize("rate", [0.2, 3.7, 250.0])
    def test_matches_scipy_and_nothing_is_below_0(self, rate):
        from scipy.stats import poisson

        k = np.arange(-3, 600, 7)
        assert_close(poisson_logpmf(k, rate), poisson.logpmf(k, rate))

    def test_counts_in_the_thousands(self):
        from scipy.stats import poisson

        k = np.array([0, 1500, 9000, 4000])
        assert_close(poisson_logpmf(k, 3000.0), poisson.logpmf(k, 3000.0))

    def test_of_any_shape(self):
        from scipy.stats import poisson

        k = np.array([[0, 3, 5], [9, -2, 1]])
        assert_close(poisson_logpmf(k, 2.5), poisson.logpmf(k, 2.5))

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
    def test_of_integers_of_any_width(self, dtype):
        from scipy.stats import poisson

        k = np.array([0, 3, 127], dtype)
        assert_close(poisson_logpmf(k, 40.0), poisson.logpmf(k.astype(int), 40.0))

    def test_nothing_but_impossible_counts(self):
        assert_close(poisson_logpmf(np.array([-1, -7]), 3.0), np.array([-np.inf, -np.inf]))


class TestGaussianLogpdf:
    def test_the_example_worked_by_hand(self):
        assert_close(gaussian_logpdf(np.array([3.0]), 1.0, 2.0), np.array([-0.5 - 0.5 * math.log(8 * math.pi)]))

    @pytest.mark.parametrize(("mean", "sd"), [(0.0, 0.5), (3.0, 2.0), (-1.5, 7.0), (0.0, 1e-100)])
    def test_matches_scipy(self, mean, sd, rng):
        from scipy.stats import norm

        x = mean + 2 * sd * rng.normal(size=(3, 4))
        assert_close(gaussian_logpdf(x, mean, sd), norm.logpdf(x, mean, sd))

    def test_standard_unless_told_otherwise(self):
        x = np.array([-1.3, 0.0, 2.2])
        assert_close(gaussian_logpdf(x), -(x**2) / 2 - 0.5 * math.log(2 * math.pi))

    @pytest.mark.parametrize("far", [1e3, 1e5, 1e150])
    @pytest.mark.parametrize("sd", [1.0, 1e100, 1e-100])
    def test_is_finite_far_out(self, far, sd):
        got = gaussian_logpdf(np.array([far * sd, -far * sd]), 0.0, sd)
        assert_close(got, np.full(2, -(far**2) / 2 - 0.5 * math.log(2 * math.pi) - math.log(sd)))


class TestGaussianPdf:
    def test_the_example_worked_by_hand(self):
        assert_close(gaussian_pdf(np.array([3.0]), 1.0, 2.0), np.array([math.exp(-0.5) / math.sqrt(8 * math.pi)]))

    @pytest.mark.parametrize(("mean", "sd"), [(0.0, 0.5), (3.0, 2.0), (-1.5, 7.0)])
    def test_matches_scipy(self, mean, sd, rng):
        from scipy.stats import norm

        x = rng.normal(mean, 2 * sd, (3, 4))
        assert_close(gaussian_pdf(x, mean, sd), norm.pdf(x, mean, sd))

    def test_standard_unless_told_otherwise(self):
        x = np.array([-1.3, 0.0, 2.2])
        assert_close(gaussian_pdf(x), np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))

    def test_nothing_is_left_far_out(self):
        assert_close(gaussian_pdf(np.array([1e3, -1e5])), np.zeros(2))


class TestExponential:
    @pytest.mark.parametrize("rate", [0.5, 3.0])
    def test_matches_scipys_inverse_cdf(self, rate, rng):
        from scipy.stats import expon

        u = rng.random((3, 5))
        assert_close(exponential_from_uniform(u, rate), expon.ppf(u, scale=1 / rate))

    def test_at_0_and_near_1(self):
        assert_close(exponential_from_uniform(np.array([0.0, 1 - 2.0**-40]), 2.0), np.array([0.0, 20 * math.log(2)]))


class TestDiscrete:
    def test_the_example_worked_by_hand(self):
        got = discrete_from_uniform(np.array([0.65, 0.75, 0.0, 0.19, 0.2, 0.99]), np.array([0.2, 0.5, 0.3]))
        assert_close(got, np.array([1, 2, 0, 0, 1, 2]))

    def test_of_a_single_number(self):
        assert_close(np.shape(discrete_from_uniform(np.array(0.65), np.array([0.2, 0.5, 0.3]))), ())
        assert_close(int(discrete_from_uniform(np.array(0.65), np.array([0.2, 0.5, 0.3]))), 1)

    def test_a_sum_that_is_met_belongs_to_the_next(self):
        got = discrete_from_uniform(np.array([[0.25, 0.5], [0.75, 0.0]]), np.array([0.25, 0.25, 0.25, 0.25]))
        assert_close(got, np.array([[1, 2], [3, 0]]))

    def test_never_an_index_of_probability_0(self):
        p = np.array([0.0, 0.5, 0.0, 0.5, 0.0])
        assert_close(discrete_from_uniform(np.array([0.0, 0.3, 0.5, 0.9]), p), np.array([1, 1, 3, 3]))

    @pytest.mark.parametrize("behind", [0, 2])
    def test_rounding_leaves_no_gap_at_the_end(self, behind):
        p = np.array([0.1] * 10 + [0.0] * behind)  # they add up to 0.9999999999999999
        assert_close(discrete_from_uniform(np.array([np.nextafter(1, 0)]), p), np.array([9]))

    def test_each_index_as_often_as_it_says(self, rng):
        p = rng.dirichlet(np.ones(6))
        u = (np.arange(100_000) + 0.5) / 100_000
        counts = np.bincount(discrete_from_uniform(u, p), minlength=6) / 100_000
        assert_close(counts, p, rtol=0, atol=2e-5)  # the grid of u


class TestBoxMuller:
    def test_the_example_worked_by_hand(self):
        first, second = box_muller(np.array([math.exp(-2)]), np.array([1 / 8]))
        assert_close((first, second), (np.array([math.sqrt(2)]), np.array([math.sqrt(2)])))

    def test_matches_the_formula(self, rng):
        u1, u2 = rng.uniform(0.01, 1, (2, 5)), rng.random((2, 5))
        radius = np.sqrt(-2 * np.log(u1))
        assert_close(box_muller(u1, u2), (radius * np.cos(2 * np.pi * u2), radius * np.sin(2 * np.pi * u2)))

    def test_the_smallest_and_the_largest_u1(self):
        first, second = box_muller(np.array([1e-300, 1.0]), np.array([0.0, 0.3]))
        assert_close((first, second), (np.array([math.sqrt(600 * math.log(10)), 0.0]), np.zeros(2)))

    def test_the_numbers_are_gaussian_and_independent(self, rng):
        from scipy.stats import kstest

        first, second = box_muller(1 - rng.random(4000), rng.random(4000))
        for sample in (first, second, (first + second) / math.sqrt(2)):
            if kstest(sample, "norm").pvalue < SURE:
                fail("These numbers aren't standard Gaussian.", evidence="not gaussian")


def hill(x):
    return x * (2 - x)


class TestRejection:
    @pytest.mark.parametrize(("bound", "share"), [(1.0, 2 / 3), (2.5, 4 / 15)])
    def test_the_share_that_is_kept(self, bound, share, rng):
        _, got = rejection_sample(hill, 0.0, 2.0, bound, 3000, rng)
        # Of 3000 kept or more the share is known to some 1.5%: six times that is allowed.
        assert_close(got, share, rtol=0.1, atol=0)

    def test_the_share_counts_whole_throws(self, rng):
        draws, share = rejection_sample(np.ones_like, 3.0, 4.0, 1.0, 50, rng)
        assert_close(share, 1.0)
        assert_close(len(draws), 50)

    @pytest.mark.parametrize("n", [1, 7, 4000])
    def test_as_many_draws_as_asked_for_inside(self, n, rng):
        draws, _ = rejection_sample(lambda x: np.exp(-(x**2)), -1.0, 3.0, 1.0, n, rng)
        assert_close(np.array(draws.shape), np.array([n]))
        assert ((draws >= -1) & (draws <= 3)).all()

    def test_the_draws_have_the_density(self, rng):
        from scipy.stats import kstest

        draws, _ = rejection_sample(hill, 0.0, 2.0, 1.3, 4000, rng)
        if kstest(draws, lambda x: (x**2 - x**3 / 3) / (4 / 3)).pvalue < SURE:
            fail("The draws don't have the density.", evidence="another density")

    def test_the_draws_have_a_density_that_is_no_hill(self, rng):
        from scipy.stats import kstest

        draws, _ = rejection_sample(lambda x: x + 1.0, -1.0, 1.0, 2.0, 4000, rng)
        if kstest(draws, lambda x: (x + 1) ** 2 / 4).pvalue < SURE:
            fail("The draws don't have the density.", evidence="another density")

    def test_a_density_above_its_bound_is_an_error(self, rng):
        with raises(ValueError, 4, 3.5):
            rejection_sample(lambda x: np.full_like(x, 4.0), 0.0, 1.0, 3.5, 20, rng)

    def test_a_density_that_is_above_somewhere_is_one_too(self, rng):
        with raises(ValueError, 0.9):
            rejection_sample(hill, 0.0, 2.0, 0.9, 300, rng)

    def test_no_two_draws_are_the_same(self, rng):
        draws, _ = rejection_sample(hill, 0.0, 2.0, 1.0, 3000, rng)
        assert_close(len(np.unique(draws)), 3000)

    def test_the_generator_decides(self):
        def draws(seed):
            return rejection_sample(hill, 0.0, 2.0, 1.0, 20, np.random.default_rng(seed))[0]

        assert_close(draws(3), draws(3))
        if np.array_equal(draws(3), draws(4)):
            fail("Two generators give the same draws: `rng` isn't used.", evidence="same draws")

    def test_numpys_global_generator_stays_as_it_is(self, rng):
        before = np.random.get_state()
        rejection_sample(hill, 0.0, 2.0, 1.0, 20, rng)
        after = np.random.get_state()
        if before[2] != after[2] or not np.array_equal(before[1], after[1]):
            fail("numpy's global generator is used or seeded anew; draw from `rng` alone.", evidence="global generator")

    def test_a_density_at_its_bound_is_none(self, rng):
        draws, _ = rejection_sample(lambda x: np.full_like(x, 4.0), 0.0, 1.0, 4.0, 5, rng)
        assert_close(len(draws), 5)


class TestMonteCarlo:
    def test_the_example_worked_by_hand(self):
        assert_close(monte_carlo(lambda x: x, np.array([1.0, 2.0, 6.0])), (3.0, math.sqrt(7 / 3)))

    @pytest.mark.parametrize("n", [2, 50])
    def test_mean_and_error_of_the_values(self, n, rng):
        x = rng.random(n)
        values = np.exp(x)
        assert_close(monte_carlo(np.exp, x), (float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)))

    def test_a_probability_from_truth_values(self):
        draws = np.array([0.1, 0.9, 0.4, 0.2])
        assert_close(monte_carlo(lambda x: x > 0.5, draws), (0.25, math.sqrt(0.25 / 4)))

    def test_the_error_says_how_far_off_it_is(self, rng):
        off = []
        for _ in range(300):
            estimate, error = monte_carlo(lambda x: x**2, rng.random(80))
            off.append((estimate - 1 / 3) / error)
        # Their deviation is 1, known to 4%: five times that is allowed, and some for 80 draws only.
        assert_close(float(np.std(off)), 1.0, rtol=0, atol=0.25)


class TestCentralLimitTheorem:
    def test_of_two_rows(self):
        draws = np.array([[1.0, 2.0, 6.0, 7.0], [0.0, 0.0, 1.0, 1.0]])
        assert_close(standardized_means(draws, 1.0, 4.0), np.array([2 * 3 / 4, 2 * -0.5 / 4]))

    @pytest.mark.parametrize(("m", "n"), [(3, 8), (6, 2)])
    def test_matches_the_formula_row_by_row(self, m, n, rng):
        draws = rng.gamma(2.0, 3.0, (m, n))
        expected = np.array([math.sqrt(n) * (row.mean() - 6.0) / math.sqrt(18) for row in draws])
        assert_close(standardized_means(draws, 6.0, math.sqrt(18)), expected)

    def test_means_of_skewed_draws_come_near_the_gaussian(self, rng):
        from scipy.stats import kstest

        draws = rng.exponential(2.0, (1500, 400))
        distances = [kstest(standardized_means(draws[:, :n], 2.0, 2.0), "norm").statistic for n in (1, 400)]
        # From an exponential's own distance of 0.16 down to that of the sample's size.
        assert distances[0] > 0.12
        assert distances[1] < 0.08
