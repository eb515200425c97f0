"""Judges k23_recommenders against plain loops, scikit-learn's NDCG, a ridge regression over all pairs, and best-sellers."""

import math
from itertools import pairwise

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k23_recommenders import (
    als_loss,
    bpr_loss,
    hold_out,
    implicit_als,
    mean_average_precision,
    ndcg_at_k,
    popularity,
    recall_at_k,
    recommend,
    solve_factors,
)

pytestmark = [from_scratch("scipy", "sklearn"), pure()]


def table(rows, n):
    """bool (users, n): True for the items in each row."""
    relevant = np.zeros((len(rows), n), dtype=bool)
    for u, row in enumerate(rows):
        relevant[u, list(row)] = True
    return relevant


HAND = (np.array([[2, 7, 5]]), table([{2, 5}], 9))


def random_lists(rng, users, n, k):
    """Lists with a few blanks at the end, and relevant items; some users have none."""
    lists = np.array([rng.permutation(n)[:k] for _ in range(users)])
    for u in range(users):
        if rng.random() < 0.4:
            lists[u, rng.integers(1, k) :] = -1
    relevant = rng.random((users, n)) < rng.uniform(0.1, 0.6, (users, 1))
    relevant[1] = False
    relevant[0, :] = False
    relevant[0, [n - 1, lists[0, 0]]] = True  # one user, at least, has a hit
    return lists, relevant


def random_counts(rng, users, items):
    return rng.poisson(0.7, (users, items)) * (rng.random((users, items)) < 0.6)


def ridge(r, y, alpha, reg):
    """Each user's factors as a weighted ridge regression over all items."""
    f, solved = y.shape[1], []
    for row in r:
        root = np.sqrt(1 + alpha * row)
        rows = np.vstack([root[:, None] * y, math.sqrt(reg) * np.eye(f)])
        solved.append(np.linalg.lstsq(rows, np.concatenate([root * (row > 0), np.zeros(f)]))[0])
    return np.array(solved)


def loss_of(r, x, y, alpha, reg):
    """The loss pair by pair."""
    total = reg * (float((x**2).sum()) + float((y**2).sum()))
    for u in range(len(x)):
        for i in range(len(y)):
            total += (1 + alpha * float(r[u, i])) * (float(r[u, i] > 0) - float(x[u] @ y[i])) ** 2
    return total


class TestHoldOut:
    def test_one_of_each_user_with_two_or_more(self, rng):
        users = np.array([7, 3, 7, 9, 3, 7, 40, 40, 5])
        held = hold_out(users, rng)
        assert_equal(held.dtype, np.dtype(bool))
        assert_equal(sorted(users[held].tolist()), [3, 7, 40])

    def test_each_as_probable(self, rng):
        users = np.array([4, 1, 4, 4, 1, 8])
        counts = sum(hold_out(users, rng).astype(int) for _ in range(600))
        # 5 deviations of the binomial counts
        for mean, places in ((200, [0, 2, 3]), (300, [1, 4])):
            assert (abs(counts[places] - mean) < 5 * math.sqrt(mean * (1 - mean / 600))).all()
        assert_equal(counts[5], 0)

    def test_users_are_drawn_independently(self, rng):
        # Both of the first interactions, or both of the second, in half of all draws.
        users = np.array([0, 0, 1, 1])
        same = sum(bool(held[0] == held[2]) for held in (hold_out(users, rng) for _ in range(400)))
        assert abs(same - 200) < 5 * 10

    def test_equal_generators_draw_alike(self, rng):
        users, seed = rng.integers(0, 9, 60), int(rng.integers(1000))
        assert_equal(hold_out(users, np.random.default_rng(seed)), hold_out(users, np.random.default_rng(seed)))

    def test_nobody_with_two(self, rng):
        assert_equal(hold_out(np.array([3, 1, 2]), rng), np.zeros(3, dtype=bool))


class TestPopularity:
    def test_counts(self):
        assert_close(popularity(np.array([3, 1, 3, 3]), 6), np.array([0.0, 1, 0, 3, 0, 0]))
        assert_close(popularity(np.repeat([1, 0], [4097, 3]), 2), np.array([3.0, 4097.0]))


class TestRecommend:
    def test_the_largest_scores_first(self):
        scores = np.array([[0.1, 0.9, -3.0, 0.5], [2.0, 1.0, 4.0, 3.0]])
        assert_equal(recommend(scores, np.zeros((2, 4), dtype=bool), 3), np.array([[1, 3, 0], [2, 3, 0]]))

    def test_what_was_seen_is_left_out(self):
        scores = np.array([[5.0, 9.0, -3.0, 7.0], [2.0, 1.0, 4.0, 3.0]])
        assert_equal(recommend(scores, table([{1}, {2, 3}], 4), 2), np.array([[3, 0], [0, 1]]))

    def test_negative_scores_are_better_than_none(self):
        scores = np.array([[-5.0, -1e9, 2.0]])
        assert_equal(recommend(scores, table([{2}], 3), 3), np.array([[0, 1, -1]]))

    def test_too_few_are_left(self):
        got = recommend(np.array([4.0, 2.0, 3.0]), table([{0, 1, 2}, {0, 2}, set()], 3), 2)
        assert_equal(got, np.array([[-1, -1], [1, -1], [0, 2]]))

    def test_the_lower_number_at_a_tie(self):
        scores = np.array([1, 3, 3, 1, 3, 2])
        assert_equal(recommend(scores, table([set(), {1}], 6), 5), np.array([[1, 2, 4, 5, 0], [2, 4, 5, 0, 3]]))

    def test_of_uint8(self):
        got = recommend(np.array([0, 3, 200, 1], np.uint8), table([set(), {2}], 4), 4)
        assert_equal(got, np.array([[2, 1, 3, 0], [1, 3, 0, -1]]))

    @pytest.mark.parametrize(("users", "n", "k"), [(4, 9, 3), (3, 5, 5), (2, 7, 1), (5, 60, 30)])
    def test_matches_sorting_one_by_one(self, users, n, k, rng):
        scores, seen = rng.integers(-3, 4, (users, n)).astype(float), rng.random((users, n)) < 0.4
        expected = []
        for row, known in zip(scores, seen, strict=True):
            best = sorted((i for i in range(n) if not known[i]), key=lambda i, row=row: (-row[i], i))[:k]
            expected.append(best + [-1] * (k - len(best)))
        assert_equal(recommend(scores, seen, k), np.array(expected))

    @pytest.mark.parametrize("k", [0, 5])
    def test_rejects_other_numbers(self, k):
        with raises(ValueError, k, 4):
            recommend(np.arange(4.0), np.zeros((2, 4), dtype=bool), k)


NONE = (np.array([[0, 1], [1, 0]]), np.zeros((2, 3), dtype=bool))


class TestRecallAtK:
    def test_the_example_worked_by_hand(self):
        assert_close(recall_at_k(*HAND), 1.0)

    def test_of_all_that_is_relevant(self):
        # One hit of five relevant items, though the list has but two places.
        assert_close(recall_at_k(np.array([[1, 9]]), table([{1, 2, 3, 4, 5}], 10)), 0.2)

    @pytest.mark.parametrize(("users", "n", "k"), [(6, 8, 3), (5, 12, 7)])
    def test_matches_a_loop(self, users, n, k, rng):
        lists, relevant = random_lists(rng, users, n, k)
        shares = [
            len(set(row.tolist()) & set(np.flatnonzero(wanted).tolist())) / wanted.sum()
            for row, wanted in zip(lists, relevant, strict=True)
            if wanted.any()
        ]
        assert_close(recall_at_k(lists, relevant), float(np.mean(shares)))

    def test_no_item_is_no_hit(self):
        # The last item is relevant, and -1 is numpy's last index.
        assert_close(recall_at_k(np.array([[-1, -1], [2, -1]]), table([{2}, {2}], 3)), 0.5)

    def test_rejects_that_nothing_is_relevant(self):
        with raises(ValueError, "relevant"):
            recall_at_k(*NONE)


class TestNdcgAtK:
    def test_the_example_worked_by_hand(self):
        assert_close(ndcg_at_k(*HAND), 1.5 / (1 + 1 / math.log2(3)))

    @pytest.mark.parametrize(("n", "k"), [(8, 3), (12, 7), (5, 5)])
    def test_matches_scikit_learn(self, n, k, rng):
        from sklearn.metrics import ndcg_score

        lists = np.array([rng.permutation(n) for _ in range(6)])
        relevant = rng.random((6, n)) < 0.5
        relevant[:, 2] = True
        scores = -np.argsort(lists, axis=1)
        assert_close(ndcg_at_k(lists[:, :k], relevant), float(ndcg_score(relevant.astype(int), scores, k=k)))

    @pytest.mark.parametrize(("users", "n", "k"), [(6, 8, 3), (5, 12, 7)])
    def test_matches_a_loop(self, users, n, k, rng):
        lists, relevant = random_lists(rng, users, n, k)
        values = []
        for row, wanted in zip(lists.tolist(), relevant, strict=True):
            if wanted.any():
                gain = sum(1 / math.log2(rank + 1) for rank, i in enumerate(row, 1) if i >= 0 and wanted[i])
                values.append(gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, wanted.sum()) + 1)))
        assert_close(ndcg_at_k(lists, relevant), float(np.mean(values)))

    def test_a_blank_keeps_its_rank(self):
        assert_close(
            ndcg_at_k(np.array([[-1, 1, -1]]), table([{1, 2}], 3)), (1 / math.log2(3)) / (1 + 1 / math.log2(3))
        )

    def test_rejects_that_nothing_is_relevant(self):
        with raises(ValueError, "relevant"):
            ndcg_at_k(*NONE)


class TestMeanAveragePrecision:
    def test_the_example_worked_by_hand(self):
        assert_close(mean_average_precision(*HAND), 5 / 6)

    @pytest.mark.parametrize(("users", "n", "k"), [(6, 8, 3), (5, 12, 7)])
    def test_matches_a_loop(self, users, n, k, rng):
        lists, relevant = random_lists(rng, users, n, k)
        values = []
        for row, wanted in zip(lists.tolist(), relevant, strict=True):
            if wanted.any():
                hits, total = 0, 0.0
                for rank, i in enumerate(row, 1):
                    if i >= 0 and wanted[i]:
                        hits += 1
                        total += hits / rank
                values.append(total / min(k, int(wanted.sum())))
        assert_close(mean_average_precision(lists, relevant), float(np.mean(values)))

    def test_matches_scikit_learn_on_whole_lists(self, rng):
        from sklearn.metrics import average_precision_score

        lists = np.array([rng.permutation(9) for _ in range(4)])
        relevant = rng.random((4, 9)) < 0.4
        relevant[:, 5] = True
        scores = -np.argsort(lists, axis=1)
        expected = np.mean([average_precision_score(w, s) for w, s in zip(relevant, scores, strict=True)])
        assert_close(mean_average_precision(lists, relevant), float(expected))

    def test_rejects_that_nothing_is_relevant(self):
        with raises(ValueError, "relevant"):
            mean_average_precision(*NONE)


class TestSolveFactors:
    def test_the_example_worked_by_hand(self):
        assert_close(solve_factors(np.array([[1, 0]]), np.array([[1.0], [2.0]]), 1.0, 2.0), np.array([[0.25]]))

    @pytest.mark.parametrize(("alpha", "reg"), [(1.0, 0.1), (7.5, 2.0), (0.0, 0.5)])
    @pytest.mark.parametrize(("users", "items", "f"), [(4, 9, 2), (7, 5, 3)])
    def test_is_a_weighted_ridge_regression_over_all_items(self, users, items, f, alpha, reg, rng):
        r, y = random_counts(rng, users, items), rng.standard_normal((items, f))
        assert_close(solve_factors(r, y, alpha, reg), ridge(r, y, alpha, reg))

    def test_a_user_without_items_gets_zeros(self, rng):
        r = np.array([[0, 0, 0], [2, 0, 1]])
        assert_close(solve_factors(r, rng.standard_normal((3, 2)), 3.0, 0.5)[0], np.zeros(2))

    def test_of_small_integers(self, rng):
        r, y = rng.integers(0, 200, (3, 6)).astype(np.uint8), rng.standard_normal((6, 2))
        assert_close(solve_factors(r, y, 40, 1), solve_factors(r.astype(float), y, 40.0, 1.0))

    def test_of_integer_factors(self, rng):
        r, y = random_counts(rng, 3, 5), rng.integers(-3, 4, (5, 2))
        assert_close(solve_factors(r, y, 2.0, 0.5), ridge(r, y, 2.0, 0.5))


class TestAlsLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(als_loss(np.array([[1, 0]]), np.array([[0.25]]), np.array([[1.0], [2.0]]), 1.0, 2.0), 11.5)

    @pytest.mark.parametrize(("alpha", "reg"), [(1.0, 0.1), (7.5, 2.0)])
    def test_matches_a_loop_over_all_pairs(self, alpha, reg, rng):
        r, x, y = random_counts(rng, 4, 6), rng.standard_normal((4, 3)), rng.standard_normal((6, 3))
        assert_close(als_loss(r, x, y, alpha, reg), loss_of(r, x, y, alpha, reg))


class TestImplicitAls:
    @pytest.mark.parametrize(("alpha", "reg", "steps"), [(4.0, 0.5, 1), (4.0, 0.5, 3), (1.0, 2.0, 2)])
    @pytest.mark.parametrize(("users", "items", "f"), [(8, 5, 2), (4, 6, 3)])
    def test_solves_users_then_items_in_turns(self, users, items, f, alpha, reg, steps, rng):
        r, y = random_counts(rng, users, items), rng.standard_normal((items, f))
        start = y.copy()
        for _ in range(steps):
            x = ridge(r, y, alpha, reg)
            y = ridge(r.T, x, alpha, reg)
        assert_close(implicit_als(r, start, alpha, reg, steps), (x, y))

    def test_each_step_lowers_the_loss(self, rng):
        r, start = random_counts(rng, 12, 9), 0.1 * rng.standard_normal((9, 3))
        losses = [loss_of(r, *implicit_als(r, start, 5.0, 0.3, steps), 5.0, 0.3) for steps in (1, 2, 3, 6)]
        if not all(later < earlier for earlier, later in pairwise(losses)):
            fail("more steps don't lower the loss", evidence=losses)

    def test_finds_planted_groups(self, rng):
        # 3 groups of 20 users and 10 items; each user has taken 6 of the 10.
        group, kind = np.arange(60) % 3, np.arange(30) // 10
        taste = group[:, None] == kind
        r = (taste & (rng.random((60, 30)) < 0.6)).astype(float)
        x, y = implicit_als(r, 0.1 * rng.standard_normal((30, 4)), 10.0, 1.0, 5)
        lists = recommend(x @ y.T, r > 0, 2)
        right = [taste[u, i] for u in range(60) for i in lists[u] if i >= 0 and (taste[u] & (r[u] == 0)).sum() >= 2]
        assert np.mean(right) > 0.9  # a third by chance

    def test_beats_popularity_on_lecturers(self, ratings, rng):
        users, items, _ = ratings
        few = users < 500
        users, items = users[few], items[few]
        held = hold_out(users, rng)
        r, relevant = np.zeros((500, 1128)), np.zeros((500, 1128), dtype=bool)
        r[users[~held], items[~held]] = 1
        relevant[users[held], items[held]] = True
        x, y = implicit_als(r, 0.1 * rng.standard_normal((1128, 12)), 10.0, 2.0, 3)
        ours = recommend(x @ y.T, r > 0, 10)
        sellers = recommend(popularity(items[~held], 1128), r > 0, 10)
        assert recall_at_k(ours, relevant) > recall_at_k(sellers, relevant) + 0.2
        assert ndcg_at_k(ours, relevant) > ndcg_at_k(sellers, relevant) + 0.1


class TestBprLoss:
    def test_the_example_worked_by_hand(self):
        got = bpr_loss(np.array([[1.0]]), np.array([[2.0], [1.0]]), np.array([[0, 0, 1]]), 0.0)
        assert_close(got, math.log1p(math.exp(-1)))

    @pytest.mark.parametrize("reg", [0.0, 0.3, 2.0])
    @pytest.mark.parametrize(("m", "f"), [(7, 3), (1, 2)])
    def test_matches_a_loop_over_triples(self, m, f, reg, rng):
        x, y = rng.standard_normal((4, f)), rng.standard_normal((6, f))
        triples = np.stack([rng.integers(0, 4, m), rng.integers(0, 3, m), rng.integers(3, 6, m)], axis=1)
        total = 0.0
        for u, i, j in triples:
            margin = float(x[u] @ y[i] - x[u] @ y[j])
            total += math.log1p(math.exp(-margin)) + reg * float(x[u] @ x[u] + y[i] @ y[i] + y[j] @ y[j])
        assert_close(bpr_loss(x, y, triples, reg), total / m)

    @pytest.mark.parametrize(("margin", "expected"), [(1e6, 0.0), (-1e6, 1e6), (-800.0, 800.0), (40.0, math.exp(-40))])
    def test_large_differences(self, margin, expected):
        got = bpr_loss(np.array([[1.0]]), np.array([[margin], [0.0]]), np.array([[0, 0, 1]]), 0.0)
        assert_close(got, expected, rtol=1e-7, atol=1e-20)  # exp(-40) is 4e-18
