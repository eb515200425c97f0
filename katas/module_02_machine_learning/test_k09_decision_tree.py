"""Judges k09_decision_tree against brute force over every split and scikit-learn's trees, on iris and wine."""

import math
from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_02_machine_learning.k09_decision_tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    Node,
    best_split,
    draw,
    grow,
    id3_split,
    impurity,
    leaf_rows,
    prune,
    pruning_path,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]

CRITERIA = ["gini", "entropy", "squared"]


def impurity_oracle(y, criterion):
    y = list(y)
    if criterion == "squared":
        mean = math.fsum(y) / len(y)
        return math.fsum((float(v) - mean) ** 2 for v in y) / len(y)
    p = [count / len(y) for count in Counter(y).values()]
    return 1 - sum(q * q for q in p) if criterion == "gini" else -sum(q * math.log2(q) for q in p)


def splits_oracle(x, y, criterion, min_leaf=1, features=None):
    """{(column, threshold): gain} of every split that is allowed."""
    found = {}
    for j in range(x.shape[1]) if features is None else features:
        values = np.unique(x[:, j].astype(float))
        for a, b in pairwise(values):
            left = x[:, j] <= a
            sizes = int(left.sum()), int((~left).sum())
            if min(sizes) >= min_leaf:
                parts = [
                    s / len(y) * impurity_oracle(y[part].tolist(), criterion)
                    for s, part in zip(sizes, (left, ~left), strict=True)
                ]
                found[int(j), (a + b) / 2] = impurity_oracle(y.tolist(), criterion) - sum(parts)
    return found


def targets(rng, n, criterion, classes=3):
    return rng.normal(50, 2, n) if criterion == "squared" else rng.integers(0, classes, n)


def check_tree(root, x, y, criterion, max_depth=None, min_leaf=1, depth=0, classes=None):
    """Every node of a tree by the letter of the stub; any of several best splits is right."""
    classes = int(y.max()) + 1 if classes is None else classes
    here = np.mean(y) if criterion == "squared" else np.bincount(y, minlength=classes) / len(y)
    assert_close(root.value, here if criterion != "squared" else float(here))
    assert_equal(root.rows, len(y))
    assert_close(root.impurity, impurity_oracle(y.tolist(), criterion))
    allowed = splits_oracle(x, y, criterion, min_leaf) if len(set(y.tolist())) > 1 else {}
    if max_depth is not None and depth >= max_depth:
        allowed = {}
    if not allowed:
        assert_equal((root.feature, root.threshold, root.left, root.right), (None, None, None, None))
        return 1
    if root.left is None:
        fail(f"a node of {len(y)} rows at depth {depth} is a leaf, but it could be split", evidence=(len(y), depth))
    gain = allowed.get((root.feature, root.threshold))
    if gain is None:
        fail(
            f"no allowed split of its node is at column {root.feature}, threshold {root.threshold}",
            evidence=(root.feature, root.threshold),
        )
    assert_close(gain, max(allowed.values()), rtol=0, atol=1e-9)
    goes = x[:, root.feature] <= root.threshold
    below = [
        check_tree(child, x[part], y[part], criterion, max_depth, min_leaf, depth + 1, classes)
        for child, part in ((root.left, goes), (root.right, ~goes))
    ]
    return sum(below)


def leaves(node):
    return [node] if node.left is None else leaves(node.left) + leaves(node.right)


def same(one, other):
    """Whether two trees are the same, node by node."""
    if (one.left is None) != (other.left is None):
        return False
    own = np.allclose(one.value, other.value) and one.rows == other.rows and np.isclose(one.impurity, other.impurity)
    if one.left is None:
        return bool(own)
    split = one.feature == other.feature and one.threshold == other.threshold
    return bool(own) and split and same(one.left, other.left) and same(one.right, other.right)


def copy(node):
    if node is None:
        return None
    value = np.copy(node.value) if isinstance(node.value, np.ndarray) else node.value
    return Node(value, node.rows, node.impurity, node.feature, node.threshold, copy(node.left), copy(node.right))


class TestImpurity:
    def test_the_example_worked_by_hand(self):
        assert_close(impurity(np.array(["A", "A", "B", "A"]), "gini"), 3 / 8)

    @pytest.mark.parametrize("criterion", CRITERIA)
    @pytest.mark.parametrize("n", [1, 2, 7, 40])
    def test_matches_its_formula(self, criterion, n, rng):
        y = targets(rng, n, criterion, 5)
        assert_close(impurity(y, criterion), impurity_oracle(y.tolist(), criterion))

    @pytest.mark.parametrize(("criterion", "expected"), [("gini", 0.75), ("entropy", 2.0)])
    def test_labels_may_be_negative_or_texts(self, criterion, expected):
        assert_close(impurity(np.array([-3, 7, 100, 5]), criterion), expected)
        assert_close(impurity(np.array(["x", "z", "y", "w"]), criterion), expected)

    @pytest.mark.parametrize("criterion", CRITERIA)
    def test_equal_targets_are_pure(self, criterion):
        assert_close(impurity(np.array([4, 4, 4]), criterion), 0.0)

    @pytest.mark.parametrize("shift", [1e3, 1e6])
    def test_targets_far_from_zero_lose_no_digits(self, shift, rng):
        y = shift + rng.integers(-8, 9, 30) / 8  # exact in binary
        assert_close(impurity(y, "squared"), impurity_oracle((y - shift).tolist(), "squared"), rtol=1e-9)

    def test_squared_takes_integers(self):
        assert_close(impurity(np.array([200, 100], np.uint8), "squared"), 2500.0)

    def test_float32_targets_are_computed_in_float64(self, rng):
        y = (1000 + rng.normal(size=30)).astype(np.float32)
        assert_close(impurity(y, "squared"), float(np.var(y.astype(np.float64))), rtol=1e-12, atol=0)

    @pytest.mark.parametrize("criterion", ["log2", "Gini"])
    def test_rejects_another_criterion(self, criterion):
        with raises(ValueError, criterion):
            impurity(np.array([0, 1]), criterion)


class TestBestSplit:
    @pytest.mark.parametrize(
        ("criterion", "y", "gain"),
        [
            ("gini", ["A", "A", "B", "A"], 1 / 8),
            ("entropy", ["A", "A", "B", "A"], impurity_oracle("AABA", "entropy") - 1 / 2),
            ("squared", [1.0, 1.0, 5.0, 1.0], 1.0),
        ],
    )
    def test_the_example_worked_by_hand(self, criterion, y, gain):
        got = best_split(np.array([[1.0], [2.0], [4.0], [7.0]]), np.array(y), criterion)
        assert_close(got, (0, 3.0, gain))

    @pytest.mark.parametrize("criterion", CRITERIA)
    @pytest.mark.parametrize(("n", "d"), [(2, 1), (9, 4), (40, 3)])
    @pytest.mark.parametrize("min_leaf", [1, 2, 5])
    def test_no_split_gains_more(self, criterion, n, d, min_leaf, rng):
        # Values repeat: equal ones can't be parted.
        x, y = rng.integers(0, 12, (n, d)) / 4, targets(rng, n, criterion)
        y[:2] = 0, 1
        self.check(best_split(x, y, criterion, min_leaf), splits_oracle(x, y, criterion, min_leaf))

    def check(self, got, allowed):
        if not allowed:
            assert got is None, f"best_split() gives {got}, but no split is allowed"
            return
        assert got is not None, "best_split() gives None, but a split is allowed"
        column, threshold, gain = got
        if (column, threshold) not in allowed:
            fail(f"no allowed split is at column {column}, threshold {threshold}", evidence=(column, threshold))
        assert_close(gain, allowed[column, threshold], rtol=0, atol=1e-9)
        assert_close(gain, max(allowed.values()), rtol=0, atol=1e-9)

    @pytest.mark.parametrize("criterion", CRITERIA)
    @pytest.mark.parametrize("features", [[3], [4, 1], [0, 2, 3]])
    def test_looks_at_the_given_columns_only(self, criterion, features, rng):
        x, y = rng.normal(size=(25, 5)), targets(rng, 25, criterion)
        self.check(
            best_split(x, y, criterion, features=np.array(features)), splits_oracle(x, y, criterion, 1, features)
        )

    @pytest.mark.parametrize("criterion", ["gini", "entropy"])
    def test_xor_is_split_without_a_gain(self, criterion):
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        got = best_split(x, np.array([0, 1, 1, 0]), criterion)
        assert got is not None, "XOR is impure and can be split, at a gain of 0"
        assert_close(got[1:], (0.5, 0.0))

    @pytest.mark.parametrize("criterion", CRITERIA)
    def test_none_for_equal_targets_or_equal_rows(self, criterion):
        x = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 4.0]])
        assert best_split(x, np.array([3, 3, 3]), criterion) is None
        assert best_split(np.ones((3, 2)), np.array([0, 1, 0]), criterion) is None
        assert best_split(x[:1], np.array([1]), criterion) is None

    @pytest.mark.parametrize(("min_leaf", "expected"), [(1, 1.5), (2, 2.5), (3, 3.5), (4, None)])
    def test_exactly_min_leaf_rows_are_enough(self, min_leaf, expected):
        # The first row stands out: the nearer a split is to it the better.
        got = best_split(np.array([[1], [2], [3], [4], [5], [6]]), np.array([9.0, 0, 0, 0, 0, 0]), "squared", min_leaf)
        assert_equal(None if got is None else got[1], expected)

    def test_a_threshold_stays_below_the_larger_value(self):
        # Between neighbours among the floats there is no room: (a + b)/2 rounds to one of them.
        a = np.array([1.0, 1.0 + 2**-52, 3.0])
        for low in (a[0], a[1]):
            high = np.nextafter(low, 2.0)
            _, threshold, gain = best_split(np.array([[low], [high]]), np.array([0, 1]), "gini")
            assert_equal(threshold, float(low))
            assert_close(gain, 0.5)

    @pytest.mark.parametrize("shift", [1e3, 1e6])
    def test_targets_far_from_zero_lose_no_digits(self, shift, rng):
        x, y = rng.normal(size=(30, 2)), rng.normal(size=30)
        column, threshold, gain = best_split(x, y + shift, "squared")
        allowed = splits_oracle(x, y, "squared")
        assert_close(gain, max(allowed.values()), rtol=1e-6)  # y + shift itself is rounded
        assert_close(allowed[column, threshold], max(allowed.values()), rtol=1e-6)

    def test_float32_is_computed_in_float64(self, rng):
        x, y = rng.normal(size=(20, 3)).astype(np.float32), (1000 + rng.normal(size=20)).astype(np.float32)
        exact = x.astype(np.float64), y.astype(np.float64)
        assert_close(best_split(x, y, "squared"), best_split(*exact, "squared"), rtol=1e-12, atol=0)

    def test_integers_and_float32_are_fine(self, rng):
        x = rng.integers(0, 200, (20, 2)).astype(np.uint8)
        y = rng.integers(0, 250, 20).astype(np.uint8)
        self.check(best_split(x, y, "squared"), splits_oracle(x, y.astype(float), "squared"))
        x32 = (x / 8).astype(np.float32)
        self.check(best_split(x32, y % 3, "gini"), splits_oracle(x32, y % 3, "gini"))

    def test_labels_may_be_texts_or_negative(self, rng):
        x, y = rng.normal(size=(20, 2)), rng.integers(-3, 2, 20) * 50
        allowed = splits_oracle(x, y, "entropy")
        self.check(best_split(x, y, "entropy"), allowed)
        self.check(best_split(x, np.array([f"c{v}" for v in y]), "entropy"), allowed)

    @pytest.mark.parametrize("criterion", CRITERIA)
    def test_python_does_not_walk_over_the_rows(self, criterion, rng):
        few, many = (python_steps(best_split, rng.normal(size=(n, 3)), np.arange(n) % 3, criterion) for n in (30, 600))
        if many > 2 * few:
            fail(
                f"20 times the rows run {many} lines instead of {few}: sort, and take cumulative sums", evidence="loop"
            )

    def test_rejects_another_criterion(self):
        for y in ([0, 1], [1, 1]):
            with raises(ValueError, "mse"):
                best_split(np.array([[1.0], [2.0]]), np.array(y), "mse")


class TestGrow:
    @pytest.mark.parametrize("places", [3, 4])
    def test_neighbouring_float32_part(self, places):
        # What lies between them is no float32: rounded to one, it may be the larger of the two.
        low = np.float32(1 + places * 2.0**-23)
        root = grow(np.array([[low], [np.nextafter(low, np.float32(2))]], np.float32), np.array([3.0, 8.0]), "squared")
        assert_close((root.left.value, root.right.value), (3.0, 8.0))

    def test_neighbouring_floats_part(self):
        # Nothing lies between them, so the threshold is the lower one, and its row goes left.
        x = np.array([[1.0], [np.nextafter(1.0, 2.0)]])
        root = grow(x, np.array([3.0, 8.0]), "squared")
        assert_close((root.threshold, root.left.value, root.right.value), (1.0, 3.0, 8.0))

    def test_the_example_worked_by_hand(self):
        root = grow(np.array([[1], [2], [4], [7]]), np.array([0, 0, 1, 0]), "gini")
        assert_equal((root.feature, root.threshold, root.rows), (0, 3.0, 4))
        assert_close(root.value, np.array([0.75, 0.25]))
        assert_close(root.left.value, np.array([1.0, 0.0]))
        assert_equal(root.right.threshold, 5.5)
        assert_close(root.right.left.value, np.array([0.0, 1.0]))

    @pytest.mark.parametrize("criterion", CRITERIA)
    @pytest.mark.parametrize(("max_depth", "min_leaf"), [(None, 1), (0, 1), (1, 1), (3, 1), (None, 4), (2, 3)])
    def test_every_node_is_as_it_must_be(self, criterion, max_depth, min_leaf, rng):
        x, y = np.round(rng.normal(size=(24, 3)), 1), targets(rng, 24, criterion)
        check_tree(grow(x, y, criterion, max_depth, min_leaf), x, y, criterion, max_depth, min_leaf)

    def test_grows_until_all_leaves_are_pure(self, rng):
        x, y = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
        assert_close(
            [leaf.impurity for leaf in leaves(grow(x, y, "entropy"))], [0.0] * len(leaves(grow(x, y, "entropy")))
        )

    def test_xor_needs_two_levels(self):
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        assert_equal(len(leaves(grow(x, np.array([0, 1, 1, 0]), "gini"))), 4)

    def test_rows_that_are_equal_share_a_leaf(self):
        root = grow(np.array([[2.0], [2.0], [5.0]]), np.array([0, 2, 2]), "gini")
        assert_close(root.left.value, np.array([0.5, 0.0, 0.5]))
        assert_equal(root.left.left, None)

    def test_absent_classes_have_a_share_of_0(self):
        root = grow(np.array([[1.0], [2.0], [3.0]]), np.array([3, 3, 1]), "gini")
        assert_close(root.value, np.array([0, 1 / 3, 0, 2 / 3]))
        assert_close(root.right.value, np.array([0.0, 1.0, 0.0, 0.0]))

    @pytest.mark.parametrize("max_features", [1, 2])
    def test_each_node_draws_its_columns_anew(self, max_features, rng):
        # Each column by itself orders the rows: whichever is drawn is used.
        x = np.arange(32)[:, None] * np.arange(1, 6) + np.arange(5) * 0.25
        drawn = [set() for _ in range(2)]
        for _ in range(40):
            root = grow(x, np.arange(32) // 8 * 1.0, "squared", None, 1, max_features, rng)
            drawn[0].add(root.feature)
            drawn[1].add(root.left.feature == root.feature)
        # All columns gain the same: which one is used is the draw's choice, or the tie's.
        assert len(drawn[0]) > 1, "over 40 trees, the root always splits on the same column"
        assert drawn[1] == {True, False}, "the node below the root always draws what the root drew"

    @pytest.mark.parametrize(("max_features", "low", "high"), [(1, 4, 46), (3, 54, 96)])
    def test_no_other_column_than_the_drawn_ones(self, max_features, low, high, rng):
        # Only column 2 of four varies: a root that hasn't drawn it is a leaf.  25 and 75 expected, ± 4.3.
        x = np.zeros((8, 4))
        x[:, 2] = np.arange(8)
        grown = sum(grow(x, np.arange(8) % 2, "gini", 1, 1, max_features, rng).left is not None for _ in range(100))
        assert low <= grown <= high, (
            f"with {max_features} of 4 columns drawn, {grown} of 100 roots found the one that varies, expected about {25 * max_features}"
        )

    def test_all_columns_drawn_is_the_same_as_no_drawing(self, rng):
        x, y = rng.normal(size=(40, 3)), rng.normal(size=40)
        root = grow(x, y, "squared", 3, 5, 3, rng)
        check_tree(root, x, y, "squared", 3, 5)

    @pytest.mark.parametrize("seed", [0, 7])
    def test_the_same_draws_give_the_same_tree(self, seed, rng):
        x, y = rng.normal(size=(50, 6)), rng.integers(0, 3, 50)
        one, other = (grow(x, y, "gini", None, 2, 2, np.random.default_rng(seed)) for _ in range(2))
        assert same(one, other), "two generators with the same seed give two trees"

    def test_lengths_must_agree(self):
        with raises(ValueError, 3, 4):
            grow(np.ones((3, 2)), np.zeros(4, int), "gini")
        with raises(ValueError, 5, 4):
            grow(np.ones((5, 2)), np.zeros(4, int), "gini")

    def test_an_empty_table_is_refused(self):
        with raises(ValueError, "empty"):
            grow(np.ones((0, 2)), np.zeros(0), "squared")


def small_tree():
    """x₁ ≤ 2.5 leads to a leaf; else x₀ ≤ -1 parts 1 and 3."""
    right = Node(2.0, 4, 1.0, 0, -1.0, Node(1.0, 2, 0.0), Node(3.0, 2, 0.5))
    return Node(5.0, 8, 8.0, 1, 2.5, Node(9.0, 4, 0.25), right)


class TestLeafRows:
    def test_rows_by_leaf_from_left_to_right(self):
        x = np.array([[0.0, 9.0], [-1.0, 3.0], [5.0, 2.5], [-3.0, 1.0], [-2.0, 4.0]])
        got = leaf_rows(small_tree(), x)
        assert_equal([leaf.value for leaf, _ in got], [9.0, 1.0, 3.0])
        assert_equal([rows.tolist() for _, rows in got], [[2, 3], [1, 4], [0]])

    def test_leaves_are_those_of_the_tree(self):
        root = small_tree()
        got = [leaf for leaf, _ in leaf_rows(root, np.zeros((1, 2)))]
        assert all(a is b for a, b in zip(got, leaves(root), strict=True)), "the leaves must be the tree's own nodes"

    @pytest.mark.parametrize("n", [0, 1])
    def test_a_leaf_that_no_row_reaches(self, n):
        got = leaf_rows(small_tree(), np.zeros((n, 2)))
        assert_equal([rows.tolist() for _, rows in got], [list(range(n)), [], []])

    def test_a_tree_of_one_leaf(self):
        leaf = Node(1.0, 3, 0.0)
        [(got, rows)] = leaf_rows(leaf, np.ones((4, 2)))
        assert got is leaf
        assert_equal(rows.tolist(), [0, 1, 2, 3])

    def test_float32_values_are_compared_in_float64(self):
        # float32's 0.1 is larger than 0.1, its 0.3 larger than 0.3, its 0.7 smaller than 0.7.
        for value, rows in ((0.1, [[], [0]]), (0.3, [[], [0]]), (0.7, [[0], []])):
            root = Node(1.0, 2, 0.25, 0, value, Node(0.5, 1, 0.0), Node(1.5, 1, 0.0))
            got = leaf_rows(root, np.array([[value]], np.float32))
            assert_equal([part.tolist() for _, part in got], rows)

    def test_matches_a_walk_of_each_row(self, rng):
        x, y = rng.normal(size=(80, 3)), rng.normal(size=80)
        root, new = grow(x, y, "squared", 5, 2), rng.normal(size=(50, 3))
        got = leaf_rows(root, new)
        assert_equal(sorted(i for _, rows in got for i in rows.tolist()), list(range(50)))
        for leaf, rows in got:
            assert_equal(rows.tolist(), sorted(rows.tolist()))
            for row in new[rows]:
                node = root
                while node.left is not None:
                    node = node.left if row[node.feature] <= node.threshold else node.right
                assert node is leaf, "a row was led to a leaf that isn't its own"

    def test_python_does_not_walk_over_the_rows(self, rng):
        few, many = (python_steps(leaf_rows, small_tree(), rng.normal(size=(n, 2))) for n in (30, 900))
        if many > 2 * few:
            fail(
                f"30 times the rows run {many} lines instead of {few}: move all rows of a node at once", evidence="loop"
            )


def fitted(model, x, y, rng=None):
    model.fit(x, y) if rng is None else model.fit(x, y, rng)
    return model


class TestDecisionTreeClassifier:
    def test_labels_are_sorted_and_may_be_texts(self):
        x, y = np.array([[1.0], [2.0], [4.0], [4.0], [4.0]]), np.array(["dog", "dog", "cat", "ant", "ant"])
        model = fitted(DecisionTreeClassifier(), x, y)
        assert_equal(list(model.classes), ["ant", "cat", "dog"])
        assert_close(model.predict_proba(np.array([[0.0], [9.0]])), np.array([[0, 0, 1], [2 / 3, 1 / 3, 0]]))
        assert_equal(list(model.predict(np.array([[9.0], [0.0], [3.0]]))), ["ant", "dog", "dog"])

    @pytest.mark.parametrize("method", ["predict", "predict_proba"])
    def test_leaves_the_rows_as_they_were(self, method):
        x = np.array([[1.0], [2.0], [4.0]])
        model = fitted(DecisionTreeClassifier(), x.copy(), np.array([0, 1, 1]))
        getattr(model, method)(x)
        assert_equal(x.tolist(), [[1.0], [2.0], [4.0]])

    def test_of_equally_frequent_labels_the_first(self):
        model = fitted(DecisionTreeClassifier(), np.ones((4, 1)), np.array([7, -2, 7, -2]))
        assert_equal(model.predict(np.ones((2, 1))).tolist(), [-2, -2])

    @pytest.mark.parametrize("criterion", ["gini", "entropy"])
    @pytest.mark.parametrize(("max_depth", "min_leaf"), [(None, 1), (2, 1), (None, 6), (4, 3)])
    def test_the_tree_has_the_given_limits(self, criterion, max_depth, min_leaf, rng):
        x, y = np.round(rng.normal(size=(35, 2)), 1), rng.choice([10, 20, 40], 35)
        model = fitted(DecisionTreeClassifier(criterion, max_depth, min_leaf), x, y)
        codes = np.searchsorted([10, 20, 40], y)
        check_tree(model.root, x, codes, criterion, max_depth, min_leaf)
        shares = np.zeros((35, 3))
        for leaf, rows in leaf_rows(model.root, x):
            shares[rows] = leaf.value
        assert_close(model.predict_proba(x), shares)

    def test_the_defaults(self, rng):
        x, y = rng.normal(size=(40, 2)), rng.integers(0, 3, 40)
        check_tree(fitted(DecisionTreeClassifier(), x, y).root, x, y, "gini")

    @pytest.mark.parametrize("max_features", [1, 3])
    def test_draws_columns(self, max_features, rng):
        x, y = rng.normal(size=(40, 6)), rng.integers(0, 2, 40)
        model = DecisionTreeClassifier(max_features=max_features)
        one, other = (copy(fitted(model, x, y, np.random.default_rng(3)).root) for _ in range(2))
        assert same(one, other), "two generators with the same seed give two trees"
        different = [not same(one, fitted(model, x, y, rng).root) for _ in range(10)]
        assert any(different), "ten fits with max_features from one generator give the same tree"

    def test_a_second_fit_forgets_the_first(self, rng):
        model = fitted(DecisionTreeClassifier(), rng.normal(size=(20, 2)), rng.integers(0, 3, 20))
        fitted(model, np.array([[1.0], [2.0]]), np.array(["u", "v"]))
        assert_equal(list(model.classes), ["u", "v"])
        assert_close(model.predict_proba(np.array([[1.2], [5.0]])), np.eye(2))

    def test_two_trees_know_nothing_of_each_other(self, rng):
        x, y = rng.normal(size=(20, 2)), rng.integers(0, 3, 20)
        one, other = fitted(DecisionTreeClassifier(), x, y), DecisionTreeClassifier()
        fitted(other, -x, 1 - y)
        assert_equal(one.predict(x).tolist(), y.tolist())

    def test_no_rows_to_predict(self):
        model = fitted(DecisionTreeClassifier(), np.array([[1.0], [2.0]]), np.array([0, 1]))
        assert_close(model.predict_proba(np.zeros((0, 1))), np.zeros((0, 2)))

    @pytest.mark.parametrize("criterion", ["gini", "entropy"])
    def test_iris_as_scikit_learn_splits_it(self, criterion, iris):
        from sklearn.tree import DecisionTreeClassifier as Theirs

        x, y = iris
        model = fitted(DecisionTreeClassifier(criterion, max_depth=2), x, y)
        theirs = Theirs(criterion=criterion, max_depth=2, random_state=0).fit(x, y)
        # The first split is a tie of two columns that part the same rows.
        assert_close(model.predict_proba(x), theirs.predict_proba(x))

    def test_wine_from_rows_it_has_not_seen(self, wine):
        x, y = wine
        train = np.arange(len(y)) % 3 > 0
        model = fitted(DecisionTreeClassifier(min_leaf=3), x[train], y[train])
        right = float((model.predict(x[~train]) == y[~train]).mean())
        majority = max(Counter(y[~train].tolist()).values()) / int((~train).sum())
        assert right > majority + 0.3, (
            f"{right:.0%} of the wines are right; always the largest class gives {majority:.0%}"
        )


class TestDecisionTreeRegressor:
    @pytest.mark.parametrize(("max_depth", "min_leaf"), [(None, 1), (2, 1), (None, 6), (4, 3)])
    def test_the_tree_has_the_given_limits(self, max_depth, min_leaf, rng):
        x, y = np.round(rng.normal(size=(35, 2)), 1), rng.normal(size=35)
        model = fitted(DecisionTreeRegressor(max_depth, min_leaf), x, y)
        check_tree(model.root, x, y, "squared", max_depth, min_leaf)
        means = np.zeros(35)
        for leaf, rows in leaf_rows(model.root, x):
            means[rows] = leaf.value
        assert_close(model.predict(x), means)

    @pytest.mark.parametrize("max_depth", [1, 3])
    def test_matches_scikit_learn(self, max_depth, rng):
        from sklearn.tree import DecisionTreeRegressor as Theirs

        # 200 rows of continuous targets: no ties.
        x, y = rng.normal(size=(200, 4)).astype(np.float32), rng.normal(size=200)
        y += 3 * np.sin(2 * x[:, 1])
        theirs = Theirs(max_depth=max_depth, min_samples_leaf=5, random_state=0).fit(x, y)
        new = rng.normal(size=(70, 4)).astype(np.float32)
        assert_close(fitted(DecisionTreeRegressor(max_depth, 5), x, y).predict(new), theirs.predict(new))

    def test_draws_columns(self, rng):
        x, y = rng.normal(size=(40, 6)), rng.normal(size=40)
        model = DecisionTreeRegressor(max_features=2)
        one, other = (copy(fitted(model, x, y, np.random.default_rng(3)).root) for _ in range(2))
        assert same(one, other), "two generators with the same seed give two trees"
        assert any(not same(one, fitted(model, x, y, rng).root) for _ in range(10)), (
            "ten fits with max_features give the same tree"
        )

    def test_targets_of_integers_have_means_that_are_none(self):
        model = fitted(DecisionTreeRegressor(), np.array([[1], [1], [3]]), np.array([1, 2, 7]))
        assert_close(model.predict(np.array([[2], [0], [9]])), np.array([1.5, 1.5, 7.0]))

    def test_a_second_fit_forgets_the_first(self, rng):
        model = fitted(DecisionTreeRegressor(), rng.normal(size=(20, 2)), rng.normal(size=20))
        fitted(model, np.array([[1.0], [2.0]]), np.array([4.0, 8.0]))
        assert_close(model.predict(np.array([[1.2], [5.0]])), np.array([4.0, 8.0]))


def id3_oracle(x, y, ratio):
    scores = []
    for j in range(x.shape[1]):
        column = x[:, j].tolist()
        parts = {c: [b for a, b in zip(column, y.tolist(), strict=True) if a == c] for c in column}
        gain = impurity_oracle(y.tolist(), "entropy") - sum(
            len(p) / len(y) * impurity_oracle(p, "entropy") for p in parts.values()
        )
        own = impurity_oracle(column, "entropy")
        scores.append((gain / own if own > 0 else 0.0) if ratio else gain)
    return scores


def plain(groups):
    """A dict of lists, whatever the keys were."""
    return {key: np.asarray(rows).tolist() for key, rows in groups.items()}


class TestId3Split:
    @pytest.mark.parametrize(
        ("ratio", "score"),
        [(False, impurity_oracle("AABA", "entropy")), (True, impurity_oracle("AABA", "entropy") / 1.5)],
    )
    def test_the_example_worked_by_hand(self, ratio, score):
        column, got, groups = id3_split(np.array([["r"], ["r"], ["g"], ["b"]]), np.array(["A", "A", "B", "A"]), ratio)
        assert_close((column, got), (0, score))
        assert_equal(plain(groups), {"r": [0, 1], "g": [2], "b": [3]})

    @pytest.mark.parametrize("ratio", [False, True])
    @pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 6)])
    def test_no_column_scores_higher(self, ratio, n, d, rng):
        x, y = rng.integers(0, 2 + np.arange(d), (n, d)) * 10, rng.integers(0, 3, n)
        column, got, groups = id3_split(x, y, ratio=ratio)
        scores = id3_oracle(x, y, ratio)
        assert_close(got, max(scores))
        assert_close(scores[column], max(scores))
        expected = {int(c): np.flatnonzero(x[:, column] == c).tolist() for c in np.unique(x[:, column])}
        assert_equal(plain(groups), expected)

    def test_a_column_of_names_gains_most_but_has_a_low_ratio(self):
        x = np.array([["a", "no"], ["b", "no"], ["c", "yes"], ["d", "yes"], ["e", "yes"], ["f", "yes"]])
        y = np.array([0, 0, 1, 1, 1, 0])
        assert_equal(id3_split(x, y)[0], 0)
        assert_equal(id3_split(x, y, ratio=True)[0], 1)

    @pytest.mark.parametrize("ratio", [False, True])
    def test_of_equal_columns_the_first(self, ratio):
        # Columns 1 and 2 make the same groups under other names.
        x = np.array([[5, 1, 8], [5, 1, 8], [5, 0, 9], [5, 0, 9]])
        column, score, _ = id3_split(x, np.array([1, 1, 0, 0]), ratio)
        assert_close((column, score), (1, 1.0))

    @pytest.mark.parametrize("ratio", [False, True])
    def test_constant_columns_score_nothing(self, ratio):
        column, score, groups = id3_split(np.full((3, 2), 4), np.array([0, 1, 1]), ratio)
        assert_close((column, score), (0, 0.0))
        assert_equal(plain(groups), {4: [0, 1, 2]})

    @pytest.mark.parametrize("ratio", [False, True])
    def test_scores_that_differ_by_rounding_are_equal(self, ratio):
        # All columns make the same groups, in every order of their names: sums in another order.
        base = np.array([3, 1, 2, 1, 3, 3, 2, 0, 1, 3])
        x = np.array(list(permutations(range(4))))[:, base].T
        assert_equal(id3_split(x, np.array([2, 2, 2, 0, 1, 0, 0, 0, 1, 1]), ratio)[0], 0)


def cost(node, total):
    return sum(leaf.rows / total * leaf.impurity for leaf in leaves(node))


def subtrees(node):
    """Every tree that pruning `node` can give."""
    yield Node(node.value, node.rows, node.impurity)
    if node.left is not None:
        for left in subtrees(node.left):
            for right in subtrees(node.right):
                yield Node(node.value, node.rows, node.impurity, node.feature, node.threshold, left, right)


def hand():
    return grow(np.array([[1], [2], [4], [7]]), np.array([0, 0, 1, 0]), "gini")


class TestPrune:
    @pytest.mark.parametrize(("alpha", "count"), [(0.0, 3), (0.18, 3), (3 / 16, 1), (0.2, 1)])
    def test_the_example_worked_by_hand(self, alpha, count):
        assert_equal(len(leaves(prune(hand(), alpha))), count)

    def test_a_lower_branch_goes_first(self):
        # α is 3/8 for the branch on the right, and 59/8 for the root that is left.
        root = small_tree()
        assert_equal([leaf.value for leaf in leaves(prune(root, 3 / 8))], [9.0, 2.0])
        assert_equal(len(leaves(prune(root, 3 / 8 - 1e-9))), 3)
        assert_equal(len(leaves(prune(root, 59 / 8 - 1e-9))), 2)
        assert_equal(len(leaves(prune(root, 59 / 8))), 1)

    @pytest.mark.parametrize("criterion", CRITERIA)
    def test_no_subtree_costs_less(self, criterion, rng):
        x, y = rng.normal(size=(24, 2)), targets(rng, 24, criterion, 2)
        root = grow(x, y, criterion, 4, 2)
        alphas = rng.uniform(0, 0.3 * root.impurity, 6)
        for alpha in [*alphas, 2 * root.impurity]:
            got = prune(root, float(alpha))
            best = min((cost(tree, 24) + alpha * len(leaves(tree)), len(leaves(tree))) for tree in subtrees(root))
            assert_close((cost(got, 24) + alpha * len(leaves(got)), len(leaves(got))), best)
            assert any(same(got, tree) for tree in subtrees(root)), (
                "prune() gives a tree that isn't a subtree of the given one"
            )

    def test_a_leaf_keeps_its_own_value_rows_and_impurity(self):
        leaf = prune(small_tree(), 100.0)
        assert_equal(
            (leaf.value, leaf.rows, leaf.impurity, leaf.feature, leaf.threshold, leaf.left),
            (5.0, 8, 8.0, None, None, None),
        )

    def test_the_given_tree_stays_as_it_is(self):
        root = small_tree()
        before = copy(root)
        prune(root, 0.5)
        prune(root, 100.0)
        assert same(root, before), "prune() changed the tree that it was given: make new nodes"

    def test_a_branch_within_a_tree_counts_by_the_rows_of_the_root(self):
        # Among 100 rows, a branch of 4 gains 4/100 · 0.5.
        branch = Node(0.0, 4, 0.5, 0, 1.0, Node(1.0, 2, 0.0), Node(0.0, 2, 0.0))
        root = Node(0.0, 100, 10.0, 0, 5.0, branch, Node(3.0, 96, 1.0))
        assert_equal(len(leaves(prune(root, 0.019))), 3)
        assert_equal(len(leaves(prune(root, 0.021))), 2)

    def test_a_leaf_stays_a_leaf(self):
        assert prune(Node(1.0, 5, 0.3), 0.1).left is None


class TestPruningPath:
    def test_the_example_worked_by_hand(self):
        assert_close(pruning_path(hand()), [(0.0, 3), (3 / 16, 1)])

    def test_two_links(self):
        assert_close(pruning_path(small_tree()), [(0.0, 3), (3 / 8, 2), (59 / 8, 1)])

    def test_a_single_leaf(self):
        assert_close(pruning_path(Node(1.0, 5, 0.3)), [(0.0, 1)])

    @pytest.mark.parametrize("criterion", CRITERIA)
    def test_matches_scikit_learn(self, criterion, rng):
        from sklearn.tree import DecisionTreeClassifier as Classifier
        from sklearn.tree import DecisionTreeRegressor as Regressor

        x = rng.normal(size=(60, 3)).astype(np.float32)
        y = (
            targets(rng, 60, criterion, 2)
            if criterion == "squared"
            else (x[:, 0] + rng.normal(size=60) > 0).astype(int)
        )
        model = (
            Regressor(max_depth=4, min_samples_leaf=4)
            if criterion == "squared"
            else Classifier(criterion=criterion, max_depth=3, min_samples_leaf=4)
        )
        theirs = model.fit(x, y)
        root = self.copied(theirs.tree_, 0, criterion)
        path = theirs.cost_complexity_pruning_path(x, y)
        alphas = [a for a in path.ccp_alphas if a > 1e-12]
        assert_close([alpha for alpha, _ in pruning_path(root)], [0.0, *alphas], rtol=1e-6, atol=1e-9)

    def copied(self, tree, i, criterion):
        """scikit-learn's tree as nodes, without splits that gain nothing."""
        value = float(tree.value[i, 0, 0]) if criterion == "squared" else tree.value[i, 0].copy()
        node = Node(value, int(tree.n_node_samples[i]), float(tree.impurity[i]))
        below = [self.copied(tree, j, criterion) for j in (tree.children_left[i], tree.children_right[i]) if j >= 0]
        gone = node.rows * node.impurity - sum(leaf.rows * leaf.impurity for b in below for leaf in leaves(b))
        if below and gone > 1e-9:
            node.feature, node.threshold = int(tree.feature[i]), float(tree.threshold[i])
            node.left, node.right = below
        return node

    def test_numbers_of_leaves_are_those_of_the_pruned_trees(self, rng):
        root = grow(rng.normal(size=(40, 3)), rng.normal(size=40), "squared", 5, 2)
        path = pruning_path(root)
        assert_equal([count for _, count in path], [len(leaves(prune(root, alpha * (1 + 1e-9)))) for alpha, _ in path])
        assert len(path) > 4
        assert all(a < b for (a, _), (b, _) in pairwise(path)), "the α don't ascend"

    def test_at_each_alpha_of_the_path_that_branch_is_gone(self, rng):
        # To the last bit: there are enough trees and branches for rounding to go either way.
        for _ in range(16):
            root = grow(rng.normal(size=(40, 3)), rng.normal(size=40), "squared", 5, 2)
            path = pruning_path(root)
            assert_equal([len(leaves(prune(root, alpha))) for alpha, _ in path], [count for _, count in path])

    def test_equal_links_go_together(self):
        # Two branches alike: both go at the same α.
        def twin(value):
            return Node(value, 4, 0.5, 0, value, Node(value - 1, 2, 0.25), Node(value + 1, 2, 0.25))

        root = Node(0.0, 8, 64.0, 0, 0.0, twin(-8.0), twin(8.0))
        assert_close(pruning_path(root), [(0.0, 4), (1 / 8, 2), (63.5, 1)])

    def test_the_given_tree_stays_as_it_is(self):
        root = small_tree()
        before = copy(root)
        pruning_path(root)
        assert same(root, before), "pruning_path() changed the tree that it was given"


class TestDraw:
    def test_the_iris_of_the_lesson(self):
        right = Node(
            np.array([0, 0.5, 0.5]),
            100,
            0.5,
            3,
            1.75,
            Node(np.array([0, 49, 5]) / 54, 54, 0.2),
            Node(np.array([0, 1, 45]) / 46, 46, 0.1),
        )
        root = Node(np.ones(3) / 3, 150, 2 / 3, 2, 2.45, Node(np.array([1.0, 0, 0]), 50, 0.0), right)
        names = ["sepal length", "sepal width", "petal length", "petal width"]
        expected = [
            "petal length ≤ 2.45",
            "├── setosa (50)",
            "└── petal width ≤ 1.75",
            "    ├── versicolor (54)",
            "    └── virginica (46)",
        ]
        assert_equal(draw(root, names, ["setosa", "versicolor", "virginica"]).split("\n"), expected)

    def test_numbers_and_a_branch_on_the_left(self):
        left = Node(2.0, 5, 1.0, 0, 1234.5678, Node(0.123456, 2, 0.0), Node(3.0, 3, 0.5))
        root = Node(5.0, 9, 8.0, 1, -2.0, left, Node(1e6, 4, 0.25))
        expected = ["height ≤ -2", "├── age ≤ 1235", "│   ├── 0.1235 (2)", "│   └── 3 (3)", "└── 1e+06 (4)"]
        assert_equal(draw(root, ["age", "height"]).split("\n"), expected)

    def test_inner_nodes_within_inner_nodes(self):
        leaf = Node(1.0, 1, 0.0)

        def inner(left, right):
            return Node(0.0, 2, 0.0, 0, 5.0, left, right)

        root = inner(inner(leaf, inner(leaf, leaf)), inner(inner(leaf, leaf), leaf))
        expected = [
            "x ≤ 5",
            "├── x ≤ 5",
            "│   ├── 1 (1)",
            "│   └── x ≤ 5",
            "│       ├── 1 (1)",
            "│       └── 1 (1)",
            "└── x ≤ 5",
            "    ├── x ≤ 5",
            "    │   ├── 1 (1)",
            "    │   └── 1 (1)",
            "    └── 1 (1)",
        ]
        assert_equal(draw(root, ["x"]).split("\n"), expected)

    def test_three_levels_on_both_sides(self):
        def tree(depth):
            if depth == 0:
                return Node(np.array([0.25, 0.25, 0.5]), 1, 0.0)
            return Node(np.ones(3) / 3, 2**depth, 0.0, 0, float(depth), tree(depth - 1), tree(depth - 1))

        expected = [
            "x ≤ 2",
            "├── x ≤ 1",
            "│   ├── 7 (1)",
            "│   └── 7 (1)",
            "└── x ≤ 1",
            "    ├── 7 (1)",
            "    └── 7 (1)",
        ]
        assert_equal(draw(tree(2), ["x"], [5, 6, 7]).split("\n"), expected)

    def test_a_single_leaf_and_equal_shares(self):
        assert_equal(draw(Node(np.array([0.0, 0.5, 0.5]), 4, 0.5), ["x"], ["a", "b", "c"]), "b (4)")
