"""Judges k21_anomalies_and_imbalance against path lengths by hand, scikit-learn, geometry and brute force."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k21_anomalies_and_imbalance import (
    IsolationForest,
    average_path,
    balanced_weights,
    best_threshold,
    corrected_probability,
    cost_threshold,
    grow_tree,
    path_lengths,
    smote,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]

C3, C4 = 1.2073922, 1.8516560


def formula(n):
    """The lesson's c(n)."""
    return 0.0 if n < 2 else 1.0 if n == 2 else 2 * (math.log(n - 1) + 0.5772156649015329) - 2 * (n - 1) / n


def walk(tree, row):
    """The depth of a row's leaf, and the leaf's size."""
    depth = 0
    while "size" not in tree:
        tree = tree["left"] if row[tree["feature"]] < tree["threshold"] else tree["right"]
        depth += 1
    return depth, tree["size"]


def look_into(tree, x, limit):
    """Fails where a tree can't have been grown from the rows `x`."""
    if "size" in tree:
        assert_equal(tree["size"], len(x))
        if limit > 0 and len(np.unique(x, axis=0)) > 1:
            fail(
                f"a leaf at {limit} levels above the limit holds {len(x)} rows that aren't all equal", evidence="early"
            )
        return
    if limit == 0:
        fail("the tree is deeper than the limit", evidence="deep")
    column = x[:, tree["feature"]]
    if not column.min() <= tree["threshold"] <= column.max() or column.min() == column.max():
        fail(
            f"feature {tree['feature']} goes from {column.min()} to {column.max()} here, the threshold is {tree['threshold']}",
            evidence="outside",
        )
    left = column < tree["threshold"]
    look_into(tree["left"], x[left], limit - 1)
    look_into(tree["right"], x[~left], limit - 1)


class TestAveragePath:
    @pytest.mark.parametrize(("n", "expected"), [(0, 0.0), (1, 0.0), (2, 1.0), (3, C3), (4, C4)])
    def test_by_hand(self, n, expected):
        assert_close(average_path(n), expected)

    @pytest.mark.parametrize("n", [5, 17, 256, 100_000])
    def test_matches_scikit_learn(self, n):
        from sklearn.ensemble._iforest import _average_path_length

        assert_close(average_path(n), float(_average_path_length(np.array([n]))[0]))


class TestGrowTree:
    @pytest.mark.parametrize(("n", "d"), [(40, 3), (25, 1), (2, 5)])
    @pytest.mark.parametrize("limit", [1, 4, 30])
    def test_parts_the_rows_until_they_are_alone_or_the_limit_is_reached(self, rng, n, d, limit):
        x = rng.normal(size=(n, d))
        look_into(grow_tree(x, limit, rng), x, limit)

    def test_integers_with_equal_rows(self, rng):
        x = rng.integers(0, 3, (60, 2))
        look_into(grow_tree(x, 12, rng), x, 12)

    @pytest.mark.parametrize(
        ("x", "limit"), [(np.ones((5, 2)), 3), (np.arange(8.0).reshape(4, 2), 0), (np.ones((1, 3)), 4)]
    )
    def test_a_leaf_alone(self, rng, x, limit):
        assert_equal(grow_tree(x, limit, rng), {"size": len(x)})

    @pytest.mark.parametrize(
        "column",
        [np.array([2.0, 2.0, 2.1, 12.0]), np.array([3, 4, 3]), np.array([-100, 100, -99, -99], dtype=np.int8)],
        ids=["floats", "integers", "int8"],
    )
    def test_the_threshold_is_uniform_between_the_ends(self, rng, column):
        low, high = float(column.min()), float(column.max())
        shares = [(grow_tree(column[:, None], 1, rng)["threshold"] - low) / (high - low) for _ in range(900)]
        # The deviations of mean and deviation are 0.0096 and 0.0044.
        assert_close((float(np.mean(shares)), float(np.std(shares))), (0.5, 12**-0.5), atol=0.055, rtol=0)

    def test_every_feature_that_varies_is_as_likely(self, rng):
        x = np.array([[7.0, 0.0, 1.0, 5.0], [7.0, 1.0, 1e6, 5.1], [7.0, 0.5, -3.0, 5.2]])
        features = [grow_tree(x, 1, rng)["feature"] for _ in range(900)]
        # 300 each, with a deviation of 14.
        assert_close([float(features.count(j)) for j in range(4)], [0.0, 300.0, 300.0, 300.0], atol=80, rtol=0)

    def test_equal_generators_agree(self):
        x = np.arange(30.0).reshape(15, 2) ** 2
        first, again = (grow_tree(x, 6, np.random.default_rng(8)) for _ in range(2))
        assert_equal(first, again)


HAND_TREE = {"feature": 0, "threshold": 5.0, "left": {"size": 3}, "right": {"size": 1}}


class TestPathLengths:
    def test_the_example_worked_by_hand(self):
        assert_close(path_lengths(HAND_TREE, np.array([[9], [1], [5]])), np.array([1.0, 1 + C3, 1.0]))

    def test_a_leaf_alone(self):
        assert_close(path_lengths({"size": 4}, np.zeros((3, 2))), np.full(3, C4))

    def test_walks_down_a_tree_of_several_features(self, rng):
        inner = {
            "feature": 2,
            "threshold": -0.5,
            "left": {"size": 2},
            "right": {"feature": 1, "threshold": 0.1, "left": {"size": 9}, "right": {"size": 1}},
        }
        tree = {"feature": 1, "threshold": 0.4, "left": inner, "right": {"size": 0}}
        x = rng.normal(size=(40, 3))
        expected = [depth + formula(size) for depth, size in (walk(tree, row) for row in x)]
        assert_close(path_lengths(tree, x), np.array(expected))

    def test_no_rows(self):
        assert_close(path_lengths(HAND_TREE, np.zeros((0, 1))), np.zeros(0))


class TestIsolationForest:
    @pytest.mark.parametrize(("n", "sample", "trees"), [(50, 16, 7), (20, 20, 4), (12, 256, 3), (2, 4, 5)])
    def test_scores_follow_from_the_trees(self, rng, n, sample, trees):
        x, new = rng.normal(size=(n, 3)), 2 * rng.normal(size=(9, 3))
        forest = IsolationForest(trees, sample, rng)
        forest.fit(x)
        assert_equal(len(forest.trees), trees)
        size = min(sample, n)
        lengths = [[depth + formula(s) for depth, s in (walk(tree, row) for row in new)] for tree in forest.trees]
        assert_close(forest.score(new), 2 ** (-np.mean(lengths, axis=0) / formula(size)))

    @pytest.mark.parametrize(("n", "limit"), [(16, 4), (17, 5)])
    def test_a_tree_of_all_rows_uses_each_once(self, rng, n, limit):
        x = rng.normal(size=(n, 2))
        forest = IsolationForest(5, n, rng)
        forest.fit(x)
        for tree in forest.trees:
            look_into(tree, x, limit)

    def test_each_tree_has_a_sample_of_its_own(self, rng):
        x = rng.normal(size=(64, 1))
        forest = IsolationForest(6, 8, rng)
        forest.fit(x)
        if len({str(tree) for tree in forest.trees}) < 6:
            fail("the trees are all alike; draw rows and splits anew for each", evidence="alike")

        def leaves(tree):
            return tree["size"] if "size" in tree else leaves(tree["left"]) + leaves(tree["right"])

        assert_equal([leaves(tree) for tree in forest.trees], [8] * 6)
        thresholds = [tree["threshold"] for tree in forest.trees]
        if np.ptp(x) * 0.02 > np.ptp(thresholds):
            fail("all trees split at the same place", evidence="same")

    def test_equal_generators_agree(self, rng):
        x, trees = rng.normal(size=(64, 2)), []
        for _ in range(2):
            forest = IsolationForest(3, 8, np.random.default_rng(5))
            forest.fit(x)
            trees.append(forest.trees)
        if trees[0] != trees[1]:
            fail("two equal generators give different trees; draw the rows with `rng`, too", evidence="two streams")

    def test_the_samples_differ(self, rng):
        # Two rows a tree: its threshold is as large as the larger of the two, and rows grow fourfold.
        x = 4.0 ** np.arange(16)[:, None]
        forest = IsolationForest(60, 2, rng)
        forest.fit(x)
        sizes = {int(math.log(tree["threshold"], 4)) for tree in forest.trees}
        if len(sizes) < 6:
            fail("all trees are grown from the same rows; draw anew for each", evidence="one sample")

    def test_scores_are_as_high_as_scikit_learns(self, rng):
        from sklearn.ensemble import IsolationForest as Oracle

        x = np.concatenate([rng.normal(size=(120, 2)), [[6.0, 6.0], [-7.0, 0.0]]])
        forest = IsolationForest(150, 64, rng)
        forest.fit(x)
        oracle = Oracle(n_estimators=150, max_samples=64, random_state=int(rng.integers(1000))).fit(x)
        # Both are means over 150 random trees: rows differ by some 0.01.
        assert_close(forest.score(x), -oracle.score_samples(x), atol=0.075, rtol=0)

    def test_finds_planted_outliers(self, rng):
        from sklearn.metrics import roc_auc_score

        usual = rng.normal(size=(200, 4)) * [1, 5, 0.2, 3]
        directions = rng.normal(size=(8, 4))
        planted = 7 * directions / np.linalg.norm(directions, axis=1)[:, None] * [1, 5, 0.2, 3]
        x = np.concatenate([usual, planted])
        forest = IsolationForest(100, 128, rng)
        forest.fit(x)
        auc = roc_auc_score(np.arange(208) >= 200, forest.score(x))
        if auc < 0.95:
            fail(f"planted outliers are ranked with an AUC of {auc:.2f} only", evidence=("auc", round(auc, 1)))

    def test_a_second_fit_forgets_the_first(self, rng):
        forest = IsolationForest(5, 32, rng)
        forest.fit(rng.normal(size=(50, 3)))
        x = rng.normal(size=(9, 2))
        forest.fit(x)
        assert_equal(len(forest.trees), 5)
        for tree in forest.trees:
            look_into(tree, x, 4)

    @pytest.mark.parametrize("n", [0, 1])
    def test_rejects_fewer_than_two_rows(self, rng, n):
        with raises(ValueError, n):
            IsolationForest(3, 8, rng).fit(np.zeros((n, 2)))


def segments(x, k, point, margin=1e-9):
    """The pairs (row, one of its k nearest others) between which `point` lies."""
    found = set()
    for i in range(len(x)):
        others = sorted((j for j in range(len(x)) if j != i), key=lambda j: math.dist(x[i], x[j]))[:k]
        for j in others:
            step = x[j] - x[i]
            t = (point - x[i]) @ step / (step @ step)
            if -margin <= t <= 1 + margin and np.abs(x[i] + t * step - point).max() < margin:
                found.add((i, j))
    return found


class TestSmote:
    @pytest.mark.parametrize(("n", "d", "k"), [(6, 2, 3), (8, 3, 1), (4, 5, 3)])
    def test_lies_between_a_row_and_one_of_its_k_nearest(self, rng, n, d, k):
        x, used = rng.normal(size=(n, d)), set()
        made = smote(x, 400, k, rng)
        assert_equal((made.shape, made.dtype), ((400, d), np.dtype(float)))
        for point in made:
            between = segments(x, k, point)
            if not between:
                fail(f"a row that you made lies on no line from a row to one of its {k} nearest", evidence="off")
            used |= between
        everything = {pair for i in range(n) for pair in segments(x, k, x[i]) if pair[0] == i}
        # A single pair stays out with a chance of (1 - 1/18)^400, 1e-10.
        if not everything <= used:
            fail(
                f"{len(everything - used)} of {len(everything)} pairs of neighbours are never used",
                evidence=("unused", sorted(everything - used)),
            )

    @pytest.mark.parametrize(
        ("x", "margin"),
        [
            (np.array([[-100, 90], [100, 90], [-60, -100], [120, -120]], dtype=np.int8), 1e-9),
            # Here floats are 1e-7 apart, and their squares 128.
            (1e9 + np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 2.0], [3.0, 5.0]]), 1e-5),
        ],
        ids=["int8", "far from the origin"],
    )
    def test_the_nearest_are_told_exactly(self, rng, x, margin):
        made = smote(x, 60, 1, rng)
        x = x.astype(float)
        wrong = [not segments(x, 1, point, margin) for point in made]
        if any(wrong):
            fail(f"{sum(wrong)} of 60 new rows lie on no line from a row to the one nearest to it", evidence=wrong)

    def test_new_rows_are_new(self, rng):
        x = np.array([[0.0, 0.0], [1.0, 7.0], [5.0, 3.0]])
        made = smote(x, 300, 2, rng)
        assert_close(float((made[:, None] == x).all(axis=2).any(axis=1).mean()), 0.0)

    def test_goes_any_share_of_the_way(self, rng):
        made = smote(np.array([[0, 0], [10, 20]]), 900, 1, rng)
        shares = made[:, 0] / 10
        if len(np.unique(shares.round(9))) < 800:
            fail(
                f"900 new rows lie at {len(np.unique(shares.round(9)))} places only; draw u for each", evidence="places"
            )
        assert_close(made[:, 1], 2 * made[:, 0])
        # Uniform from 0 to 1, from either end: the deviation of the mean is 0.0096.
        assert_close((float(shares.mean()), float(shares.std())), (0.5, 12**-0.5), atol=0.055, rtol=0)

    @pytest.mark.parametrize("calls", [1, 450])
    def test_every_row_is_as_likely(self, rng, calls):
        x = np.array([[0.0], [1.0], [100.0], [101.0], [102.0]])
        made = np.concatenate([smote(x, 900 // calls, 1, rng) for _ in range(calls)])
        assert_close(float((made < 50).mean()), 0.4, atol=0.1, rtol=0)  # the deviation is 0.016

    def test_an_equal_row_is_a_neighbour(self, rng):
        x = np.array([[3.0, 1.0], [3.0, 1.0], [9.0, 9.0]])
        made = smote(x, 300, 1, rng)
        on_the_spot = (np.abs(made - x[0]).max(axis=1) < 1e-12).mean()
        # Two of three rows have their own double as the nearest.
        assert_close(float(on_the_spot), 2 / 3, atol=0.16, rtol=0)

    def test_nothing_to_make(self, rng):
        assert_close(smote(np.arange(6.0).reshape(3, 2), 0, 2, rng), np.zeros((0, 2)))

    def test_equal_generators_agree(self):
        x = np.arange(10.0).reshape(5, 2) ** 2
        first, again, other = (smote(x, 6, 2, np.random.default_rng(s)) for s in (1, 1, 2))
        assert_close(first, again)
        if np.array_equal(first, other):
            fail("two generators make the same rows; draw with rng", evidence="not random")

    @pytest.mark.parametrize("k", [0, 4, 5])
    def test_rejects_a_k_that_does_not_fit(self, rng, k):
        with raises(ValueError, k, 4):
            smote(np.arange(8.0).reshape(4, 2), 3, k, rng)


class TestBalancedWeights:
    def test_the_example_worked_by_hand(self):
        assert_close(balanced_weights(np.array(list("aaba"))), np.array([2 / 3, 2 / 3, 2, 2 / 3]))

    @pytest.mark.parametrize("counts", [(7, 2), (1, 12, 5), (4, 4, 4, 9)])
    def test_matches_scikit_learn(self, rng, counts):
        from sklearn.utils.class_weight import compute_sample_weight

        y = rng.permutation(np.repeat(5 * np.arange(len(counts)) - 3, counts))
        got = balanced_weights(y)
        assert_close(got, compute_sample_weight("balanced", y))
        assert_close(float(got.sum()), float(len(y)))

    def test_a_single_class(self):
        assert_close(balanced_weights(np.array([4, 4])), np.ones(2))


class TestCostThreshold:
    @pytest.mark.parametrize(("false_alarm", "miss", "expected"), [(1, 9, 0.1), (3.0, 1.0, 0.75), (2, 2, 0.5)])
    def test_by_hand(self, false_alarm, miss, expected):
        assert_close(cost_threshold(false_alarm, miss), expected)

    @pytest.mark.parametrize(("false_alarm", "miss"), [(1.0, 4.0), (5.0, 2.0)])
    def test_is_cheapest_for_calibrated_probabilities(self, false_alarm, miss):
        p = (np.arange(2000) + 0.5) / 2000
        costs = [(false_alarm * (1 - p[p >= t])).sum() + (miss * p[p < t]).sum() for t in p]
        assert_close(cost_threshold(false_alarm, miss), float(p[np.argmin(costs)]), atol=1e-3, rtol=0)  # the grid


class TestBestThreshold:
    @pytest.mark.parametrize(("miss", "expected"), [(3.0, (0.4, 1.0)), (0.25, (0.9, 0.25))])
    def test_the_example_worked_by_hand(self, miss, expected):
        assert_close(best_threshold(np.array([1, 0, 1, 0]), np.array([0.9, 0.6, 0.4, 0.2]), 1.0, miss), expected)

    @pytest.mark.parametrize(("false_alarm", "miss"), [(1.0, 1.0), (1.0, 6.0), (4.0, 0.5), (2.5, 3.0)])
    @pytest.mark.parametrize("n", [5, 80])
    def test_matches_brute_force_with_ties(self, rng, n, false_alarm, miss):
        y, scores = rng.random(n) < 0.4, rng.integers(0, 12, n) / 4
        best = (math.inf, 0.0)
        for t in [math.inf, *sorted(set(scores.tolist()), reverse=True)]:
            cost = sum(
                miss if truth and s < t else false_alarm if not truth and s >= t else 0.0
                for truth, s in zip(y, scores, strict=True)
            )
            best = min(best, (cost, -t))
        assert_close(best_threshold(y, scores, false_alarm, miss), (-best[1], float(best[0])))

    @pytest.mark.parametrize(
        ("y", "expected"), [([0, 0, 0], (np.inf, 0.0)), ([1, 1, 1], (2.0, 0.0)), ([0, 1, 1], (5.0, 0.0))]
    )
    def test_one_class_alone_and_a_clean_cut(self, y, expected):
        assert_close(best_threshold(np.array(y), np.array([2, 7, 5]), 1.0, 2.0), expected)

    def test_of_equal_costs_the_highest_threshold(self):
        assert_close(best_threshold(np.array([0, 1]), np.array([3.0, 2.0]), 1.0, 1.0), (np.inf, 1.0))
        # A miss more and a false alarm less: 3 and 1 cost the same, 2 and inf cost more.
        assert_close(best_threshold(np.array([1, 0, 1]), np.array([3.0, 2.0, 1.0]), 1.0, 1.0), (3.0, 1.0))
        assert_close(best_threshold(np.array([1, 0, 1]), np.array([1.0, 2.0, 3.0]), 1.0, 1.0), (3.0, 1.0))

    def test_a_false_alarm_costs_what_it_costs(self):
        # Calling both positive costs one false alarm; that is less than a miss, or more.
        y, scores = np.array([1, 0]), np.array([1.0, 2.0])
        assert_close(best_threshold(y, scores, 2.5, 3.0), (1.0, 2.5))
        assert_close(best_threshold(y, scores, 0.25, 0.5), (1.0, 0.25))


class TestCorrectedProbability:
    def test_the_example_worked_by_hand(self):
        assert_close(corrected_probability(np.array([0.9, 0.5]), 0.5, 0.1), np.array([0.5, 0.1]))

    @pytest.mark.parametrize(("trained", "true"), [(0.5, 0.02), (0.3, 0.6)])
    def test_is_bayes_rule_with_another_prior(self, rng, trained, true):
        # Likelihoods of the two classes, and the posterior that each prior gives.
        of_positive, of_negative = rng.random(9), rng.random(9)
        p = trained * of_positive / (trained * of_positive + (1 - trained) * of_negative)
        expected = true * of_positive / (true * of_positive + (1 - true) * of_negative)
        assert_close(corrected_probability(p, trained, true), expected)

    def test_float32_becomes_float64(self):
        p = np.array([0.9, 0.3], dtype=np.float32)
        # Odds are divided by 1/3, those of 0.25, and multiplied by 1/24, those of 0.04.
        odds = [float(v) / (1 - float(v)) / 8 for v in p]
        expected = np.array([o / (1 + o) for o in odds])
        assert_close(corrected_probability(p, 0.25, 0.04), expected)

    def test_certainty_stays(self):
        assert_close(corrected_probability(np.array([0, 1]), 0.5, 0.01), np.array([0.0, 1.0]))
