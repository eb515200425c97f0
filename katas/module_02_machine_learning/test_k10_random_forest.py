"""Judges k10_random_forest by brute force over its own trees, against scikit-learn's importances, and on wine."""

import math
from collections import Counter

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k09_decision_tree import Node
from katas.module_02_machine_learning.k10_random_forest import (
    RandomForestClassifier,
    bootstrap,
    forest_variance,
    impurity_importance,
    permutation_importance,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]


def seeded(seed=5):
    return np.random.default_rng(seed)


class TestBootstrap:
    @pytest.mark.parametrize("n", [1, 2, 9, 300])
    def test_n_rows_and_those_that_are_missing(self, n, rng):
        rows, out = bootstrap(n, rng)
        assert_equal(len(rows), n)
        assert set(rows.tolist()) <= set(range(n)), (
            f"rows run from 0 to {n - 1}, but there are {sorted(set(rows.tolist()) - set(range(n)))}"
        )
        assert np.issubdtype(rows.dtype, np.integer) and np.issubdtype(out.dtype, np.integer), "both must hold integers"
        assert_equal(out.tolist(), sorted(set(range(n)) - set(rows.tolist())))

    def test_every_row_is_as_likely_as_another(self, rng):
        # 20,000 draws of 10 rows: 2000 each, standard deviation 42.
        counts = Counter(np.concatenate([bootstrap(10, rng)[0] for _ in range(2000)]).tolist())
        assert all(1780 < counts[i] < 2220 for i in range(10)), (
            f"of 2000 draws on average, the rows were drawn {sorted(counts.items())}"
        )

    def test_a_third_is_out_of_bag(self, rng):
        # (1 - 1/1000)^1000 = 0.3677; the standard deviation of the share is below 0.01.
        share = len(bootstrap(1000, rng)[1]) / 1000
        assert abs(share - 0.3677) < 0.06, (
            f"{share:.0%} of the rows are out of bag, expected about 37%: draw with replacement"
        )

    def test_the_generator_decides(self, rng):
        assert_equal(bootstrap(50, seeded())[0].tolist(), bootstrap(50, seeded())[0].tolist())
        assert bootstrap(50, rng)[0].tolist() != bootstrap(50, rng)[0].tolist(), (
            "two draws from one generator are the same"
        )


class TestForestVariance:
    @pytest.mark.parametrize(("trees", "expected"), [(1, 4.0), (3, 2.0), (10**9, 1.0)])
    def test_the_example_worked_by_hand(self, trees, expected):
        assert_close(forest_variance(4.0, 0.25, trees), expected)

    @pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("trees", [2, 7])
    def test_is_the_mean_of_a_covariance_matrix(self, correlation, trees, rng):
        variance = float(rng.uniform(0.5, 9))
        covariance = variance * (correlation + (1 - correlation) * np.eye(trees))
        assert_close(forest_variance(variance, correlation, trees), float(covariance.mean()))


def blobs(rng, n=60, d=4, labels=(3, 7, -1)):
    y = rng.choice(labels, n)
    x = rng.normal(size=(n, d))
    x[:, 0] += y / 3
    return x, y


def fitted(model, x, y, rng):
    model.fit(x, y, rng)
    return model


def shares(tree, x, classes):
    """The tree's shares of the forest's classes, each row led down by itself."""
    table = np.zeros((len(x), len(classes)))
    places = [list(classes).index(c) for c in tree.classes]
    for i, row in enumerate(x):
        node = tree.root
        while node.left is not None:
            node = node.left if row[node.feature] <= node.threshold else node.right
        table[i, places] = node.value
    return table


def depth(node):
    return 0 if node.left is None else 1 + max(depth(node.left), depth(node.right))


def columns(node):
    return set() if node.left is None else {int(node.feature)} | columns(node.left) | columns(node.right)


def leaves(node):
    return [node] if node.left is None else leaves(node.left) + leaves(node.right)


class TestRandomForestClassifier:
    @pytest.mark.parametrize(("trees", "min_leaf"), [(1, 1), (7, 1), (12, 6)])
    def test_each_member_is_grown_on_its_bootstrap(self, trees, min_leaf, rng):
        x, y = blobs(rng)
        model = fitted(RandomForestClassifier(trees, min_leaf=min_leaf), x, y, rng)
        assert_equal((len(model.members), len(model.rows)), (trees, trees))
        for tree, rows in zip(model.members, model.rows, strict=True):
            assert_equal(len(rows), 60)
            assert_equal(tree.root.rows, 60)
            assert_equal(list(tree.classes), sorted(set(y[rows].tolist())))
            assert_close(tree.root.value, np.array([(y[rows] == c).mean() for c in tree.classes]))
            # What each leaf says of the bootstrap's rows is their shares.
            assert_close(shares(tree, x[rows], tree.classes).mean(axis=0), tree.root.value)

    def test_the_bootstraps_differ(self, rng):
        x, y = blobs(rng)
        model = fitted(RandomForestClassifier(8), x, y, rng)
        assert_equal(len({tuple(rows.tolist()) for rows in model.rows}), 8)
        assert all(len(set(rows.tolist())) < 60 for rows in model.rows), (
            "no bootstrap repeats a row: draw with replacement"
        )

    @pytest.mark.parametrize(("trees", "min_leaf"), [(1, 4), (9, 5), (15, 1)])
    def test_averages_the_shares_of_its_members(self, trees, min_leaf, rng):
        x, y = blobs(rng)
        new = rng.normal(size=(20, 4))
        model = fitted(RandomForestClassifier(trees, min_leaf=min_leaf), x, y, rng)
        assert_equal(list(model.classes), [-1, 3, 7])
        expected = np.mean([shares(tree, new, model.classes) for tree in model.members], axis=0)
        assert_close(model.predict_proba(new), expected)

    def test_a_bootstrap_may_lack_a_class(self, rng):
        x, y = rng.normal(size=(15, 3)), np.array(["b"] * 7 + ["rare"] + ["z"] * 6 + ["a"])
        model = fitted(RandomForestClassifier(40, min_leaf=3), x, y, rng)
        # Each of the two rare labels is missing in a bootstrap with probability 0.36.
        assert {len(tree.classes) for tree in model.members} - {4}, "every one of 40 bootstraps has both rare labels"
        expected = np.mean([shares(tree, x, ["a", "b", "rare", "z"]) for tree in model.members], axis=0)
        assert_close(model.predict_proba(x), expected)
        assert_close(expected.sum(axis=1), np.ones(15))

    def test_predicts_the_label_of_the_largest_mean(self, rng):
        x, y = blobs(rng, labels=(0, 1, 2))
        y = np.array(["dog", "cat", "emu"])[y]
        new = rng.normal(size=(30, 4))
        model = fitted(RandomForestClassifier(5, min_leaf=4), x, y, rng)
        got = model.predict(new)
        assert_equal(
            [str(label) for label in got], [str(model.classes[k]) for k in model.predict_proba(new).argmax(axis=1)]
        )

    def test_of_equal_means_the_first_label(self, rng):
        model = RandomForestClassifier(2)
        for _ in range(200):
            model.fit(np.zeros((4, 1)), np.array([9, 9, 4, 4]), rng)
            p = model.predict_proba(np.zeros((1, 1)))[0]
            if p[0] == p[1]:
                assert_equal(model.predict(np.zeros((1, 1))).tolist(), [4])
                return
        fail("200 forests of two trees, and never two equal means", evidence="no tie")

    @pytest.mark.parametrize("trees", [1, 3, 30])
    def test_out_of_bag_means_ask_only_members_that_lack_the_row(self, trees, rng):
        x, y = blobs(rng, 25)
        model = fitted(RandomForestClassifier(trees, min_leaf=2), x, y, rng)
        expected, right = np.full((25, len(model.classes)), np.nan), []
        for i in range(25):
            asked = [tree for tree, rows in zip(model.members, model.rows, strict=True) if i not in rows]
            if asked:
                expected[i] = np.mean([shares(tree, x[i : i + 1], model.classes)[0] for tree in asked], axis=0)
                right.append(model.classes[model.oob_proba[i].argmax()] == y[i])
        assert_close(model.oob_proba, expected)
        assert_close(model.oob_score, float(np.mean(right)) if right else math.nan)

    def test_no_row_is_out_of_bag(self, rng):
        model = fitted(RandomForestClassifier(3), np.array([[1.0]]), np.array([5]), rng)
        assert_close(model.oob_proba, np.array([[np.nan]]))
        assert_close(model.oob_score, math.nan)

    @pytest.mark.parametrize(
        ("d", "trees", "share", "margin"), [(8, 500, 2 / 8, 0.1), (100, 300, 0.1, 0.09), (3, 300, 1 / 3, 0.15)]
    )
    def test_draws_the_root_of_d_columns_rounded_down(self, d, trees, share, margin, rng):
        # Only the last column varies: a root that hasn't drawn it is a leaf.  The margins are 5 σ.
        x = np.zeros((16, d))
        x[:, -1] = np.arange(16)
        model = fitted(RandomForestClassifier(trees, max_depth=1), x, np.arange(16) % 2, rng)
        grown = np.mean([tree.root.left is not None for tree in model.members])
        assert abs(grown - share) < margin, (
            f"with {d} columns, {grown:.0%} of the roots drew the one that varies, expected {share:.0%}"
        )

    @pytest.mark.parametrize(("max_features", "share"), [(1, 0.2), (4, 0.8), (5, 1.0)])
    def test_draws_as_many_columns_as_it_is_told(self, max_features, share, rng):
        x = np.zeros((16, 5))
        x[:, 3] = np.arange(16)
        model = fitted(RandomForestClassifier(300, max_features, max_depth=1), x, np.arange(16) % 2, rng)
        grown = np.mean([tree.root.left is not None for tree in model.members])
        assert abs(grown - share) < 0.12, (
            f"with {max_features} of 5 columns, {grown:.0%} of the roots drew the one that varies, expected {share:.0%}"
        )

    @pytest.mark.parametrize("max_features", [1, 2])
    def test_each_node_draws_anew(self, max_features, rng):
        # Pure noise: a tree of some 30 splits comes upon all four columns.
        model = RandomForestClassifier(4, max_features)
        model.fit(rng.normal(size=(80, 4)), np.arange(80) % 2, rng)
        for tree in model.members:
            used = columns(tree.root)
            assert len(used) > max_features, (
                f"with max_features {max_features}, a whole tree splits on columns {sorted(used)} alone: "
                "each node draws anew"
            )

    @pytest.mark.parametrize("max_depth", [0, 1, 3])
    def test_max_depth_is_handed_to_the_trees(self, max_depth, rng):
        x, y = blobs(rng)
        model = fitted(RandomForestClassifier(5, max_depth=max_depth), x, y, rng)
        assert_equal(max(depth(tree.root) for tree in model.members), max_depth)

    @pytest.mark.parametrize("min_leaf", [1, 5, 9])
    def test_min_leaf_is_handed_to_the_trees(self, min_leaf, rng):
        x, y = blobs(rng)
        model = fitted(RandomForestClassifier(5, min_leaf=min_leaf), x, y, rng)
        smallest = min(leaf.rows for tree in model.members for leaf in leaves(tree.root))
        assert smallest >= min_leaf and (min_leaf > 1 or smallest == 1), (
            f"with min_leaf {min_leaf}, the smallest leaf has {smallest} rows"
        )

    @pytest.mark.parametrize("criterion", ["gini", "entropy"])
    def test_the_criterion_is_handed_to_the_trees(self, criterion, rng):
        x, y = blobs(rng, labels=(0, 1))
        model = fitted(RandomForestClassifier(4, criterion=criterion), x, y, rng)
        for tree in model.members:
            p = tree.root.value
            assert_close(tree.root.impurity, float(1 - p @ p if criterion == "gini" else -(p @ np.log2(p))))

    def test_the_defaults(self, rng):
        model = fitted(RandomForestClassifier(), *blobs(rng, 12, labels=(0, 1)), rng)
        assert_equal(len(model.members), 100)
        assert all(leaf.impurity == 0 for tree in model.members for leaf in leaves(tree.root)), (
            "by default, trees grow until their leaves are pure"
        )
        assert_close(
            model.members[0].root.impurity, float(1 - model.members[0].root.value @ model.members[0].root.value)
        )

    def test_the_generator_decides(self, rng):
        x, y = blobs(rng)
        one, other = (fitted(RandomForestClassifier(6), x, y, seeded()) for _ in range(2))
        assert_close(one.predict_proba(x), other.predict_proba(x))
        assert_close(one.oob_proba, other.oob_proba)
        different = fitted(RandomForestClassifier(6), x, y, seeded(6))
        assert not np.array_equal(one.oob_proba, different.oob_proba, equal_nan=True), (
            "two generators give the same forest"
        )

    def test_a_second_fit_forgets_the_first(self, rng):
        model = fitted(RandomForestClassifier(5), *blobs(rng), rng)
        model.fit(np.array([[1.0], [2.0], [3.0]]), np.array(["u", "v", "u"]), rng)
        assert_equal((len(model.members), len(model.rows), list(model.classes)), (5, 5, ["u", "v"]))
        assert_equal(model.oob_proba.shape, (3, 2))
        assert_equal(model.predict_proba(np.zeros((4, 1))).shape, (4, 2))

    def test_the_data_stay_as_they_are(self, rng):
        x, y = blobs(rng)
        before = x.copy(), y.copy()
        fitted(RandomForestClassifier(3), x, y, rng).predict(x)
        assert_equal((x, y), before)

    @pytest.mark.parametrize("trees", [0, -2])
    def test_rejects_a_forest_without_trees(self, trees):
        with raises(ValueError, trees):
            RandomForestClassifier(trees)

    def test_rejects_more_columns_than_there_are(self, rng):
        x, y = blobs(rng)
        with raises(ValueError, 5, 4):
            fitted(RandomForestClassifier(2, max_features=5), x, y, rng)
        fitted(RandomForestClassifier(2, max_features=4), x, y, rng)

    def test_wine_out_of_bag_and_held_out(self, wine, rng):
        x, y = wine
        train = rng.permutation(len(y)) % 3 > 0
        model = fitted(RandomForestClassifier(30), x[train], y[train], rng)
        held_out = float((model.predict(x[~train]) == y[~train]).mean())
        majority = max(Counter(y[~train].tolist()).values()) / int((~train).sum())
        assert held_out > majority + 0.3, (
            f"{held_out:.0%} of the wines are right; always the largest class gives {majority:.0%}"
        )
        # On 119 and 59 rows the two scores differ by some 3% by chance.
        assert abs(model.oob_score - held_out) < 0.15, (
            f"the OOB score is {model.oob_score:.0%}, on rows held out it is {held_out:.0%}"
        )

    def test_out_of_bag_says_chance_on_noise(self, rng):
        x, y = rng.normal(size=(200, 3)), np.arange(200) % 2
        model = fitted(RandomForestClassifier(15), x, y, rng)
        # Standard deviation 0.035; the trees know their own rows by heart.
        assert abs(model.oob_score - 0.5) < 0.25, (
            f"on pure noise the OOB score is {model.oob_score:.0%}: only trees that lack a row may judge it"
        )


def hand():
    pure_a, pure_b = Node(np.array([1.0, 0]), 1, 0.0), Node(np.array([0, 1.0]), 1, 0.0)
    right = Node(np.array([0.5, 0.5]), 2, 0.5, 0, 5.5, pure_b, pure_a)
    return Node(np.array([0.75, 0.25]), 4, 3 / 8, 1, 3.0, Node(np.array([1.0, 0]), 2, 0.0), right)


def copied(tree, i=0):
    """scikit-learn's tree as nodes."""
    node = Node(tree.value[i, 0], int(tree.n_node_samples[i]), float(tree.impurity[i]))
    if tree.children_left[i] >= 0:
        node.feature, node.threshold = int(tree.feature[i]), float(tree.threshold[i])
        node.left, node.right = copied(tree, tree.children_left[i]), copied(tree, tree.children_right[i])
    return node


class TestImpurityImportance:
    def test_the_example_worked_by_hand(self):
        assert_close(impurity_importance([hand()], 2), np.array([2 / 3, 1 / 3]))

    @pytest.mark.parametrize("d", [3, 5])
    def test_a_column_that_is_never_used_is_0(self, d):
        assert_close(impurity_importance([hand(), hand()], d)[2:], np.zeros(d - 2))

    def test_a_tree_counts_by_its_shares(self):
        # The second tree's impurities are a hundred times as large.
        other = Node(5.0, 10, 50.0, 1, 0.0, Node(4.0, 4, 20.0), Node(6.0, 6, 10.0))
        assert_close(impurity_importance([hand(), other], 2), np.array([1 / 3, 2 / 3]))

    def test_small_gains_are_shares_as_well(self):
        tiny = Node(5.0, 3, 2e-6, 1, 0.0, Node(4.0, 2, 1e-6), Node(6.0, 1, 0.0))
        assert_close(impurity_importance([tiny], 2), np.array([0.0, 1.0]))
        assert_close(impurity_importance([hand(), tiny], 2), np.array([1 / 3, 2 / 3]))

    def test_a_column_used_twice_adds_up(self):
        left = Node(1.0, 4, 2.0, 0, -1.0, Node(1.0, 1, 0.0), Node(2.0, 3, 1.0))
        right = Node(2.0, 6, 4.0, 2, 3.0, Node(1.0, 2, 1.0), Node(2.0, 4, 0.5))
        root = Node(5.0, 10, 8.0, 0, 2.5, left, right)
        # Column 0: 80 - 8 - 24 and 8 - 0 - 3, column 2: 24 - 2 - 2.
        assert_close(impurity_importance([root], 3), np.array([53, 0, 20]) / 73)

    def test_trees_without_a_gain(self):
        leaf = Node(1.0, 4, 0.5)
        idle = Node(1.0, 4, 0.5, 0, 0.0, Node(1.0, 2, 0.5), Node(1.0, 2, 0.5))
        assert_close(impurity_importance([leaf, idle], 3), np.zeros(3))
        assert_close(impurity_importance([leaf, hand(), idle], 2), np.array([2 / 3, 1 / 3]))

    @pytest.mark.parametrize("kind", ["classifier", "regressor"])
    def test_matches_scikit_learn(self, kind, rng):
        from sklearn.ensemble import RandomForestClassifier as Classifier
        from sklearn.ensemble import RandomForestRegressor as Regressor

        x = rng.normal(size=(60, 4))
        signal = x[:, 1] + x[:, 2] ** 2 + rng.normal(size=60)
        theirs = Classifier(6, random_state=1) if kind == "classifier" else Regressor(6, max_depth=4, random_state=1)
        theirs.fit(x, signal > 1 if kind == "classifier" else signal)
        roots = [copied(member.tree_) for member in theirs.estimators_]
        # Their rows are those drawn without repeats, weighted: the weights are what counts.
        for root, member in zip(roots, theirs.estimators_, strict=True):
            weigh(root, member.tree_)
        assert_close(impurity_importance(roots, 4), theirs.feature_importances_)


def weigh(node, tree, i=0):
    node.rows = int(tree.weighted_n_node_samples[i])
    if node.left is not None:
        weigh(node.left, tree, tree.children_left[i])
        weigh(node.right, tree, tree.children_right[i])


def accuracy(y, predicted):
    return float((y == predicted).mean())


class TestPermutationImportance:
    @pytest.mark.parametrize(("n", "d", "repeats"), [(30, 3, 2), (20, 5, 1), (25, 1, 4)])
    def test_is_the_loss_of_score_of_each_shuffle(self, n, d, repeats, rng):
        x, y, weights = rng.normal(size=(n, d)), rng.normal(size=n), 1 + np.arange(d)
        seen = []

        def predict(table):
            seen.append(table.copy())
            return table @ weights

        def score(truth, predicted):  # of its two arguments, one counts double
            return float(-np.abs(truth - 2 * predicted).mean())

        got = permutation_importance(predict, x, y, score, repeats, rng)
        assert_equal(len(seen), 1 + d * repeats)
        expected = [[] for _ in range(d)]
        for table in seen:
            changed = [j for j in range(d) if not np.array_equal(table[:, j], x[:, j])]
            if len(changed) > 1:
                fail(f"{len(changed)} columns are shuffled at once, expected one", evidence=len(changed))
            for j in changed:
                assert_close(np.sort(table[:, j]), np.sort(x[:, j]))
                expected[j].append(score(y, x @ weights) - score(y, table @ weights))
        assert_equal(got.shape, (d, repeats))
        assert_close(np.sort(got, axis=1), np.sort(np.array(expected), axis=1))

    def test_a_column_without_influence_costs_nothing(self, rng):
        x, y = rng.normal(size=(40, 3)), np.arange(40) % 2
        x[:, 1] += 4 * y
        drops = permutation_importance(lambda table: (table[:, 1] > 2).astype(int), x, y, accuracy, 3, rng)
        assert_close(drops[[0, 2]], np.zeros((2, 3)))
        assert (drops[1] > 0.1).all(), f"shuffling the only column that counts costs {drops[1]} of the accuracy"

    def test_shuffles_are_independent(self, rng):
        x, y = rng.normal(size=(30, 2)), rng.normal(size=30)
        drops = permutation_importance(lambda table: table[:, 0], x, y, lambda a, b: float(a @ b), 5, rng)
        assert_equal(len(set(drops[0].tolist())), 5)

    def test_each_entry_has_a_shuffle_of_its_own(self, rng):
        # All columns are alike, so equal shuffles would show.
        x, y, seen = np.repeat(np.arange(30.0)[:, None], 3, axis=1), np.arange(30.0), []

        def predict(table):
            seen.extend(tuple(column) for column in table.T.tolist() if column != y.tolist())
            return table[:, 0]

        permutation_importance(predict, x, y, lambda a, b: float(a @ b), 4, rng)
        assert_equal((len(seen), len(set(seen))), (12, 12))

    def test_the_generator_decides(self, rng):
        x, y = rng.normal(size=(30, 2)), rng.normal(size=30)
        one, other = (
            permutation_importance(lambda table: table.sum(axis=1), x, y, lambda a, b: float(a @ b), 2, seeded())
            for _ in range(2)
        )
        assert_close(one, other)

    def test_integers_stay_integers_for_the_model(self, rng):
        x, y = rng.integers(0, 9, (20, 2)), np.arange(20) % 2
        drops = permutation_importance(lambda table: np.array([0, 1] * 5)[table[:, 0]], x, y, accuracy, 2, rng)
        assert_equal(drops.dtype, np.dtype(np.float64))

    def test_noise_ranks_last_by_both(self, rng):
        x = rng.normal(size=(240, 5))
        y = (x[:, 1] + x[:, 4] > 0).astype(int)
        model = fitted(RandomForestClassifier(15, min_leaf=3), x[:120], y[:120], rng)
        by_impurity = impurity_importance([tree.root for tree in model.members], 5)
        by_shuffle = permutation_importance(model.predict, x[120:], y[120:], accuracy, 4, rng).mean(axis=1)
        for importance in (by_impurity, by_shuffle):
            assert min(importance[[1, 4]]) > max(importance[[0, 2, 3]]), (
                f"of columns 0 to 4, 1 and 4 decide, but the importances are {importance}"
            )
