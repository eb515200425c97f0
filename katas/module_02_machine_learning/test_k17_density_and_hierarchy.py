"""Judges k17_density_and_hierarchy against scikit-learn's DBSCAN, scipy's linkage, and every pair of points."""

from itertools import combinations

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_02_machine_learning.k17_density_and_hierarchy import (
    adjusted_rand_index,
    cut_at_height,
    cut_into,
    dbscan,
    linkage,
    merged_distances,
    neighborhoods,
)

pytestmark = [from_scratch("scipy", "sklearn"), pure()]

METHODS = ["single", "complete", "average", "ward"]
LINE = np.array([[0], [1], [4], [9]])
HEIGHTS = {
    "single": [1, 3, 5],
    "complete": [1, 4, 9],
    "average": [1, 3.5, 22 / 3],
    "ward": [1, np.sqrt(4 / 3) * 3.5, np.sqrt(1.5) * 22 / 3],
}


def chain(n):
    """The merges of n points, each joining all those before it, at heights 2, 3, 4 …"""
    first = [[0, 1, 2.0, 2]]
    return np.array(first + [[i + 1, n + i - 1, i + 2.0, i + 2] for i in range(1, n - 1)])


def rings(rng, n=200):
    """Two rings, one in the other, in random order."""
    y = rng.permutation(np.arange(n) % 2)
    radius, angle = 1 + 3 * y + 0.1 * rng.uniform(-1, 1, n), rng.uniform(0, 2 * np.pi, n)
    angle[y == 1] = np.linspace(0, 2 * np.pi, (y == 1).sum())
    angle[y == 0] = np.linspace(0, 2 * np.pi, (y == 0).sum())
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), y


class TestNeighborhoods:
    @pytest.mark.parametrize(("n", "d", "eps"), [(9, 2, 0.8), (6, 1, 0.5), (12, 4, 2.2)])
    def test_matches_scipy(self, n, d, eps, rng):
        from scipy.spatial.distance import cdist

        x = rng.standard_normal((n, d))
        assert_equal(neighborhoods(x, eps), cdist(x, x) <= eps)

    @pytest.mark.parametrize(("eps", "within"), [(5, True), (4.999, False)])
    def test_a_distance_of_eps_is_within(self, eps, within):
        got = neighborhoods(np.array([[1, 1], [4, 5]]), eps)
        assert_equal(got, np.array([[True, within], [within, True]]))

    def test_nothing_but_copies_at_0(self):
        same = np.array([[True, False, True], [False, True, False], [True, False, True]])
        assert_equal(neighborhoods(np.array([[2.0], [3.0], [2.0]]), 0), same)

    @pytest.mark.parametrize(("eps", "within"), [(2.001, True), (1.999, False)])
    def test_keeps_its_digits_far_from_zero(self, eps, within):
        got = neighborhoods(np.array([[1e8 + 1, -1e8], [1e8 + 3, -1e8]]), eps)
        assert_equal(got, np.array([[True, within], [within, True]]))

    def test_of_uint8(self):
        assert_equal(neighborhoods(np.array([[250], [3]], np.uint8), 20), np.eye(2, dtype=bool))


class TestDbscan:
    def test_the_example_worked_by_hand(self):
        x = np.array([[0], [1], [2], [6], [7]])
        assert_equal(dbscan(x, 1.5, 3), np.array([0, 0, 0, -1, -1]))

    @pytest.mark.parametrize(("min_points", "expected"), [(2, [0, 0, 0, 1, 1]), (4, [-1] * 5), (1, [0, 0, 0, 1, 1])])
    def test_the_point_itself_counts(self, min_points, expected):
        assert_equal(dbscan(np.array([[0], [1], [2], [6], [7]]), 1, min_points), np.array(expected))

    @pytest.mark.parametrize(
        ("n", "d", "eps", "min_points"), [(80, 2, 0.5, 4), (80, 2, 0.35, 3), (60, 1, 0.1, 2), (90, 3, 0.9, 6)]
    )
    def test_matches_scikit_learn(self, n, d, eps, min_points, rng):
        from sklearn.cluster import DBSCAN

        x = rng.standard_normal((n, d)) * rng.uniform(0.3, 2, (n, 1))
        expected = DBSCAN(eps=eps, min_samples=min_points).fit_predict(x)
        assert_equal(dbscan(x, eps, min_points), expected.astype(int))

    def test_a_border_point_does_not_spread(self):
        # 2 is within 1 of two core points, 1 and 3, but has only three points near it, itself included.
        more = np.array([[0.0], [0.2], [0.5], [1.0], [2.0], [3.0], [3.5], [3.8], [4.0]])
        assert_equal(dbscan(more, 1.0, 4), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1]))

    def test_the_lowest_number_gets_a_border_point(self):
        # The same from right to left: now the right cluster has the number 0, and the point between.
        more = np.array([[4.0], [3.8], [3.5], [3.0], [2.0], [1.0], [0.5], [0.2], [0.0]])
        assert_equal(dbscan(more, 1.0, 4), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1]))
        assert_equal(dbscan(more[[4, 5, 6, 7, 8, 0, 1, 2, 3]], 1.0, 4), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1]))

    def test_the_lowest_number_and_not_the_nearest_nor_the_most(self):
        # 2 has one core point of cluster 0 at a distance of 1, and two of cluster 1 that are as near or nearer.
        x = np.array([0.0, 0.2, 0.4, 0.5, 1.0, 2.0, 2.95, 3.0, 3.5, 3.8, 3.9])[:, None]
        assert_equal(dbscan(x, 1.0, 5), np.array([0] * 6 + [1] * 5))

    def test_clusters_are_numbered_by_their_first_core_point(self):
        # Row 0 is a border point of the cluster of 10, whose first core point comes after that of 0.
        x = np.array([[11.0], [0.0], [0.4], [-0.4], [10.0], [9.6], [9.5]])
        assert_equal(dbscan(x, 1.0, 3), np.array([1, 0, 0, 0, 1, 1, 1]))

    def test_noise_between_the_clusters(self):
        x = np.array([[50.0], [0.0], [1.0], [-50.0], [20.0], [21.0]])
        assert_equal(dbscan(x, 1.0, 2), np.array([-1, 0, 0, -1, 1, 1]))

    def test_copies_are_dense(self):
        assert_equal(dbscan(np.array([[3, 1], [5, 5], [3, 1], [3, 1]]), 0, 3), np.array([0, -1, 0, 0]))

    def test_a_chain_of_many_points(self, rng):
        # From one end to the other: whoever recurses is 1200 calls deep.
        order = np.append(0, 1 + rng.permutation(1199))
        assert_equal(dbscan(order[:, None], 1.0, 2), np.zeros(1200, dtype=int))

    @pytest.mark.parametrize(("eps", "min_points", "word"), [(-0.5, 3, -0.5), (1.0, 0, 0), (1.0, -2, -2)])
    def test_rejects_what_makes_no_sense(self, eps, min_points, word):
        with raises(ValueError, word):
            dbscan(LINE, eps, min_points)


def between_groups(a, b, method):
    """The distance of two groups of points from their definition."""
    if method == "ward":
        scale = np.sqrt(2 * len(a) * len(b) / (len(a) + len(b)))
        return scale * np.linalg.norm(a.mean(axis=0) - b.mean(axis=0))
    distances = np.linalg.norm(a[:, None] - b, axis=2)
    return {"single": distances.min, "complete": distances.max, "average": distances.mean}[method]()


class TestMergedDistances:
    @pytest.mark.parametrize(
        ("method", "expected"), [("single", 8), ("complete", 9), ("average", 8.5), ("ward", 9.814954576)]
    )
    def test_of_two_points_from_a_third(self, method, expected):
        # 0 and 1 have merged; how far is 9?
        got = merged_distances(np.array([9.0]), np.array([8.0]), 1.0, 1, 1, np.array([1]), method)
        assert_close(got, np.array([float(expected)]), rtol=1e-9, atol=0)  # ten digits are written above

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(("size_a", "size_b"), [(2, 5), (4, 1)])
    def test_is_the_distance_by_its_definition(self, method, size_a, size_b, rng):
        a, b = rng.standard_normal((size_a, 3)), rng.standard_normal((size_b, 3)) + 1
        others = [rng.standard_normal((size, 3)) - 2 for size in (3, 1, 6)]
        to_a, to_b, expected = (
            np.array([between_groups(one, other, method) for other in others]) for one in (a, b, np.vstack([a, b]))
        )
        between = float(between_groups(a, b, method))
        got = merged_distances(to_a, to_b, between, size_a, size_b, np.array([3, 1, 6]), method)
        assert_close(got, expected)

    def test_of_ward_is_never_nan(self, rng):
        # A and B lie at -r and r, and the means of the others between them at 0: only rounding is left.
        r, sizes = 3.7, rng.integers(1, 50, 200)
        to_both = r * np.sqrt(2 * sizes / (1 + sizes))
        got = merged_distances(to_both, to_both, 2 * r, 1, 1, sizes, "ward")
        assert_close(got, np.zeros(200), rtol=0, atol=1e-5)  # roots of roundings

    @pytest.mark.parametrize("method", METHODS)
    def test_no_other_clusters(self, method):
        none = np.array([])
        assert_close(merged_distances(none, none, 2.0, 3, 4, np.array([], dtype=int), method), none)

    @pytest.mark.parametrize("method", ["centroid", "Ward"])
    def test_rejects_other_methods(self, method):
        one = np.array([1.0])
        with raises(ValueError, method):
            merged_distances(one, one, 1.0, 1, 1, np.array([1]), method)


class TestLinkage:
    @pytest.mark.parametrize("method", METHODS)
    def test_the_example_worked_by_hand(self, method):
        pairs = [[0, 1], [2, 4], [3, 5]]
        expected = [[*pair, height, size] for pair, height, size in zip(pairs, HEIGHTS[method], [2, 3, 4], strict=True)]
        assert_close(linkage(LINE, method), np.array(expected, dtype=float))

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(("n", "d"), [(12, 2), (31, 4), (25, 1)])
    def test_matches_scipy(self, method, n, d, rng):
        from scipy.cluster.hierarchy import linkage as oracle

        x = rng.standard_normal((n, d))
        got, expected = linkage(x, method), oracle(x, method)
        assert_close(got[:, 2], expected[:, 2])
        assert_close(got, expected)

    @pytest.mark.parametrize("method", METHODS)
    def test_one_point_and_two(self, method):
        assert_close(linkage(np.array([[3.0, 4.0]]), method), np.empty((0, 4)))
        assert_close(linkage(np.array([[3, 4], [0, 0]], np.uint8), method), np.array([[0.0, 1.0, 5.0, 2.0]]))

    def test_keeps_its_digits_far_from_zero(self):
        assert_close(linkage(np.array([[1e8], [1e8 + 3]]), "average"), np.array([[0.0, 1.0, 3.0, 2.0]]))

    def test_at_a_tie_any_pair(self):
        # All edges of a square are alike; so are the heights of single linkage, whatever merges first.
        merges = linkage(np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0, 0]]), "single")
        assert_close(merges[:, 2], np.array([0.0, 1.0, 1.0, 1.0]))
        assert_equal(sorted(merges[:, :2].ravel().tolist()), list(range(8)))
        assert (merges[:, 0] < merges[:, 1]).all()
        assert_equal(merges[-1, 3], 5.0)

    @pytest.mark.parametrize("method", ["median", ""])
    @pytest.mark.parametrize("n", [1, 4])
    def test_rejects_other_methods(self, method, n):
        with raises(ValueError, method):
            linkage(LINE[:n], method)


def numbered(labels):
    """The labels, numbered by their first rows."""
    seen = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels.tolist()])


class TestCutAtHeight:
    @pytest.mark.parametrize(
        ("height", "expected"),
        [(0.9, [0, 1, 2, 3]), (1.0, [0, 0, 1, 2]), (4.0, [0, 0, 0, 1]), (5.0, [0, 0, 0, 0]), (99.0, [0, 0, 0, 0])],
    )
    def test_the_drawing(self, height, expected):
        merges = np.array([[0.0, 1, 1, 2], [2, 4, 3, 3], [3, 5, 5, 4]])
        assert_equal(cut_at_height(merges, height), np.array(expected))

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("n", [9, 40])
    def test_matches_scipy(self, method, n, rng):
        from scipy.cluster.hierarchy import fcluster
        from scipy.cluster.hierarchy import linkage as oracle

        merges = oracle(rng.standard_normal((n, 2)), method)
        for at in (n // 4, n // 2, n - 3):
            height = float(merges[at, 2])
            assert_equal(cut_at_height(merges, height), numbered(fcluster(merges, height, "distance")))

    def test_labels_are_numbered_by_first_rows(self):
        # 1 and 3 merge first, then 0 and 4.
        merges = np.array([[1.0, 3, 1, 2], [0, 4, 2, 2], [2, 6, 3, 3], [5, 7, 4, 5]])
        assert_equal(cut_at_height(merges, 2.0), np.array([0, 1, 2, 1, 0]))

    def test_a_single_point(self):
        assert_equal(cut_at_height(np.empty((0, 4)), 1.0), np.array([0]))

    def test_a_tree_of_thousands_of_merges(self):
        n = 3000
        got = cut_at_height(chain(n), n - 9.0)
        assert_equal(got, np.minimum(np.maximum(np.arange(n) - (n - 10), 0), 9))


class TestCutInto:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("k", [1, 2, 7, 15])
    def test_matches_scipy(self, method, k, rng):
        from scipy.cluster.hierarchy import cut_tree
        from scipy.cluster.hierarchy import linkage as oracle

        merges = oracle(rng.standard_normal((15, 3)), method)
        assert_equal(cut_into(merges, k), numbered(cut_tree(merges, n_clusters=k)[:, 0]))

    def test_equal_heights_are_cut_all_the_same(self):
        merges = np.array([[0.0, 1, 1, 2], [2, 3, 1, 2], [4, 5, 1, 4]])
        assert_equal(cut_into(merges, 2), np.array([0, 0, 1, 1]))
        assert_equal(cut_into(merges, 3), np.array([0, 0, 1, 2]))

    def test_a_tree_of_thousands_of_merges(self):
        assert_equal(cut_into(chain(3000), 3), np.array([0] * 2998 + [1, 2]))

    @pytest.mark.parametrize("k", [0, 5, -1])
    def test_rejects_other_numbers(self, k):
        merges = np.array([[0.0, 1, 1, 2], [2, 4, 3, 3], [3, 5, 5, 4]])
        assert_equal(cut_into(merges, 4), np.arange(4))
        with raises(ValueError, k, 4):
            cut_into(merges, k)


class TestAdjustedRandIndex:
    def test_the_example_worked_by_hand(self):
        assert_close(adjusted_rand_index(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1])), 1 / 6)

    @pytest.mark.parametrize(("n", "k", "m"), [(30, 3, 4), (50, 2, 7), (12, 9, 2)])
    def test_matches_scikit_learn_in_both_orders(self, n, k, m, rng):
        from sklearn.metrics import adjusted_rand_score

        first = 5 * rng.integers(0, k, n) - 1
        second = np.where(rng.random(n) < 0.5, first, rng.integers(0, m, n))
        assert_close(adjusted_rand_index(first, second), adjusted_rand_score(first, second))
        assert_close(adjusted_rand_index(second, first), adjusted_rand_score(first, second))

    def test_pair_by_pair(self, rng):
        first, second = rng.integers(0, 3, 14), rng.integers(0, 4, 14)
        one, other = (np.array([v[i] == v[j] for i, j in combinations(range(14), 2)]) for v in (first, second))
        chance = one.mean() * other.sum()
        expected = ((one & other).sum() - chance) / ((one.sum() + other.sum()) / 2 - chance)
        assert_close(adjusted_rand_index(first, second), float(expected))

    def test_finds_rings_where_ward_does_not(self, rng):
        x, y = rings(rng)
        assert adjusted_rand_index(y, dbscan(x, 0.6, 3)) == 1.0
        assert adjusted_rand_index(y, cut_into(linkage(x, "ward"), 2)) < 0.6

    def test_ward_finds_most_of_the_irises(self, iris):
        x, y = iris
        labels = cut_into(linkage(x[::2], "ward"), 3)
        assert adjusted_rand_index(y[::2], labels) > 0.6

    def test_names_do_not_matter(self):
        assert_close(adjusted_rand_index(np.array(["b", "a", "b", "c"]), np.array([1, -1, 1, 7])), 1.0)

    def test_worse_than_chance_is_negative(self):
        # I = 0, A = B = 2, E = 4/6.
        assert_close(adjusted_rand_index(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])), (0 - 4 / 6) / (2 - 4 / 6))

    @pytest.mark.parametrize("labels", [[3, 3, 3], [1, 2, 3], [7]])
    def test_nothing_to_adjust(self, labels):
        assert_close(adjusted_rand_index(np.array(labels), np.array(labels)[::-1]), 1.0)

    def test_all_together_against_each_alone(self):
        assert_close(adjusted_rand_index(np.array([0, 0, 0]), np.array([0, 1, 2])), 0.0)

    def test_hundreds_of_thousands_of_points(self):
        # Two halves, and the same with a quarter moved over: A B is above 2⁶³.
        n, half, quarter = 400_000, 200_000, 100_000
        first, second = np.arange(n) // half, np.arange(n) // quarter // 3
        pairs = [m * (m - 1) // 2 for m in (half, quarter, quarter)]
        a, b, every = 2 * pairs[0], 3 * quarter * (3 * quarter - 1) // 2 + pairs[1], n * (n - 1) // 2
        expected = (sum(pairs) - a * b / every) / ((a + b) / 2 - a * b / every)
        assert_close(adjusted_rand_index(first, second), expected)

    @pytest.mark.parametrize(("n", "m"), [(3, 5), (6, 2)])
    def test_rejects_different_lengths(self, n, m):
        with raises(ValueError, n, m):
            adjusted_rand_index(np.zeros(n, dtype=int), np.zeros(m, dtype=int))
