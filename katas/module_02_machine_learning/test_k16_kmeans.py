"""Judges k16_kmeans against scikit-learn, closed forms, and every way to divide a few points."""

from itertools import combinations, product

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, python_steps, raises
from katas.module_02_machine_learning.k16_kmeans import (
    assign,
    elbow,
    kmeans,
    kmeans_plus_plus,
    lloyd,
    mini_batch_kmeans,
    mini_batch_step,
    silhouette,
    squared_distances,
    update_centers,
)

pytestmark = [from_scratch("scipy", "sklearn"), pure()]

LINE = np.array([[0.0], [1.0], [5.0], [7.0]])


def blobs(rng, n=40, d=3, k=4, spread=0.7):
    """n points around k places far apart, in random order."""
    places = 8 * rng.permutation(np.vstack([np.eye(d), -np.eye(d)]))[:k]
    return places[rng.permutation(np.arange(n) % k)] + spread * rng.standard_normal((n, d))


def check_no_loop_over_points(f, few, many):
    """Ten times the points may not run more lines; a few more for whoever counts iterations."""
    short, long = python_steps(f, few), python_steps(f, many)
    if long > short + 20:
        fail("it runs lines of Python for each point; let numpy go over the rows", evidence="loop")


class TestSquaredDistances:
    @pytest.mark.parametrize(("n", "k", "d"), [(5, 3, 2), (4, 7, 1), (6, 1, 4)])
    def test_matches_scipy(self, n, k, d, rng):
        from scipy.spatial.distance import cdist

        x, centers = rng.standard_normal((n, d)), rng.standard_normal((k, d))
        assert_close(squared_distances(x, centers), cdist(x, centers) ** 2)

    def test_of_uint8(self):
        x = np.array([[250, 3], [0, 200]], np.uint8)
        assert_close(squared_distances(x, np.array([[255, 0]], np.uint8)), np.array([[34.0], [105025.0]]))

    def test_of_large_integers(self):
        assert_close(squared_distances(np.array([[3_000_000_000]]), np.array([[-1_000_000_000]])), np.array([[1.6e19]]))

    def test_keeps_its_digits_far_from_zero(self):
        x = np.array([[1e8 + 1, -1e8], [1e8 + 3, -1e8 - 2]])
        assert_close(squared_distances(x, x), np.array([[0.0, 8.0], [8.0, 0.0]]))

    def test_is_never_negative_and_zero_for_equal_rows(self, rng):
        x = 1 + 1e-5 * rng.standard_normal((30, 5))
        distances = squared_distances(x, x)
        assert (distances >= 0).all()
        assert_equal(np.diag(distances).tolist(), [0.0] * 30)

    def test_does_not_loop_over_points(self, rng):
        centers = rng.standard_normal((3, 2))
        check_no_loop_over_points(lambda x: squared_distances(x, centers), rng.random((20, 2)), rng.random((200, 2)))


class TestKMeansPlusPlus:
    def test_the_first_is_any_row_each_as_probable(self, rng):
        drawn = [kmeans_plus_plus(LINE, 1, rng)[0, 0] for _ in range(200)]
        # 5 deviations of a count with mean 50
        assert all(abs(drawn.count(one) - 50) < 5 * np.sqrt(37.5) for one in LINE[:, 0])

    def test_draws_with_the_probabilities_worked_by_hand(self, rng):
        draws, counts = 1000, {}
        for _ in range(draws):
            pair = tuple(kmeans_plus_plus(LINE, 2, rng)[:, 0].tolist())
            counts[pair] = counts.get(pair, 0) + 1
        for first, second in product(LINE[:, 0].tolist(), repeat=2):
            p = (first - second) ** 2 / ((LINE - first) ** 2).sum() / 4
            seen = counts.get((first, second), 0)
            # 5 standard deviations of a binomial count
            if abs(seen - draws * p) > 5 * np.sqrt(draws * p * (1 - p)):
                fail(
                    f"drew {first} then {second} {seen} times of {draws}; expected about {draws * p:.0f}",
                    evidence=(first, second, seen > draws * p),
                )

    def test_a_copy_counts_and_a_draw_is_single(self, rng):
        # Two of three rows are 0. After it, the four 3s and the 6 have 36 each, although a 3 is the better choice.
        x = np.array([0.0] * 10 + [3.0] * 4 + [6.0])[:, None]
        pairs = [kmeans_plus_plus(x, 2, rng)[:, 0].tolist() for _ in range(400)]
        after = [second for first, second in pairs if first == 0.0]
        # 5 standard deviations of binomial counts
        if abs(len(after) - 800 / 3) > 5 * np.sqrt(800 / 9):
            fail(f"drew 0 first {len(after)} times of 400; expected about 267", evidence="first")
        if abs(after.count(6.0) - len(after) / 2) > 5 * np.sqrt(len(after) / 4):
            fail(f"drew 6 after 0 {after.count(6.0)} times of {len(after)}; expected about half", evidence="second")

    def test_the_nearest_centre_so_far_decides_for_the_third(self, rng):
        # After 0 and 100 in any order, 1 is near to one of them: 99 is drawn as often as 1, and 50 nearly always.
        x = np.array([[0.0], [100.0], [1.0], [99.0], [50.0]])
        third = [kmeans_plus_plus(x, 3, rng)[:, 0] for _ in range(100)]
        after = [row[2] for row in third if abs(row[0] - row[1]) > 90]
        # 2500 of 2502 at least: 5 misses of 100 would be far beyond 5 deviations
        assert sum(one == 50.0 for one in after) > len(after) - 5

    @pytest.mark.parametrize(("n", "d", "k"), [(9, 2, 4), (5, 3, 5), (6, 1, 1)])
    def test_gives_different_rows_of_x(self, n, d, k, rng):
        x = rng.standard_normal((n, d))
        centers = kmeans_plus_plus(x, k, rng)
        assert_equal(list(centers.shape), [k, d])
        assert_equal(len({tuple(row) for row in centers.tolist()} & {tuple(row) for row in x.tolist()}), k)

    def test_never_draws_a_copy_of_a_point(self, rng):
        x = np.array([[1, 1]] * 30 + [[1, 2], [3, 1]])
        for _ in range(10):
            centers = kmeans_plus_plus(x, 3, rng)
            assert_equal(centers.dtype, np.dtype(float))
            assert_equal(sorted(map(tuple, centers.tolist())), [(1, 1), (1, 2), (3, 1)])

    def test_equal_generators_draw_alike(self, rng):
        x, seed = rng.standard_normal((20, 2)), int(rng.integers(1000))
        one, other = (kmeans_plus_plus(x, 5, np.random.default_rng(seed)) for _ in range(2))
        assert_close(one, other)

    @pytest.mark.parametrize("k", [0, -2])
    def test_rejects_less_than_one_centre(self, k, rng):
        with raises(ValueError, k):
            kmeans_plus_plus(LINE, k, rng)

    def test_rejects_more_centres_than_different_rows(self, rng):
        x = np.array([[1.0, 1.0], [2.0, 1.0], [1.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
        assert_equal(len(kmeans_plus_plus(x, 3, rng)), 3)
        with raises(ValueError, 4, 3):
            kmeans_plus_plus(x, 4, rng)


class TestAssign:
    def test_the_example_worked_by_hand(self):
        assert_equal(assign(LINE, np.array([[0.0], [1.0]])), np.array([0, 1, 1, 1]))
        assert_equal(assign(LINE, np.array([[0.0], [13 / 3]])), np.array([0, 0, 1, 1]))

    def test_ties_go_to_the_lowest_number(self):
        centers = np.array([[9.0, 9.0], [2.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
        assert_equal(assign(np.array([[1, 0], [2, 0], [0, 0]]), centers), np.array([1, 1, 2]))

    def test_nearly_a_tie_is_none(self):
        assert_equal(assign(np.array([[1 + 1e-10], [1 - 1e-10]]), np.array([[0.0], [2.0]])), np.array([1, 0]))

    @pytest.mark.parametrize(("n", "k"), [(30, 6), (7, 9)])
    def test_matches_a_search_one_by_one(self, n, k, rng):
        x, centers = rng.standard_normal((n, 3)), rng.standard_normal((k, 3))
        expected = [min(range(k), key=lambda j, p=point: sum((p - centers[j]) ** 2)) for point in x]
        assert_equal(assign(x, centers), np.array(expected))


class TestUpdateCenters:
    @pytest.mark.parametrize("k", [3, 5])
    def test_is_the_mean_of_each_cluster(self, k, rng):
        x, labels = rng.standard_normal((23, 2)), rng.permutation(np.arange(23) % k)
        expected = np.array([x[labels == j].mean(axis=0) for j in range(k)])
        assert_close(update_centers(x, labels, rng.standard_normal((k, 2))), expected)

    def test_a_cluster_without_rows_keeps_its_centre(self):
        x, centers = np.array([[1, 2], [4, 2], [5, 8]]), np.array([[7, 7], [0, 0], [9, 6], [1, 3]])
        got = update_centers(x, np.array([1, 1, 3]), centers)
        assert_close(got, np.array([[7.0, 7.0], [2.5, 2.0], [9.0, 6.0], [5.0, 8.0]]))

    def test_of_uint8(self):
        x = np.array([[200], [250], [3]], np.uint8)
        assert_close(update_centers(x, np.array([0, 0, 1]), np.zeros((2, 1), np.uint8)), np.array([[225.0], [3.0]]))

    def test_keeps_its_digits_far_from_zero(self):
        got = update_centers(np.array([[1e8 + 1], [1e8 + 4]]), np.array([0, 0]), np.zeros((1, 1)))
        assert_close(got, np.array([[1e8 + 2.5]]), rtol=1e-14, atol=0)  # 2.5 are 2.5e-8 of it

    def test_of_float32(self):
        got = update_centers(np.array([[2**24], [1], [1]], np.float32), np.zeros(3, int), np.zeros((1, 1), np.float32))
        assert_close(got, np.array([[(2**24 + 2) / 3]]), rtol=1e-12, atol=0)  # float32 would lose the two ones

    def test_does_not_loop_over_points(self, rng):
        centers = rng.standard_normal((3, 2))

        def update(x):
            return update_centers(x, np.arange(len(x)) % 3, centers)

        check_no_loop_over_points(update, rng.random((20, 2)), rng.random((200, 2)))


class TestLloyd:
    def test_the_example_worked_by_hand(self):
        centers, labels, history = lloyd(LINE, np.array([[0], [1]]))
        assert_close(history, np.array([52, 77 / 9, 2.5]))
        assert_close(centers, np.array([[0.5], [6.0]]))
        assert_equal(labels, np.array([0, 0, 1, 1]))

    @pytest.mark.parametrize(("steps", "expected"), [(0, [0.0, 1.0]), (1, [0.0, 13 / 3]), (2, [0.5, 6.0])])
    def test_ends_after_max_steps(self, steps, expected):
        centers, labels, history = lloyd(LINE, LINE[:2], max_steps=steps)
        assert_close(centers[:, 0], np.array(expected))
        assert_close(history, np.array([52, 77 / 9, 2.5])[: steps + 1])
        assert_equal(labels, np.array([0, 1, 1, 1] if steps == 0 else [0, 0, 1, 1]))

    def test_the_default_max_steps(self):
        # Thirty centres at one end of a line spread slowly: the last label changes after 370 steps.
        x = np.arange(600.0)[:, None]
        _, _, history = lloyd(x, x[:30])
        assert_equal(len(history), 301)

    @pytest.mark.parametrize(("n", "d", "k"), [(60, 2, 3), (150, 5, 6), (40, 3, 1)])
    def test_ends_where_scikit_learn_ends(self, n, d, k, rng):
        from sklearn.cluster import KMeans

        x = blobs(rng, n, d, k, spread=3.0)
        start = kmeans_plus_plus(x, k, rng)
        model = KMeans(k, init=start, n_init=1, tol=0, algorithm="lloyd").fit(x)
        if len(np.unique(model.labels_)) < k:
            pytest.skip("a cluster lost its points, where scikit-learn moves the centre")
        centers, labels, history = lloyd(x, start)
        assert_close(centers, model.cluster_centers_)
        assert_equal(labels, model.labels_.astype(int))
        assert_close(history[-1], model.inertia_)

    def test_the_inertia_never_rises(self, digits):
        x = digits[0][::3]
        _, _, history = lloyd(x, x[:10])
        assert len(history) > 4
        assert (np.diff(history) <= 1e-9 * history[0]).all()

    def test_a_centre_without_points_stays(self):
        centers, labels, _ = lloyd(LINE, np.array([[0.0], [90.0], [6.0]]))
        assert_close(centers, np.array([[0.5], [90.0], [6.0]]))
        assert_equal(labels, np.array([0, 0, 2, 2]))

    def test_a_start_at_the_end_takes_one_step(self):
        centers, _, history = lloyd(LINE, np.array([[0.5], [6.0]]))
        assert_close(history, np.array([2.5, 2.5]))
        assert_close(centers, np.array([[0.5], [6.0]]))


class TestKMeans:
    def test_finds_the_best_of_all_ways_to_divide_a_few_points(self, rng):
        x = blobs(rng, 8, 2, 3, spread=1.0)

        def inertia(labels):
            groups = [x[np.array(labels) == j] for j in range(3)]
            return sum(((g - g.mean(axis=0)) ** 2).sum() for g in groups if len(g))

        best = min(inertia(labels) for labels in product(range(3), repeat=8))
        # Most runs find it: the places lie far apart.
        centers, labels, found = kmeans(x, 3, rng, restarts=30)
        assert_close(found, best)
        assert_close(inertia(labels), best)
        assert_close(centers, np.array([x[labels == j].mean(axis=0) for j in range(3)]))

    def test_the_best_end_counts_not_the_last_nor_the_best_start(self, rng):
        # Every start of smallest inertia ends at 26.75 here, and about half of all runs at the best, 21.
        x = np.array([[5, 9], [8, 5], [8, 3], [0, 10], [8, 7]])
        found = [kmeans(x, 2, rng, restarts=25)[2] for _ in range(10)]
        assert_close(np.array(found), np.full(10, 21.0))

    @pytest.mark.parametrize("k", [3, 7])
    def test_is_the_best_of_runs_that_begin_with_the_same_draws(self, rng, k):
        # Of many tables, some on which the best end isn't the best after one step, nor the best but one before its end.
        for _ in range(12):
            x, seed = rng.standard_normal((40, 2)), int(rng.integers(1000))
            again = np.random.default_rng(seed)
            ends = [float(lloyd(x, kmeans_plus_plus(x, k, again))[2][-1]) for _ in range(5)]
            assert_close(kmeans(x, k, np.random.default_rng(seed), 5)[2], min(ends))

    def test_a_single_run_may_miss_the_best(self, rng):
        # Half of the runs end at 26.75, so 50 of them all at 21 would be a wonder.
        x = np.array([[5, 9], [8, 5], [8, 3], [0, 10], [8, 7]])
        found = [kmeans(x, 2, rng, restarts=1)[2] for _ in range(50)]
        if min(found) == max(found):
            fail("50 times a single run, and all end alike: restarts=1 is a single run", evidence="restarts")

    def test_each_run_goes_to_its_end(self, rng):
        x = rng.random((400, 2))
        centers, labels, _ = kmeans(x, 8, rng, restarts=1)
        assert_equal(labels, assign(x, centers))
        assert_close(centers, np.array([x[labels == j].mean(axis=0) for j in range(8)]))

    def test_each_run_starts_from_a_draw_of_kmeans_plus_plus(self, rng):
        # 50 and 60 are hardly ever among three rows that are drawn evenly, and always of those of k-means++.
        x = np.append(1e-3 * rng.random(60), [50.0, 60.0])[:, None]
        assert kmeans(x, 3, rng, restarts=1)[2] < 1

    def test_ten_restarts_unless_told_otherwise(self, rng):
        x, seed = rng.standard_normal((30, 2)), int(rng.integers(1000))
        one, other = np.random.default_rng(seed), np.random.default_rng(seed)
        assert_close(kmeans(x, 4, one), kmeans(x, 4, other, 10))
        # As many draws were made.
        assert_equal(one.random(), other.random())

    def test_equal_generators_end_alike(self, rng):
        x, seed = rng.standard_normal((50, 2)), int(rng.integers(1000))
        one, other = (kmeans(x, 6, np.random.default_rng(seed), 2) for _ in range(2))
        assert_close(one, other)

    def test_as_many_clusters_as_points(self, rng):
        x = rng.standard_normal((5, 2))
        centers, labels, inertia = kmeans(x, 5, rng, 3)
        assert_close(inertia, 0.0)
        assert_close(centers[labels], x)

    @pytest.mark.parametrize("k", [0, 5])
    def test_rejects_what_the_start_rejects(self, k, rng):
        with raises(ValueError, k):
            kmeans(LINE, k, rng)

    def test_finds_digits(self, digits, rng):
        from sklearn.metrics import normalized_mutual_info_score

        x, y = digits[0][::2], digits[1][::2]
        _, labels, inertia = kmeans(x, 10, rng, 3)
        # Ten random centres explain far less, and random labels have a score near 0.02.
        assert inertia < 0.8 * squared_distances(x, x[:10]).min(axis=1).sum()
        assert normalized_mutual_info_score(y, labels) > 0.55


class TestMiniBatchStep:
    def test_the_example_worked_by_hand(self):
        centers, counts = mini_batch_step(np.array([[0]]), np.array([1]), np.array([[2], [4]]))
        assert_equal(counts, np.array([3]))
        assert_close(centers, np.array([[2.0]]))

    @pytest.mark.parametrize(("b", "k"), [(6, 2), (11, 4)])
    def test_is_the_mean_of_all_points_so_far(self, b, k, rng):
        centers, counts = rng.standard_normal((k, 3)), rng.integers(0, 6, k)
        batch = rng.standard_normal((b, 3))
        own = ((batch[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
        expected = centers.copy()
        for j in set(own.tolist()):
            expected[j] = (counts[j] * centers[j] + batch[own == j].sum(axis=0)) / (counts[j] + (own == j).sum())
        got, after = mini_batch_step(centers, counts, batch)
        assert_close(got, expected)
        assert_equal(after, counts + np.bincount(own, minlength=k))

    def test_all_are_assigned_before_any_centre_moves(self):
        # 3 pulls the first centre to 3, but 5.5 had been assigned to 10 already.
        got, counts = mini_batch_step(np.array([[0.0], [10.0]]), np.array([0, 1]), np.array([[3.0], [5.5]]))
        assert_close(got, np.array([[3.0], [7.75]]))
        assert_equal(counts, np.array([1, 2]))

    def test_a_centre_without_points_stays(self):
        centers = np.array([[5.0, 1.0], [90.0, 90.0]])
        got, counts = mini_batch_step(centers, np.array([3, 0]), np.array([[1.0, 1.0]]))
        assert_close(got, np.array([[4.0, 1.0], [90.0, 90.0]]))
        assert_equal(counts, np.array([4, 0]))

    def test_of_uint8(self):
        got, _ = mini_batch_step(np.array([[200]], np.uint8), np.array([1]), np.array([[100], [250]], np.uint8))
        assert_close(got, np.array([[550 / 3]]))


class TestMiniBatchKMeans:
    @pytest.mark.parametrize("batch", [12, 50])
    @pytest.mark.parametrize("steps", [0, 1, 3])
    def test_a_batch_of_all_rows_leaves_nothing_to_chance(self, batch, steps, rng):
        x = rng.standard_normal((12, 2))
        start = x[:3] + 0.1
        centers, counts = start, np.zeros(3)
        for _ in range(steps):
            own = ((x[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
            size = np.bincount(own, minlength=3)
            sums = np.array([x[own == j].sum(axis=0) for j in range(3)])
            total = np.maximum(counts + size, 1)[:, None]
            moved = (counts[:, None] * centers + sums) / total
            centers = np.where(size[:, None] > 0, moved, centers)
            counts = counts + size
        assert_close(mini_batch_kmeans(x, start, batch, steps, rng), centers)

    def test_a_batch_has_different_rows(self, rng):
        # 9 of 10 rows: the mean is that of all but one.
        x = 2.0 ** np.arange(10)[:, None]
        for _ in range(10):
            left_out = x.sum() - 9 * mini_batch_kmeans(x, np.array([[0.0]]), 9, 1, rng)[0, 0]
            assert np.abs(x - left_out).min() < 1e-6

    @pytest.mark.parametrize("batch", [1, 2])
    def test_each_set_of_rows_is_as_probable(self, batch, rng):
        x = 2.0 ** np.arange(4)
        drawn = [mini_batch_kmeans(x[:, None], np.array([[0.0]]), batch, 1, rng)[0, 0] for _ in range(300)]
        sets = [sum(some) / batch for some in combinations(x.tolist(), batch)]
        p = 1 / len(sets)
        for mean in sets:
            seen = int(np.isclose(drawn, mean).sum())
            # 5 standard deviations of a binomial count
            if abs(seen - 300 * p) > 5 * np.sqrt(300 * p * (1 - p)):
                fail(f"the batch with mean {mean} came {seen} times of 300; expected {300 * p:.0f}", evidence=mean)

    def test_tables_of_several_sizes(self, rng):
        for n in (2, 5, 3):
            x = rng.standard_normal((n, 2))
            # More than there are: the batch is the whole table, and after one step its mean.
            assert_close(mini_batch_kmeans(x, np.zeros((1, 2)), 9, 1, rng), x.mean(axis=0, keepdims=True))

    def test_batches_differ_from_step_to_step(self, rng):
        # The mean of 200 draws from 0 and 100 is 50, give or take 5 deviations of 3.5.
        x = np.array([[0.0], [100.0]])
        assert abs(mini_batch_kmeans(x, np.array([[7.0]]), 1, 200, rng)[0, 0] - 50) < 17.7

    def test_equal_generators_end_alike(self, rng):
        x, seed = rng.standard_normal((30, 2)), int(rng.integers(1000))
        one, other = (mini_batch_kmeans(x, x[:4], 5, 6, np.random.default_rng(seed)) for _ in range(2))
        assert_close(one, other)

    def test_comes_near_to_lloyd(self, digits, rng):
        x = digits[0]
        start = x[:10]
        _, _, history = lloyd(x, start)
        got = squared_distances(x, mini_batch_kmeans(x, start, 100, 60, rng)).min(axis=1).sum()
        # Half of what Lloyd gains over the start; it comes to some 90%.
        assert got < (history[0] + history[-1]) / 2


class TestSilhouette:
    def test_the_example_worked_by_hand(self):
        got = silhouette(LINE, np.array([0, 0, 1, 1]))
        assert_close(got, np.array([5 / 6, 4 / 5, 2.5 / 4.5, 4.5 / 6.5]))

    @pytest.mark.parametrize(("n", "d", "k"), [(30, 2, 3), (24, 4, 2), (25, 1, 6)])
    def test_matches_scikit_learn(self, n, d, k, rng):
        from sklearn.metrics import silhouette_samples

        x, labels = rng.standard_normal((n, d)), 10 * rng.permutation(np.minimum(np.arange(n), n - 1) % k) - 7
        assert_close(silhouette(x, labels), silhouette_samples(x, labels))

    def test_a_point_alone_has_none(self):
        got = silhouette(np.array([[0], [1], [50]]), np.array(["b", "b", "a"]))
        assert_close(got, np.array([49 / 50, 48 / 49, 0.0]))

    def test_every_point_alone(self):
        assert_close(silhouette(np.array([[0.0], [1.0], [5.0]]), np.array([4, 2, 9])), np.zeros(3))

    def test_copies_in_two_clusters_have_none(self):
        assert_close(silhouette(np.ones((4, 2)), np.array([0, 1, 0, 1])), np.zeros(4))

    def test_the_wrong_cluster_is_negative(self):
        got = silhouette(np.array([[0.0], [1.0], [9.0], [10.0]]), np.array([0, 0, 0, 1]))
        assert_close(got[2], (1 - 8.5) / 8.5)

    @pytest.mark.parametrize("labels", [[3, 3, 3, 3], ["a"] * 4])
    def test_rejects_a_single_cluster(self, labels):
        with raises(ValueError, 2):
            silhouette(LINE, np.array(labels))


class TestElbow:
    def test_the_example_worked_by_hand(self):
        assert_equal(elbow(np.array([1, 2, 3, 4]), np.array([32.75, 2.5, 0.5, 0.0])), 2)

    @pytest.mark.parametrize(
        ("ks", "inertias", "expected"),
        [
            ([2, 3, 4, 5, 6], [100, 80, 20, 15, 12], 4),
            ([2, 4, 8, 16], [90, 70, 20, 10], 8),
            ([1, 2, 30], [60, 40, 10], 2),
            ([1, 10, 19, 20], [100, 40, 4, 0], 10),  # evenly spaced, it would be 19
            ([3, 5, 6, 7], [12, 3, 3, 0], 5),
        ],
    )
    def test_lies_deepest_below_the_line(self, ks, inertias, expected):
        gaps = [
            (inertias[0] * (ks[-1] - k) + inertias[-1] * (k - ks[0])) / (ks[-1] - ks[0]) - j
            for k, j in zip(ks, inertias, strict=True)
        ]
        assert_equal(ks[int(np.argmax(gaps))], expected)
        assert_equal(elbow(np.array(ks), np.array(inertias)), expected)

    def test_the_smallest_of_a_tie(self):
        assert_equal(elbow(np.array([1, 2, 3, 4, 5]), np.array([8.0, 3.0, 1.0, 0.0, 0.0])), 2)

    @pytest.mark.parametrize("inertias", [[8.0, 7.0, 0.0], [8.0, 9.0, 0.0], [8.0, 4.0, 0.0]])
    def test_nothing_below_the_line(self, inertias):
        assert_equal(elbow(np.array([2, 3, 4]), np.array(inertias)), 2)

    @pytest.mark.parametrize("m", [0, 2])
    def test_rejects_fewer_than_three(self, m):
        with raises(ValueError, m):
            elbow(np.arange(1, m + 1), np.arange(m)[::-1] * 4.0)
