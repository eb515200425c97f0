"""Judges k19_umap against finite differences, scipy's root finder and curve fit, and PCA on digits."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_02_machine_learning.k19_umap import (
    fit_curve,
    fuzzy_graph,
    layout,
    local_scale,
    memberships,
    umap_gradient,
    umap_loss,
)

pytestmark = [from_scratch("scipy", "sklearn", "umap"), pure()]


def sum_of_members(distances, rho, sigma):
    return sum(math.exp(-max(0.0, float(d) - rho) / sigma) for d in distances)


def scale_of(distances):
    """ρ and σ by scipy's root finder, without a floor."""
    from scipy.optimize import brentq

    rho = min(float(d) for d in distances if d > 0)
    found = brentq(
        lambda s: sum_of_members(distances, rho, math.exp(s)) - math.log2(len(distances)), -14, 14, xtol=1e-13
    )
    return rho, math.exp(found)


def random_graph(rng, n):
    """Symmetric weights with zeros and ones among them."""
    v = np.clip(rng.uniform(-0.5, 1.3, (n, n)), 0, 1)
    v = np.triu(v, 1)
    return v + v.T


def loss_of(v, y, a, b):
    """The loss pair by pair."""
    total = 0.0
    for i in range(len(y)):
        for j in range(i):
            far = a * float(((y[i] - y[j]) ** 2).sum()) ** b
            weight = float(v[i, j])
            if weight > 0:
                total += weight * (math.log(weight) + math.log1p(far))
            if weight < 1:
                total += (1 - weight) * (math.log1p(-weight) + math.log1p(1 / far))
    return total


def gradient_of(v, y, a, b):
    """The gradient pair by pair, with distances instead of their squares."""
    n = len(y)
    gradient = np.zeros(y.shape)
    for i in range(n):
        for j in range(n):
            d = np.linalg.norm(y[i] - y[j])
            if d > 0:
                w = 1 / (1 + a * d ** (2 * b))
                slope = v[i, j] * 2 * b * (1 - w) / d - (1 - v[i, j]) * 2 * b * w / d
                gradient[i] += slope * (y[i] - y[j]) / d
    return gradient


class TestLocalScale:
    def test_the_example_worked_by_hand(self):
        rho, sigma = local_scale(np.array([1, 2, 2, 2]))
        assert_close(rho, 1.0)
        assert_close(sigma, 1 / math.log(3), rtol=1e-4, atol=0)  # the sum may be off by 1e-5

    @pytest.mark.parametrize("k", [3, 5, 15, 40])
    @pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
    def test_members_sum_to_the_logarithm_of_k(self, k, scale, rng):
        distances = scale * (1 + rng.permutation(np.arange(k) + 0.5 * rng.random(k)) / k)
        rho, sigma = local_scale(distances)
        assert_close(rho, float(distances.min()))
        assert_close(sum_of_members(distances, rho, sigma), math.log2(k), rtol=0, atol=1.001e-5)

    def test_finds_what_scipy_finds(self, rng):
        distances = rng.permutation(np.linspace(0.5, 4, 12))
        # The sum may be off by 1e-5, and σ by a few times that.
        assert_close(local_scale(distances), scale_of(distances), rtol=1e-4, atol=0)

    def test_sigma_may_exceed_all_distances_on_average(self):
        # 1 + 2 exp(-0.999/σ) = log₂ 3
        _, sigma = local_scale(np.array([0.001, 1.0, 1.0]))
        assert_close(sigma, 0.999 / math.log(2 / (math.log2(3) - 1)), rtol=1e-4, atol=0)  # the sum may be off by 1e-5

    def test_copies_are_nearer_than_rho(self):
        distances = np.array([3.0, 0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0])
        rho, sigma = local_scale(distances)
        assert_close(rho, 1.0)
        assert_close(sum_of_members(distances, rho, sigma), 3.0, rtol=0, atol=1.001e-5)

    @pytest.mark.parametrize("distances", [[1.0, 1.0, 2.0], [0.0, 1.0, 5.0, 9.0], [2.0, 2.0, 2.0, 2.0, 2.0]])
    def test_the_floor_where_no_sigma_will_do(self, distances):
        rho, sigma = local_scale(np.array(distances))
        assert_close(rho, min(d for d in distances if d > 0))
        assert_close(sigma, sum(distances) / len(distances) / 1000)

    def test_the_floor_where_sigma_would_be_smaller(self):
        assert_close(local_scale(np.array([1.0, 1.0001, 999.0])), (1.0, 1001.0001 / 3000))

    def test_nothing_but_copies(self):
        assert_close(local_scale(np.zeros(4)), (0.0, 0.0))

    @pytest.mark.parametrize("k", [1, 2])
    def test_rejects_fewer_than_three(self, k):
        with raises(ValueError, k):
            local_scale(np.arange(1.0, k + 1))


class TestMemberships:
    def test_the_example_worked_by_hand(self):
        got = memberships(np.array([1, 2, 2, 2]), 1.0, 1 / math.log(3))
        assert_close(got, np.array([1, 1 / 3, 1 / 3, 1 / 3]))

    @pytest.mark.parametrize(("rho", "sigma"), [(0.5, 0.3), (1.5, 2.0)])
    def test_falls_beyond_rho(self, rho, sigma, rng):
        d = rng.random(7) * 3
        expected = np.array([1.0 if one <= rho else math.exp((rho - one) / sigma) for one in d])
        assert_close(memberships(d, rho, sigma), expected)

    def test_sigma_may_be_zero(self):
        assert_close(memberships(np.zeros(3), 0.0, 0.0), np.ones(3))
        assert_close(memberships(np.array([0.0, 2.0]), 2.0, 0.0), np.ones(2))


class TestFuzzyGraph:
    @pytest.mark.parametrize(("n", "d", "k"), [(10, 2, 4), (14, 3, 6), (8, 1, 7)])
    def test_is_the_union_of_both_directions(self, n, d, k, rng):
        self.check(rng.standard_normal((n, d)), k)

    def test_ties_among_many(self, rng):
        # Most points of this grid have four others at the same distance in place 5.
        self.check(rng.permutation(np.array([[i, 1.5 * j] for i in range(6) for j in range(6)])), 5)

    def check(self, x, k):
        n = len(x)
        m = np.zeros((n, n))
        for i in range(n):
            distance = np.linalg.norm(x - x[i], axis=1)
            near = sorted((j for j in range(n) if j != i), key=lambda j, distance=distance: distance[j])[:k]
            rho, sigma = scale_of(distance[near])
            sigma = max(sigma, distance[near].mean() / 1000)
            m[i, near] = np.exp(-np.maximum(distance[near] - rho, 0) / sigma)
        got = fuzzy_graph(x, k)
        # Sums within 1e-5 leave the members within about as much.
        assert_close(got, 1 - (1 - m) * (1 - m.T), rtol=0, atol=3e-5)
        assert_close(got, got.T)
        assert_equal(np.diag(got).tolist(), [0.0] * n)

    def test_every_nearest_neighbour_is_a_member_for_certain(self, rng):
        x = np.vstack([rng.standard_normal((12, 2)), [[40.0, 40.0]]])
        assert_close(fuzzy_graph(x, 5).max(axis=1), np.ones(13))

    def test_copies(self):
        x = np.array([[1, 1]] * 4 + [[9, 1]] * 4)
        square = 1 - np.eye(4)
        zeros = np.zeros((4, 4))
        assert_close(fuzzy_graph(x, 3), np.block([[square, zeros], [zeros, square]]))

    def test_more_copies_than_neighbours(self):
        # The three neighbours of each are the first three of the others.
        m = np.zeros((6, 6))
        for i in range(6):
            m[i, [j for j in range(6) if j != i][:3]] = 1
        assert_close(fuzzy_graph(np.full((6, 2), 7.0), 3), np.maximum(m, m.T))

    def test_the_lower_row_at_a_tie(self):
        # From 0 four rows are at 1; with k = 3 the last of them is no neighbour of 0, and 0 none of its.
        x = np.array([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0], [-1, 0], [-1, 0], [-1, 0]])
        got = fuzzy_graph(x, 3)
        assert_close(got[0], np.array([0.0, 1, 1, 1, 0, 0, 0, 0]))

    def test_of_uint8(self):
        x = np.array([[0], [250], [253], [255], [100], [90]])
        assert_close(fuzzy_graph(x.astype(np.uint8), 3), fuzzy_graph(x.astype(float), 3))

    @pytest.mark.parametrize("k", [2, 6, 0])
    def test_rejects_other_numbers(self, k, rng):
        x = rng.standard_normal((6, 2))
        assert_equal(fuzzy_graph(x, 5).shape, (6, 6))
        with raises(ValueError, k, 6):
            fuzzy_graph(x, k)


class TestFitCurve:
    def test_the_example_of_the_lesson(self):
        # What umap-learn has for its defaults, to the digits that are written.
        assert_close(fit_curve(0.1), (1.577, 0.895), rtol=0, atol=5e-4)

    @pytest.mark.parametrize(
        ("min_dist", "spread"),
        [(0.1, 1.0), (0.5, 1.0), (0.001, 1.0), (0.25, 1.5), (0.99, 1.0), (0.01, 0.3), (0.5, 0.5)],
    )
    def test_fits_as_well_as_scipy(self, min_dist, spread):
        from scipy.optimize import curve_fit

        d = np.linspace(0, 3 * spread, 300)
        target = np.where(d < min_dist, 1.0, np.exp(-(d - min_dist) / spread))
        start = (spread**-2, 1.0)
        expected, _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), d, target, p0=start, ftol=1e-13, xtol=1e-13)
        # 0.01% each, ours and scipy's
        assert_close(fit_curve(min_dist, spread), tuple(expected.tolist()), rtol=2e-4, atol=0)

    def test_from_zero(self):
        a, b = fit_curve(0.0)
        d = np.linspace(0, 3, 300)

        def squares(a, b):
            return float(((1 / (1 + a * d ** (2 * b)) - np.exp(-d)) ** 2).sum())

        best = squares(a, b)
        assert all(best < squares(a * f, b * g) for f, g in [(1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99)])

    @pytest.mark.parametrize(("min_dist", "spread"), [(1.5, 1.0), (-0.1, 2.0), (0.6, 0.5)])
    def test_rejects_what_cannot_be(self, min_dist, spread):
        with raises(ValueError, min_dist, spread):
            fit_curve(min_dist, spread)


PAIR = np.array([[0.0, 1.0], [1.0, 0.0]])


class TestUmapLoss:
    @pytest.mark.parametrize("v", [1.0, 0.0])
    def test_the_example_worked_by_hand(self, v):
        assert_close(umap_loss(v * PAIR, np.array([[0], [1]]), 1.0, 1.0), math.log(2))

    def test_is_zero_where_the_page_is_right(self):
        # w = 1/(1 + 3·2²) = 1/13
        assert_close(umap_loss(PAIR / 13, np.array([[0.0], [2.0]]), 3.0, 1.0), 0.0)

    @pytest.mark.parametrize(("n", "q", "a", "b"), [(5, 2, 1.577, 0.895), (7, 1, 0.6, 1.3), (6, 3, 2.0, 0.5)])
    def test_matches_the_sum_pair_by_pair(self, n, q, a, b, rng):
        v, y = random_graph(rng, n), 2 * rng.standard_normal((n, q))
        assert_close(umap_loss(v, y, a, b), loss_of(v, y, a, b))

    @pytest.mark.parametrize("d", [1e-6, 1e-9])
    def test_close_points_keep_their_digits(self, d):
        # 1 - w is a d² to 12 digits
        expected = 0.5 * math.log(0.5) + 0.5 * (math.log(0.5) - math.log(2.0) - 2 * math.log(d))
        assert_close(umap_loss(PAIR / 2, np.array([[0.0], [d]]), 2.0, 1.0), expected)

    @pytest.mark.parametrize("d", [1e3, 1e6])
    def test_far_points(self, d):
        assert_close(umap_loss(PAIR, np.array([[0.0], [d]]), 2.0, 0.8), math.log1p(2 * d**1.6))
        assert_close(umap_loss(0 * PAIR, np.array([[0.0], [d]]), 2.0, 0.8), math.log1p(1 / (2 * d**1.6)))

    @pytest.mark.parametrize(("v", "expected"), [(1.0, 0.0), (0.5, np.inf), (0.0, np.inf)])
    def test_points_that_coincide(self, v, expected):
        assert_close(umap_loss(v * PAIR, np.zeros((2, 2)), 1.5, 0.9), expected)


class TestUmapGradient:
    @pytest.mark.parametrize(("v", "sign"), [(1.0, -1.0), (0.0, 1.0)])
    def test_the_example_worked_by_hand(self, v, sign):
        assert_close(umap_gradient(v * PAIR, np.array([[0], [1]]), 1.0, 1.0), sign * np.array([[1.0], [-1.0]]))

    @pytest.mark.parametrize(("n", "q", "a", "b"), [(5, 2, 1.577, 0.895), (6, 1, 0.6, 1.3), (4, 3, 2.0, 0.5)])
    def test_matches_finite_differences(self, n, q, a, b, rng):
        v = random_graph(rng, n)
        y = rng.permutation(np.arange(n))[:, None] + rng.uniform(-0.3, 0.3, (n, q))
        expected = np.zeros((n, q))
        for place in np.ndindex(n, q):
            step = np.zeros((n, q))
            step[place] = 1e-5
            expected[place] = (loss_of(v, y + step, a, b) - loss_of(v, y - step, a, b)) / 2e-5
        assert_close(umap_gradient(v, y, a, b), expected, rtol=1e-6, atol=1e-7)  # differences of 1e-5

    @pytest.mark.parametrize(("a", "b"), [(1.577, 0.895), (0.6, 1.3)])
    def test_matches_the_sum_pair_by_pair(self, a, b, rng):
        v, y = random_graph(rng, 9), 5 * rng.standard_normal((9, 2)) + 30
        assert_close(umap_gradient(v, y, a, b), gradient_of(v, y, a, b))

    @pytest.mark.parametrize(("v", "b"), [(0.0, 0.9), (0.4, 0.5), (1.0, 1.3)])
    def test_points_that_coincide_do_not_move_each_other(self, v, b):
        graph = np.array([[0, v, 0.7], [v, 0, 0.2], [0.7, 0.2, 0]])
        y = np.array([[1.0, 2.0], [1.0, 2.0], [4.0, -2.0]])
        assert_close(umap_gradient(graph, y, 1.2, b), gradient_of(graph, y, 1.2, b))


class TestLayout:
    @pytest.mark.parametrize(
        ("rate", "steps", "a", "b"),
        [(0.1, 4, 1.577, 0.895), (0.02, 6, 0.8, 1.2), (1.0, 3, 1.0, 1.0), (0.5, 0, 1.0, 1.0)],
    )
    def test_follows_the_descent(self, rate, steps, a, b, rng):
        v, y = random_graph(rng, 7), rng.standard_normal((7, 2))
        expected = y
        for t in range(steps):
            expected = expected - rate * (1 - t / steps) * np.clip(gradient_of(v, expected, a, b), -4, 4)
        assert_close(layout(v, y, a, b, rate, steps), expected)

    def test_each_entry_is_clipped_by_itself(self):
        # Close points push each other away, nearly along the second axis: only that entry is clipped.
        y = np.array([[0.0, 0.0], [0.1, 0.9]])
        gradient = gradient_of(0 * PAIR, 0.2 * y, 1.0, 1.0)
        assert abs(gradient[0, 0]) < 4 < abs(gradient[0, 1])
        got = layout(0 * PAIR, 0.2 * y, 1.0, 1.0, 0.5, 1)
        assert_close(got, 0.2 * y - 0.5 * np.clip(gradient, -4, 4))

    def test_a_start_of_integers(self):
        assert_close(layout(PAIR, np.array([[0], [1]]), 1.0, 1.0, 0.25, 1), np.array([[0.25], [0.75]]))

    def test_is_trusted_more_than_pca_on_digits(self, digits):
        from sklearn.decomposition import PCA
        from sklearn.manifold import trustworthiness

        x = digits[0][::14]
        flat = PCA(2).fit_transform(x)
        v, (a, b) = fuzzy_graph(x, 10), fit_curve(0.1)
        page = layout(v, flat / flat.std(), a, b, 0.5, 50)
        assert trustworthiness(x, page) > trustworthiness(x, flat) + 0.05
        assert umap_loss(v, page, a, b) < 0.7 * umap_loss(v, flat / flat.std(), a, b)
