"""Judges k20_alignment_failures by listing every draw and every choice, by closed forms, and by planted hacks."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k20_alignment_failures import (
    Check,
    best_of_n_kl,
    best_of_n_policy,
    estimate_best_of_n,
    find_hack,
    fit_over_optimisation,
    goodhart_curve,
    goodhart_peak,
    hacking_starts,
    optimum,
    over_optimisation,
    specification_failures,
)

pytestmark = [from_scratch("scipy"), pure()]

P = np.array([0.5, 0.3, 0.15, 0.05])
PROXY = np.array([1.0, 2.0, 3.0, 4.0])
GOLD = np.array([0.0, 1.0, 2.0, -5.0])


def numbers(*values) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def some_answers(rng, size: int, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, proxy rewards with ties if there are few levels, gold rewards."""
    return rng.dirichlet(np.ones(size)), rng.integers(0, levels, size) * 0.75 - 1, rng.normal(size=size)


def picks(p, proxy, n: int) -> np.ndarray:
    """The chance of each pick, draw by draw."""
    chance = np.zeros(len(p))
    for draw in itertools.product(range(len(p)), repeat=n):
        pick = max(draw, key=lambda k: proxy[k])  # Python's max takes the first of several
        chance[pick] += math.prod(p[k] for k in draw)
    return chance


def divergence(q, p) -> float:
    return sum(a * math.log(a / b) for a, b in zip(q.tolist(), p.tolist(), strict=True) if a > 0)


class TestBestOfNKl:
    def test_the_example_worked_by_hand(self):
        assert_close(best_of_n_kl(2), math.log(2) - 0.5)

    @pytest.mark.parametrize("n", [1, 3, 16, 1000, 10**9])
    def test_of_other_n(self, n):
        assert_close(best_of_n_kl(n), math.log(n) - 1 + 1 / n)

    @pytest.mark.parametrize("n", [2, 5, 40])
    def test_is_the_integral_over_ranks(self, n):
        u = (np.arange(200_000) + 0.5) / 200_000
        density = n * u ** (n - 1)
        expected = float((density * np.log(density)).mean())
        assert_close(best_of_n_kl(n), expected, rtol=1e-6, atol=1e-6)  # a sum in place of the integral

    def test_a_python_float(self):
        assert_equal(type(best_of_n_kl(7)), float)

    @pytest.mark.parametrize("n", [0, -3])
    def test_no_draw(self, n):
        with raises(ValueError, "n", n):
            best_of_n_kl(n)


class TestBestOfNPolicy:
    def test_the_example_worked_by_hand(self):
        assert_close(best_of_n_policy(P, PROXY, 2), numbers(0.25, 0.39, 0.2625, 0.0975))

    @pytest.mark.parametrize("levels", [2, 3, 100])
    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_every_draw_one_by_one(self, rng, n, levels):
        p, proxy, _ = some_answers(rng, 4, levels)
        assert_close(best_of_n_policy(p, proxy, n), picks(p, proxy, n))

    def test_of_one_draw_it_is_the_policy_itself(self, rng):
        p, proxy, _ = some_answers(rng, 9, 3)
        assert_close(best_of_n_policy(p, proxy, 1), p)

    def test_all_alike_stay_as_they_are(self):
        p = numbers(0.6, 0.3, 0.1)
        assert_close(best_of_n_policy(p, numbers(2.5, 2.5, 2.5), 7), p)

    def test_tied_ones_share_by_their_probabilities(self):
        p, proxy = numbers(0.2, 0.5, 0.1, 0.2), numbers(3.0, 1.0, 3.0, 2.0)
        top = 1 - 0.7**4
        expected = numbers(top * 2 / 3, 0.5**4, top / 3, 0.7**4 - 0.5**4)
        assert_close(best_of_n_policy(p, proxy, 4), expected)

    @pytest.mark.parametrize("proxy", [(1.0, 2.0, 3.0), (3.0, 2.0, 1.0), (1.0, 1.0, 1.0), (2.0, 2.0, 5.0)])
    def test_an_answer_that_is_never_drawn(self, proxy):
        p, proxy = numbers(0.3, 0.7, 0.0), numbers(*proxy)
        assert_close(best_of_n_policy(p, proxy, 3), picks(p, proxy, 3))

    def test_a_level_that_is_never_drawn(self):
        p, proxy = numbers(0.0, 0.4, 0.0, 0.6), numbers(9.0, 2.0, 9.0, -1.0)
        assert_close(best_of_n_policy(p, proxy, 5), numbers(0.0, 1 - 0.6**5, 0.0, 0.6**5))

    def test_nearly_equal_isnt_a_tie(self):
        above = np.nextafter(1.0, 2.0)
        assert_close(best_of_n_policy(numbers(0.5, 0.5), numbers(above, 1.0), 3), numbers(0.875, 0.125))

    def test_many_draws(self):
        p, proxy = numbers(0.9, 0.0999, 0.0001), numbers(0.0, 1.0, 2.0)
        top = -math.expm1(10_000 * math.log1p(-0.0001))
        assert_close(best_of_n_policy(p, proxy, 10_000), numbers(0.0, 1 - top, top))

    def test_one_answer(self):
        assert_close(best_of_n_policy(numbers(1.0), numbers(-4.0), 6), numbers(1.0))

    @pytest.mark.parametrize("n", [0, -2])
    def test_no_draw(self, n):
        with raises(ValueError, "n", n):
            best_of_n_policy(P, PROXY, n)


class TestGoodhartCurve:
    def test_the_example_worked_by_hand(self):
        kl, gold = goodhart_curve(P, PROXY, GOLD, [1, 2, 3, 4])
        assert_close(gold, numbers(0.35, 0.4275, 0.364625, 0.22944375))
        assert_close(kl[:2], numbers(0.0, 0.14104778), atol=1e-7)

    @pytest.mark.parametrize("levels", [2, 100])
    def test_every_draw_one_by_one(self, rng, levels):
        p, proxy, gold = some_answers(rng, 4, levels)
        each = [picks(p, proxy, n) for n in (3, 1, 5)]
        expected = numbers(*(divergence(q, p) for q in each)), numbers(*(float(q @ gold) for q in each))
        assert_close(goodhart_curve(p, proxy, gold, [3, 1, 5]), expected)

    def test_any_order_and_twice(self):
        kl, gold = goodhart_curve(P, PROXY, GOLD, [4, 1, 4])
        assert_close((kl[0], gold), (kl[2], numbers(0.22944375, 0.35, 0.22944375)))

    def test_no_n(self):
        assert_close(goodhart_curve(P, PROXY, GOLD, []), (np.empty(0), np.empty(0)))

    def test_chances_of_0(self):
        p, proxy, gold = numbers(0.0, 0.4, 0.6, 0.0), numbers(9.0, 2.0, 1.0, 0.0), numbers(100.0, 3.0, -1.0, 50.0)
        q = numbers(0.0, 1 - 0.36, 0.36, 0.0)
        assert_close(goodhart_curve(p, proxy, gold, [2]), (numbers(divergence(q, p)), numbers(0.64 * 3 - 0.36)))

    def test_chances_that_are_rounded_to_0(self):
        assert_close(
            goodhart_curve(numbers(0.5, 0.5), numbers(0.0, 1.0), numbers(2.0, 7.0), [5000]),
            (numbers(math.log(2)), numbers(7.0)),
        )

    def test_the_bound_is_nearly_reached_with_many_answers(self):
        p = np.full(400, 1 / 400)
        kl, _ = goodhart_curve(p, np.arange(400.0), np.zeros(400), [2, 10, 30])
        # 400 ranks in place of all numbers from 0 to 1.
        assert_close(kl, numbers(*(math.log(n) - (n - 1) / n for n in (2, 10, 30))), atol=0.002)

    @pytest.mark.parametrize("n", [2, 8, 100])
    def test_the_kl_is_below_the_bound_and_below_that_of_the_best_alone(self, rng, n):
        p, proxy, gold = some_answers(rng, 6, 100)
        kl = float(goodhart_curve(p, proxy, gold, [n])[0][0])
        bound = min(math.log(n) - (n - 1) / n, -math.log(p[proxy == proxy.max()].sum()))
        if not kl <= bound + 1e-9:
            fail(f"The exact KL is {kl:.6f}, and can't be above {bound:.6f}.", evidence=kl)

    def test_float64(self):
        assert_equal([part.dtype.name for part in goodhart_curve(P, PROXY, GOLD, [2])], ["float64", "float64"])


class TestGoodhartPeak:
    def test_the_example_worked_by_hand(self):
        assert_close(goodhart_peak(P, PROXY, GOLD, 50), (2, 0.4275))

    @pytest.mark.parametrize("most", [1, 7, 30])
    @pytest.mark.parametrize("case", range(4))
    def test_is_the_best_of_all(self, rng, case, most):
        p, _, gold = some_answers(rng, 5, 100)
        proxy = rng.permutation(5) * 0.75
        order = proxy.argsort()
        below = np.append(0, np.cumsum(p[order]))
        rewards = [float(np.diff(below**n) @ gold[order]) for n in range(1, most + 1)]
        n, reward = goodhart_peak(p, proxy, gold, most)
        expected = next(k for k, r in enumerate(rewards, 1) if r >= max(rewards) - 1e-9)
        assert_close((n, reward), (expected, rewards[expected - 1]))

    def test_a_curve_that_only_rises(self):
        assert_close(goodhart_peak(numbers(0.7, 0.3), numbers(0.0, 1.0), numbers(0.0, 1.0), 5), (5, 1 - 0.7**5))

    def test_a_curve_that_only_falls(self):
        assert_close(goodhart_peak(numbers(0.7, 0.3), numbers(0.0, 1.0), numbers(1.0, 0.0), 5), (1, 0.7))

    def test_the_higher_one_of_two_tops(self):
        """Gold 1.45 at n = 1, a valley down to 0.46, and 4.79 at n = 60."""
        p, proxy, gold = numbers(0.68, 0.3, 0.02), numbers(0.0, 1.0, 2.0), numbers(2.0, -0.1, 6.0)
        rewards = [2 * 0.68**n - 0.1 * (0.98**n - 0.68**n) + 6 * (1 - 0.98**n) for n in range(1, 61)]
        assert_equal(min(rewards) < rewards[0] < rewards[-1], True)
        assert_close(goodhart_peak(p, proxy, gold, 60), (60, rewards[-1]))
        assert_close(goodhart_peak(p, proxy, gold, 6), (1, rewards[0]))

    def test_equally_good_ones(self):
        p = numbers(0.1, 0.2, 0.3, 0.4)
        assert_close(goodhart_peak(p, PROXY, np.full(4, 0.3), 40), (1, 0.3))

    @pytest.mark.parametrize(("scale", "shift", "expected"), [(1.0, 0.0, 30), (1000.0, 0.0, 40), (1000.0, -3000.0, 40)])
    def test_nearly_equally_good_ones(self, scale, shift, expected):
        """It rises for ever, but by less and less: 2⁻³⁰ is 9.3e-10, and 1000 · 2⁻⁴⁰ is 9.1e-10."""
        p, proxy, gold = numbers(0.5, 0.5), numbers(0.0, 1.0), numbers(shift, shift + scale)
        assert_equal(goodhart_peak(p, proxy, gold, 100)[0], expected)

    def test_rewards_beside_which_a_billionth_is_lost(self):
        p, proxy = numbers(0.7, 0.3), numbers(0.0, 1.0)
        assert_close(goodhart_peak(p, proxy, numbers(0.0, 1e12), 4), (4, 1e12 * (1 - 0.7**4)))

    def test_types(self):
        assert_equal([type(part) for part in goodhart_peak(P, PROXY, GOLD, 3)], [int, float])

    @pytest.mark.parametrize("most", [0, -4])
    def test_no_n(self, most):
        with raises(ValueError, "most", most):
            goodhart_peak(P, PROXY, GOLD, most)


def over_all_choices(proxy, gold, n: int) -> float:
    rows = list(zip(proxy.tolist(), gold.tolist(), strict=True))
    best = [max(choice, key=lambda row: row[0])[1] for choice in itertools.combinations(rows, n)]
    return sum(best) / len(best)


class TestEstimateBestOfN:
    def test_the_example_worked_by_hand(self):
        assert_close(estimate_best_of_n(numbers(0.1, 0.4, 0.5, 0.9), numbers(1.0, 2.0, 4.0, -3.0), 2), 1 / 6)

    @pytest.mark.parametrize("n", [1, 2, 3, 6, 8])
    @pytest.mark.parametrize("levels", [2, 4, 1000])
    def test_every_choice_one_by_one(self, rng, n, levels):
        proxy, gold = rng.integers(0, levels, 8) * 0.5, rng.normal(size=8)
        assert_close(estimate_best_of_n(proxy, gold, n), over_all_choices(proxy, gold, n))

    def test_the_earlier_of_equal_ones_is_the_better(self):
        assert_close(estimate_best_of_n(numbers(2.0, 2.0, 1.0), numbers(7.0, -1.0, 4.0), 2), (7 + 7 - 1) / 3)

    def test_of_one_it_is_the_mean(self, rng):
        gold = rng.normal(size=9)
        assert_close(estimate_best_of_n(rng.normal(size=9), gold, 1), float(gold.mean()))

    def test_of_all_it_is_the_best_by_proxy(self):
        assert_close(estimate_best_of_n(numbers(0.2, 0.9, 0.3), numbers(5.0, -2.0, 8.0), 3), -2.0)

    def test_is_right_on_average(self):
        """Over all lists of 4 draws, weighed by their chances, it is best of 2's exact gold reward."""
        p, proxy, gold = numbers(0.5, 0.2, 0.3), numbers(2.0, 1.0, 2.0), numbers(1.0, 4.0, -3.0)
        mean = 0.0
        for draw in itertools.product(range(3), repeat=4):
            where = np.array(draw)
            mean += float(p[where].prod()) * estimate_best_of_n(proxy[where], gold[where], 2)
        assert_close(mean, float(picks(p, proxy, 2) @ gold))

    @pytest.mark.parametrize("n", [2, 50, 1000, 1900])
    def test_many_samples(self, rng, n):
        proxy = rng.permutation(2000).astype(float)
        # With gold = the rank by proxy, 1 … N, the mean of the best is n (N + 1) / (n + 1).
        assert_close(estimate_best_of_n(proxy, proxy + 1, n), n * 2001 / (n + 1), rtol=1e-7)

    def test_a_python_float(self, rng):
        assert_equal(type(estimate_best_of_n(rng.normal(size=4), rng.normal(size=4), 2)), float)

    @pytest.mark.parametrize("n", [0, -1, 6])
    def test_choices_that_arent_there(self, n):
        with raises(ValueError, n, 5):
            estimate_best_of_n(np.arange(5.0), np.arange(5.0), n)


def formula(kl: float, alpha: float, beta: float, form: str) -> float:
    d = math.sqrt(kl)
    return 0.0 if d == 0 else d * (alpha - beta * (d if form == "bon" else math.log(d)))


FORMS = ["bon", "rl"]
COEFFICIENTS = [(1.4, 0.4), (0.3, 0.9), (-0.7, -0.2), (2.0, 0.0)]


class TestOverOptimisation:
    def test_the_example_worked_by_hand(self):
        assert_close(over_optimisation(numbers(1.0, 4.0, 3.0625), 1.4, 0.4, "bon"), numbers(1.0, 1.2, 1.225))

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize(("alpha", "beta"), COEFFICIENTS)
    def test_both_formulas(self, rng, alpha, beta, form):
        kl = rng.random((2, 3)) * 9
        expected = np.array([[formula(x, alpha, beta, form) for x in row] for row in kl.tolist()])
        assert_close(over_optimisation(kl, alpha, beta, form), expected)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("form", FORMS)
    def test_the_start(self, form):
        expected = numbers(0.0, formula(0.25, 1.3, 0.8, form), 0.0)
        assert_close(over_optimisation(numbers(0.0, 0.25, 0.0), 1.3, 0.8, form), expected)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("shape", [(), (0,), (2, 1, 2)])
    def test_any_shape(self, rng, shape, form):
        kl = np.array(rng.random(shape))
        expected = np.vectorize(lambda x: formula(x, 0.9, 0.5, form), otypes=[float])(kl)
        assert_close(np.asarray(over_optimisation(kl, 0.9, 0.5, form)), expected)

    @pytest.mark.parametrize("form", ["ppo", "BON", ""])
    def test_another_form(self, form):
        with raises(ValueError, form):
            over_optimisation(numbers(1.0), 1.0, 1.0, form)


class TestFitOverOptimisation:
    def test_the_example_worked_by_hand(self):
        assert_close(fit_over_optimisation(numbers(1.0, 4.0), numbers(1.0, 1.2), "bon"), (1.4, 0.4))

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize(("alpha", "beta"), COEFFICIENTS)
    def test_finds_what_made_the_points(self, rng, alpha, beta, form):
        kl = rng.random(9) * 20 + 0.05
        gold = numbers(*(formula(x, alpha, beta, form) for x in kl))
        assert_close(fit_over_optimisation(kl, gold, form), (alpha, beta), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("form", FORMS)
    def test_no_other_coefficients_fit_better(self, rng, form):
        kl, gold = rng.random(12) * 6, rng.normal(size=12) + 1
        alpha, beta = fit_over_optimisation(kl, gold, form)
        residuals = gold - numbers(*(formula(x, alpha, beta, form) for x in kl))
        columns = [numbers(*(formula(x, *one, form) for x in kl)) for one in ((1, 0), (0, 1))]
        assert_close([float(residuals @ column) for column in columns], [0.0, 0.0], atol=1e-6)

    @pytest.mark.parametrize("form", FORMS)
    def test_points_at_the_start_say_nothing(self, form):
        kl, gold = numbers(0.5, 2.0, 7.0), numbers(0.4, 0.9, 0.3)
        with_start = fit_over_optimisation(numbers(0.0, 0.5, 2.0, 0.0, 7.0), numbers(3.0, 0.4, 0.9, -8.0, 0.3), form)
        assert_close(with_start, fit_over_optimisation(kl, gold, form))

    def test_every_point_weighs_the_same(self):
        """d = 1 twice and d = 2 twice: the line goes through both means."""
        kl, gold = numbers(1.0, 4.0, 1.0, 4.0), numbers(0.8, 1.0, 1.2, 1.4)
        assert_close(fit_over_optimisation(kl, gold, "bon"), (1.4, 0.4))

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("kl", [(), (2.0,), (3.0, 3.0, 3.0), (0.0, 1.5), (0.0, 0.0)])
    def test_too_few_points(self, kl, form):
        with raises(ValueError, "two"):
            fit_over_optimisation(numbers(*kl), np.ones(len(kl)), form)

    @pytest.mark.parametrize("form", ["sft", "RL"])
    def test_another_form(self, form):
        with raises(ValueError, form):
            fit_over_optimisation(numbers(1.0, 2.0), numbers(1.0, 1.0), form)

    def test_python_floats(self):
        found = fit_over_optimisation(numbers(1.0, 2.0), numbers(1.0, 1.5), "rl")
        assert_equal([type(part) for part in found], [float, float])

    def test_the_top_of_a_fit_is_near_that_of_a_real_curve(self, rng):
        """The proxy is gold with noise, but for 6 answers of 400 that it overrates."""
        gold = rng.normal(size=400)
        proxy = gold + 0.3 * rng.normal(size=400)
        hacks = rng.permutation(400)[:6]
        proxy[hacks], gold[hacks] = 4 + 0.1 * rng.random(6), -2.5
        kl, reached = goodhart_curve(np.full(400, 1 / 400), proxy, gold, range(1, 33))
        kl, gain = np.maximum(kl, 0), reached - reached[0]  # rounding may make a 0 negative
        there = float(np.interp(optimum(*fit_over_optimisation(kl, gain, "bon"), "bon")[0], kl, gain))
        # Over 25 seeds: 0.92 of the best gain or more; with n = 32 less than 0.45 of it.
        if not there > max(0.8 * gain.max(), gain[-1]):
            fail(f"At the fitted top {there / gain.max():.2f} of the best gain is reached.", evidence=there)


class TestOptimum:
    def test_the_example_worked_by_hand(self):
        assert_close(optimum(1.4, 0.4, "bon"), (3.0625, 1.225))

    def test_the_example_with_rl(self):
        d = math.exp(2.5)
        assert_close(optimum(1.4, 0.4, "rl"), (d * d, 0.4 * d))

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.7), (0.2, 1.5), (3.0, 2.0), (-0.4, 0.6), (0.0, 0.3)])
    def test_nothing_near_it_is_higher(self, alpha, beta, form):
        kl, reward = optimum(alpha, beta, form)
        assert_close(reward, formula(kl, alpha, beta, form))
        around = [kl * factor for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0)] + [0.0, 1e-6, 0.01, 3.0]
        assert_equal([formula(x, alpha, beta, form) <= reward + 1e-12 for x in around], [True] * 10)

    @pytest.mark.parametrize("alpha", [0.0, -0.8])
    def test_best_of_n_that_only_falls(self, alpha):
        assert_close(optimum(alpha, 0.5, "bon"), (0.0, 0.0))

    def test_rl_always_rises_a_little(self):
        d = math.exp(-3.0)
        assert_close(optimum(-1.0, 0.5, "rl"), (d * d, 0.5 * d), rtol=1e-7, atol=0)

    def test_far_away(self):
        assert_close(optimum(50.0, 0.5, "rl"), (math.exp(198), 0.5 * math.exp(99)), rtol=1e-7, atol=0)

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("beta", [0.0, -0.25])
    def test_without_a_top(self, beta, form):
        with raises(ValueError, "beta", beta):
            optimum(1.0, beta, form)

    @pytest.mark.parametrize("beta", [0.5, 0.0])
    @pytest.mark.parametrize("form", ["dpo", "Bon"])
    def test_another_form(self, beta, form):
        with raises(ValueError, form):
            optimum(1.0, beta, form)

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("alpha", [1.25, -2.0])
    def test_python_floats(self, alpha, form):
        assert_equal([type(part) for part in optimum(alpha, 0.5, form)], [float, float])


class TestHackingStarts:
    PROXY = numbers(1.0, 1.6, 2.1, 2.7, 3.4)
    GOLD = numbers(1.0, 1.4, 1.7, 1.6, 1.1)

    def test_the_example_worked_by_hand(self):
        assert_equal(hacking_starts(self.PROXY, self.GOLD, 0.3), (2, 4))

    @pytest.mark.parametrize(("drop", "expected"), [(0.0, (2, 3)), (0.05, (2, 3)), (0.5, (2, 4)), (0.7, None)])
    def test_how_far_gold_must_fall(self, drop, expected):
        assert_equal(hacking_starts(self.PROXY, self.GOLD, drop), expected)

    def test_exactly_the_drop_isnt_enough(self):
        assert_equal(hacking_starts(numbers(1, 2, 3, 4), numbers(1.0, 2.0, 1.5, 1.25), 0.5), (1, 3))

    def test_a_proxy_that_falls_too_is_no_hacking(self):
        assert_equal(hacking_starts(numbers(1, 3, 2, 1, 0), numbers(0, 4, 3, 2, 1), 0.5), None)

    def test_an_equal_proxy_is_no_hacking(self):
        assert_equal(hacking_starts(numbers(1, 3, 3, 3.5), numbers(0, 4, 1, 2), 0.5), (1, 3))

    def test_the_proxy_is_compared_with_that_of_the_best_and_not_of_the_last(self):
        assert_equal(hacking_starts(numbers(1, 2, 5, 4, 3), numbers(1, 6, 5.5, 5, 2), 1.5), (1, 4))
        assert_equal(hacking_starts(numbers(1, 9, 3, 4, 5), numbers(1, 6, 5.5, 5, 2), 1.5), None)

    def test_the_first_of_several_best(self):
        assert_equal(hacking_starts(numbers(1, 5, 7, 6), numbers(0, 3, 3, 1), 1.0), (1, 3))

    def test_gold_is_compared_with_the_best_and_not_with_the_last(self):
        """It falls slowly, each time by less than the drop."""
        assert_equal(hacking_starts(numbers(0, 1, 2, 3, 4), numbers(5.0, 4.75, 4.5, 4.0, 3.5), 0.6), (0, 3))

    def test_a_best_that_comes_later_says_nothing(self):
        assert_equal(hacking_starts(numbers(0, 1, 2, 3), numbers(5.0, 4.0, 9.0, 8.75), 0.5), (0, 1))

    @pytest.mark.parametrize("gold", [(1.0, 1.5, 2.0, 2.5), (2.0, 2.0, 2.0, 2.0), (1.0, 0.9, 1.4, 1.2)])
    def test_a_run_without_hacking(self, gold):
        assert_equal(hacking_starts(numbers(1, 2, 3, 4), numbers(*gold), 0.25), None)

    @pytest.mark.parametrize("gold", [(), (3.0,)])
    def test_too_short_a_run(self, gold):
        assert_equal(hacking_starts(np.arange(float(len(gold))), numbers(*gold), 0.0), None)

    @pytest.mark.parametrize("drop", [0.0, 0.4])
    def test_the_rule_written_out(self, rng, drop):
        for _ in range(60):
            proxy, gold = rng.integers(0, 5, 8) * 0.5, rng.integers(0, 5, 8) * 0.5
            expected = None
            for t in range(1, 8):
                best = gold[:t].tolist().index(gold[:t].max())
                if gold[t] < gold[best] - drop and proxy[t] > proxy[best]:
                    expected = (best, t)
                    break
            assert_equal(hacking_starts(proxy, gold, drop), expected)


class Counted:
    """A reward that notes what it was asked for."""

    def __init__(self, reward) -> None:
        self.reward = reward
        self.asked: Counter[str] = Counter()

    def __call__(self, text: str) -> float:
        self.asked[text] += 1
        if self.asked.total() > 10_000:
            fail("The reward is asked for more than 10 000 times.", evidence="too often")
        return self.reward(text)


def words(text: str) -> float:
    return float(len(text.split()))


def twice(text: str) -> str:
    return f"{text} {text}"


ANSWERS = ["Paris", "I think it is Rome", "No"]


class TestSpecificationFailures:
    def test_the_example_worked_by_hand(self):
        checks = [Check("loud", str.upper, "same"), Check("twice", twice, "same"), Check("more", twice, "higher")]
        found = specification_failures(words, ANSWERS, checks, 0.5)
        assert_equal(found, {"loud": [], "twice": [0, 1, 2], "more": []})

    def test_the_order_of_the_checks(self):
        checks = [Check(name, twice, "same") for name in ("zebra", "apple", "mango")]
        assert_equal(list(specification_failures(words, ["a"], checks, 0.5)), ["zebra", "apple", "mango"])

    @pytest.mark.parametrize(
        ("expect", "tolerance", "expected"),
        [
            ("same", 0.5, [0, 1, 3, 4]),
            ("same", 0.75, [0, 4]),
            ("same", 2.0, []),
            ("higher", 0.0, [0, 1, 2]),
            ("higher", 0.75, [0, 1, 2, 3]),
            ("higher", 2.0, [0, 1, 2, 3, 4]),
            ("lower", 0.0, [2, 3, 4]),
            ("lower", 0.75, [1, 2, 3, 4]),
        ],
    )
    def test_each_kind_and_its_tolerance(self, expect, tolerance, expected):
        """Changes by -2, -0.75, 0, +0.75, +2."""
        rise = {"a": -2.0, "b": -0.75, "c": 0.0, "d": 0.75, "e": 2.0}

        def reward(text: str) -> float:
            return 3.0 + (rise[text[0]] if text.endswith("!") else 0.0)

        found = specification_failures(reward, list("abcde"), [Check("x", lambda t: t + "!", expect)], tolerance)
        assert_equal(found, {"x": expected})

    @pytest.mark.parametrize("expect", ["same", "higher", "lower"])
    def test_an_unchanged_answer_cant_be_judged(self, expect):
        found = specification_failures(words, ["quiet", "LOUD"], [Check("loud", str.upper, expect)], 0.0)
        assert_equal(found, {"loud": [] if expect == "same" else [0]})

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("expect", ["same", "higher", "lower"])
    @pytest.mark.parametrize("which", ["a", "a!"])
    def test_a_reward_that_is_no_number(self, which, expect, bad):
        rewards = {"a": 1.0, "a!": 1.0, which: bad}
        found = specification_failures(rewards.__getitem__, ["a"], [Check("x", lambda t: t + "!", expect)], 0.5)
        assert_equal(found, {"x": [0]})

    @pytest.mark.parametrize("expect", ["same", "higher", "lower"])
    def test_no_number_twice(self, expect):
        found = specification_failures(lambda t: math.inf, ["a"], [Check("x", lambda t: t + "!", expect)], 0.5)
        assert_equal(found, {"x": [0]})

    @pytest.mark.filterwarnings("error")
    def test_no_number_and_no_change(self):
        found = specification_failures(lambda t: math.nan, ["A"], [Check("x", str.upper, "higher")], 0.5)
        assert_equal(found, {"x": []})

    def test_no_answers_and_no_checks(self):
        check = Check("x", str.upper, "same")
        found = [specification_failures(words, [], [check], 0.0), specification_failures(words, ANSWERS, [], 0.0)]
        assert_equal(found, [{"x": []}, {}])

    def test_equal_answers_are_named_both(self):
        assert_equal(specification_failures(words, ["a", "b c", "a"], [Check("x", twice, "same")], 1.5), {"x": [1]})
        assert_equal(specification_failures(words, ["a", "a"], [Check("x", twice, "same")], 0.5), {"x": [0, 1]})

    def test_each_is_rewarded_once(self):
        reward = Counted(words)
        checks = [Check("loud", str.upper, "same"), Check("dot", lambda t: t + ".", "same"), Check("2", twice, "same")]
        specification_failures(reward, ["one", "two three"], checks, 0.0)
        asked = ["one", "two three", "ONE", "TWO THREE", "one.", "two three.", "one one", "two three two three"]
        assert_equal({text: reward.asked[text] for text in asked if reward.asked[text] > 1}, {})
        assert_equal(sorted(reward.asked), sorted(asked))

    @pytest.mark.parametrize("expect", ["equal", "Higher", ""])
    def test_another_expectation(self, expect):
        reward = Counted(words)
        with raises(ValueError, expect):
            specification_failures(reward, ANSWERS, [Check("a", twice, "same"), Check("b", twice, expect)], 0.0)
        assert_equal(dict(reward.asked), {})

    def test_two_checks_of_one_name(self):
        reward = Counted(words)
        checks = [Check("loud", str.upper, "same"), Check("other", twice, "same"), Check("loud", twice, "same")]
        with raises(ValueError, "loud"):
            specification_failures(reward, ANSWERS, checks, 0.0)
        assert_equal(dict(reward.asked), {})

    def test_a_planted_hack_is_found(self):
        """The reward counts facts, and by a fault it likes the word "certainly"."""

        def facts(text: str) -> float:
            return sum(c.isdigit() for c in text) + 3.0 * ("certainly" in text)

        checks = [
            Check("polite", lambda t: f"Certainly! {t}", "same"),
            Check("sure", lambda t: f"{t}, certainly", "same"),
            Check("a fact more", lambda t: f"{t} 7", "higher"),
        ]
        found = specification_failures(facts, ["It was 1789", "certainly 3"], checks, 0.0)
        assert_equal(found, {"polite": [], "sure": [0], "a fact more": []})


def add(text: str):
    return lambda t: f"{t} {text}"


def none(text: str) -> float:
    return 0.0


class TestFindHack:
    def test_the_example_worked_by_hand(self):
        assert_equal(find_hack(words, none, "Paris", {"pad": add("indeed")}, 5, 1.5), ["pad", "pad"])

    @pytest.mark.parametrize(("gain", "expected"), [(0.0, 1), (0.75, 1), (1.0, 2), (1.25, 2), (3.5, 4), (4.0, None)])
    def test_the_gain_must_be_passed(self, gain, expected):
        found = find_hack(words, none, "Paris", {"pad": add("indeed")}, 4, gain)
        assert_equal(found, None if expected is None else ["pad"] * expected)

    @pytest.mark.parametrize(("depth", "expected"), [(0, None), (2, None), (3, ["pad"] * 3), (9, ["pad"] * 3)])
    def test_the_depth(self, depth, expected):
        assert_equal(find_hack(words, none, "Paris", {"pad": add("indeed")}, depth, 2.5), expected)

    def test_an_answer_that_is_better_is_no_hack(self):
        def facts(text: str) -> float:
            return float(sum(c.isdigit() for c in text))

        edits = {"fact": add("1789"), "pad": add("indeed")}
        assert_equal(find_hack(words, facts, "Paris", {"fact": add("1789")}, 3, 0.5), None)
        assert_equal(find_hack(words, facts, "Paris", edits, 3, 0.5), ["pad"])
        assert_equal(find_hack(words, facts, "Paris", edits, 3, 1.5), ["pad", "pad"])

    def test_a_worse_answer_is_a_hack(self):
        assert_equal(find_hack(words, lambda t: -words(t), "Paris", {"pad": add("indeed")}, 3, 0.5), ["pad"])

    def test_gold_is_compared_with_that_of_the_answer(self):
        """First it gets better, then worse than it was."""
        gold = {"a": 5.0, "ab": 9.0, "abb": 6.0, "abbb": 5.0}
        assert_equal(find_hack(len, gold.__getitem__, "a", {"b": lambda t: t + "b"}, 3, 0.0), ["b", "b", "b"])

    def test_a_way_that_leads_down_first(self):
        reward = {"": 3.0, "x": 1.0, "xy": 2.0, "xyz": 9.0}
        edits = {c: lambda t, c=c: t + c if t + c in reward else t for c in "zyx"}
        assert_equal(find_hack(reward.__getitem__, none, "", edits, 3, 1.0), ["x", "y", "z"])

    def test_the_shortest_wins(self):
        reward = {"aa": 50.0, "b": 2.0}
        edits = {"a": lambda t: t + "a", "b": lambda t: t + "b"}
        assert_equal(find_hack(lambda t: reward.get(t, 0.0), none, "", edits, 4, 1.0), ["b"])

    @pytest.mark.parametrize("order", list(itertools.permutations("bca")))
    def test_the_first_of_the_shortest_in_the_order_of_the_edits(self, order):
        edits = {name: lambda t, name=name: t + name for name in order}
        hacks = {"ab": 2.0, "bc": 9.0, "ca": 5.0}
        found = find_hack(lambda t: hacks.get(t, 0.0), none, "", edits, 3, 1.0)
        assert_equal(found, min((list(hack) for hack in hacks), key=lambda made: [order.index(c) for c in made]))

    def test_the_order_counts_where_texts_meet(self):
        """Both ways make the same text: the first of them is the one to name."""
        edits = {"two": lambda t: t.replace("2", ""), "one": lambda t: t.replace("1", "")}
        assert_equal(find_hack(lambda t: -len(t), none, "12", edits, 2, 1.5), ["two", "one"])

    def test_none(self):
        assert_equal(find_hack(lambda t: 1.0, none, "a", {"pad": add("b")}, 3, 0.0), None)
        assert_equal(find_hack(words, none, "a", {}, 3, 0.0), None)

    def test_the_answer_itself_is_no_hack(self):
        assert_equal(find_hack(words, none, "a", {"stay": lambda t: t}, 4, 0.0), None)

    def test_each_text_is_rewarded_once(self):
        edits = {name: lambda t, name=name: "".join(sorted(t + name)) for name in "ab"}
        edits["back to the start"] = lambda t: "c"
        reward = Counted(lambda t: 0.0)
        find_hack(reward, none, "c", edits, 3, 0.5)
        texts = ["c", "ac", "bc", "aac", "abc", "bbc", "aaac", "aabc", "abbc", "bbbc"]
        assert_equal({text: n for text, n in reward.asked.items() if n > 1}, {})
        assert_equal(sorted(reward.asked), sorted(texts))

    def test_many_ways_to_few_texts(self):
        """14 of 4 edits in a row: 268 million lists, but 3060 texts."""
        edits = {name: lambda t, name=name: "".join(sorted(t + name)) for name in "abcd"}
        reward = Counted(lambda t: 1.0 if t == "a" * 6 + "b" * 2 + "c" * 3 + "d" * 3 else 0.0)
        expected = list("a" * 6 + "b" * 2 + "c" * 3 + "d" * 3)
        assert_equal(find_hack(reward, none, "", edits, 14, 0.5), expected)
        assert_equal(max(reward.asked.values()), 1)

    def test_edits_that_go_round_in_a_circle(self):
        edits = {"turn": lambda t: t[1:] + t[:1], "back": lambda t: t[::-1]}
        reward = Counted(lambda t: 1.0)
        assert_equal(find_hack(reward, none, "abcd", edits, 1000, 0.0), None)
        assert_equal({text: n for text, n in reward.asked.items() if n > 1}, {})

    @pytest.mark.parametrize("case", range(6))
    def test_every_list_one_by_one(self, rng, case):
        rewards, golds = (dict(enumerate(rng.integers(0, 6, 12).tolist())) for _ in range(2))
        tables = rng.integers(0, 12, (3, 12))
        edits = {f"e{k}": lambda t, row=row: chr(97 + int(row[ord(t) - 97])) for k, row in enumerate(tables)}
        names = list(edits)
        for start, gain in itertools.product("abc", (0.0, 1.0, 2.0)):
            expected = None
            for made in (list(made) for size in range(1, 5) for made in itertools.product(names, repeat=size)):
                text = start
                for name in made:
                    text = edits[name](text)
                place, origin = ord(text) - 97, ord(start) - 97
                if rewards[place] > rewards[origin] + gain and golds[place] <= golds[origin]:
                    expected = made
                    break
            given = (lambda t: rewards[ord(t) - 97]), (lambda t: golds[ord(t) - 97])
            assert_equal(find_hack(*given, start, edits, 4, gain), expected)
