"""Judges k18_experiments_in_production by hashlib, by scipy, and by how often its tests are wrong in simulated experiments."""

import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_09_inference.k18_experiments_in_production import (
    SequentialTest,
    Thompson,
    assign,
    bucket,
    power,
    ratio_p_value,
    sample_size,
    z_test,
)

pytestmark = [from_scratch("scipy", "statsmodels"), pure()]

UNITS = [f"user-{i}" for i in range(40)]


def hashed(unit: str, salt: str, buckets: int) -> int:
    return int(hashlib.sha256(f"{salt}:{unit}".encode()).hexdigest(), 16) % buckets


class TestBucket:
    def test_the_example_worked_by_hand(self):
        assert_equal([bucket("ada", "ranker"), bucket("ada", "colour")], [6623, 5474])

    @pytest.mark.parametrize("buckets", [2, 7, 10, 1000, 10_000, 2**40])
    def test_equals_the_formula(self, buckets):
        found = [bucket(unit, salt, buckets) for unit in UNITS for salt in ("a", "b")]
        assert_equal(found, [hashed(unit, salt, buckets) for unit in UNITS for salt in ("a", "b")])

    @pytest.mark.parametrize("unit", ["", "Zoë", "a:b", " ada", "名前", "x" * 500])
    def test_any_text(self, unit):
        assert_equal(
            [bucket(unit, "ranker"), bucket("ada", unit)], [hashed(unit, "ranker", 10_000), hashed("ada", unit, 10_000)]
        )

    def test_ten_thousand_buckets_unless_it_is_said(self):
        assert_equal([bucket(unit, "s") for unit in UNITS], [hashed(unit, "s", 10_000) for unit in UNITS])


def expected_variant(unit: str, salt: str, variants: dict[str, int]):
    names = list(variants)
    owners = [name for name in names[:-1] for _ in range(variants[name])]
    owners += [None] * (10_000 - len(owners) - variants[names[-1]]) + [names[-1]] * variants[names[-1]]
    return owners[hashed(unit, salt, 10_000)]


class TestAssign:
    def test_the_example_worked_by_hand(self):
        found = [assign("ada", salt, {"new": n, "old": 4000}) for salt in ("ranker", "colour") for n in (5000, 6000)]
        assert_equal(found, ["old", "old", None, "new"])

    @pytest.mark.parametrize(
        "variants",
        [
            {"old": 5000, "new": 5000},
            {"new": 500, "old": 4500},
            {"z": 1000, "a": 2000, "m": 3000},
            {"a": 0, "b": 3000, "c": 0, "d": 7000},
            {"a": 4000, "b": 4000, "c": 0},
            {"all": 10_000},
            {"some": 2500},
        ],
        ids=str,
    )
    def test_equals_a_list_of_all_buckets(self, variants):
        found = [assign(unit, "ranker", variants) for unit in UNITS]
        assert_equal(found, [expected_variant(unit, "ranker", variants) for unit in UNITS])

    def test_the_bounds_are_exact(self):
        place = hashed("ada", "ranker", 10_000)
        found = [
            assign("ada", "ranker", {"new": place, "old": 0}),
            assign("ada", "ranker", {"new": place + 1, "old": 0}),
            assign("ada", "ranker", {"new": 0, "old": 10_000 - place}),
            assign("ada", "ranker", {"new": 0, "old": 9_999 - place}),
        ]
        assert_equal(found, [None, "new", "old", None])

    def test_who_has_the_new_model_keeps_it_when_it_grows(self):
        before = [assign(unit, "s", {"new": 2000, "old": 3000}) for unit in UNITS]
        after = [assign(unit, "s", {"new": 6000, "old": 4000}) for unit in UNITS]
        assert_equal([a for b, a in zip(before, after, strict=True) if b], [b for b in before if b])

    def test_two_experiments_cut_across_each_other(self):
        both = {"new": 5000, "old": 5000}
        pairs = [(assign(f"u{i}", "one", both), assign(f"u{i}", "two", both)) for i in range(400)]
        counts = [pairs.count(pair) for pair in [("new", "new"), ("new", "old"), ("old", "new"), ("old", "old")]]
        assert_equal([60 < n < 140 for n in counts], [True] * 4)

    @pytest.mark.parametrize(
        "variants", [{"a": 5000, "b": 5001}, {"a": 10_001}, {"a": 4000, "b": 4000, "c": 3000}], ids=str
    )
    def test_more_than_all_buckets(self, variants):
        with raises(ValueError, sum(variants.values())):
            assign("ada", "ranker", variants)

    @pytest.mark.parametrize("variants", [{"fine": 100, "odd": -1}, {"odd": -200, "fine": 5000}], ids=str)
    def test_less_than_no_bucket(self, variants):
        with raises(ValueError, "odd"):
            assign("ada", "ranker", variants)


class TestRatioPValue:
    def test_the_example_worked_by_hand(self):
        assert_close(ratio_p_value(5200, 4800), math.erfc(math.sqrt(8)))

    @pytest.mark.parametrize("share", [0.5, 0.1, 0.8])
    @pytest.mark.parametrize(("a", "b"), [(100, 120), (12, 80), (0, 5), (7, 0), (500_000, 498_000), (1, 1)])
    def test_matches_scipy(self, a, b, share):
        from scipy.stats import chisquare

        expected = chisquare([a, b], [share * (a + b), (1 - share) * (a + b)]).pvalue
        assert_close(ratio_p_value(a, b, share), float(expected))

    def test_exactly_the_plan(self):
        assert_close(ratio_p_value(300, 900, 0.25), 1.0)

    def test_false_alarms_are_as_rare_as_promised(self, rng):
        alarms = sum(ratio_p_value(int(a), 2000 - int(a), 0.4) <= 0.1 for a in rng.binomial(2000, 0.4, 500))
        # About 50, standard deviation 7.
        if not 14 <= alarms <= 88:
            fail(f"At a level of 10% there are {alarms} alarms in 500 sound experiments.", evidence=alarms)


class TestZTest:
    def test_the_example_worked_by_hand(self):
        difference, p, interval = z_test(40, 200, 60, 200)
        assert_close(difference, 0.1)
        assert_close(p, math.erfc(0.1 / math.sqrt(0.1875 / 100) / math.sqrt(2)))
        assert_close(interval, (0.0157, 0.1843), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("alpha", [0.05, 0.2, 0.001])
    @pytest.mark.parametrize(
        ("x", "n", "y", "m"), [(30, 100, 45, 130), (5, 900, 2, 400), (80, 90, 60, 90), (0, 50, 9, 80)]
    )
    def test_equals_the_formulas(self, x, n, y, m, alpha):
        from scipy.stats import norm

        p, q, pooled = x / n, y / m, (x + y) / (n + m)
        null = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        width = norm.isf(alpha / 2) * math.sqrt(p * (1 - p) / n + q * (1 - q) / m)
        expected = (q - p, float(2 * norm.sf(abs(q - p) / null)), (q - p - width, q - p + width))
        assert_close(z_test(x, n, y, m, alpha), expected)

    def test_its_square_is_the_chi_squared_test(self):
        from scipy.stats import chi2_contingency

        expected = chi2_contingency([[33, 67], [52, 78]], correction=False).pvalue
        assert_close(z_test(33, 100, 52, 130)[1], float(expected))

    def test_the_sign_is_that_of_the_second(self):
        assert_close([z_test(60, 200, 40, 200)[0], z_test(40, 200, 60, 200)[0]], [-0.1, 0.1])

    @pytest.mark.parametrize(("x", "n", "y", "m"), [(0, 10, 0, 30), (10, 10, 30, 30), (1, 1, 1, 1)])
    def test_all_alike(self, x, n, y, m):
        assert_close(z_test(x, n, y, m), (0.0, 1.0, (0.0, 0.0)))

    def test_all_against_none(self):
        difference, p, interval = z_test(0, 20, 20, 20)
        assert_close((difference, interval), (1.0, (1.0, 1.0)))
        assert_close(p, math.erfc(math.sqrt(20)))

    def test_a_very_small_p_keeps_its_digits(self):
        from scipy.stats import norm

        expected = 2 * norm.sf(0.2 / math.sqrt(2 * 0.4 * 0.6 / 2000))
        assert_close(z_test(600, 2000, 1000, 2000)[1] / expected, 1.0, rtol=1e-6)

    def test_false_alarms_and_intervals_hold(self, rng):
        counts = rng.binomial(400, 0.3, (300, 2)).tolist()
        results = [z_test(x, 400, y, 400, 0.2) for x, y in counts]
        alarms = sum(p <= 0.2 for _, p, _ in results)
        held = sum(low <= 0 <= high for _, _, (low, high) in results)
        # 60 and 240, standard deviation 7.
        if not (22 <= alarms <= 98 and 202 <= held <= 278):
            fail(
                f"At a level of 20%: {alarms} alarms and {held} true intervals in 300 experiments.",
                evidence=(alarms, held),
            )


class TestPower:
    def test_the_example_worked_by_hand(self):
        assert_close(power(0.2, 0.3, 200), 0.6375, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("alpha", [0.05, 0.01])
    @pytest.mark.parametrize(("rate", "other"), [(0.1, 0.12), (0.5, 0.3), (0.02, 0.9), (0.4, 0.45)])
    @pytest.mark.parametrize("n", [1, 50, 3000])
    def test_equals_the_formula(self, rate, other, n, alpha):
        from scipy.stats import norm

        mean = (rate + other) / 2
        null = math.sqrt(2 * mean * (1 - mean) / n)
        real = math.sqrt((rate * (1 - rate) + other * (1 - other)) / n)
        assert_close(
            power(rate, other, n, alpha), float(norm.cdf((abs(other - rate) - norm.isf(alpha / 2) * null) / real))
        )

    def test_is_the_share_of_experiments_that_find_it(self, rng):
        x, y = rng.binomial(300, 0.2, 500), rng.binomial(300, 0.3, 500)
        p, q = x / 300, y / 300
        mean = (p + q) / 2
        found = np.mean(np.abs(q - p) / np.sqrt(2 * mean * (1 - mean) / 300) >= 1.959964)
        # The standard error of the share is at most 0.018.
        if abs(found - power(0.2, 0.3, 300)) > 0.11:
            fail(f"Of 500 experiments {found:.0%} are significant.", evidence=float(power(0.2, 0.3, 300)))


class TestSampleSize:
    def test_the_example_worked_by_hand(self):
        assert_equal(sample_size(0.2, 0.3), 294)

    @pytest.mark.parametrize(("alpha", "wanted"), [(0.05, 0.8), (0.01, 0.9), (0.2, 0.5), (0.05, 0.99)])
    @pytest.mark.parametrize(("rate", "other"), [(0.1, 0.12), (0.5, 0.3), (0.02, 0.9), (0.041, 0.045)])
    def test_is_the_smallest_that_has_the_power(self, rate, other, alpha, wanted):
        from scipy.stats import norm

        def reached(n: int) -> float:
            mean = (rate + other) / 2
            null = math.sqrt(2 * mean * (1 - mean) / n)
            real = math.sqrt((rate * (1 - rate) + other * (1 - other)) / n)
            return float(norm.cdf((abs(other - rate) - norm.isf(alpha / 2) * null) / real))

        low, high = 0, 1
        while reached(high) < wanted:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reached(middle) >= wanted else (middle, high)
        assert_equal(sample_size(rate, other, alpha, wanted), high)

    def test_billions(self):
        found = sample_size(0.03, 0.03001)
        assert_equal((type(found) is int, 4_500_000_000 < found < 4_650_000_000), (True, True))

    def test_either_rate_may_be_the_higher(self):
        assert_equal(sample_size(0.3, 0.2), sample_size(0.2, 0.3))

    def test_a_power_of_four_fifths_unless_it_is_said(self):
        assert_equal(sample_size(0.35, 0.5), sample_size(0.35, 0.5, 0.05, 0.8))

    @pytest.mark.parametrize("rate", [0.2, 0.75])
    def test_equal_rates(self, rate):
        with raises(ValueError, rate):
            sample_size(rate, rate)


def always_valid(differences, variance: float, tau: float) -> list[float]:
    """p after each difference, with 60 digits."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        v, t, total, smallest, found = Decimal(variance), Decimal(tau) ** 2, Decimal(0), Decimal(1), []
        for n, difference in enumerate(differences, 1):
            total += Decimal(difference)
            ratio = (v / (v + n * t)).sqrt() * (t * total**2 / (2 * v * (v + n * t))).exp()
            smallest = min(smallest, 1 / ratio)
            found.append(float(smallest))
        return found


class TestSequentialTest:
    def test_the_example_worked_by_hand(self):
        test = SequentialTest(1.0, 1.0)
        found = [test.update(difference) for difference in (1, 3, -4)]
        second = math.sqrt(3) * math.exp(-8 / 3)
        assert_close(found, [1.0, second, second])

    def test_the_interval_worked_by_hand(self):
        test = SequentialTest(1.0, 1.0)
        test.update(1)
        test.update(3)
        width = math.sqrt(0.75 * (2 * math.log(20) + math.log(3)))
        assert_close(test.interval(), (2 - width, 2 + width))

    @pytest.mark.parametrize("tau", [0.1, 1.0, 2.5])
    @pytest.mark.parametrize("variance", [0.25, 1.0, 9.0])
    @pytest.mark.parametrize("mean", [0.0, 0.4])
    def test_equals_the_formula(self, rng, variance, tau, mean):
        differences = (rng.normal(0, math.sqrt(variance), 60) + mean).tolist()
        test = SequentialTest(variance, tau)
        assert_close([test.update(d) for d in differences], always_valid(differences, variance, tau))

    def test_it_never_rises(self):
        test = SequentialTest(1.0, 0.5)
        found = [test.update(d) for d in [3.0] * 5 + [-3.0] * 20]
        assert_equal([b <= a for a, b in pairwise(found)], [True] * 24)

    @pytest.mark.parametrize("difference", [1e3, -1e3, 1e100])
    def test_a_difference_that_is_huge(self, difference):
        test = SequentialTest(1.0, 1.0)
        assert_close([test.update(difference), test.update(0.0)], [0.0, 0.0])

    def test_a_long_stream_without_a_difference(self):
        test = SequentialTest(0.5, 0.1)
        assert_close([test.update(0.0) for _ in range(1500)][-1], 1.0)

    @pytest.mark.parametrize("alpha", [0.05, 0.3])
    @pytest.mark.parametrize(("variance", "tau"), [(2.0, 0.3), (0.25, 1.5)])
    def test_the_interval_holds_0_as_long_as_the_ratio_is_small(self, rng, variance, tau, alpha):
        test, total, found, expected = SequentialTest(variance, tau), 0.0, [], []
        for n, difference in enumerate(rng.normal(0.3, math.sqrt(variance), 80).tolist(), 1):
            test.update(difference)
            total += difference
            ratio = (tau * total) ** 2 / (2 * variance * (variance + n * tau**2))
            ratio += math.log(variance / (variance + n * tau**2)) / 2
            low, high = test.interval(alpha)
            found.append(low <= 0 <= high)
            expected.append(ratio <= math.log(1 / alpha))
            assert_close((low + high) / 2, total / n)
        assert_equal(found, expected)

    @pytest.mark.parametrize(("variance", "tau", "n"), [(2.0, 0.5, 1), (0.5, 0.2, 40)])
    def test_the_width_of_the_interval(self, variance, tau, n):
        test = SequentialTest(variance, tau)
        for _ in range(n):
            test.update(0.25)
        both = variance + n * tau**2
        widths = [
            math.sqrt(variance * both / (n * tau) ** 2 * (2 * math.log(1 / alpha) + math.log(both / variance)))
            for alpha in (0.05, 0.1)
        ]
        found = [test.interval(), test.interval(0.1)]
        assert_close(found, [(0.25 - width, 0.25 + width) for width in widths])

    def test_the_interval_isnt_cut_with_those_of_before(self):
        test = SequentialTest(1.0, 1.0)
        for _ in range(10):
            test.update(5.0)
        first = test.interval()
        for _ in range(10):
            test.update(-5.0)
        low, high = test.interval()
        assert_close((low + high) / 2, 0.0)
        assert_equal((low < first[0], high < first[0]), (True, True))

    def test_looking_changes_nothing(self):
        one, other = SequentialTest(1.0, 1.0), SequentialTest(1.0, 1.0)
        for difference in (0.5, 2.0, -1.0, 3.0):
            one.update(difference)
            one.interval(0.01)
            p = other.update(difference)
        assert_close((one.interval(), one.update(0.0)), (other.interval(), other.update(0.0)))
        assert_equal(p < 1, True)

    def test_before_the_first_difference(self):
        assert_equal(SequentialTest(1.0, 0.5).interval(), (-math.inf, math.inf))

    @pytest.mark.parametrize(
        ("variance", "tau", "wrong"), [(0, 0.5, 0), (-1.5, 0.5, -1.5), (1, 0, 0), (1, -0.25, -0.25)]
    )
    def test_what_isnt_above_0(self, variance, tau, wrong):
        with raises(ValueError, wrong):
            SequentialTest(variance, tau)

    def test_two_of_them_share_nothing(self):
        one, other = SequentialTest(1.0, 1.0), SequentialTest(1.0, 1.0)
        one.update(9.0)
        assert_close(other.update(0.0), 1.0)

    def test_false_alarms_are_rare_however_often_you_look(self, rng):
        streams = rng.normal(0, 1, (120, 150))
        alarms = 0
        for stream in streams.tolist():
            test = SequentialTest(1.0, 0.3)
            alarms += min(test.update(difference) for difference in stream) <= 0.2
        # At most 24 on average, standard deviation 4.4.  A z-test at each look is wrong in four of five.
        z = np.abs(np.cumsum(streams, axis=1)) / np.sqrt(np.arange(1, 151))
        peeked = int(np.sum((z > 1.2816).any(axis=1)))
        if alarms > 48:
            fail(
                f"In {alarms} of 120 streams without a difference p falls to 0.2; a z-test does it in {peeked}.",
                evidence=alarms,
            )

    def test_a_planted_difference_is_found_in_time(self, rng):
        late = []
        for stream in rng.normal(0.5, 1, (40, 300)).tolist():
            test = SequentialTest(1.0, 0.5)
            late.append(next((n for n, d in enumerate(stream) if test.update(d) <= 0.01), 300))
        # A z-test of fixed size needs 47 for a power of 80% at this level.  300 are six times as many.
        if max(late) == 300 or np.mean(late) > 120:
            fail(
                f"The difference is found after {np.mean(late):.0f} steps on average, the latest after {max(late)}.",
                evidence=late,
            )

    def test_the_true_mean_is_in_all_intervals(self, rng):
        missed = 0
        for stream in rng.normal(2, 1.5, (60, 60)).tolist():
            test, bad = SequentialTest(2.25, 0.5), False
            for difference in stream:
                test.update(difference)
                low, high = test.interval(0.2)
                bad |= not low <= 2 <= high
            missed += bad
        # At most 12 on average, standard deviation 3.1.
        if missed > 28:
            fail(f"In {missed} of 60 streams an interval misses the true mean at some time.", evidence=missed)


def chance_best(posteriors: list[tuple[float, float]], arm: int) -> float:
    """How probable it is that the arm has the highest rate, by integrating its density times the others' Φ."""
    from scipy.stats import beta

    x = (np.arange(20_000) + 0.5) / 20_000
    density = beta.pdf(x, *posteriors[arm])
    for other, parameters in enumerate(posteriors):
        if other != arm:
            density = density * beta.cdf(x, *parameters)
    return float(density.mean())


class TestThompson:
    def test_the_example_worked_by_hand(self, rng):
        bandit = Thompson(2, rng)
        for success in (True, False, True):
            bandit.update(1, success)
        assert_equal([bandit.posterior(0), bandit.posterior(1)], [(1.0, 1.0), (3.0, 2.0)])

    def test_posteriors_count(self, rng):
        bandit, counts = Thompson(3, rng, 2.0, 5.0), [[2.0, 5.0] for _ in range(3)]
        for arm, success in zip(rng.integers(0, 3, 60).tolist(), (rng.random(60) < 0.3).tolist(), strict=True):
            bandit.update(arm, success)
            counts[arm][0 if success else 1] += 1
        assert_equal([bandit.posterior(arm) for arm in range(3)], [tuple(c) for c in counts])

    def test_many_trials(self, rng):
        bandit = Thompson(2, rng)
        for trial in range(4104):
            bandit.update(0, trial % 2 == 0)
        assert_equal(bandit.posterior(0), (2053.0, 2053.0))

    def test_a_larger_one_after_a_small_one(self, rng):
        small, large = Thompson(2, rng), Thompson(5, rng)
        small.update(1, True)
        large.update(4, True)
        assert_equal((small.posterior(1), large.posterior(4)), ((2.0, 1.0), (2.0, 1.0)))

    @pytest.mark.parametrize("success", [np.True_, 1, 1.0])
    def test_truth_in_other_types(self, rng, success):
        bandit = Thompson(2, rng)
        bandit.update(0, success)
        assert_equal(bandit.posterior(0), (2.0, 1.0))

    @pytest.mark.parametrize(
        "trials",
        [[(0, 0), (0, 0)], [(8, 4), (6, 6)], [(3, 1), (1, 3), (0, 0)], [(1, 9), (30, 270), (2, 9)]],
        ids=["nothing known", "two arms", "three arms", "rare successes"],
    )
    def test_an_arm_is_chosen_as_often_as_it_is_the_best(self, rng, trials):
        bandit = Thompson(len(trials), rng)
        for arm, (good, bad) in enumerate(trials):
            for success in [True] * good + [False] * bad:
                bandit.update(arm, success)
        chosen = np.bincount([bandit.choose() for _ in range(1500)], minlength=len(trials)) / 1500
        posteriors = [(1.0 + good, 1.0 + bad) for good, bad in trials]
        for arm in range(len(trials)):
            expected = chance_best(posteriors, arm)
            if abs(chosen[arm] - expected) > 6 * math.sqrt(expected * (1 - expected) / 1500) + 0.001:
                sentence = (
                    f"Arm {arm} is the best with {expected:.1%}, but it is chosen in {chosen[arm]:.1%} of the calls."
                )
                fail(sentence, evidence=(arm, float(chosen[arm])))

    @pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (20.0, 2.0)])
    def test_the_prior_counts(self, rng, a, b):
        bandit = Thompson(2, rng, a, b)
        for _ in range(3):
            bandit.update(0, False)
        expected = chance_best([(a, b + 3), (a, b)], 0)
        chosen = float(np.mean([bandit.choose() == 0 for _ in range(1500)]))
        if abs(chosen - expected) > 6 * math.sqrt(expected * (1 - expected) / 1500):
            fail(
                f"Arm 0 is the best with {expected:.1%}, but it is chosen in {chosen:.1%} of the calls.",
                evidence=chosen,
            )

    def test_choosing_changes_no_posterior(self, rng):
        bandit = Thompson(2, rng)
        bandit.update(0, True)
        for _ in range(30):
            bandit.choose()
        assert_equal([bandit.posterior(0), bandit.posterior(1)], [(2.0, 1.0), (1.0, 1.0)])

    def test_the_arm_is_an_int(self, rng):
        assert_equal(type(Thompson(4, rng).choose()) is int, True)

    def test_the_same_generator_gives_the_same_choices(self):
        found = []
        for _ in range(2):
            bandit = Thompson(5, np.random.default_rng(7))
            found.append([bandit.choose() for _ in range(40)])
        assert_equal(found[0], found[1])

    def test_other_generators_give_other_choices(self):
        found = set()
        for seed in range(5):
            bandit = Thompson(5, np.random.default_rng(seed))
            found.add(tuple(bandit.choose() for _ in range(40)))
        assert_equal(len(found), 5)

    @pytest.mark.parametrize("arms", [1, 0, -3])
    def test_too_few_arms(self, rng, arms):
        with raises(ValueError, arms):
            Thompson(arms, rng)

    @pytest.mark.parametrize("arm", [3, -1, 17])
    def test_no_such_arm(self, rng, arm):
        bandit = Thompson(3, rng)
        with raises(IndexError, arm):
            bandit.update(arm, True)
        with raises(IndexError, arm):
            bandit.posterior(arm)
        assert_equal([bandit.posterior(i) for i in range(3)], [(1.0, 1.0)] * 3)

    def test_two_of_them_share_nothing(self, rng):
        one, other = Thompson(2, rng), Thompson(2, rng)
        one.update(0, True)
        assert_equal(other.posterior(0), (1.0, 1.0))

    def test_it_earns_far_more_than_a_fixed_half(self, rng):
        rates, earned = (0.2, 0.5), []
        for _ in range(10):
            bandit, best = Thompson(2, rng), 0
            for luck in rng.random(300).tolist():
                arm = bandit.choose()
                bandit.update(arm, luck < rates[arm])
                best += arm == 1
            earned.append(best)
        # Half and half would give 150 of 300 trials to the better arm.
        if min(earned) < 200 or np.mean(earned) < 250:
            fail(
                f"The better arm gets {np.mean(earned):.0f} of 300 trials on average, at worst {min(earned)}.",
                evidence=earned,
            )
