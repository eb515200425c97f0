"""Judges k12_histogram_boosting against sums by hand, scikit-learn's histogram boosting, and LightGBM where installed."""

import inspect

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_02_machine_learning.k12_histogram_boosting import (
    BinNode,
    HistogramBoosting,
    best_bin_split,
    bin_edges,
    bin_rows,
    grow_leafwise,
    histograms,
    tree_values,
)

pytestmark = [from_scratch("sklearn", "scipy", "xgboost", "lightgbm"), pure()]

X = np.array([[1.0], [2.0], [2.0], [5.0], [9.0]])
G, H = np.array([2.0, 1, 1, -1, -3]), np.ones(5)


class TestBinEdges:
    def test_the_example_worked_by_hand(self):
        assert_close(bin_edges(X[:, 0], 4), np.array([1.5, 3.5, 7.0]))

    @pytest.mark.parametrize("bins", [2, 7, 200])
    def test_many_values_are_cut_at_quantiles(self, bins, rng):
        column = rng.exponential(size=300)
        got = bin_edges(column, bins)
        # numpy's default: the k/bins quantile lies at place k/bins · (n - 1) of the sorted values, between neighbours.
        values = np.sort(column)
        places = np.arange(1, bins) / bins * 299
        low = np.floor(places).astype(int)
        assert_close(got, values[low] + (places - low) * (values[low + 1] - values[low]))

    @pytest.mark.parametrize(("distinct", "bins"), [(6, 6), (6, 9), (5, 256)])
    def test_few_values_have_a_bin_each(self, distinct, bins, rng):
        values = np.sort(rng.normal(size=distinct))
        assert_close(bin_edges(rng.permutation(np.repeat(values, 3)), bins), (values[:-1] + values[1:]) / 2)

    def test_one_value_more_than_bins(self):
        column = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
        assert_close(bin_edges(column, 4), np.array([2.0, 4.0, 8.0]))

    def test_quantiles_that_coincide_are_one_edge(self):
        column = np.array([0.0] * 90 + [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10])
        got = bin_edges(column, 5)
        assert_close(got, np.array([0.0]))

    def test_a_constant_column_has_no_edges(self):
        assert_close(bin_edges(np.array([3, 3, 3]), 8), np.zeros(0))

    def test_integers_have_edges_between_them(self):
        assert_close(bin_edges(np.array([250, 3, 20], np.uint8), 8), np.array([11.5, 135.0]))

    @pytest.mark.parametrize("bins", [1, 257, 0])
    def test_rejects_bins_that_do_not_fit_a_byte(self, bins):
        with raises(ValueError, bins):
            bin_edges(np.array([1.0, 2.0]), bins)

    @pytest.mark.parametrize("bins", [2, 256])
    def test_the_bounds_themselves_are_fine(self, bins):
        assert_close(bin_edges(np.array([1.0, 2.0]), bins), np.array([1.5]))


class TestBinRows:
    def test_the_example_worked_by_hand(self):
        assert_close(bin_rows(X, [np.array([1.5, 3.5, 7.0])]), np.array([[0], [1], [1], [2], [3]], np.uint8))

    def test_a_value_on_an_edge_stays_below_it(self):
        got = bin_rows(np.array([[2.0], [2.5], [3.0], [3.0001]]), [np.array([2.0, 3.0])])
        assert_close(got, np.array([[0], [1], [1], [2]], np.uint8))

    def test_columns_have_edges_of_their_own(self, rng):
        x = rng.normal(size=(40, 3))
        edges = [np.array([0.0]), np.array([-1.0, 0.5, 0.7]), np.zeros(0)]
        expected = [
            [sum(value > e for e in edge) for value, edge in zip(row, edges, strict=True)] for row in x.tolist()
        ]
        assert_close(bin_rows(x, edges), np.array(expected, np.uint8))

    def test_values_beyond_all_seen(self):
        assert_close(bin_rows(np.array([[-1e300], [1e300]]), [np.arange(255.0)]), np.array([[0], [255]], np.uint8))

    @pytest.mark.parametrize("kind", [np.int64, np.float64])
    def test_large_values_are_told_apart(self, kind):
        x = np.array([[20000001], [20000000], [20000002]], kind)
        got = bin_rows(x, [np.array([20000000.5, 20000001.5])])
        assert_close(got, np.array([[1], [0], [2]], np.uint8))

    def test_float32_values_are_compared_in_float64(self):
        # float32's 0.1 is larger than 0.1, its 0.7 smaller than 0.7.
        got = bin_rows(np.array([[0.1], [0.7]], np.float32), [np.array([0.1, 0.7])])
        assert_close(got, np.array([[1], [1]], np.uint8))

    def test_a_bin_takes_one_byte(self):
        assert_equal(str(bin_rows(X, [np.array([1.5])]).dtype), "uint8")

    def test_no_rows(self):
        assert_close(bin_rows(np.zeros((0, 2)), [np.zeros(1)] * 2), np.zeros((0, 2), np.uint8))

    @pytest.mark.parametrize("count", [2, 4])
    def test_as_many_edges_as_columns(self, count):
        with raises(ValueError, 3, count):
            bin_rows(np.zeros((5, 3)), [np.array([0.5])] * count)


def histogram_oracle(binned, g, h, bins):
    table = np.zeros((binned.shape[1], bins, 3))
    for row, a, b in zip(binned.tolist(), g.tolist(), h.tolist(), strict=True):
        for j, place in enumerate(row):
            table[j, place] += (a, b, 1)
    return table


class TestHistograms:
    def test_the_example_worked_by_hand(self):
        got = histograms(np.array([[0], [1], [1], [2], [3]], np.uint8), G, H, 4)
        assert_close(got, np.array([[[2, 1, 1], [2, 2, 2], [-1, 1, 1], [-3, 1, 1]]], dtype=float))

    @pytest.mark.parametrize(("n", "d", "bins"), [(50, 3, 7), (9, 5, 256), (400, 2, 200), (1, 1, 2)])
    def test_matches_sums_row_by_row(self, n, d, bins, rng):
        binned = rng.integers(0, bins, (n, d)).astype(np.uint8)
        binned[0] = bins - 1
        g, h = rng.normal(size=n), rng.uniform(0.1, 2, n)
        assert_close(histograms(binned, g, h, bins), histogram_oracle(binned, g, h, bins))

    def test_bins_that_nobody_is_in_are_0(self):
        got = histograms(np.array([[1, 0]], np.uint8), np.array([2.0]), np.array([0.5]), 3)
        assert_close(got, np.array([[[0, 0, 0], [2, 0.5, 1], [0, 0, 0]], [[2, 0.5, 1], [0, 0, 0], [0, 0, 0]]]))

    def test_no_rows(self):
        assert_close(histograms(np.zeros((0, 2), np.uint8), np.zeros(0), np.zeros(0), 5), np.zeros((2, 5, 3)))

    def test_python_does_not_walk_over_the_rows(self, rng):
        few, many = (
            python_steps(histograms, rng.integers(0, 9, (n, 3)).astype(np.uint8), rng.normal(size=n), np.ones(n), 9)
            for n in (20, 600)
        )
        if many > 2 * few:
            fail(f"30 times the rows run {many} lines instead of {few}: use np.bincount", evidence="loop")


def worth(g, h, lam):
    return g * g / (h + lam) / 2 if h + lam > 0 else 0.0


def gains_oracle(histogram, lam, gamma, min_leaf):
    found = {}
    for j, column in enumerate(histogram):
        for b in range(len(column) - 1):
            left, right = column[: b + 1].sum(axis=0), column[b + 1 :].sum(axis=0)
            if round(min(left[2], right[2])) >= min_leaf:
                whole = worth(left[0] + right[0], left[1] + right[1], lam)
                found[j, b] = worth(left[0], left[1], lam) + worth(right[0], right[1], lam) - whole - gamma
    return found


def check_split(got, allowed):
    best = max(allowed.values(), default=-np.inf)
    if best <= 1e-9:
        assert got is None, f"best_bin_split() gives {got}, but no split gains anything"
        return
    assert got is not None, f"best_bin_split() gives None, but a split gains {best:.4g}"
    feature, place, gain = got
    if (feature, place) not in allowed:
        fail(f"no allowed split is at column {feature}, bin {place}", evidence=(feature, place))
    assert_close(gain, allowed[feature, place])
    assert_close(gain, best)


class TestBestBinSplit:
    @pytest.mark.parametrize(("gamma", "gain"), [(0.0, 14 / 3), (1.5, 14 / 3 - 1.5)])
    def test_the_example_worked_by_hand(self, gamma, gain):
        histogram = np.array([[[2, 1, 1], [2, 2, 2], [-1, 1, 1], [-3, 1, 1]]], dtype=float)
        assert_close(best_bin_split(histogram, 1.0, gamma), (0, 1, gain))

    @pytest.mark.parametrize("lam", [0.0, 1.0, 10.0])
    @pytest.mark.parametrize("gamma", [0.0, 0.3])
    @pytest.mark.parametrize("min_leaf", [1, 4, 9])
    def test_no_split_gains_more(self, lam, gamma, min_leaf, rng):
        binned = rng.integers(0, 6, (40, 3)).astype(np.uint8)
        g, h = rng.normal(size=40) + (binned[:, 1] > 2), rng.uniform(0.1, 1, 40)
        histogram = histogram_oracle(binned, g, h, 6)
        check_split(best_bin_split(histogram, lam, gamma, min_leaf), gains_oracle(histogram, lam, gamma, min_leaf))

    def test_the_defaults(self, rng):
        binned = rng.integers(0, 5, (12, 2)).astype(np.uint8)
        histogram = histogram_oracle(binned, rng.normal(size=12), np.full(12, 0.5), 5)
        check_split(best_bin_split(histogram), gains_oracle(histogram, 0.0, 0.0, 1))

    @pytest.mark.parametrize(("gamma", "found"), [(14 / 3 - 1e-6, True), (14 / 3, False), (9.0, False)])
    def test_none_where_nothing_is_gained(self, gamma, found):
        histogram = np.array([[[2, 1, 1], [2, 2, 2], [-1, 1, 1], [-3, 1, 1]]], dtype=float)
        assert_equal(best_bin_split(histogram, 1.0, gamma) is not None, found)
        assert best_bin_split(np.array([[[1.0, 1, 1], [2, 2, 2]]])) is None, (
            "both sides have the same G/H: nothing is gained"
        )

    def test_a_single_bin_can_not_be_parted(self):
        assert best_bin_split(np.array([[[1.0, 1, 1], [2, 1, 1]]])) is not None
        assert best_bin_split(np.array([[[1.0, 1, 1]], [[1.0, 1, 1]]])) is None

    @pytest.mark.parametrize(("difference", "found"), [(2e-4, True), (1e-5, False)])
    def test_a_gain_of_1e_9_or_less_is_rounding(self, difference, found):
        # The gain is a quarter of the squared difference: 1e-8 and 2.5e-11.
        histogram = np.array([[[1.0, 1, 1], [1 + difference, 1, 1]]])
        assert_equal(best_bin_split(histogram) is not None, found)

    @pytest.mark.parametrize(("min_leaf", "place"), [(1, 0), (2, 1), (3, 1), (4, None)])
    def test_exactly_min_leaf_rows_are_enough(self, min_leaf, place):
        # Counts 1 2 1 2; the earlier the better, but G falls off slowly.
        histogram = np.array([[[9, 1, 1], [0, 2, 2], [0, 1, 1], [-1, 2, 2]]], dtype=float)
        got = best_bin_split(histogram, min_leaf=min_leaf)
        assert_equal(None if got is None else got[1], place)

    def test_empty_bins_at_the_ends_part_nobody(self):
        histogram = np.array([[[0, 0, 0], [3, 2, 2], [-1, 1, 1], [0, 0, 0]]], dtype=float)
        assert_equal(best_bin_split(histogram)[1], 1)
        assert best_bin_split(np.array([[[0, 0, 0], [3, 2, 2], [0, 0, 0]]], dtype=float), 5.0) is None

    def test_a_side_without_curvature_counts_0(self):
        histogram = np.array([[[1e-3, 0, 2], [2, 1, 1], [-4, 1, 1]]])
        check_split(best_bin_split(histogram), gains_oracle(histogram, 0.0, 0.0, 1))

    def test_python_does_not_walk_over_the_bins(self, rng):
        few, many = (python_steps(best_bin_split, rng.uniform(1, 2, (3, bins, 3))) for bins in (8, 250))
        if many > 2 * few:
            fail(f"30 times the bins run {many} lines instead of {few}: use cumulative sums", evidence="loop")


def leaves(node):
    return [node] if node.left is None else leaves(node.left) + leaves(node.right)


def check_leafwise(root, binned, g, h, bins, max_leaves, min_leaf, lam, gamma):
    """Replay the growth: at each step the leaf with the largest gain must be one that was split."""
    waiting, count = [(root, np.arange(len(g)))], 1
    while True:
        options = []
        for node, rows in waiting:
            assert_equal(node.rows, len(rows))
            assert_close(node.weight, float(-g[rows].sum() / (h[rows].sum() + lam)), atol=1e-8)
            allowed = gains_oracle(histogram_oracle(binned[rows], g[rows], h[rows], bins), lam, gamma, min_leaf)
            options.append(max(allowed.values(), default=-np.inf))
            if node.left is not None:
                if (node.feature, node.bin) not in allowed:
                    fail(
                        f"no allowed split of its node is at column {node.feature}, bin {node.bin}",
                        evidence=(node.feature, node.bin),
                    )
                assert_close(allowed[node.feature, node.bin], options[-1], atol=1e-8)
        best = int(np.argmax(options))
        if count == max_leaves or options[best] <= 1e-9:
            break
        node, rows = waiting[best]
        if node.left is None:
            fail(
                f"a leaf of {len(rows)} rows gains {options[best]:.4g}, most of all {count} leaves, but isn't split",
                evidence=(count, len(rows)),
            )
        left = binned[rows, node.feature] <= node.bin
        waiting[best : best + 1] = [(node.left, rows[left]), (node.right, rows[~left])]
        count += 1
    assert_equal(len(leaves(root)), count)


def table(rng, n=60, d=3, bins=6):
    binned = rng.integers(0, bins, (n, d)).astype(np.uint8)
    g = rng.normal(size=n) + 2.0 * (binned[:, 0] > 1) - binned[:, -1] * (binned[:, 1] > 3)
    return binned, g, rng.uniform(0.2, 1, n)


class TestGrowLeafwise:
    def test_the_example_worked_by_hand(self):
        root = grow_leafwise(np.array([[0], [1], [1], [2], [3]], np.uint8), G, H, 4, 2, 1, 1.0)
        assert_equal((root.feature, root.bin, root.rows, root.left.rows, root.right.rows), (0, 1, 5, 3, 2))
        assert_close((root.weight, root.left.weight, root.right.weight), (0.0, -1.0, 4 / 3))
        assert_equal((root.left.left, root.right.left), (None, None))

    @pytest.mark.parametrize("max_leaves", [1, 2, 5, 40])
    @pytest.mark.parametrize(("min_leaf", "lam", "gamma"), [(1, 0.0, 0.0), (4, 1.0, 0.0), (2, 0.5, 1.2)])
    def test_splits_the_leaf_that_gains_most(self, max_leaves, min_leaf, lam, gamma, rng):
        binned, g, h = table(rng)
        root = grow_leafwise(binned, g, h, 6, max_leaves, min_leaf, lam, gamma)
        check_leafwise(root, binned, g, h, 6, max_leaves, min_leaf, lam, gamma)

    def test_grows_to_one_side_where_the_gains_are(self):
        # The right part is worth splitting again and again, the left one hardly.
        binned = np.arange(16, dtype=np.uint8)[:, None]
        g = -np.where(binned[:, 0] < 8, 0.01 * binned[:, 0], 4.0 ** binned[:, 0])
        root = grow_leafwise(binned, g, np.ones(16), 16, 4, 1)
        assert_equal(sorted(leaf.rows for leaf in leaves(root)), [1, 1, 1, 13])

    def test_the_defaults(self, rng):
        binned, g, h = table(rng, 90)
        check_leafwise(grow_leafwise(binned, g, h, 6), binned, g, h, 6, 31, 20, 0.0, 0.0)
        binned = np.arange(200, dtype=np.uint8).repeat(25)[:, None]
        assert_equal(len(leaves(grow_leafwise(binned, np.arange(5000.0) % 70, np.ones(5000), 200))), 31)

    @pytest.mark.parametrize(("rows", "parted"), [(20, True), (19, False)])
    def test_twenty_rows_make_a_leaf_by_default(self, rows, parted):
        binned = np.repeat(np.array([0, 1], np.uint8), [rows, 60 - rows])[:, None]
        g = np.where(binned[:, 0] == 0, -0.1, 0.1)  # a gain of less than 1
        assert_equal(grow_leafwise(binned, g, np.ones(60), 2).left is not None, parted)

    def test_without_curvature_the_penalty_divides(self):
        root = grow_leafwise(np.array([[0], [1]], np.uint8), np.array([1.0, 2.0]), np.zeros(2), 2, 1, 1, 0.5)
        assert_close(root.weight, -6.0)

    def test_leaves_without_curvature_weigh_nothing(self):
        root = grow_leafwise(np.array([[0], [1]], np.uint8), np.array([1e-3, 1.0]), np.array([0.0, 0.0]), 2, 2, 1)
        assert_close((root.weight, root.left), (0.0, None))

    @pytest.mark.parametrize("side", [3, 12])
    def test_sums_only_the_smaller_child(self, side, rng):
        # The kata's own names: grow_leafwise() must find the counting histograms() among them.
        names, sizes = inspect.unwrap(grow_leafwise).__globals__, []
        own = names["histograms"]

        def counting(binned, *args, **kwargs):
            sizes.append(len(binned))
            return own(binned, *args, **kwargs)

        binned, g, h = table(rng, 80, 3, 6)
        names["histograms"] = counting
        try:
            root = grow_leafwise(binned, g, h, 6, side, 2)
        finally:
            names["histograms"] = own

        def smaller(node):
            return (
                []
                if node.left is None
                else [min(node.left.rows, node.right.rows), *smaller(node.left), *smaller(node.right)]
            )

        splits = smaller(root)
        assert len(splits) == side - 1
        if sizes[:1] != [80] or len(sizes) > side:
            fail(
                f"histograms() was called {len(sizes)} times for {side - 1} splits, first on {sizes[:1]} rows; expected once for the root's 80 rows and once for each split",
                evidence=("calls", len(sizes)),
            )
        # The last split's smaller child may be left out.
        rest = list(splits)
        for size in sizes[1:]:
            if size not in rest:
                fail(
                    f"histograms() was called on {size} rows, but the smaller children have {sorted(splits)}",
                    evidence=("size", size),
                )
            rest.remove(size)
        assert len(rest) <= 1


def small_tree():
    right = BinNode(0.0, 4, 0, 1, BinNode(3.0, 2), BinNode(-2.0, 2))
    return BinNode(0.5, 9, 1, 2, BinNode(7.0, 5), right)


class TestTreeValues:
    def test_each_row_gets_the_weight_of_its_leaf(self):
        binned = np.array([[9, 2], [1, 3], [2, 3], [0, 200], [9, 0]], np.uint8)
        assert_close(tree_values(small_tree(), binned), np.array([7.0, 3.0, -2.0, 3.0, 7.0]))

    @pytest.mark.parametrize("n", [0, 3])
    def test_a_single_leaf(self, n):
        assert_close(tree_values(BinNode(-1.5, 3), np.zeros((n, 2), np.uint8)), np.full(n, -1.5))

    def test_of_a_tree_that_was_grown(self, rng):
        binned, g, h = table(rng)
        root = grow_leafwise(binned, g, h, 6, 12, 2)
        expected = []
        for row in binned:
            node = root
            while node.left is not None:
                node = node.left if row[node.feature] <= node.bin else node.right
            expected.append(node.weight)
        assert_close(tree_values(root, binned), np.array(expected))

    def test_python_does_not_walk_over_the_rows(self, rng):
        few, many = (
            python_steps(tree_values, small_tree(), rng.integers(0, 5, (n, 2)).astype(np.uint8)) for n in (20, 600)
        )
        if many > 2 * few:
            fail(
                f"30 times the rows run {many} lines instead of {few}: move all rows of a node at once", evidence="loop"
            )


def fitted(model, x, y):
    model.fit(x, y)
    return model


def rows(rng, n=300):
    # Few distinct values: each has a bin of its own, in every library.  The trees are compared on their own rows:
    # where bins between two groups are empty, a split may stand at any of them.
    x = rng.integers(0, 40, (n, 3)).astype(float)
    return x, x[:, 0] / 8 - (x[:, 1] > 15) * x[:, 2] / 10 + rng.normal(size=n)


SETTINGS = [
    dict(trees=1, rate=1.0, max_leaves=4, min_leaf=5, lam=0.0),
    dict(trees=6, rate=0.3, max_leaves=8, min_leaf=20, lam=1.0),
    dict(trees=10, rate=0.1, max_leaves=5, min_leaf=12, lam=7.0),
]


class TestHistogramBoosting:
    @pytest.mark.parametrize("settings", SETTINGS)
    def test_squared_matches_scikit_learn(self, settings, rng):
        from sklearn.ensemble import HistGradientBoostingRegressor

        x, y = rows(rng)
        theirs = HistGradientBoostingRegressor(
            max_iter=settings["trees"], learning_rate=settings["rate"], max_leaf_nodes=settings["max_leaves"],
            min_samples_leaf=settings["min_leaf"], l2_regularization=settings["lam"], early_stopping=False,
        ).fit(x, y)  # fmt: skip
        got = fitted(HistogramBoosting("squared", **settings), x, y).raw(x)
        assert_close(got, theirs.predict(x), rtol=1e-4, atol=1e-4)  # their gradients are float32

    @pytest.mark.parametrize("settings", SETTINGS[1:])
    def test_logistic_matches_scikit_learn(self, settings, rng):
        from sklearn.ensemble import HistGradientBoostingClassifier

        x, y = rows(rng, 400)
        labels = (y > np.median(y) + 0.4).astype(int)
        theirs = HistGradientBoostingClassifier(
            max_iter=settings["trees"], learning_rate=settings["rate"], max_leaf_nodes=settings["max_leaves"],
            min_samples_leaf=settings["min_leaf"], l2_regularization=settings["lam"], early_stopping=False,
        ).fit(x, labels)  # fmt: skip
        got = fitted(HistogramBoosting("logistic", **settings), x, labels).raw(x)
        assert_close(got, theirs.decision_function(x), rtol=1e-4, atol=1e-4)  # their gradients are float32

    @pytest.mark.parametrize("gamma", [0.0, 2.0])
    def test_matches_lightgbm(self, gamma, rng):
        lightgbm = pytest.importorskip(
            "lightgbm", reason="lightgbm isn't installed: pip install -c constraints.txt -e '.[classics]'"
        )
        x, y = rows(rng)
        options = dict(
            objective="regression", num_leaves=6, min_data_in_leaf=10, lambda_l2=2.0, learning_rate=0.3, min_gain_to_split=2 * gamma,
            min_sum_hessian_in_leaf=0.0, min_data_in_bin=1, feature_pre_filter=False, verbose=-1, num_threads=1,
        )  # fmt: skip
        theirs = lightgbm.train(options, lightgbm.Dataset(x, y), 5)
        settings = dict(trees=5, rate=0.3, max_leaves=6, min_leaf=10, lam=2.0, gamma=gamma)
        got = fitted(HistogramBoosting(**settings), x, y).raw(x)
        assert_close(got, theirs.predict(x), rtol=1e-4, atol=1e-4)  # their gradients are float32

    @pytest.mark.parametrize("bins", [5, 16])
    @pytest.mark.parametrize("loss", ["squared", "logistic"])
    def test_bins_base_and_members_make_the_sum(self, bins, loss, rng):
        x = rng.normal(size=(80, 2))
        y = x[:, 0] + rng.normal(size=80)
        y = y if loss == "squared" else (y > 0.3).astype(int)
        model = fitted(HistogramBoosting(loss, 4, 0.25, bins, 5, 6, 0.5, 0.8), x, y)
        for column, edges in zip(x.T, model.edges, strict=True):
            assert_close(edges, np.quantile(column, np.arange(1, bins) / bins))
        assert_close(model.base, float(y.mean()) if loss == "squared" else float(np.log(y.mean() / (1 - y.mean()))))
        binned, raw = bin_rows(x, model.edges), np.full(80, model.base)
        assert_equal(len(model.members), 4)
        for root in model.members:
            p = 1 / (1 + np.exp(-raw))
            g, h = (raw - y, np.ones(80)) if loss == "squared" else (p - y, p * (1 - p))
            check_leafwise(root, binned, g, h, bins, 5, 6, 0.5, 0.8)
            raw = raw + 0.25 * tree_values(root, binned)
        assert_close(model.raw(x), raw)

    def test_the_defaults(self, rng):
        x, y = rows(rng, 120)
        plain = HistogramBoosting("squared", 100, 0.1, 255, 31, 20, 0.0, 0.0)
        model = fitted(HistogramBoosting(), x, y)
        assert_equal(len(model.members), 100)
        assert_close(model.raw(x), fitted(plain, x, y).raw(x))
        assert_equal(min(leaf.rows for root in model.members for leaf in leaves(root)) >= 20, True)

    def test_255_bins_and_31_leaves_by_default(self, rng):
        x, y = np.arange(2000.0)[:, None], rng.normal(size=2000)
        model = fitted(HistogramBoosting(trees=1), x, y)
        assert_equal((len(model.edges[0]), len(leaves(model.members[0]))), (254, 31))

    def test_a_row_is_judged_by_itself(self, rng):
        x, y = rows(rng, 60)
        model = fitted(HistogramBoosting(trees=3, min_leaf=5), x, y)
        for i in (0, 7, 31):
            assert_close(model.raw(x[i : i + 1]), model.raw(x)[i : i + 1])
        assert_equal(len(set(model.raw(x).tolist())) > 3, True)

    def test_no_trees(self, rng):
        x, y = rows(rng, 30)
        assert_close(fitted(HistogramBoosting(trees=0), x, y).raw(x), np.full(30, y.mean()))

    def test_a_second_fit_forgets_the_first(self, rng):
        (x, y), (other, _) = rows(rng, 60), rows(rng, 45)
        settings = dict(trees=3, min_leaf=5)
        model = fitted(fitted(HistogramBoosting(**settings), x, y), other[:, :2] / 3, -other[:, 2])
        assert_equal((len(model.members), len(model.edges)), (3, 2))
        assert_close(
            model.raw(other[:, :2] / 3),
            fitted(HistogramBoosting(**settings), other[:, :2] / 3, -other[:, 2]).raw(other[:, :2] / 3),
        )

    def test_integers_and_the_data_stay_as_they_are(self, rng):
        x, y = rng.integers(0, 9, (60, 2)), rng.integers(0, 9, 60)
        before = x.copy(), y.copy()
        got = fitted(HistogramBoosting(trees=3, min_leaf=5), x, y).raw(x)
        assert_equal((x, y), before)
        assert_equal(got.dtype, np.dtype(np.float64))

    def test_tells_tumours_apart(self, cancer):
        x, y = cancer
        train = np.arange(len(y)) % 3 > 0
        model = fitted(HistogramBoosting("logistic", 12, 0.3, 32, 8, 10, 1.0), x[train], y[train])
        right = float(((model.raw(x[~train]) > 0) == y[~train]).mean())
        majority = float(max(y[~train].mean(), 1 - y[~train].mean()))
        assert right > majority + 0.2, (
            f"{right:.0%} of the tumours are right; always the larger class gives {majority:.0%}"
        )
