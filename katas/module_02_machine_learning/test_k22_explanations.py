"""Judges k22_explanations against all orders of joining, Shapley's axioms, Gauss's quadrature, and shap where installed."""

import math
from itertools import permutations, product

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure
from katas.module_02_machine_learning.k09_decision_tree import Node
from katas.module_02_machine_learning.k22_explanations import (
    coalition_value,
    group_importance,
    kernel_shap,
    kernel_weight,
    partial_dependence,
    shapley_values,
    tree_shap,
    tree_value,
)

pytestmark = [from_scratch("sklearn", "scipy", "shap"), pure()]


def game(rng, d):
    """A random worth for each coalition, and how often each was asked for."""
    table = {mask: float(rng.normal()) for mask in product((False, True), repeat=d)}
    asked = []

    def value(mask):
        asked.append(tuple(bool(m) for m in mask))
        return table[asked[-1]]

    return value, asked


def hand(mask):
    return {(0, 0): 0.0, (1, 0): 4.0, (0, 1): 6.0, (1, 1): 14.0}[tuple(int(m) for m in mask)]


def by_orders(value, d):
    """What each player adds when they join, over all orders."""
    phi = np.zeros(d)
    for order in permutations(range(d)):
        mask = np.zeros(d, dtype=bool)
        for j in order:
            before = value(mask.copy())
            mask[j] = True
            phi[j] += (value(mask.copy()) - before) / math.factorial(d)
    return phi


class TestShapleyValues:
    def test_the_example_worked_by_hand(self):
        assert_close(shapley_values(hand, 2), np.array([6.0, 8.0]))

    @pytest.mark.parametrize("d", [1, 2, 3, 5])
    def test_is_the_average_over_all_orders(self, d, rng):
        value, _ = game(rng, d)
        assert_close(shapley_values(value, d), by_orders(value, d))

    @pytest.mark.parametrize("d", [3, 6])
    def test_adds_up_to_the_whole(self, d, rng):
        value, _ = game(rng, d)
        whole = value((True,) * d) - value((False,) * d)
        assert_close(float(shapley_values(value, d).sum()), whole)

    def test_equal_players_share_and_a_dummy_gets_nothing(self):
        # 0 and 2 are alike, 1 never matters, 3 always adds 5.
        got = shapley_values(lambda mask: 7.0 * (mask[0] or mask[2]) + 5.0 * mask[3], 4)
        assert_close(got, np.array([3.5, 0.0, 3.5, 5.0]))

    @pytest.mark.parametrize("d", [2, 7])
    def test_asks_for_each_coalition_once(self, d, rng):
        value, asked = game(rng, d)
        shapley_values(value, d)
        if len(asked) > 2**d:
            fail(f"{len(asked)} calls for {2**d} coalitions: keep the answers", evidence=len(asked))

    def test_a_mask_is_an_array_of_bools(self):
        # ~ of a bool is its opposite; of the number 1 it is -2, which is as true as 1.
        got = shapley_values(lambda mask: float(np.where(~mask, [1.0, 2.0, 4.0], 0).sum()), 3)
        assert_close(got, np.array([-1.0, -2.0, -4.0]))

    def test_a_sum_of_games_has_the_sum_of_values(self, rng):
        (one, _), (other, _) = game(rng, 4), game(rng, 4)
        both = shapley_values(lambda mask: 2 * one(mask) - other(mask), 4)
        assert_close(both, 2 * shapley_values(one, 4) - shapley_values(other, 4))


class TestCoalitionValue:
    @pytest.mark.parametrize(("n", "d"), [(5, 3), (1, 2), (8, 4)])
    def test_is_the_mean_over_mixtures(self, n, d, rng):
        x, background, w = rng.normal(size=d), rng.normal(size=(n, d)), rng.normal(size=d)

        def predict(rows):
            return np.tanh(rows @ w) + rows[:, 0] * rows[:, -1]

        value = coalition_value(predict, x, background)
        for mask in product((False, True), repeat=d):
            rows = np.array([[x[j] if mask[j] else row[j] for j in range(d)] for row in background])
            assert_close(value(np.array(mask)), float(predict(rows).mean()))

    def test_calls_the_model_once(self, rng):
        sizes = []

        def predict(rows):
            sizes.append(rows.shape)
            return rows[:, 0]

        value = coalition_value(predict, np.zeros(3), rng.normal(size=(6, 3)))
        sizes.clear()
        value(np.array([True, False, True]))
        assert_equal(sizes, [(6, 3)])

    def test_integers_of_the_background_cut_nothing_off(self):
        value = coalition_value(lambda rows: rows.sum(axis=1), np.array([0.5, 0.25]), np.array([[1, 2], [3, 4]]))
        assert_close(value(np.array([True, False])), 3.5)
        value = coalition_value(lambda rows: rows.sum(axis=1), np.array([1, 2]), np.array([[0.5, 0.5]]))
        assert_close(value(np.array([False, True])), 2.5)

    def test_a_linear_model_is_its_own_explanation(self, rng):
        x, background, w = rng.normal(size=4), rng.normal(size=(9, 4)), rng.normal(size=4)
        phi = by_orders(coalition_value(lambda rows: rows @ w + 3, x, background), 4)
        assert_close(phi, w * (x - background.mean(axis=0)))


class TestKernelWeight:
    @pytest.mark.parametrize(
        ("d", "size", "expected"), [(4, 1, 1 / 4), (4, 2, 1 / 8), (4, 3, 1 / 4), (2, 1, 1 / 2), (7, 3, 6 / (35 * 12))]
    )
    def test_the_formula(self, d, size, expected):
        assert_close(kernel_weight(d, size), expected)

    @pytest.mark.parametrize("d", [1, 2, 5])
    def test_nobody_and_all_count_without_limit(self, d):
        assert_equal((kernel_weight(d, 0), kernel_weight(d, d)), (math.inf, math.inf))


class TestKernelShap:
    @pytest.mark.parametrize("d", [1, 2, 3, 6])
    def test_all_coalitions_give_the_exact_values(self, d, rng):
        value, asked = game(rng, d)
        got = kernel_shap(value, d)
        assert len(asked) <= 2**d, f"{len(asked)} calls for {2**d} coalitions"
        assert_close(got, by_orders(value, d) if d < 6 else shapley_values(value, d))

    def test_the_example_worked_by_hand(self):
        assert_close(kernel_shap(hand, 2), np.array([6.0, 8.0]))

    @pytest.mark.parametrize("samples", [40, 60])
    def test_of_players_who_only_add_up_a_sample_says_all(self, samples, rng):
        w = rng.normal(size=6)
        asked = []

        def value(mask):
            asked.append(tuple(bool(m) for m in mask))
            return float(w @ np.asarray(mask, dtype=float)) + 11

        assert_close(kernel_shap(value, 6, samples, rng), w)
        assert len(asked) <= samples + 2, f"{len(asked)} calls for {samples} samples"
        inner = [mask for mask in asked if 0 < sum(mask) < 6]
        assert len(asked) - len(inner) <= 2, "the empty or the whole coalition was drawn"

    @pytest.mark.parametrize(("d", "samples"), [(4, 25), (7, 25), (7, 3), (5, 1)])
    def test_samples_still_add_up_to_the_whole(self, d, samples, rng):
        value, _ = game(rng, d)
        whole = value((True,) * d) - value((False,) * d)
        assert_close(float(kernel_shap(value, d, samples, rng).sum()), whole)

    def test_sizes_are_drawn_by_the_kernel(self, rng):
        # Judged by what was drawn at least once: a solution may keep the answers.
        d, n, drawn = 16, 3000, set()

        def value(mask):
            drawn.add(tuple(bool(m) for m in mask))
            return float(np.sum(mask))

        kernel_shap(value, d, n, rng)
        masks = np.array(sorted(drawn))
        sizes = np.bincount(masks.sum(axis=1), minlength=d + 1)[1:d]
        # π(s) C(d, s) ∝ 1/(s (d - s)); each of C(d, s) sets comes up at least once with 1 - (1 - p/C)ⁿ.
        s = np.arange(1, d)
        chances = 1 / (s * (d - s)) / (1 / (s * (d - s))).sum()
        sets = np.array([math.comb(d, int(k)) for k in s])
        expected = sets * (1 - (1 - chances / sets) ** n)
        # Standard deviations are below 13; of the sum of sizes 6 to 10, 22.
        if (np.abs(sizes - expected) > 75).any() or abs(sizes[5:10].sum() - expected[5:10].sum()) > 120:
            fail(
                f"{n} draws of {d} players gave {sizes.tolist()} different coalitions of sizes 1 to {d - 1}; "
                f"expected about {np.round(expected).astype(int).tolist()}",
                evidence=("middle", round(sizes[5:10].sum() / n, 1)),
            )
        # Some 590 of these sizes, half of them with a given column: standard deviation 12.
        middle = masks[(masks.sum(axis=1) >= 6) & (masks.sum(axis=1) <= 10)]
        assert (np.abs(middle.sum(axis=0) - len(middle) / 2) < 75).all(), (
            f"of {len(middle)} coalitions of sizes 6 to 10, the columns are in {middle.sum(axis=0).tolist()}, expected half"
        )

    def test_a_mask_is_an_array_of_bools(self, rng):
        w = np.array([1.0, 2.0, 4.0])
        assert_close(kernel_shap(lambda mask: float(np.where(~mask, w, 0).sum()), 3), -w)
        assert_close(kernel_shap(lambda mask: float(np.where(~mask, w, 0).sum()), 3, 40, rng), -w)

    @pytest.mark.parametrize("samples", [1, 4])
    def test_a_single_player_gets_all(self, samples, rng):
        assert_close(kernel_shap(lambda mask: 7.0 if mask[0] else 2.0, 1, samples, rng), np.array([5.0]))

    def test_many_samples_come_near_the_exact_values(self, rng):
        # Player 0 earns 10 in coalitions of two to four; so sizes must have their due weights.
        got = kernel_shap(lambda mask: 10.0 * bool(mask[0]) * (2 <= np.sum(mask) <= 4), 6, 2500, rng)
        # The standard deviations are some 0.2.
        assert_close(got, np.array([5.0, -1, -1, -1, -1, -1]), rtol=0, atol=1.2)  # a random sample

    def test_the_generator_decides(self, rng):
        value, _ = game(rng, 6)
        one, other, third = (kernel_shap(value, 6, 30, np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert_close(one, other)
        assert not np.array_equal(one, third), "two generators give the same answer"

    def test_matches_shap(self, rng):
        shap = pytest.importorskip(
            "shap", reason="shap isn't installed: pip install -c constraints.txt -e '.[classics]'"
        )
        x, background, w = rng.normal(size=4), rng.normal(size=(6, 4)), rng.normal(size=4)

        def predict(rows):
            return np.tanh(rows @ w) + rows[:, 0] * rows[:, 2]

        theirs = shap.KernelExplainer(predict, background).shap_values(x, silent=True)
        # Their regression weighs nobody and all with a large number, not without limit.
        assert_close(kernel_shap(coalition_value(predict, x, background), 4), theirs, rtol=1e-4, atol=1e-4)


def hand_tree():
    right = Node(4.0, 2, 16.0, 1, 0.5, Node(0.0, 1, 0.0), Node(8.0, 1, 0.0))
    return Node(2.0, 4, 12.0, 0, 0.5, Node(0.0, 2, 0.0), right)


def random_tree(rng, d, depth, rows=64):
    """A tree of random splits, in which columns come up again on a path."""
    if depth == 0:
        return Node(float(rng.normal()), rows, 0.0)
    left = int(rng.integers(1, rows)) if rows > 1 else 1
    below = random_tree(rng, d, depth - 1, left), random_tree(rng, d, depth - 1, max(rows - left, 1))
    return Node(0.0, below[0].rows + below[1].rows, 1.0, int(rng.integers(d)), float(rng.normal()), *below)


class TestTreeValue:
    @pytest.mark.parametrize(("mask", "expected"), [((0, 0), 2.0), ((1, 0), 4.0), ((0, 1), 4.0), ((1, 1), 8.0)])
    def test_the_example_worked_by_hand(self, mask, expected):
        assert_close(tree_value(hand_tree(), np.array([1.0, 1.0]), np.array(mask, dtype=bool)), expected)

    def test_a_value_at_the_threshold_goes_left(self):
        mask = np.array([True, True])
        assert_close(tree_value(hand_tree(), np.array([0.5, 1.0]), mask), 0.0)
        assert_close(tree_value(hand_tree(), np.array([0.6, 0.5]), mask), 0.0)
        assert_close(tree_value(hand_tree(), np.array([0.6, 0.6]), mask), 8.0)

    @pytest.mark.parametrize("depth", [1, 3, 5])
    def test_of_nobody_it_is_the_mean_of_the_leaves(self, depth, rng):
        root = random_tree(rng, 3, depth)

        def leaves(node):
            return [(node.rows, node.value)] if node.left is None else leaves(node.left) + leaves(node.right)

        rows, values = map(np.array, zip(*leaves(root), strict=True))
        assert_close(
            tree_value(root, rng.normal(size=3), np.zeros(3, dtype=bool)), float(np.average(values, weights=rows))
        )

    def test_a_single_leaf(self):
        assert_close(tree_value(Node(3, 5, 0.0), np.zeros(2), np.array([True, False])), 3.0)


def by_quadrature(root, x, d):
    """φ of the leaves' product games: the integral of ∏ (share + t (known - share)), a polynomial, from 0 to 1."""
    points, weights = np.polynomial.legendre.leggauss(20)
    points, weights = (points + 1) / 2, weights / 2
    phi = np.zeros(d)

    def walk(node, share, known):
        if node.left is None:
            mixed = share + points[:, None] * (known - share)
            for j in range(d):
                others = np.prod(np.delete(mixed, j, axis=1), axis=1)
                phi[j] += node.value * (known[j] - share[j]) * (weights @ others)
            return
        for child, goes in (
            (node.left, x[node.feature] <= node.threshold),
            (node.right, x[node.feature] > node.threshold),
        ):
            s, k = share.copy(), known.copy()
            s[node.feature] *= child.rows / node.rows
            k[node.feature] *= goes
            walk(child, s, k)

    walk(root, np.ones(d), np.ones(d))
    return phi


class TestTreeShap:
    def test_the_example_worked_by_hand(self):
        assert_close(tree_shap(hand_tree(), np.array([1.0, 1.0]), 2), np.array([3.0, 3.0]))

    @pytest.mark.parametrize(("d", "depth"), [(1, 3), (3, 2), (4, 5), (6, 4)])
    def test_is_the_exact_shapley_value_of_the_tree(self, d, depth, rng):
        root, x = random_tree(rng, d, depth), rng.normal(size=d)
        assert_close(tree_shap(root, x, d), shapley_values(lambda mask: tree_value(root, x, mask), d))

    @pytest.mark.parametrize(("d", "depth"), [(3, 6), (12, 5)])
    def test_matches_an_integral_of_polynomials(self, d, depth, rng):
        root, x = random_tree(rng, d, depth), rng.normal(size=d)
        assert_close(tree_shap(root, x, d), by_quadrature(root, x, d))

    @pytest.mark.parametrize("unused", [2, 4])
    def test_a_column_that_never_comes_up_gets_nothing(self, unused):
        got = tree_shap(hand_tree(), np.array([1.0, 0.0] + [9.0] * unused), 2 + unused)
        assert_close(got, np.array([1.0, -3.0] + [0.0] * unused))

    def test_a_value_at_the_threshold_goes_left(self):
        root = Node(3.0, 4, 1.0, 0, 0.5, Node(1.0, 1, 0.0), Node(5.0, 3, 0.0))
        assert_close(tree_shap(root, np.array([0.5]), 1), np.array([1.0 - 4.0]))

    def test_a_column_that_comes_up_twice(self):
        # x₀ in (0, 1]: 5 of 10 rows.  Only column 0 plays: it earns the leaf less the mean of all.
        middle = Node(4.0, 8, 1.0, 0, 1.0, Node(7.0, 5, 0.0), Node(-1.0, 3, 0.0))
        root = Node(3.0, 10, 1.0, 0, 0.0, Node(2.0, 2, 0.0), middle)
        assert_close(tree_shap(root, np.array([0.5]), 1), np.array([7 - (2 * 2 + 5 * 7 - 3 * 1) / 10]))

    def test_twenty_five_columns_on_one_path(self, rng):
        d = 25
        node, rows = Node(float(rng.normal()), 3, 0.0), 3
        for j in rng.permutation(d):
            side = int(rng.integers(1, 5))
            rows += side
            node = Node(0.0, rows, 1.0, int(j), 0.0, Node(float(rng.normal()), side, 0.0), node)
        x = np.where(np.arange(d) % 6 == 0, -1.0, 1.0)
        assert_close(tree_shap(node, x, d), by_quadrature(node, x, d))

    def test_a_single_leaf(self):
        assert_close(tree_shap(Node(3.0, 5, 0.0), np.zeros(3), 3), np.zeros(3))

    def test_matches_shap(self, rng):
        shap = pytest.importorskip(
            "shap", reason="shap isn't installed: pip install -c constraints.txt -e '.[classics]'"
        )
        from sklearn.tree import DecisionTreeRegressor

        x = rng.normal(size=(80, 5)).astype(np.float32)
        theirs = DecisionTreeRegressor(max_depth=5, random_state=0).fit(x, x[:, 0] * x[:, 1] + x[:, 3])

        def copied(i=0):
            tree = theirs.tree_
            node = Node(float(tree.value[i, 0, 0]), int(tree.n_node_samples[i]), float(tree.impurity[i]))
            if tree.children_left[i] >= 0:
                node.feature, node.threshold = int(tree.feature[i]), float(tree.threshold[i])
                node.left, node.right = copied(tree.children_left[i]), copied(tree.children_right[i])
            return node

        explainer = shap.TreeExplainer(theirs, feature_perturbation="tree_path_dependent")
        for row, expected in zip(x[:4], explainer.shap_values(x[:4]), strict=True):
            assert_close(
                tree_shap(copied(), row.astype(np.float64), 5), np.asarray(expected, dtype=float), rtol=1e-4, atol=1e-4
            )  # float32


class TestPartialDependence:
    @pytest.mark.parametrize(("column", "n", "d", "g"), [(0, 6, 3, 4), (2, 5, 4, 1), (1, 1, 2, 7)])
    @pytest.mark.parametrize("individual", [False, True])
    def test_sets_one_column_in_every_row(self, column, n, d, g, individual, rng):
        x, grid = rng.normal(size=(n, d)), rng.normal(size=g)

        def predict(rows):
            return np.sin(rows).sum(axis=1) + rows[:, 0] * rows[:, -1]

        curves = np.zeros((n, g))
        for i in range(n):
            for k in range(g):
                row = x[i].copy()
                row[column] = grid[k]
                curves[i, k] = predict(row[None])[0]
        got = partial_dependence(predict, x, column, grid, individual)
        assert_close(got, curves if individual else curves.mean(axis=0))

    def test_the_mean_unless_told_otherwise(self, rng):
        x = rng.normal(size=(4, 2))
        assert_close(partial_dependence(lambda rows: rows[:, 0] ** 2, x, 0, np.array([1.0, 3.0])), np.array([1.0, 9.0]))

    def test_a_grid_between_integers(self):
        x = np.array([[1, 2], [3, 4]])
        assert_close(
            partial_dependence(lambda rows: rows.sum(axis=1), x, 1, np.array([0.5, 2.25])), np.array([2.5, 4.25])
        )

    def test_a_model_that_keeps_its_rows(self, rng):
        kept = []

        def predict(rows):
            kept.append(rows)
            return rows[:, 0]

        x = rng.normal(size=(3, 2))
        partial_dependence(predict, x, 0, np.array([5.0, 6.0]))
        assert_equal(sorted({float(v) for rows in kept for v in rows[:, 0]}), [5.0, 6.0])

    def test_matches_scikit_learn(self, rng):
        from sklearn.inspection import partial_dependence as theirs
        from sklearn.tree import DecisionTreeRegressor

        x = rng.normal(size=(50, 3))
        model = DecisionTreeRegressor(max_depth=4, random_state=0).fit(x, x[:, 0] * x[:, 2])
        expected = theirs(model, x, [2], kind="both", method="brute", grid_resolution=7, percentiles=(0.1, 0.9))
        grid = expected["grid_values"][0]
        assert_close(partial_dependence(model.predict, x, 2, grid), expected["average"][0])
        assert_close(partial_dependence(model.predict, x, 2, grid, True), expected["individual"][0])


class TestGroupImportance:
    @pytest.mark.parametrize(("groups", "repeats"), [([[0], [2, 1]], 3), ([[3, 0, 1]], 2), ([(1,), (0, 2), (3,)], 1)])
    def test_is_the_loss_of_score_of_each_shuffle(self, groups, repeats, rng):
        x, y, w = rng.normal(size=(25, 4)), rng.normal(size=25), np.array([1.0, -2.0, 3.0, 0.5])
        seen = []

        def predict(rows):
            seen.append(rows.copy())
            return rows @ w + rows[:, 1] * rows[:, 2]

        def score(truth, predicted):  # of its two arguments, one counts double
            return float(-np.abs(truth - 2 * predicted).mean())

        got = group_importance(predict, x, y, score, groups, repeats, rng)
        assert_equal(len(seen), 1 + len(groups) * repeats)
        expected = {tuple(sorted(group)): [] for group in groups}
        for rows in seen:
            changed = tuple(j for j in range(4) if not np.array_equal(rows[:, j], x[:, j]))
            if not changed:
                continue
            if changed not in expected:
                fail(f"columns {changed} are shuffled, but the groups are {groups}", evidence=changed)
            orders = [np.argsort(x[:, j])[np.searchsorted(np.sort(x[:, j]), rows[:, j]).clip(0, 24)] for j in changed]
            if any(sorted(order.tolist()) != list(range(25)) for order in orders):
                fail("a shuffled column must have each of its values once", evidence="repeats")
            if any(not np.array_equal(orders[0], order) for order in orders):
                fail("the columns of a group must all get the same new order of the rows", evidence="order")
            expected[changed].append(score(y, x @ w + x[:, 1] * x[:, 2]) - score(y, rows @ w + rows[:, 1] * rows[:, 2]))
        assert_equal(got.shape, (len(groups), repeats))
        rows = np.array([sorted(expected[tuple(sorted(group))]) for group in groups])
        assert_close(np.sort(got, axis=1), rows)

    def test_twins_hide_each_other_but_not_in_a_group(self, rng):
        # Columns 0 and 1 are the same, and the model takes the larger: alone, each seems to matter less.
        x = rng.normal(size=(200, 3))
        x[:, 1] = x[:, 0]
        y = x[:, 0].copy()
        drops = group_importance(
            lambda rows: (rows[:, 0] + rows[:, 1]) / 2,
            x,
            y,
            lambda a, b: -float(((a - b) ** 2).mean()),
            [[0], [1], [0, 1], [2]],
            5,
            rng,
        )
        means = drops.mean(axis=1)
        assert_close(drops[3], np.zeros(5))
        assert means[2] > 2 * max(means[:2]), (
            f"shuffled together the twins cost {means[2]:.2f}, alone {means[0]:.2f} and {means[1]:.2f}"
        )

    def test_shuffles_differ_and_the_generator_decides(self, rng):
        x, y = rng.normal(size=(20, 2)), rng.normal(size=20)

        def run(seed):
            return group_importance(
                lambda rows: rows[:, 0], x, y, lambda a, b: float(a @ b), [[0], [0, 1]], 3, np.random.default_rng(seed)
            )

        assert_close(run(1), run(1))
        assert not np.array_equal(run(1), run(2)), "two generators give the same answer"
        assert_equal(len(set(run(1).ravel().tolist())), 6)
