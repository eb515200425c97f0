"""Judges k26_comparing_models against scipy, by enumeration, and by how often its intervals hold."""

import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_12_research.k26_comparing_models import (
    different,
    examples_needed,
    expected_best,
    first_places,
    holm,
    mcnemar,
    mcnemar_power,
    paired_bootstrap,
    seed_difference,
    seed_interval,
)

pytestmark = [
    from_scratch(
        "scipy.stats.bootstrap", "scipy.stats.binomtest", "scipy.stats.ttest_ind", "scipy.stats.ttest_1samp",
        "scipy.stats.ttest_rel", "scipy.stats.false_discovery_control", "statsmodels",
    ),
    pure(),
]  # fmt: skip


def answers(x: int, y: int, both: int = 0, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two models of which x examples are right for a alone, and y for b alone."""
    a = np.array([True] * x + [False] * y + [True] * both + [False] * neither)
    b = np.array([False] * x + [True] * y + [True] * both + [False] * neither)
    return a, b


class TestMcnemar:
    def test_the_example_worked_by_hand(self):
        assert_close(mcnemar(*answers(6, 1, 70, 23)), (6, 1, 0.125))

    @pytest.mark.parametrize(("x", "y"), [(3, 9), (9, 3), (14, 30), (1, 0), (0, 5), (40, 22), (8, 7)])
    def test_matches_the_exact_binomial_test(self, x, y, rng):
        from scipy.stats import binomtest

        a, b = answers(x, y, 5, 11)
        order = rng.permutation(len(a))
        assert_close(mcnemar(a[order], b[order]), (x, y, float(binomtest(x, x + y).pvalue)))

    @pytest.mark.parametrize("x", [1, 4, 5])
    def test_as_many_on_either_side(self, x):
        assert_close(mcnemar(*answers(x, x, 3, 2)), (x, x, 1.0))

    def test_no_difference_at_all(self):
        assert_close(mcnemar(*answers(0, 0, 4, 3)), (0, 0, 1.0))

    @pytest.mark.parametrize("dtype", [int, float, np.uint8])
    def test_zeros_and_ones(self, dtype):
        a, b = answers(2, 7, 3, 5)
        assert_close(mcnemar(a.astype(dtype), b.astype(dtype)), (2, 7, 2 * (1 + 9 + 36) / 512))

    @pytest.mark.parametrize(("n", "m"), [(3, 5), (7, 1)])
    def test_other_lengths(self, n, m):
        with raises(ValueError, n, m):
            mcnemar(np.ones(n, dtype=bool), np.zeros(m, dtype=bool))


class TestPairedBootstrap:
    def test_the_example_worked_by_hand(self, rng):
        found = paired_bootstrap(np.array([5.0, 1.0, 9.0]), np.array([5.0, 1.0, 6.0]), 2000, rng, 0.8)
        assert_close(found, (1.0, 0.0, 2.0), atol=1e-9)

    @pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
    def test_the_interval_of_a_paired_difference(self, level, rng):
        from scipy.stats import norm

        hard = rng.normal(0, 5, 300)  # the noise that both share
        a, b = hard + rng.normal(1, 1, 300), hard + rng.normal(0, 1, 300)
        difference, low, high = paired_bootstrap(a, b, 4000, rng, level)
        assert_close(difference, float(a.mean() - b.mean()))
        half = norm.ppf((1 + level) / 2) * (a - b).std() / math.sqrt(300)
        # Of 4000 draws the 0.5% quantile is off by 0.04 of a standard error; a dozen times that, for skewness as well.
        near = 0.5 * (a - b).std() / math.sqrt(300)
        assert_close((low, high), (difference - half, difference + half), atol=near, rtol=0)

    def test_a_shift_that_all_examples_share_has_no_width(self, rng):
        b = rng.normal(0, 3, 20)
        assert_close(paired_bootstrap(b + 0.5, b, 50, rng), (0.5, 0.5, 0.5))

    @pytest.mark.parametrize("dtype", [bool, np.uint8, int])
    def test_right_and_wrong(self, dtype, rng):
        a, b = (rows.astype(dtype) for rows in answers(10, 40, 30, 20))
        difference, low, high = paired_bootstrap(a, b, 3000, rng)
        half = 1.96 * math.sqrt((0.5 - 0.3**2) / 100)
        assert_close(difference, -0.3)
        # The ends are hundredths, and 3000 draws place them within one or two.
        assert_close((low, high), (-0.3 - half, -0.3 + half), atol=0.025, rtol=0)

    def test_a_single_example(self, rng):
        assert_close(paired_bootstrap(np.array([3.0]), np.array([1.0]), 5, rng), (2.0, 2.0, 2.0))

    @pytest.mark.deadline(60)
    def test_it_holds_the_truth_as_often_as_it_says(self, rng):
        hits = 0
        for _ in range(300):
            hard = rng.normal(0, 3, 50)
            a, b = hard + rng.normal(0.4, 1, 50), hard + rng.normal(0, 1, 50)
            _, low, high = paired_bootstrap(a, b, 200, rng, 0.8)
            hits += low <= 0.4 <= high
        # About 0.78 for percentiles at n = 50; its standard error is 0.024.
        if not 0.66 <= hits / 300 <= 0.90:
            fail(f"an 80% interval held the truth in {hits} of 300 experiments", evidence=hits > 150)

    def test_all_draws_come_from_the_generator(self):
        a, b = np.arange(20.0) ** 2, np.zeros(20)
        before = np.random.get_state()[1].copy()
        one, two, other = (paired_bootstrap(a, b, 30, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert_equal((one == two, one == other), (True, False))
        assert_equal(bool((before == np.random.get_state()[1]).all()), True)

    @pytest.mark.parametrize(("n", "m"), [(3, 4), (6, 1)])
    def test_other_lengths(self, n, m, rng):
        with raises(ValueError, n, m):
            paired_bootstrap(np.ones(n), np.ones(m), 10, rng)


class TestSeedInterval:
    def test_the_example_worked_by_hand(self):
        assert_close(seed_interval(np.array([70, 72, 74])), (72.0, 67.0317, 76.9683), atol=1e-4)

    @pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
    @pytest.mark.parametrize("n", [2, 5, 12])
    def test_matches_scipy(self, n, level, rng):
        from scipy.stats import ttest_1samp

        scores = rng.normal(80, 2, n)
        low, high = ttest_1samp(scores, 0).confidence_interval(level)
        assert_close(seed_interval(scores, level), (float(scores.mean()), float(low), float(high)))

    def test_it_holds_the_truth_as_often_as_it_says(self, rng):
        hits = 0
        for _ in range(1000):
            _, low, high = seed_interval(rng.normal(80, 2, 3))
            hits += low <= 80 <= high
        if not 920 <= hits <= 980:  # the standard error is 7; with 1.96 for t it would be 800
            fail(f"a 95% interval of 3 seeds held the truth in {hits} of 1000 experiments", evidence=hits > 950)

    def test_equal_scores(self):
        assert_close(seed_interval(np.array([7.0, 7.0, 7.0])), (7.0, 7.0, 7.0))

    @pytest.mark.parametrize("n", [0, 1])
    def test_too_few_seeds(self, n):
        with raises(ValueError, n):
            seed_interval(np.full(n, 70.0))


class TestSeedDifference:
    def test_the_example_worked_by_hand(self):
        found = seed_difference(np.array([70, 72, 74]), np.array([67, 68, 69]))
        assert_close(found, (4.0, -0.1554, 8.1554), atol=1e-4)

    @pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
    @pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 8), (7, 4)])
    def test_matches_welch(self, n, m, level, rng):
        from scipy.stats import ttest_ind

        x, y = rng.normal(80, 5, n), rng.normal(79, 1, m)
        low, high = ttest_ind(x, y, equal_var=False).confidence_interval(level)
        assert_close(seed_difference(x, y, level), (float(x.mean() - y.mean()), float(low), float(high)))

    def test_no_variance_in_either(self):
        assert_close(seed_difference(np.full(3, 71.0), np.full(2, 70.0)), (1.0, 1.0, 1.0))

    def test_no_variance_in_one(self):
        mean, low, high = seed_interval(np.array([1.0, 4.0, 7.0, 6.0]))
        found = seed_difference(np.array([1.0, 4.0, 7.0, 6.0]), np.full(3, 2.0))
        assert_close(found, (mean - 2, low - 2, high - 2))

    @pytest.mark.parametrize(("n", "m"), [(1, 3), (3, 1), (4, 0)])
    def test_too_few_seeds(self, n, m):
        with raises(ValueError, n, m):
            seed_difference(np.arange(n), np.arange(m))


def holm_by_steps(p_values: list[float], alpha: float) -> set[int]:
    """Which are rejected, by the procedure itself: stop at the first that fails."""
    rejected: set[int] = set()
    left = len(p_values)
    for i in sorted(range(len(p_values)), key=lambda i: p_values[i]):
        if p_values[i] > alpha / left:
            break
        rejected.add(i)
        left -= 1
    return rejected


class TestHolm:
    def test_the_example_worked_by_hand(self):
        assert_close(holm(np.array([0.01, 0.04, 0.03])), np.array([0.03, 0.06, 0.06]))

    @pytest.mark.parametrize("m", [1, 4, 9])
    def test_one_by_one(self, m, rng):
        p = rng.random(m) ** 3
        ranked = sorted(p)
        steps = [max(min(1.0, (m - j) * ranked[j]) for j in range(i + 1)) for i in range(m)]
        assert_close(holm(p), np.array([steps[ranked.index(value)] for value in p]))

    @pytest.mark.parametrize("alpha", [0.02, 0.05, 0.2])
    def test_rejects_what_the_steps_reject(self, alpha, rng):
        for _ in range(20):
            p = rng.random(6) ** 3
            assert_equal({i for i, q in enumerate(holm(p)) if q <= alpha}, holm_by_steps(p.tolist(), alpha))

    def test_never_above_1(self):
        assert_close(holm(np.array([0.9, 0.5, 0.7])), np.ones(3))

    def test_equal_ones(self):
        assert_close(holm(np.array([0.02, 0.3, 0.02, 0.02])), np.array([0.08, 0.3, 0.08, 0.08]))

    def test_none(self):
        assert_equal(holm(np.array([])).shape, (0,))

    def test_false_claims_stay_below_alpha(self, rng):
        claims = sum(bool((holm(rng.random(10)) <= 0.1).any()) for _ in range(1000))
        # 1 - 0.99¹⁰ = 0.096, standard error 0.0093; without a correction 0.65
        if not 55 <= claims <= 140:
            fail(f"at 10%, {claims} of 1000 families without any effect had a claim", evidence=claims > 100)


class TestDifferent:
    def test_a_pair(self):
        a, b = answers(9, 1, 5, 5)  # p = 22/1024
        for alpha, yes in ((0.022, True), (0.021, False)):
            assert_equal(different(np.stack([a, b]), alpha), np.array([[False, yes], [yes, False]]))

    @pytest.mark.parametrize("alpha", [0.01, 0.05, 0.3])
    @pytest.mark.parametrize("k", [3, 5])
    def test_pair_by_pair(self, k, alpha, rng):
        from scipy.stats import binomtest

        right = rng.random((k, 60)) < np.linspace(0.4, 0.9, k)[:, None]
        pairs = list(itertools.combinations(range(k), 2))
        p = []
        for i, j in pairs:
            x, y = int((right[i] & ~right[j]).sum()), int((right[j] & ~right[i]).sum())
            p.append(float(binomtest(x, x + y).pvalue) if x + y else 1.0)
        expected = np.zeros((k, k), dtype=bool)
        for found in holm_by_steps(p, alpha):
            i, j = pairs[found]
            expected[i, j] = expected[j, i] = True
        assert_equal(different(right, alpha), expected)

    def test_all_pairs_are_one_family(self):
        # Models 0 and 1 differ by 9 to 1, p = 0.0215.  Alone that is a claim; among three pairs 3p isn't.
        a, b = answers(9, 1, 5, 5)
        assert_equal(different(np.stack([a, b, b])).any(), np.False_)
        assert_equal(different(np.stack([a, b])).any(), np.True_)

    def test_the_default_is_5_percent(self):
        assert_equal([bool(different(np.stack(answers(x, 0))).any()) for x in (5, 6)], [False, True])

    def test_at_most_alpha_counts(self):
        assert_equal(bool(different(np.stack(answers(4, 0, 3)), 0.125).any()), True)

    def test_one_model(self):
        assert_equal(different(np.ones((1, 4), dtype=bool)), np.array([[False]]))


class TestMcnemarPower:
    def test_the_example_worked_by_hand(self):
        assert_close(mcnemar_power(0.5, 0.1, 6), 0.015626)

    @pytest.mark.parametrize("alpha", [0.05, 0.3])
    @pytest.mark.parametrize(("only_a", "only_b"), [(0.5, 0.1), (0.1, 0.5), (0.2, 0.2), (0.7, 0.3), (0.4, 0.0)])
    def test_by_enumeration(self, only_a, only_b, alpha):
        from scipy.stats import binomtest

        n, expected = 11, 0.0
        for x in range(n + 1):
            for y in range(n + 1 - x):
                if x + y and binomtest(x, x + y).pvalue <= alpha + 1e-12:
                    ways = math.factorial(n) // (math.factorial(x) * math.factorial(y) * math.factorial(n - x - y))
                    expected += ways * only_a**x * only_b**y * max(0.0, 1 - only_a - only_b) ** (n - x - y)
        assert_close(mcnemar_power(only_a, only_b, n, alpha), expected)

    def test_at_most_alpha_counts(self):
        assert_close(mcnemar_power(0.5, 0.5, 4, 0.125), 0.125)

    def test_a_larger_test_set_sees_more(self):
        found = [mcnemar_power(0.15, 0.05, n) for n in (20, 60, 200)]
        if not (found[0] < 0.2 < found[1] < 0.7 and found[2] > 0.85):
            fail(f"with 20, 60 and 200 examples the power is {found}", evidence=found)

    def test_too_few_examples_for_any_claim(self):
        assert_close(mcnemar_power(0.9, 0.1, 5), 0.0)


class TestExamplesNeeded:
    def test_the_example_worked_by_hand(self):
        assert_equal(examples_needed(0.08, 0.04), 587)

    @pytest.mark.parametrize("alpha", [0.01, 0.1])
    @pytest.mark.parametrize("power", [0.5, 0.9])
    @pytest.mark.parametrize(("only_a", "only_b"), [(0.3, 0.1), (0.05, 0.11), (0.2, 0.0)])
    def test_the_formula_with_tabled_quantiles(self, only_a, only_b, power, alpha):
        upper = {0.01: 2.5758293035489004, 0.1: 1.6448536269514722}[alpha]
        lower = {0.5: 0.0, 0.9: 1.2815515655446004}[power]
        psi, delta = only_a + only_b, only_a - only_b
        exact = (upper * psi**0.5 + lower * (psi - delta * delta) ** 0.5) ** 2 / delta**2
        found = examples_needed(only_a, only_b, power, alpha)
        assert_equal((type(found) is int or isinstance(found, np.integer), 0 <= found - exact < 1), (True, True))

    @pytest.mark.parametrize(("only_a", "only_b"), [(0.2, 0.1), (0.06, 0.14)])
    def test_agrees_with_the_exact_power(self, only_a, only_b):
        from scipy.stats import binom

        n = examples_needed(only_a, only_b)
        m = np.arange(n + 1)
        exact = 0.0
        for differ, weight in zip(m, binom.pmf(m, n, only_a + only_b), strict=True):
            x = np.arange(differ + 1)
            counts = 2 * binom.cdf(np.minimum(x, differ - x), differ, 0.5) <= 0.05
            exact += weight * binom.pmf(x, differ, only_a / (only_a + only_b))[counts].sum()
        if not 0.74 < exact < 0.83:  # the exact test is a little cautious
            fail(f"{n} examples give an exact power of {exact:.3f}, not about 0.8", evidence=n)

    @pytest.mark.parametrize("chance", [0.1, 0.3])
    def test_no_difference(self, chance):
        with raises(ValueError, chance):
            examples_needed(chance, chance)


class TestExpectedBest:
    def test_the_example_worked_by_hand(self):
        assert_close(expected_best(0.5, 1, 2), 0.75)
        assert_close(expected_best(0.8, 1000, 20), 0.8233, atol=5e-5, rtol=0)

    @pytest.mark.parametrize(("accuracy", "n", "models"), [(0.3, 2, 3), (0.8, 3, 2), (0.6, 1, 5)])
    def test_by_enumeration(self, accuracy, n, models):
        chances = [math.comb(n, x) * accuracy**x * (1 - accuracy) ** (n - x) for x in range(n + 1)]
        expected = sum(
            max(counts) / n * math.prod(chances[x] for x in counts)
            for counts in itertools.product(range(n + 1), repeat=models)
        )
        assert_close(expected_best(accuracy, n, models), expected)

    @pytest.mark.parametrize("accuracy", [0.25, 0.9])
    def test_one_model_is_honest(self, accuracy):
        assert_close(expected_best(accuracy, 40, 1), accuracy)


class TestFirstPlaces:
    def test_clear_cases(self, rng):
        scores = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [0.0, 0.0, 9.0 - 6.0]])
        assert_close(first_places(scores, 40, rng), np.array([0.0, 1.0, 0.0]))

    @pytest.mark.parametrize("k", [2, 4])
    def test_equal_models_share(self, k, rng):
        scores = np.tile(rng.random(7), (k + 1, 1))
        scores[k] -= 0.5
        assert_close(first_places(scores, 30, rng), np.array([1 / k] * k + [0.0]))

    def test_rounding_is_no_win(self, rng):
        scores = np.array([[0.1, 0.2, 0.3], [0.3, 0.1, 0.2]])[:, [0, 1, 2] * 4]
        scores[1] = scores[0] + 1e-12
        assert_close(first_places(scores, 30, rng), np.array([0.5, 0.5]))

    def test_by_enumeration(self, rng):
        scores = np.array([[0.0, 4.0, 3.0, 1.0], [2.0, 2.0, 2.0, 2.0], [5.0, 0.0, 1.0, 2.0]])
        expected = np.zeros(3)
        for drawn in itertools.product(range(4), repeat=4):
            totals = scores[:, list(drawn)].sum(1)
            expected += (totals == totals.max()) / (totals == totals.max()).sum() / 4**4
        # 2500 draws: a standard error of 0.01; five of them.
        assert_close(first_places(scores, 2500, rng), expected, atol=0.05, rtol=0)

    @pytest.mark.parametrize("dtype", [bool, np.uint8])
    def test_right_and_wrong(self, dtype, rng):
        a, b = (rows.astype(dtype) for rows in answers(12, 8, 10, 10))
        found = first_places(np.stack([a, b]), 2000, rng)
        # The difference of sums has the mean 4 and the deviation √(20 - 16/40) = 4.4.
        assert_close(found[0], 0.82, atol=0.06, rtol=0)
        assert_close(found.sum(), 1.0)

    def test_all_draws_come_from_the_generator(self):
        scores = np.array([np.arange(9.0) % 4, np.arange(9.0)[::-1] % 5 - 0.4])
        before = np.random.get_state()[1].copy()
        one, two = (first_places(scores, 60, np.random.default_rng(7)) for _ in range(2))
        assert_equal(one, two)
        assert_equal(bool((before == np.random.get_state()[1]).all()), True)
