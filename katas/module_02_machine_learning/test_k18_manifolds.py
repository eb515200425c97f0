"""Judges k18_manifolds against finite differences, scipy's root finder, scikit-learn, and PCA on digits."""

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_02_machine_learning.k18_manifolds import (
    classical_scaling,
    geodesics,
    isomap,
    joint_probabilities,
    neighbor_graph,
    neighbor_probabilities,
    search_precision,
    trustworthiness,
    tsne,
    tsne_gradient,
    tsne_loss,
)

pytestmark = [from_scratch("sklearn"), pure()]

SIXTH = (1 - np.eye(3)) / 6
LINE, PAGE = np.array([[0], [1], [3], [7]]), np.array([[0], [5], [1], [7]])


def perplexity_of(d2, precision):
    """That of exp(-β d²) made to sum to 1, in long doubles."""
    weights = np.exp(-np.longdouble(precision) * (np.asarray(d2, np.longdouble) - d2.min()))
    p = weights / weights.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def random_p(rng, n):
    """Symmetric probabilities of pairs with zeros among them."""
    p = rng.random((n, n)) * (rng.random((n, n)) < 0.7)
    p = (p + p.T) * (1 - np.eye(n))
    return p / p.sum()


def loss_of(p, y):
    """The loss pair by pair."""
    n = len(y)
    w = {(i, j): 1 / (1 + ((y[i] - y[j]) ** 2).sum()) for i in range(n) for j in range(n) if i != j}
    total = sum(w.values())
    return float(sum(p[i, j] * np.log(p[i, j] / (w[i, j] / total)) for i, j in w if p[i, j] > 0))


def gradient_of(p, y):
    """The gradient pair by pair."""
    n, total = len(y), 0.0
    w = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            w[i, j] = 0 if i == j else 1 / (1 + ((y[i] - y[j]) ** 2).sum())
    total = w.sum()
    return np.array(
        [4 * sum((p[i, j] - w[i, j] / total) * w[i, j] * (y[i] - y[j]) for j in range(n)) for i in range(n)]
    )


class TestNeighborProbabilities:
    def test_the_example_worked_by_hand(self):
        assert_close(neighbor_probabilities(np.array([1, 2]), np.log(2)), np.array([2 / 3, 1 / 3]))

    @pytest.mark.parametrize(("m", "precision"), [(5, 0.3), (8, 2.5), (1, 1.0)])
    def test_is_a_softmax(self, m, precision, rng):
        from scipy.special import softmax

        d2 = rng.random(m) * 4
        assert_close(neighbor_probabilities(d2, precision), softmax(-precision * d2))

    @pytest.mark.parametrize("far", [1e4, 1e6])
    def test_far_points_are_not_nan(self, far):
        got = neighbor_probabilities(np.array([far, far + 1, far]), 1.0)
        weights = np.exp(np.array([0.0, -1.0, 0.0]))
        assert_close(got, weights / weights.sum())


class TestSearchPrecision:
    def test_the_example_worked_by_hand(self):
        perplexity = np.exp(-(2 * np.log(2 / 3) + np.log(1 / 3)) / 3)
        assert_close(search_precision(np.array([1, 2]), perplexity), np.log(2), rtol=1e-4, atol=0)  # as 1e-5 allows

    @pytest.mark.parametrize("perplexity", [1.01, 2.0, 5.5, 11.0, 18.9])
    @pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
    def test_reaches_the_perplexity(self, perplexity, scale, rng):
        d2 = scale * rng.chisquare(4, 19)
        got = search_precision(d2, perplexity)
        assert got > 0
        assert_close(perplexity_of(d2, got), perplexity, rtol=0, atol=1.001e-5)

    def test_finds_what_scipy_finds(self, rng):
        from scipy.optimize import brentq

        d2 = rng.chisquare(4, 30)
        expected = np.exp(brentq(lambda b: perplexity_of(d2, np.exp(b)) - 7.5, -12, 12, xtol=1e-13))
        # The perplexity may be off by 1e-5, and β by a few times that.
        assert_close(search_precision(d2, 7.5), float(expected), rtol=1e-4, atol=0)

    def test_all_far_away(self, rng):
        d2 = 1e4 + rng.random(20)
        assert_close(perplexity_of(d2, search_precision(d2, 6.0)), 6.0, rtol=0, atol=1.001e-5)

    def test_with_a_copy_and_an_outlier(self):
        d2 = np.array([0.0, 1.0, 2.0, 3.0, 1e8])
        for perplexity in (1.2, 3.5, 4.5):
            got = perplexity_of(d2, search_precision(d2, perplexity))
            assert_close(got, perplexity, rtol=0, atol=1.001e-5)

    @pytest.mark.parametrize("perplexity", [4.0, 4.5, 1.0, 0.5])
    def test_rejects_what_cannot_be_reached(self, perplexity):
        with raises(ValueError, perplexity, 1, 4):
            search_precision(np.array([1.0, 2.0, 0.5, 3.0]), perplexity)

    @pytest.mark.parametrize("perplexity", [3.0, 2.5])
    def test_points_that_share_the_smallest_distance(self, perplexity):
        d2 = np.array([1.0, 2.0, 1.0, 1.0, 3.0])
        assert_close(perplexity_of(d2, search_precision(d2, 3.1)), 3.1, rtol=0, atol=1.001e-5)
        with raises(ValueError, perplexity, 3, 5):
            search_precision(d2, perplexity)


class TestJointProbabilities:
    @pytest.mark.parametrize(("n", "d", "perplexity"), [(9, 3, 4.0), (14, 2, 2.5)])
    def test_is_the_mean_of_both_directions(self, n, d, perplexity, rng):
        from scipy.optimize import brentq

        x = rng.standard_normal((n, d)) * rng.uniform(0.2, 3, (n, 1))
        conditional = np.zeros((n, n))
        for i in range(n):
            others = [j for j in range(n) if j != i]
            d2 = ((x[others] - x[i]) ** 2).sum(axis=1)
            beta = np.exp(brentq(lambda b, d2=d2: perplexity_of(d2, np.exp(b)) - perplexity, -12, 12, xtol=1e-13))
            weights = np.exp(-beta * d2)
            conditional[i, others] = weights / weights.sum()
        got = joint_probabilities(x, perplexity)
        # Perplexities within 1e-5 leave the probabilities within about as much.
        assert_close(got, (conditional + conditional.T) / (2 * n), rtol=1e-4, atol=1e-6)
        assert_equal(np.diag(got).tolist(), [0.0] * n)

    def test_every_point_has_its_share(self, rng):
        x = np.vstack([rng.standard_normal((11, 2)), [[60.0, 60.0]]])
        p = joint_probabilities(x, 3.0)
        assert_close(p.sum(), 1.0)
        assert_close(p, p.T)
        assert p.sum(axis=1).min() > 1 / 24 - 1e-9

    def test_of_uint8(self):
        x = np.array([[0], [250], [253], [255], [100]])
        assert_close(joint_probabilities(x.astype(np.uint8), 2.0), joint_probabilities(x.astype(float), 2.0))

    @pytest.mark.parametrize("perplexity", [1.0, 6.0])
    def test_rejects_what_cannot_be_reached(self, perplexity, rng):
        with raises(ValueError, perplexity, 1, 6):
            joint_probabilities(rng.standard_normal((7, 2)), perplexity)


class TestTsneLoss:
    def test_the_example_worked_by_hand(self):
        expected = (np.log(8 / 15) + np.log(8 / 3) + np.log(4 / 3)) / 3
        assert_close(tsne_loss(SIXTH, np.array([[0], [1], [3]])), float(expected))

    @pytest.mark.parametrize(("n", "q"), [(5, 2), (8, 1), (6, 3)])
    def test_matches_the_sum_pair_by_pair(self, n, q, rng):
        p, y = random_p(rng, n), 2 * rng.standard_normal((n, q))
        assert_close(tsne_loss(p, y), loss_of(p, y))

    def test_of_exaggerated_probabilities(self, rng):
        p, y = 4 * random_p(rng, 6), rng.standard_normal((6, 2))
        assert_close(tsne_loss(p, y), loss_of(p, y))

    def test_far_and_rare_pairs_count_as_they_are(self):
        # q is some 1e-14 for the far point.
        p = np.array([[0, 0.3, 0.1], [0.3, 0, 0.1 + 1e-12], [0.1, 0.1 + 1e-12, 0]])
        y = np.array([[0.0], [1.0], [1e7]])
        assert_close(tsne_loss(p, y), loss_of(p, y))

    def test_is_zero_where_the_page_is_right(self, rng):
        y = rng.standard_normal((7, 2))
        w = 1 / (1 + ((y[:, None] - y) ** 2).sum(axis=2)) * (1 - np.eye(7))
        assert_close(tsne_loss(w / w.sum(), y), 0.0)


class TestTsneGradient:
    def test_the_example_worked_by_hand(self):
        got = tsne_gradient(SIXTH, np.array([[0], [1], [3]]))
        # By y₁: 4 (-7/48 · 0.5 · 1 + 2/48 · 0.2 · (-2)); all three sum to 0.
        assert_close(got, np.array([[1 / 6], [-4 * 4.3 / 48], [4 * 2.3 / 48]]))

    @pytest.mark.parametrize(("n", "q"), [(5, 2), (7, 1), (6, 3)])
    def test_matches_finite_differences(self, n, q, rng):
        p, y = random_p(rng, n), rng.standard_normal((n, q))
        expected = np.zeros((n, q))
        for place in np.ndindex(n, q):
            step = np.zeros((n, q))
            step[place] = 1e-5
            expected[place] = (loss_of(p, y + step) - loss_of(p, y - step)) / 2e-5
        assert_close(tsne_gradient(p, y), expected, rtol=1e-6, atol=1e-8)  # differences of 1e-5

    @pytest.mark.parametrize("factor", [1.0, 4.0])
    def test_matches_the_sum_pair_by_pair(self, factor, rng):
        p, y = factor * random_p(rng, 9), 3 * rng.standard_normal((9, 2)) + 50
        assert_close(tsne_gradient(p, y), gradient_of(p, y))

    def test_does_not_push_the_page_as_a_whole(self, rng):
        p, y = random_p(rng, 12), rng.standard_normal((12, 2))
        assert_close(tsne_gradient(p, y).sum(axis=0), np.zeros(2))


class TestTsne:
    @pytest.mark.parametrize(
        ("rate", "steps", "momentum", "exaggeration", "exaggerated"),
        [
            (0.5, 6, 0.8, 4.0, 3),
            (2.0, 5, 0.3, 2.5, 2),
            (1.0, 4, 0.0, 6.0, 0),
            (0.5, 3, 0.8, 4.0, 9),
            (1.0, 0, 0.8, 4.0, 5),
        ],
    )
    def test_follows_the_descent(self, rate, steps, momentum, exaggeration, exaggerated, rng):
        p, start = random_p(rng, 6), rng.standard_normal((6, 2))
        y, velocity = start, 0 * start
        for step in range(steps):
            factor = exaggeration if step < exaggerated else 1
            velocity = momentum * velocity - rate * gradient_of(factor * p, y)
            y = y + velocity
        assert_close(tsne(p, start, rate, steps, momentum, exaggeration, exaggerated), y)

    def test_the_defaults(self, rng):
        p, start = random_p(rng, 5), rng.standard_normal((5, 2))
        assert_close(tsne(p, start, 0.3, 53), tsne(p, start, 0.3, 53, 0.8, 4.0, 50))
        assert_close(tsne(p, start, 0.3, 4), tsne(p, start, 0.3, 4, 0.8, 4.0, 4))

    def test_a_start_of_integers(self):
        got = tsne(SIXTH, np.array([[0], [1], [3]]), 3.0, 1, exaggeration=1.0)
        assert_close(got, np.array([[-0.5], [1 + 12 * 4.3 / 48], [3 - 12 * 2.3 / 48]]))

    def test_is_trusted_more_than_pca_on_digits(self, digits, rng):
        from sklearn.decomposition import PCA
        from sklearn.manifold import trustworthiness as oracle

        x = digits[0][::14]
        page = tsne(joint_probabilities(x, 12.0), 0.01 * rng.standard_normal((len(x), 2)), 50.0, 100)
        assert oracle(x, page) > oracle(x, PCA(2).fit_transform(x)) + 0.1


def grid(rng):
    """Points on a grid, in any order: most have several neighbours equally far away."""
    return rng.permutation(np.array([[i, j] for i in range(6) for j in range(6)], dtype=float))


def by_distance_and_row(x):
    """For each row the others, the nearest first, at a tie the lower row number: (n, n - 1)."""
    d2 = ((x[:, None] - x) ** 2).sum(axis=2).tolist()
    return np.array([sorted((j for j in range(len(x)) if j != i), key=lambda j: (d2[i][j], j)) for i in range(len(x))])


class TestNeighborGraph:
    def test_an_edge_goes_both_ways(self):
        # 7's nearest is 3, though 3's is 1.
        i = np.inf
        expected = np.array([[0, 1, i, i], [1, 0, 2, i], [i, 2, 0, 4], [i, i, 4, 0]])
        assert_close(neighbor_graph(LINE, 1), expected)

    @pytest.mark.parametrize(("n", "d", "k"), [(12, 2, 3), (9, 4, 1), (8, 1, 7)])
    def test_matches_scikit_learn(self, n, d, k, rng):
        from sklearn.neighbors import kneighbors_graph

        x = rng.standard_normal((n, d))
        one_way = kneighbors_graph(x, k, mode="distance").toarray()
        both = np.maximum(one_way, one_way.T)
        expected = np.where(both > 0, both, np.inf)
        np.fill_diagonal(expected, 0)
        assert_close(neighbor_graph(x, k), expected)

    def test_copies_are_neighbours(self):
        i = np.inf
        x = np.array([[5.0, 1.0], [5.0, 1.0], [5.0, 1.0], [9.0, 4.0]])
        assert_close(neighbor_graph(x, 1), np.array([[0, 0, 0, 5], [0, 0, i, i], [0, i, 0, i], [5, i, i, 0]]))

    def test_the_lower_row_at_a_tie(self):
        i = np.inf
        got = neighbor_graph(np.array([[1], [0], [2], [50], [40]], np.uint8), 1)
        assert_close(
            got, np.array([[0, 1, 1, i, i], [1, 0, i, i, i], [1, i, 0, i, i], [i, i, i, 0, 10], [i, i, i, 10, 0]])
        )

    @pytest.mark.parametrize("k", [3, 6, 17])
    def test_ties_among_many(self, k, rng):
        x = grid(rng)
        near = by_distance_and_row(x)[:, :k]
        edge = np.zeros((len(x), len(x)), dtype=bool)
        np.put_along_axis(edge, near, True, axis=1)
        distances = np.linalg.norm(x[:, None] - x, axis=2)
        expected = np.where(edge | edge.T, distances, np.inf)
        np.fill_diagonal(expected, 0)
        assert_close(neighbor_graph(x, k), expected)

    @pytest.mark.parametrize("k", [0, 4])
    def test_rejects_other_numbers(self, k):
        with raises(ValueError, k, 4):
            neighbor_graph(LINE, k)


class TestGeodesics:
    def test_ways_lead_over_others(self):
        i = np.inf
        graph = np.array([[0, 1, i, i], [1, 0, 2, 9], [i, 2, 0, 4], [i, 9, 4, 0]])
        assert_close(geodesics(graph), np.array([[0.0, 1, 3, 7], [1, 0, 2, 6], [3, 2, 0, 4], [7, 6, 4, 0]]))

    @pytest.mark.parametrize(("n", "share"), [(9, 0.3), (25, 0.15)])
    def test_matches_scipy(self, n, share, rng):
        from scipy.sparse.csgraph import shortest_path

        lengths = np.where(rng.random((n, n)) < share, rng.random((n, n)) + 0.1, np.inf)
        order = rng.permutation(n)
        lengths[order[:-1], order[1:]] = 1.0  # connected, over long ways
        lengths = np.minimum(lengths, lengths.T)
        np.fill_diagonal(lengths, 0)
        assert_close(geodesics(lengths), shortest_path(np.where(np.isinf(lengths), 0, lengths), directed=False))

    def test_an_edge_of_length_zero_is_an_edge(self):
        i = np.inf
        assert_close(
            geodesics(np.array([[0.0, 0, i], [0, 0, 3], [i, 3, 0]])), np.array([[0.0, 0, 3], [0, 0, 3], [3, 3, 0]])
        )

    def test_a_long_chain(self):
        n = 120
        graph = np.full((n, n), np.inf)
        order = np.arange(n) * 7 % n  # 7 and 120 share no factor: every place once
        graph[order[:-1], order[1:]] = graph[order[1:], order[:-1]] = 2.0
        np.fill_diagonal(graph, 0)
        place = np.argsort(order)
        assert_close(geodesics(graph), 2.0 * np.abs(place[:, None] - place))

    def test_rejects_a_graph_in_pieces(self):
        i = np.inf
        with raises(ValueError, "connected"):
            geodesics(np.array([[0, 1, i, i], [1, 0, i, i], [i, i, 0, 2], [i, i, 2, 0]]))


def with_signs(expected):
    """Columns whose entry of largest absolute value is positive."""
    signs = [np.sign(column[np.abs(column).argmax()]) for column in expected.T]
    return expected * signs


class TestClassicalScaling:
    @pytest.mark.parametrize("dimensions", [1, 2, 3])
    def test_is_pca_of_euclidean_distances(self, dimensions, rng):
        from scipy.spatial.distance import cdist

        x = rng.standard_normal((9, 3)) * [3.0, 2.0, 1.0] + 5
        centred = x - x.mean(axis=0)
        _, _, axes = np.linalg.svd(centred)
        assert_close(classical_scaling(cdist(x, x), dimensions), with_signs((centred @ axes.T)[:, :dimensions]))

    def test_of_integers(self):
        got = classical_scaling(np.abs(LINE - LINE.T), 1)
        assert_close(got, LINE - 11 / 4)

    def test_of_uint8(self):
        line = np.array([[10], [20], [60], [250]])
        got = classical_scaling(np.abs(line - line.T).astype(np.uint8), 1)
        assert_close(got, line - 85.0)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_the_largest_entry_is_positive(self, sign):
        x = sign * np.array([[0.0], [1.0], [2.0], [9.0]])
        assert_close(classical_scaling(np.abs(x - x.T), 1), sign * (x - sign * 3.0))

    def test_more_dimensions_than_the_points_need(self):
        got = classical_scaling(np.abs(LINE - LINE.T), 3)
        assert_close(np.abs(got[:, 1:]), np.zeros((4, 2)), atol=1e-6, rtol=0)  # roots of roundings
        assert_close(np.abs(got[:, 0] - got[:, :1]), np.abs(LINE - LINE.T).astype(float))

    def test_negative_eigenvalues_count_as_zero(self):
        # Around a circle of four: the eigenvalues of B are 2, 2, 0 and -1.
        way = np.array([[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]])
        got = classical_scaling(way, 4)
        assert_close((got**2).sum(axis=0), np.array([2.0, 2.0, 0.0, 0.0]))

    def test_the_largest_eigenvalues_not_the_largest_absolute_ones(self):
        # Two sides of three: 1 across, 2 within.  The eigenvalues of B are 2, four times, 0 and -2.5.
        side = np.arange(6) % 2
        way = np.where(side[:, None] == side, 2.0, 1.0) * (1 - np.eye(6))
        got = classical_scaling(way, 3)
        assert_close((got**2).sum(axis=0), np.array([2.0, 2.0, 2.0]))


def spiral(rng, n=60):
    """Points along a spiral in three dimensions, and their places along it, in random order."""
    t = rng.permutation(np.linspace(3, 12, n))
    return np.stack([t * np.cos(t), t * np.sin(t), 0.1 * rng.random(n)], axis=1), t


class TestIsomap:
    @pytest.mark.parametrize(("k", "dimensions"), [(4, 2), (6, 1), (8, 3)])
    def test_matches_scikit_learn(self, k, dimensions, rng):
        from sklearn.manifold import Isomap

        x = rng.random((30, 3)) * [6, 2, 1]
        expected = Isomap(n_neighbors=k, n_components=dimensions, eigen_solver="dense", path_method="FW")
        assert_close(isomap(x, k, dimensions), with_signs(expected.fit_transform(x)))

    def test_unrolls_a_spiral(self, rng):
        x, t = spiral(rng)
        length = (t * np.sqrt(1 + t**2) + np.arcsinh(t)) / 2
        along = isomap(x, 2, 1)[:, 0]
        assert abs(np.corrcoef(along, length)[0, 1]) > 0.999
        assert max(abs(np.corrcoef(column, length)[0, 1]) for column in x.T) < 0.9

    def test_rejects_pieces(self):
        with raises(ValueError, "connected"):
            isomap(np.array([[0.0], [1.0], [50.0], [51.0]]), 1, 1)


class TestTrustworthiness:
    def test_the_example_worked_by_hand(self):
        assert_close(trustworthiness(LINE, PAGE, 1), 0.375)

    @pytest.mark.parametrize(("n", "k"), [(12, 5), (30, 3), (9, 4)])
    def test_matches_scikit_learn_in_both_orders(self, n, k, rng):
        from sklearn.manifold import trustworthiness as oracle

        x, y = rng.standard_normal((n, 4)), rng.standard_normal((n, 2))
        y = y + x[:, :2]
        assert_close(trustworthiness(x, y, k), float(oracle(x, y, n_neighbors=k)))
        assert_close(trustworthiness(y, x, k), float(oracle(y, x, n_neighbors=k)))

    def test_a_page_with_the_same_neighbours_is_trusted(self, rng):
        x = rng.standard_normal((11, 3))
        assert_close(trustworthiness(x, 7 * x - 3, 5), 1.0)

    def test_the_lower_row_at_a_tie(self):
        # On the page all points fall together, so the nearest of 0 is 1 and of all others 0.
        x = np.array([[0], [3], [4], [9], [7]], np.uint8)
        ranks = [1, 2, 3, 4, 4]  # of 1 from 0, and of 0 from the others; 7 is at 2 from 9, 3 from 4, 4 from 3
        excess = sum(rank - 1 for rank in ranks)
        assert_close(trustworthiness(x, np.zeros((5, 2)), 1), 1 - 2 * excess / (5 * 1 * (10 - 3 - 1)))

    @pytest.mark.parametrize("k", [2, 9])
    def test_ties_among_many(self, k, rng):
        x, y = grid(rng), grid(rng)
        n, places, near = len(x), by_distance_and_row(x).tolist(), by_distance_and_row(y)[:, :k].tolist()
        excess = sum(max(places[i].index(j) + 1 - k, 0) for i in range(n) for j in near[i])
        assert_close(trustworthiness(x, y, k), 1 - 2 * excess / (n * k * (2 * n - 3 * k - 1)))

    def test_ties_in_the_data(self):
        # 1 and 2 are both at 1 from 0: 1 has rank 1, and 2, the nearest on the page, rank 2.
        x, y = np.array([[0], [1], [-1], [10]]), np.array([[0], [3], [1], [20]])
        # nearest on the page: 2, 2, 0, 1; ranks in the data: 2, 2, 1, 1
        assert_close(trustworthiness(x, y, 1), 1 - 2 / (4 * 4) * 2)

    @pytest.mark.parametrize(("n", "k"), [(8, 4), (9, 5), (7, 0)])
    def test_rejects_other_numbers(self, n, k, rng):
        x = rng.standard_normal((n, 2))
        assert_close(trustworthiness(x, x, 3), 1.0)
        with raises(ValueError, k, n):
            trustworthiness(x, x, k)
