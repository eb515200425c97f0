"""Judges k23_fairness by counting people one by one, by fairlearn, and by what the repairs are for."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.without_warnings import without_warnings
from katas.module_12_research.k23_fairness import (
    accuracy_by_group,
    calibration_by_group,
    demographic_parity,
    equalized_odds_difference,
    flip,
    group_rates,
    group_thresholds,
    implied_fpr,
    odds_flips,
    reweigh,
)

pytestmark = [from_scratch("fairlearn", "sklearn"), pure()]

LABELS = np.array([1, 1, 0, 0, 1, 1, 0, 0, 0, 0])
DECISIONS = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 1])
GROUPS = np.array(["a"] * 4 + ["b"] * 6)


def people(rng, n: int = 90, names=("x", "yy", "z"), rates=(0.5, 0.3, 0.8)):
    """Labels, decisions, groups: groups of unlike size, shuffled, with unlike rates."""
    where = rng.permutation(np.repeat(np.arange(3), [n // 6, n // 3, n - n // 6 - n // 3]))
    labels = (rng.random(n) < np.array(rates)[where]).astype(int)
    decisions = np.where(rng.random(n) < 0.7, labels, rng.random(n) < np.array(rates)[where]).astype(int)
    for g in range(3):  # nobody's share is missing
        i = np.flatnonzero(where == g)[:4]
        labels[i], decisions[i] = [1, 1, 0, 0], [1, 0, 1, 0]
    return labels, decisions, np.array(names)[where]


def ratio(a: int, b: int) -> float:
    return a / b if b else math.nan


def counted(labels, decisions, groups) -> dict:
    found = {}
    for g in sorted(set(groups.tolist())):
        rows = [(int(y), int(d)) for y, d, h in zip(labels, decisions, groups, strict=True) if h == g]
        tp, fp, fn, tn = (rows.count(kind) for kind in ((1, 1), (0, 1), (1, 0), (0, 0)))
        found[g] = {
            "n": float(len(rows)),
            "base": ratio(tp + fn, len(rows)),
            "selection": ratio(tp + fp, len(rows)),
            "tpr": ratio(tp, tp + fn),
            "fpr": ratio(fp, fp + tn),
            "ppv": ratio(tp, tp + fp),
        }
    return found


def plain(rates: dict) -> dict:
    """With Python's own keys and floats, by name."""
    return {
        g.item() if hasattr(g, "item") else g: (
            {name: float(value) for name, value in sorted(row.items())} if isinstance(row, dict) else float(row)
        )
        for g, row in sorted(rates.items(), key=lambda pair: str(pair[0]))
    }


class TestGroupRates:
    def test_the_example_worked_by_hand(self):
        expected = {
            "a": {"n": 4.0, "base": 0.5, "selection": 0.75, "tpr": 1.0, "fpr": 0.5, "ppv": 2 / 3},
            "b": {"n": 6.0, "base": 1 / 3, "selection": 1 / 3, "tpr": 0.5, "fpr": 0.25, "ppv": 0.5},
        }
        assert_close(plain(group_rates(LABELS, DECISIONS, GROUPS)), plain(expected))

    @pytest.mark.parametrize("dtype", [int, float, bool, np.uint8])
    def test_one_by_one(self, dtype, rng):
        labels, decisions, groups = people(rng)
        found = group_rates(labels.astype(dtype), decisions.astype(dtype), groups)
        assert_close(plain(found), plain(counted(labels, decisions, groups)))

    def test_groups_may_be_integers(self, rng):
        labels, decisions, groups = people(rng, names=(7, 2, 30))
        assert_close(plain(group_rates(labels, decisions, groups)), plain(counted(labels, decisions, groups)))

    @pytest.mark.parametrize("missing", ["labels 1", "labels 0", "selected"])
    def test_a_share_of_nobody_is_nan(self, missing):
        labels, decisions = np.array([1, 0, 1, 0, 1]), np.array([1, 1, 0, 0, 1])
        groups = np.array(["p", "p", "q", "q", "p"])
        labels[2:4] = {"labels 1": 0, "labels 0": 1}.get(missing, labels[2:4])
        with without_warnings():
            found = group_rates(labels, decisions, groups)
        assert_close(plain(found), plain(counted(labels, decisions, groups)))


class TestAccuracyByGroup:
    def test_the_example_worked_by_hand(self):
        assert_close(accuracy_by_group(LABELS, DECISIONS, GROUPS), (0.7, 17 / 24, 2 / 3))

    @pytest.mark.parametrize("dtype", [int, bool])
    def test_one_by_one(self, dtype, rng):
        labels, decisions, groups = people(rng)
        each = [
            np.mean([y == d for y, d, h in zip(labels, decisions, groups, strict=True) if h == g])
            for g in ("x", "yy", "z")
        ]
        expected = (sum(labels == decisions) / len(labels), sum(each) / 3, min(each))
        assert_close(accuracy_by_group(labels.astype(dtype), decisions.astype(dtype), groups), expected)

    def test_a_small_group_counts_as_a_group(self):
        labels = np.ones(100, dtype=int)
        decisions = np.array([1] * 95 + [0] * 5)
        found = accuracy_by_group(labels, decisions, np.array(["many"] * 95 + ["few"] * 5))
        assert_close(found, (0.95, 0.5, 0.0))


class TestDemographicParity:
    def test_the_example_worked_by_hand(self):
        assert_close(demographic_parity(DECISIONS, GROUPS), (5 / 12, 4 / 9))

    @pytest.mark.parametrize("dtype", [int, bool, float])
    def test_one_by_one(self, dtype, rng):
        labels, decisions, groups = people(rng)
        each = [row["selection"] for row in counted(labels, decisions, groups).values()]
        expected = (max(each) - min(each), min(each) / max(each))
        assert_close(demographic_parity(decisions.astype(dtype), groups), expected)

    @pytest.mark.slow  # seconds to import
    def test_matches_fairlearn(self, rng):
        metrics = pytest.importorskip("fairlearn.metrics")
        labels, decisions, groups = people(rng)
        expected = (
            metrics.demographic_parity_difference(labels, decisions, sensitive_features=groups),
            metrics.demographic_parity_ratio(labels, decisions, sensitive_features=groups),
        )
        assert_close(demographic_parity(decisions, groups), expected)

    def test_one_group_without_anybody_selected(self):
        assert_close(demographic_parity(np.array([1, 0, 0, 0]), np.array([4, 4, 9, 9])), (0.5, 0.0))

    def test_nobody_is_selected_at_all(self):
        assert_close(demographic_parity(np.zeros(4, dtype=int), np.array([4, 4, 9, 9])), (0.0, 1.0))

    def test_one_group(self):
        assert_close(demographic_parity(np.array([1, 0, 1]), np.array(["a"] * 3)), (0.0, 1.0))


class TestEqualizedOddsDifference:
    def test_the_example_worked_by_hand(self):
        assert_close(equalized_odds_difference(LABELS, DECISIONS, GROUPS), 0.5)

    @pytest.mark.parametrize("turned", [False, True])
    def test_one_by_one(self, turned, rng):
        labels, decisions, groups = people(rng, n=61)
        if turned:  # what was the gap of one rate is that of the other
            labels, decisions = 1 - labels, 1 - decisions
        rates = counted(labels, decisions, groups).values()
        gaps = [max(r[name] for r in rates) - min(r[name] for r in rates) for name in ("tpr", "fpr")]
        assert_close(equalized_odds_difference(labels, decisions, groups), max(gaps))

    @pytest.mark.parametrize("which", ["tpr", "fpr"])
    def test_either_gap_can_be_the_larger_one(self, which):
        labels = np.array([1, 1, 1, 1, 0, 0, 0, 0] * 2)
        decisions = np.array([1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1])
        if which == "fpr":
            labels, decisions = 1 - labels, 1 - decisions
        assert_close(equalized_odds_difference(labels, decisions, np.repeat([1, 2], 8)), 0.5)

    @pytest.mark.slow  # seconds to import
    def test_matches_fairlearn(self, rng):
        metrics = pytest.importorskip("fairlearn.metrics")
        labels, decisions, groups = people(rng)
        expected = metrics.equalized_odds_difference(labels, decisions, sensitive_features=groups)
        assert_close(equalized_odds_difference(labels.astype(bool), decisions.astype(bool), groups), expected)

    @pytest.mark.parametrize("label", [0, 1])
    def test_a_group_with_one_kind_of_label(self, label):
        labels = np.array([1, 0, 1, 0, label, label])
        groups = np.array(["rest"] * 4 + ["lonely"] * 2)
        with raises(ValueError, "lonely"):
            equalized_odds_difference(labels, np.array([1, 1, 0, 0, 1, 0]), groups)


def ece_by_hand(scores, labels, bins: int) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i, s in enumerate(scores) if b / bins <= s < (b + 1) / bins or (s == 1 and b == bins - 1)]
        if inside:
            gap = np.mean([scores[i] for i in inside]) - np.mean([labels[i] for i in inside])
            total += len(inside) / len(scores) * abs(gap)
    return total


class TestCalibrationByGroup:
    def test_the_example_worked_by_hand(self):
        scores, labels = np.array([0.1, 0.3, 0.8, 0.6]), np.array([0, 1, 1, 0])
        assert_close(plain(calibration_by_group(scores, labels, np.array(["a"] * 4), 2)), {"a": 0.25})

    @pytest.mark.parametrize("bins", [1, 3, 10])
    @pytest.mark.parametrize("dtype", [int, bool])
    def test_one_by_one(self, bins, dtype, rng):
        labels, _, groups = people(rng)
        scores = rng.random(90) ** 2
        expected = {g: ece_by_hand(scores[groups == g], labels[groups == g], bins) for g in ("x", "yy", "z")}
        assert_close(plain(calibration_by_group(scores, labels.astype(dtype), groups, bins)), expected)

    def test_ten_bins_by_default(self, rng):
        labels, _, groups = people(rng)
        scores = rng.random(90)
        expected = {g: ece_by_hand(scores[groups == g], labels[groups == g], 10) for g in ("x", "yy", "z")}
        assert_close(plain(calibration_by_group(scores, labels, groups)), expected)

    def test_at_the_borders(self):
        # In each bin of a quarter one gap is above 0 and one below: in another bin it wouldn't cancel.
        scores = np.array([0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0])
        labels = np.array([1, 0, 1, 0, 1, 0, 1, 1, 0])
        expected = {1: ece_by_hand(scores, labels, 4)}
        assert_close(plain(calibration_by_group(scores, labels, np.full(9, 1), 4)), expected)

    def test_good_on_average_and_bad_in_each_group(self):
        scores = np.full(40, 0.5)
        labels = np.repeat([1, 0], 20)
        found = calibration_by_group(scores, labels, np.repeat(["up", "down"], 20))
        assert_close(plain(found), {"down": 0.5, "up": 0.5})


def logistic_regression(x: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Its coefficients, by Newton's method, with a little ridge."""
    w = np.zeros(x.shape[1])
    for _ in range(15):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + np.eye(x.shape[1])
        w = w + np.linalg.solve(hessian, x.T @ (weights * (labels - p)) - w)
    return w


class TestReweigh:
    def test_the_example_worked_by_hand(self):
        assert_close(reweigh(LABELS, GROUPS), np.array([0.8, 0.8, 1.2, 1.2, 1.2, 1.2, 0.9, 0.9, 0.9, 0.9]))

    @pytest.mark.parametrize("dtype", [int, bool])
    def test_one_by_one(self, dtype, rng):
        labels, _, groups = people(rng)
        both = list(zip(labels.tolist(), groups.tolist(), strict=True))
        expected = [
            labels.tolist().count(y) * groups.tolist().count(g) / (len(both) * both.count((y, g))) for y, g in both
        ]
        assert_close(reweigh(labels.astype(dtype), groups), np.array(expected))

    def test_each_group_has_the_same_weighted_base(self, rng):
        labels, _, groups = people(rng)
        weights = reweigh(labels, groups)
        bases = [float(weights[groups == g] @ labels[groups == g] / weights[groups == g].sum()) for g in ("x", "yy", "z")]
        assert_close(bases, [float(labels.mean())] * 3)
        assert_close(float(weights.sum()), 90.0)

    def test_a_group_with_one_kind_of_label(self):
        with without_warnings():
            found = reweigh(np.array([1, 1, 0]), np.array(["p", "p", "q"]))
        assert_close(found, np.array([2 / 3, 2 / 3, 1 / 3]))

    def test_a_model_trained_with_the_weights_selects_more_alike(self, rng):
        group = rng.integers(0, 2, 2000)
        skill = rng.normal(0, 1, 2000)
        labels = (skill + 1.0 * group + rng.normal(0, 2, 2000) > 0.5).astype(int)  # the labels favour group 1
        x = np.stack([np.ones(2000), skill, group], 1)
        gaps = []
        for weights in (np.ones(2000), reweigh(labels, group)):
            chosen = x @ logistic_regression(x, labels, weights) > 0
            gaps.append(chosen[group == 1].mean() - chosen[group == 0].mean())
        if not (gaps[0] > 0.25 and gaps[1] < 0.45 * gaps[0]):
            fail(f"the gap of the selection rates went from {gaps[0]:.3f} to {gaps[1]:.3f}", evidence=gaps[1] > 0.25)


def largest_that_reaches(scores, rate: float) -> float:
    reach = [t for t in scores if np.mean([s >= t for s in scores]) >= rate - 1e-9]
    return float(max(reach))


class TestGroupThresholds:
    def test_the_example_worked_by_hand(self):
        scores, groups = np.array([0.9, 0.1, 0.8, 0.4]), np.array(["a"] * 4)
        found = [plain(group_thresholds(scores, groups, rate))["a"] for rate in (0.5, 0.6)]
        assert_close(found, [0.8, 0.4])

    @pytest.mark.parametrize("rate", [0.01, 0.3, 0.5, 0.77, 1.0])
    @pytest.mark.parametrize("rounded", [False, True])
    def test_one_by_one(self, rate, rounded, rng):
        _, _, groups = people(rng)
        scores = rng.random(90).round(1) if rounded else rng.random(90)
        expected = {g: largest_that_reaches(scores[groups == g], rate) for g in ("x", "yy", "z")}
        assert_close(plain(group_thresholds(scores, groups, rate)), expected)

    @pytest.mark.parametrize("rate", [0.01, 0.4, 0.9, 1.0])
    @pytest.mark.parametrize("dtype", [int, bool])
    def test_of_those_with_label_1(self, rate, dtype, rng):
        labels, _, groups = people(rng)
        scores = rng.random(90)
        expected = {g: largest_that_reaches(scores[(groups == g) & (labels == 1)], rate) for g in ("x", "yy", "z")}
        assert_close(plain(group_thresholds(scores, groups, rate, labels.astype(dtype))), expected)

    @pytest.mark.parametrize(
        ("n", "rate"), [(10, 0.7), (100, 0.07), (100, 0.29), (5, 0.6), (50, 0.14), (10, 0.1 + 0.2), (20, 1.1 - 0.95)]
    )
    def test_rounding_selects_nobody_more(self, n, rate):
        scores = np.arange(n) / n - 3  # scores needn't be from 0 to 1
        found = plain(group_thresholds(scores, np.full(n, 1), rate))
        assert_close(found, {1: float(scores[n - round(rate * n)])})

    def test_the_groups_are_selected_alike(self, rng):
        groups = np.repeat(["low", "high"], 200)
        scores = rng.random(400) + (groups == "high")
        labels = (rng.random(400) < 0.5).astype(int)
        labels[[0, 399]] = 1
        for given, counts in ((None, np.ones(400, dtype=bool)), (labels, labels == 1)):
            found = group_thresholds(scores, groups, 0.3, given)
            chosen = scores >= np.array([found[g] for g in groups])
            shares = [float(chosen[counts & (groups == g)].mean()) for g in ("low", "high")]
            assert_close(shares, [0.3, 0.3], atol=0.02, rtol=0)  # one person of about a hundred, at least sixty

    def test_nobody_with_label_1(self):
        with raises(ValueError, "empty"):
            group_thresholds(np.arange(4.0), np.array(["full", "full", "empty", "empty"]), 0.5, np.array([1, 0, 0, 0]))


class TestImpliedFpr:
    def test_the_example_worked_by_hand(self):
        assert_close([implied_fpr(0.5, 0.8, 0.6), implied_fpr(0.2, 0.8, 0.6)], [0.15, 0.0375])

    def test_is_that_of_every_confusion_matrix(self, rng):
        labels, decisions, groups = people(rng)
        for row in counted(labels, decisions, groups).values():
            assert_close(implied_fpr(row["base"], row["ppv"], row["tpr"]), row["fpr"])

    def test_the_ways_out(self):
        assert_close([implied_fpr(base, 1.0, 0.7) for base in (0.1, 0.6)], [0.0, 0.0])

    @pytest.mark.parametrize(("base", "ppv", "tpr", "fpr"), [(0.8, 0.5, 1.0, 4.0), (0.75, 0.6, 0.75, 1.5)])
    def test_no_model_has_these(self, base, ppv, tpr, fpr):
        with raises(ValueError, round(fpr, 6)):
            implied_fpr(base, ppv, tpr)

    def test_everybody_is_selected(self):
        assert_close(implied_fpr(0.5, 0.5, 1.0), 1.0)


class TestOddsFlips:
    def test_the_example_worked_by_hand(self):
        assert_close(odds_flips(0.2, 0.8, 0.35, 0.65), (0.25, 0.75))

    @pytest.mark.parametrize(("p0", "p1"), [(0.1, 0.7), (0.9, 0.2), (0.0, 1.0), (1.0, 0.0), (0.4, 0.4)])
    @pytest.mark.parametrize(("fpr", "tpr"), [(0.1, 0.7), (0.6, 0.3)])
    def test_comes_back_from_where_they_lead(self, p0, p1, fpr, tpr):
        target = p1 * fpr + p0 * (1 - fpr), p1 * tpr + p0 * (1 - tpr)
        assert_close(odds_flips(fpr, tpr, *target), (p0, p1))

    def test_on_the_border_rounding_refuses_nothing(self, rng):
        for fpr, tpr in rng.random((60, 2)):
            for p0, p1 in ((0.0, 1.0), (1.0, 0.0), (0.0, 0.3), (1.0, 0.3), (0.3, 0.0), (0.3, 1.0)):
                target = p1 * fpr + p0 * (1 - fpr), p1 * tpr + p0 * (1 - tpr)
                if abs(tpr - fpr) > 0.05:
                    assert_close(odds_flips(fpr, tpr, *target), (p0, p1))

    @pytest.mark.parametrize(("p0", "p1"), [(-0.25, 0.75), (0.5, 1.25), (1.25, 0.5), (0.5, -0.25)])
    def test_out_of_reach(self, p0, p1):
        fpr, tpr = 0.25, 0.75
        target = p1 * fpr + p0 * (1 - fpr), p1 * tpr + p0 * (1 - tpr)
        with raises(ValueError, p0, p1):
            odds_flips(fpr, tpr, *target)

    @pytest.mark.parametrize("both", [0.3, 0.5])
    def test_a_model_that_knows_nothing(self, both):
        with raises(ValueError, both):
            odds_flips(both, both, 0.2, 0.2)


class TestFlip:
    @pytest.mark.parametrize("dtype", [int, bool])
    def test_sure_chances(self, dtype):
        decisions, groups = np.array([0, 1, 0, 1, 0, 1]), np.array(["a", "a", "b", "b", "c", "c"])
        chances = {"a": (1.0, 0.0), "b": (0.0, 1.0), "c": (0.0, 0.0)}
        found = flip(decisions.astype(dtype), groups, chances, np.random.default_rng(0))
        assert_equal(found, np.array([1, 0, 0, 1, 0, 0]))

    def test_the_rates_are_the_chances(self, rng):
        decisions, groups = np.tile([0, 1], 4000), np.repeat([7, 3], 4000)
        found = flip(decisions, groups, {7: (0.1, 0.8), 3: (0.4, 0.6)}, rng)
        rates = [float(found[(groups == g) & (decisions == d)].mean()) for g in (7, 3) for d in (0, 1)]
        assert_close(rates, [0.1, 0.8, 0.4, 0.6], atol=0.055, rtol=0)  # five standard errors

    def test_each_person_alone(self, rng):
        found = flip(np.ones(4000, dtype=int), np.full(4000, "a"), {"a": (0.0, 0.5)}, rng)
        same = float((found[1:] == found[:-1]).mean())
        assert_close(same, 0.5, atol=0.05, rtol=0)

    def test_the_odds_become_equal(self, rng):
        n = 20000
        groups, labels = np.repeat(["a", "b"], n), np.tile([0, 1], n)
        points, target = {"a": (0.1, 0.7), "b": (0.2, 0.8)}, (0.25, 0.6)
        decisions = (rng.random(2 * n) < [points[g][y] for g, y in zip(groups, labels, strict=True)]).astype(int)
        chances = {g: odds_flips(*points[g], *target) for g in points}
        found = flip(decisions, groups, chances, rng)
        rates = [float(found[(groups == g) & (labels == y)].mean()) for g in ("a", "b") for y in (0, 1)]
        assert_close(rates, [0.25, 0.6] * 2, atol=0.025, rtol=0)  # five standard errors

    def test_all_draws_come_from_the_generator(self):
        decisions, groups = np.tile([0, 1], 20), np.full(40, "a")
        before = np.random.get_state()[1].copy()
        one, two, other = (flip(decisions, groups, {"a": (0.5, 0.5)}, np.random.default_rng(s)) for s in (1, 1, 2))
        assert_equal((one.tolist() == two.tolist(), one.tolist() == other.tolist()), (True, False))
        assert_equal(bool((before == np.random.get_state()[1]).all()), True)
