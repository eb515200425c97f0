"""Judges k15_nearest_neighbors against brute force, scikit-learn, counted distances, and angles."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_02_machine_learning.k15_nearest_neighbors import (
    HyperplaneLSH,
    KDTree,
    collision_probability,
    hyperplane_bits,
    knn_classify,
    knn_regress,
    nearest,
    neighbor_weights,
    relative_contrast,
    squared_distances,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]

HAND_X = np.array([[0], [1], [3], [7]])


def brute(x, new, k):
    """The k nearest rows of each new one: by distance, then by number."""
    distances, rows = [], []
    for point in new.tolist():
        pairs = sorted((math.dist(row, point), i) for i, row in enumerate(x.tolist()))[:k]
        distances.append([d for d, _ in pairs])
        rows.append([i for _, i in pairs])
    return np.array(distances), np.array(rows)


class TestSquaredDistances:
    @pytest.mark.parametrize(("n", "m", "d"), [(4, 6, 3), (5, 2, 1), (1, 3, 7)])
    def test_matches_every_pair(self, rng, n, m, d):
        a, b = rng.normal(size=(n, d)), rng.normal(size=(m, d))
        expected = np.array([[math.dist(p, q) ** 2 for q in b] for p in a])
        assert_close(squared_distances(a, b), expected)

    def test_of_integers(self):
        got = squared_distances(np.array([[1, 2]]), np.array([[4, 6], [1, 0]]))
        assert_close(got, np.array([[25.0, 4.0]]))

    @pytest.mark.parametrize("kind", [np.uint8, np.int8])
    def test_small_integers_do_not_wrap_around(self, kind):
        a, b = np.array([[1, 2]], dtype=kind), np.array([[4, 120], [0, 2]], dtype=kind)
        assert_close(squared_distances(a, b), np.array([[9.0 + 118**2, 1.0]]))

    @pytest.mark.parametrize("far", [0.1, 1e7, 1e8])
    def test_equal_rows_are_at_distance_zero_exactly(self, far):
        x = np.array([[far, 0.3, 0.7], [far, 0.3, 0.7], [far + 1, 0.3, 0.7]])
        assert_equal(squared_distances(x, x)[:2, :2].tolist(), [[0.0, 0.0], [0.0, 0.0]])
        assert_close(squared_distances(x, x)[:, 2], np.array([1.0, 1, 0]))

    def test_does_not_walk_over_the_rows(self, rng):
        few, many = rng.normal(size=(20, 3)), rng.normal(size=(200, 3))
        if python_steps(squared_distances, many, many) > python_steps(squared_distances, few, few) + 50:
            fail("the lines of Python that run grow with the rows; loop over features at most", evidence="loop")


class TestNearest:
    def test_the_example_worked_by_hand(self):
        got = nearest(HAND_X, np.array([[2]]), 3)
        assert_close(got, (np.array([[1.0, 1, 2]]), np.array([[1, 2, 0]])))

    @pytest.mark.parametrize(("n", "m", "d", "k"), [(12, 5, 3, 4), (9, 7, 1, 9), (30, 2, 4, 1)])
    def test_matches_brute_force(self, rng, n, m, d, k):
        x, new = rng.normal(size=(n, d)), rng.normal(size=(m, d))
        assert_close(nearest(x, new, k), brute(x, new, k))

    @pytest.mark.parametrize("k", [2, 7])
    def test_of_equal_distances_the_first_row_comes_first(self, rng, k):
        x, new = rng.integers(0, 3, (25, 2)), rng.integers(0, 3, (8, 2))
        assert_close(nearest(x, new, k), brute(x, new, k))

    def test_on_digits(self, digits):
        from sklearn.neighbors import NearestNeighbors

        x, _ = digits
        got = nearest(x[:500], x[500:600], 5)
        distances, _ = NearestNeighbors(n_neighbors=5, algorithm="kd_tree").fit(x[:500]).kneighbors(x[500:600])
        assert_close(got[0], distances)
        assert_close(np.sqrt(((x[500:600, None] - x[got[1]]) ** 2).sum(axis=2)), distances)

    def test_does_not_walk_over_the_rows(self, rng):
        few, many = rng.normal(size=(20, 3)), rng.normal(size=(200, 3))
        if python_steps(nearest, many, many, 3) > python_steps(nearest, few, few, 3) + 50:
            fail("the lines of Python that run grow with the rows; sort along an axis", evidence="loop")

    @pytest.mark.parametrize("k", [0, 5])
    def test_rejects_a_k_that_does_not_fit(self, k):
        with raises(ValueError, k, 4):
            nearest(HAND_X, np.array([[2]]), k)


class TestNeighborWeights:
    def test_uniform(self):
        assert_close(neighbor_weights(np.array([[1.0, 5, 0, 2]])), np.full((1, 4), 0.25))

    def test_by_distance(self):
        got = neighbor_weights(np.array([[1.0, 1, 2], [0.5, 2, 4]]), "distance")
        assert_close(got, np.array([[0.4, 0.4, 0.2], [8 / 11, 2 / 11, 1 / 11]]))

    def test_hits_share_the_weight_alone(self):
        got = neighbor_weights(np.array([[0, 1, 3], [0, 0, 2], [1, 1, 1]]), "distance")
        assert_close(got, np.array([[1.0, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]]))

    # At 1e-310 even 1/d overflows.
    @pytest.mark.parametrize("near", [1e-12, 1e-200, 1e-310])
    def test_a_near_miss_is_no_hit(self, near):
        got = neighbor_weights(np.array([[near, 3 * near]]), "distance")
        assert_close(got, np.array([[0.75, 0.25]]))

    def test_each_row_is_scaled_by_itself(self):
        got = neighbor_weights(np.array([[1e-310, 1.0], [1.0, 3.0], [1e300, 3e300], [1e-310, 3e-310]]), "distance")
        assert_close(got, np.array([[1.0, 0.0], [0.75, 0.25], [0.75, 0.25], [0.75, 0.25]]))

    @pytest.mark.parametrize("kind", ["gaussian", "Distance"])
    def test_rejects_another_kind(self, kind):
        with raises(ValueError, kind):
            neighbor_weights(np.ones((1, 2)), kind)


class TestKnnClassify:
    @pytest.mark.parametrize(("kind", "expected"), [("uniform", "b"), ("distance", "a")])
    def test_the_example_worked_by_hand(self, kind, expected):
        got = knn_classify(HAND_X, np.array(list("abba")), np.array([[0.25]]), 3, kind)
        assert_equal(got.tolist(), [expected])

    @pytest.mark.parametrize("kind", ["uniform", "distance"])
    @pytest.mark.parametrize(("k", "names"), [(1, [7, -2, 4]), (5, ["wolf", "ant", "bee"]), (12, [30, 10, 20])])
    def test_matches_scikit_learn(self, rng, kind, k, names):
        from sklearn.neighbors import KNeighborsClassifier

        x, new = rng.normal(size=(50, 3)), rng.normal(size=(30, 3))
        y = np.array(names)[rng.integers(0, 3, 50)]
        oracle = KNeighborsClassifier(k, weights=kind, algorithm="kd_tree").fit(x, y)
        clear = np.diff(np.sort(oracle.predict_proba(new), axis=1)[:, -2:])[:, 0] > 1e-9
        assert_equal(knn_classify(x, y, new[clear], k, kind), oracle.predict(new[clear]))

    @pytest.mark.parametrize(("y", "expected"), [([5, 7, 6, 3, 2], 2), ([9, 4, 4, 9, 6], 4), ([9, 9, 9, 4, 9], 9)])
    def test_of_equal_votes_the_first_class_wins(self, y, expected):
        # The five rows around the origin: all are at distance 5.
        x = np.array([[3, 4], [-3, 4], [5, 0], [0, -5], [4, -3]])
        got = knn_classify(x, np.array(y), np.array([[0, 0]]), 5, "distance")
        assert_equal(got.tolist(), [expected])

    def test_uniform_by_default(self):
        assert_equal(knn_classify(HAND_X, np.array([1, 5, 5, 1]), np.array([[0.25]]), 3).tolist(), [5])

    def test_reads_digits(self, digits):
        x, y = digits
        got = knn_classify(x[:1000], y[:1000], x[1000:1200], 3)
        assert (got == y[1000:1200]).mean() > 0.95

    def test_rejects_a_k_that_does_not_fit(self):
        with raises(ValueError, 6, 4):
            knn_classify(HAND_X, np.arange(4), np.array([[2]]), 6)


class TestKnnRegress:
    @pytest.mark.parametrize(("kind", "expected"), [("uniform", 30.0), ("distance", 34.0)])
    def test_the_example_worked_by_hand(self, kind, expected):
        got = knn_regress(HAND_X, np.array([10, 20, 60, 0]), np.array([[2]]), 3, kind)
        assert_close(got, np.array([expected]))

    @pytest.mark.parametrize("kind", ["uniform", "distance"])
    @pytest.mark.parametrize("k", [1, 6])
    def test_matches_scikit_learn(self, rng, kind, k):
        from sklearn.neighbors import KNeighborsRegressor

        x, new, y = rng.normal(size=(40, 3)), rng.normal(size=(20, 3)), rng.normal(size=40)
        new[:5] = x[3:8]
        # Its "brute" takes ‖a‖² - 2 a·b + ‖b‖², which leaves hits 1e-8 away.
        expected = KNeighborsRegressor(k, weights=kind, algorithm="kd_tree").fit(x, y).predict(new)
        assert_close(knn_regress(x, y, new, k, kind), expected)

    def test_uniform_by_default(self):
        assert_close(knn_regress(HAND_X, np.array([10, 20, 60, 0]), np.array([[2]]), 3), np.array([30.0]))

    def test_rejects_a_k_that_does_not_fit(self):
        with raises(ValueError, 0, 4):
            knn_regress(HAND_X, np.arange(4), np.array([[2]]), 0)


class Counter:
    """Euclidean distances, and the number of rows that they were measured to."""

    def __init__(self):
        self.rows = 0

    def __call__(self, rows, point):
        self.rows += len(rows)
        return np.sqrt(((rows - point) ** 2).sum(axis=1))


class TestKDTree:
    def check(self, x, points, k, **options):
        tree = KDTree(x, **options)
        for point in points:
            distances, rows = tree.query(point, k)
            expected, _ = brute(x, point[None], k)
            assert_close(distances, expected[0])
            assert_equal(len(set(rows.tolist())), k)
            assert_close(np.sqrt(((x[rows] - point) ** 2).sum(axis=1)), expected[0])

    @pytest.mark.parametrize(("n", "d", "k"), [(60, 2, 1), (60, 3, 5), (33, 1, 4), (7, 4, 7), (1, 2, 1)])
    @pytest.mark.parametrize("leaf_size", [1, 5])
    def test_finds_what_brute_force_finds(self, rng, n, d, k, leaf_size):
        self.check(rng.normal(size=(n, d)), 2 * rng.normal(size=(20, d)), k, leaf_size=leaf_size)

    def test_with_its_defaults(self, rng):
        self.check(rng.normal(size=(200, 2)), rng.normal(size=(20, 2)), 3)

    def test_integers_with_many_ties(self, rng):
        self.check(rng.integers(0, 4, (80, 2)), rng.integers(-1, 5, (20, 2)), 6, leaf_size=2)

    def test_a_point_between_the_rows_needs_both_sides(self):
        # The nearest row is always beyond the plane that parts the rows.
        x = np.array([[0.0, 0], [0, 1], [0, 9], [10, 0], [10, 1], [10, 9]])
        self.check(x, np.array([[4.9, 5], [5.1, 5], [5.0, 5], [4.0, 0.5]]), 2, leaf_size=1)

    def test_many_equal_rows(self):
        x = np.concatenate([np.full((300, 2), 0.5), [[2.0, 2]]])
        self.check(x, np.array([[0.5, 0.5], [3.0, 3]]), 3, leaf_size=4)

    def test_sorted_rows_do_not_make_a_chain(self):
        x = np.arange(3000.0)[:, None]
        distances, rows = KDTree(x, 1).query(np.array([1234.2]), 2)
        assert_close((distances, rows), (np.array([0.2, 0.8]), np.array([1234, 1235])))

    def test_the_depth_does_not_depend_on_how_the_rows_lie(self):
        # Cut halfway between the lowest and the highest value, powers of 2 lose one row a level.
        even, skewed = np.arange(1000.0)[:, None], 2.0 ** np.arange(-500, 500)[:, None]
        steps = []
        for x in (even, skewed):
            tree = KDTree(x, 1)
            assert_close(tree.query(x[0], 1), (np.zeros(1), np.array([0])))
            steps.append(python_steps(tree.query, x[0], 1))
        if steps[1] > 4 * steps[0] + 200:
            fail("a query among powers of 2 takes as many steps as there are rows; halve by number", evidence="deep")

    @pytest.mark.parametrize(("d", "k", "limit"), [(1, 1, 90), (2, 1, 90), (2, 5, 140)])
    def test_measures_few_rows(self, rng, d, k, limit):
        counter = Counter()
        tree = KDTree(rng.random((2000, d)), 8, counter)
        counter.rows = 0
        for point in rng.random((40, d)):
            tree.query(point, k)
        if not 40 * k <= counter.rows <= 40 * limit:
            fail(
                f"a query measures {counter.rows / 40:.0f} of 2000 rows on average; expected {k} to {limit}",
                evidence=("rows", counter.rows),
            )

    def test_a_query_far_outside_is_no_harder(self, rng):
        counter = Counter()
        tree = KDTree(rng.random((2000, 2)), 8, counter)
        counter.rows = 0
        tree.query(np.array([900.0, 0.5]), 1)
        if counter.rows > 1000:
            fail(f"the query measures {counter.rows} of 2000 rows", evidence=("rows", counter.rows))

    def test_the_rows_may_change_after_the_tree_was_built(self, rng):
        x = rng.normal(size=(30, 2))
        tree, before = KDTree(x), x.copy()
        x[:] = 0
        assert_close(tree.query(before[4], 1), (np.zeros(1), np.array([4])))

    @pytest.mark.parametrize("k", [0, 5])
    def test_rejects_a_k_that_does_not_fit(self, k):
        with raises(ValueError, k, 4):
            KDTree(HAND_X).query(np.array([2.0]), k)


class TestHyperplaneBits:
    def test_one_bit_a_plane(self):
        got = hyperplane_bits(np.array([[1, 2], [3, -1], [-1, 0]]), np.array([[1, 0], [0, 1], [-1, 1], [1, 1]]))
        expected = [[True, True, True, True], [True, False, False, True], [False, True, True, False]]
        assert_equal(got.tolist(), expected)

    @pytest.mark.parametrize(("n", "b", "d"), [(7, 4, 3), (2, 9, 5)])
    def test_matches_the_signs_of_dot_products(self, rng, n, b, d):
        x, planes = rng.normal(size=(n, d)), rng.normal(size=(b, d))
        expected = [[sum(p * q for p, q in zip(row, plane, strict=True)) >= 0 for plane in planes] for row in x]
        got = hyperplane_bits(x, planes)
        assert_equal((got.dtype.kind, got.tolist()), ("b", [[bool(v) for v in line] for line in expected]))


class TestCollisionProbability:
    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            ([1, 0], [1, 1], 0.75),
            ([2, 0, 0], [0, 3, 0], 0.5),
            ([1, 2], [-2, -4], 0.0),
            ([1, 2, 2], [3, 6, 6], 1.0),
            ([1, 0], [-5, 5], 0.25),
        ],
    )
    def test_one_less_the_share_of_the_half_turn(self, a, b, expected):
        assert_close(collision_probability(np.array(a), np.array(b)), expected)

    @pytest.mark.parametrize("angle", [0.001, 1.0, 3.1])
    def test_any_angle(self, angle):
        turned = np.array([math.cos(angle), math.sin(angle)])
        assert_close(collision_probability(np.array([2.0, 0.0]), turned), 1 - angle / math.pi)

    def test_parallel_vectors_are_never_nan(self, rng):
        for _ in range(200):
            a = rng.normal(size=4)
            assert_close(collision_probability(a, a * rng.uniform(0.1, 9)), 1.0)
            assert_close(collision_probability(a, -a / 3), 0.0)

    @pytest.mark.parametrize("d", [2, 7])
    def test_is_how_often_random_bits_agree(self, rng, d):
        a, b = rng.normal(size=d), rng.normal(size=d)
        planes = rng.normal(size=(20_000, d))
        agree = float((((planes @ a) >= 0) == ((planes @ b) >= 0)).mean())
        # The deviation is at most ½/√20,000 = 0.0035.
        assert_close(collision_probability(a, b), agree, atol=0.02, rtol=0)


class TestHyperplaneLSH:
    @pytest.mark.parametrize(("bits", "tables"), [(1, 1), (4, 3), (9, 2)])
    def test_gives_the_rows_that_share_all_bits_in_some_table(self, rng, bits, tables):
        x = rng.normal(size=(60, 3))
        index = HyperplaneLSH(bits, tables, rng)
        index.fit(x)
        planes = np.asarray(index.planes)
        assert_equal(planes.shape, (tables, bits, 3))
        for point in [*rng.normal(size=(8, 3)), x[11], -x[5]]:
            same = [((x @ p.T >= 0) == (p @ point >= 0)).all(axis=1) for p in planes]
            assert_equal(index.candidates(point).tolist(), np.flatnonzero(np.any(same, axis=0)).tolist())

    def test_no_candidate_is_an_empty_array(self):
        index = HyperplaneLSH(1, 2, np.random.default_rng(0))
        index.fit(np.array([[1.0, 2.0], [2.0, 4.0]]))
        got = index.candidates(np.array([-1.0, -2.0]))
        assert_equal((got.shape, got.dtype.kind), ((0,), "i"))

    @pytest.mark.parametrize(("bits", "tables"), [(2, 3), (5, 4)])
    def test_finds_a_neighbour_as_often_as_the_formula_says(self, rng, bits, tables):
        # An angle of 45° agrees in a bit with 3/4.
        x, point, hits = np.array([[1.0, 1.0, 0.0]]), np.array([0.0, 1.0, 0.0]), 0
        for _ in range(600):
            index = HyperplaneLSH(bits, tables, rng)
            index.fit(x)
            hits += len(index.candidates(point))
        expected = 1 - (1 - 0.75**bits) ** tables
        assert_close(hits / 600, expected, atol=5.5 * math.sqrt(expected * (1 - expected) / 600), rtol=0)

    @pytest.mark.parametrize("n", [9, 40])
    def test_a_second_fit_of_as_many_features_forgets_the_first(self, rng, n):
        x, other = rng.normal(size=(20, 3)), rng.normal(size=(n, 3))
        index = HyperplaneLSH(2, 3, rng)
        index.fit(x)
        index.fit(other)
        same = [((other @ p.T >= 0) == (p @ other[4] >= 0)).all(axis=1) for p in np.asarray(index.planes)]
        assert_equal(index.candidates(other[4]).tolist(), np.flatnonzero(np.any(same, axis=0)).tolist())

    def test_equal_generators_agree_and_a_second_fit_forgets_the_first(self, rng):
        x, other = rng.normal(size=(40, 3)), rng.normal(size=(70, 3))
        first, again = (HyperplaneLSH(2, 2, np.random.default_rng(5)) for _ in range(2))
        first.fit(x)
        again.fit(x)
        assert_close(first.planes, again.planes)
        first.fit(other[:, :2])
        planes = np.asarray(first.planes)
        same = [((other[:, :2] @ p.T >= 0) == (p @ other[0, :2] >= 0)).all(axis=1) for p in planes]
        assert_equal(first.candidates(other[0, :2]).tolist(), np.flatnonzero(np.any(same, axis=0)).tolist())

    def test_the_planes_point_in_all_directions(self, rng):
        index = HyperplaneLSH(4000, 1, rng)
        index.fit(np.ones((1, 2)))
        angles = np.arctan2(index.planes[0, :, 1], index.planes[0, :, 0])
        # Uniform on the circle: the means of cos 4φ and of cos φ are 0, with deviation 0.011.
        found = (float(np.cos(angles).mean()), float(np.cos(4 * angles).mean()))
        assert_close(found, (0.0, 0.0), atol=0.065, rtol=0)


class TestRelativeContrast:
    def test_the_example_worked_by_hand(self):
        assert_close(relative_contrast(HAND_X, np.array([[2], [8], [1]])), np.array([4.0, 7.0, np.inf]))

    @pytest.mark.parametrize(("n", "m", "d"), [(9, 4, 2), (3, 6, 5)])
    def test_matches_brute_force(self, rng, n, m, d):
        x, new = rng.normal(size=(n, d)), rng.normal(size=(m, d))
        all_distances = brute(x, new, n)[0]
        assert_close(relative_contrast(x, new), all_distances[:, -1] / all_distances[:, 0] - 1)

    def test_it_is_infinite_where_all_distances_are_zero(self):
        assert_close(relative_contrast(np.ones((3, 2)), np.ones((1, 2))), np.array([np.inf]))

    def test_fades_as_dimensions_grow(self, rng):
        means = [float(relative_contrast(rng.random((200, d)), rng.random((20, d))).mean()) for d in (2, 20, 500)]
        # Some 20, 1 and 0.15: in 500 dimensions all rows are nearly equally far away.
        assert means[0] > 3 * means[1] and means[1] > 3 * means[2] and means[2] < 0.3
