"""Judges k24_two_tower against finite differences, plain loops, scipy, best-sellers and the uncorrected model."""

import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k24_two_tower import (
    FrequencyEstimator,
    embed,
    embed_gradient,
    in_batch_logits,
    in_batch_loss,
    loss_and_gradients,
    retrieve,
    train,
)

pytestmark = [from_scratch("scipy", "sklearn"), pure()]

U, V = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.6, 0.8]])
LOG_Q = np.log([0.5, 0.25])


def vectors(features, w):
    """The tower row by row."""
    rows = []
    for row in features:
        z = row @ w
        rows.append(z / np.sqrt(float(z @ z)) if z.any() else z)
    return np.array(rows)


def loss_of(w_user, w_item, user_features, item_features, temperature, log_q, ids):
    """The loss of a batch, pair by pair."""
    u, v = vectors(user_features, w_user), vectors(item_features, w_item)
    total = 0.0
    for i in range(len(u)):
        row = [float(u[i] @ v[j]) / temperature - log_q[j] for j in range(len(v)) if j == i or ids[j] != ids[i]]
        own = float(u[i] @ v[i]) / temperature - log_q[i]
        total += math.log(sum(math.exp(one - own) for one in row))
    return total / len(u)


def slopes(f, at):
    """The gradient of f by central differences."""
    gradient = np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        step = np.zeros(at.shape)
        step[place] = 1e-5
        gradient[place] = (f(at + step) - f(at - step)) / 2e-5
    return gradient


def batch(rng, b, d, d_item, f):
    """All arguments of `loss_and_gradients`, with an item that stands in the batch twice."""
    ids = rng.permutation(np.arange(b)) + 20
    ids[b - 1] = ids[0]
    items = rng.standard_normal((b, d_item))
    items[b - 1] = items[0]
    log_q = rng.uniform(-4, -0.5, b)
    log_q[b - 1] = log_q[0]
    return (
        rng.standard_normal((d, f)),
        rng.standard_normal((d_item, f)),
        rng.standard_normal((b, d)),
        items,
        0.4,
        log_q,
        ids,
    )


class TestEmbed:
    def test_the_example_worked_by_hand(self):
        assert_close(
            embed(np.array([[1, 0], [0, 2]]), np.array([[3, 4], [-1, 0]])), np.array([[0.6, 0.8], [-1.0, 0.0]])
        )

    @pytest.mark.parametrize(("n", "d", "f"), [(5, 3, 2), (2, 4, 6)])
    def test_has_unit_length_and_the_direction_of_z(self, n, d, f, rng):
        features, w = rng.standard_normal((n, d)), rng.standard_normal((d, f))
        assert_close(embed(features, w), vectors(features, w))

    def test_a_row_of_zeros_stays_zeros(self):
        assert_close(embed(np.array([[0.0, 0.0], [1e-9, 0.0]]), np.eye(2)), np.array([[0.0, 0.0], [1.0, 0.0]]))

    @pytest.mark.parametrize("size", [1e-20, 1e-100, 1e100])
    def test_of_any_length(self, size):
        assert_close(embed(size * np.array([[3.0, -4.0]]), np.eye(2)), np.array([[0.6, -0.8]]))


class TestEmbedGradient:
    def test_the_example_worked_by_hand(self):
        got = embed_gradient(np.array([[1.0]]), np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]]))
        assert_close(got, np.array([[0.128, -0.096]]))

    @pytest.mark.parametrize(("n", "d", "f"), [(5, 3, 2), (2, 4, 6)])
    def test_matches_finite_differences(self, n, d, f, rng):
        features, w, upstream = rng.standard_normal((n, d)), rng.standard_normal((d, f)), rng.standard_normal((n, f))
        expected = slopes(lambda w: float((vectors(features, w) * upstream).sum()), w)
        assert_close(embed_gradient(features, w, upstream), expected, rtol=1e-6, atol=1e-7)  # differences of 1e-5

    def test_rows_of_zeros_add_nothing(self):
        got = embed_gradient(np.array([[0.0], [1.0]]), np.array([[3.0, 4.0]]), np.array([[9.0, 9.0], [1.0, 0.0]]))
        assert_close(got, np.array([[0.128, -0.096]]))
        assert_close(embed_gradient(np.array([[2.0]]), np.zeros((1, 2)), np.ones((1, 2))), np.zeros((1, 2)))


class TestFrequencyEstimator:
    def test_the_example_worked_by_hand(self):
        one = FrequencyEstimator(3, 0.5, 10.0)
        one.update(4, np.array([2]))
        assert_close(one.gap, np.array([10.0, 10.0, 7.0]))
        one.update(6, np.array([2]))
        assert_close(one.gap, np.array([10.0, 10.0, 4.5]))
        assert_close(one.log_q(np.array([2, 0, 2])), -np.log([4.5, 10.0, 4.5]))

    def test_leaves_the_items_as_they_were(self):
        one, items = FrequencyEstimator(3, 0.5, 10.0), np.array([2, 0, 2])
        one.update(1, items)
        one.log_q(items)
        assert_equal(items.tolist(), [2, 0, 2])

    @pytest.mark.parametrize(("rate", "start"), [(0.2, 5), (0.05, 40.0)])
    def test_follows_the_stream(self, rate, start, rng):
        estimator = FrequencyEstimator(6, rate, start)
        gap, last = [float(start)] * 6, [0] * 6
        for step in range(1, 30):
            items = rng.integers(0, 6, 3)
            estimator.update(step, items)
            for item in set(items.tolist()):
                gap[item] = (1 - rate) * gap[item] + rate * (step - last[item])
                last[item] = step
        assert_close(estimator.gap, np.array(gap))

    def test_an_item_several_times_in_a_batch_counts_once(self):
        one = FrequencyEstimator(2, 0.5, 8)
        one.update(2, np.array([1, 1, 1]))
        assert_close(one.gap, np.array([8.0, 5.0]))

    def test_learns_how_often_items_come(self, rng):
        # Item j is in a batch with probability p[j].  Its mean gap is 1/p.
        p = np.array([0.9, 0.5, 0.2])
        estimator = FrequencyEstimator(3, 0.01, 1.0)
        for step in range(1, 3000):
            estimator.update(step, np.flatnonzero(rng.random(3) < p))
        # A moving mean of rate 0.01 has a relative deviation of √(0.005 (1 - p)), at most 6.4%.
        assert (np.abs(np.exp(-estimator.log_q(np.arange(3))) * p - 1) < 5 * 0.064).all()

    def test_two_know_nothing_of_each_other(self):
        one, other = FrequencyEstimator(2, 0.5, 8.0), FrequencyEstimator(2, 0.5, 8.0)
        one.update(2, np.array([0]))
        other.update(4, np.array([0]))
        assert_close((one.gap, other.gap), (np.array([5.0, 8.0]), np.array([6.0, 8.0])))


class TestInBatchLogits:
    def test_the_example_worked_by_hand(self):
        got = in_batch_logits(U, V, 0.5, LOG_Q, np.array([7, 3]))
        assert_close(got, np.array([[2.0, 1.2], [0.0, 1.6]]) + np.log([2, 4]))

    @pytest.mark.parametrize("temperature", [0.3, 2.0])
    def test_the_same_item_elsewhere_is_left_out(self, temperature, rng):
        u, v, log_q = rng.standard_normal((5, 3)), rng.standard_normal((5, 3)), rng.uniform(-3, 0, 5)
        ids = np.array([4, 9, 4, 2, 4])
        expected = np.zeros((5, 5))
        for i in range(5):
            for j in range(5):
                same = i != j and ids[i] == ids[j]
                expected[i, j] = -np.inf if same else u[i] @ v[j] / temperature - log_q[j]
        assert_close(in_batch_logits(u, v, temperature, log_q, ids), expected)


class TestInBatchLoss:
    def test_the_example_worked_by_hand(self):
        loss, gradient = in_batch_loss(np.array([[2.0, 1.2], [0.0, 1.6]]) + np.log([2, 4]))
        first, second = 2 * math.exp(-0.8), math.exp(-1.6) / 2
        assert_close(loss, (math.log1p(first) + math.log1p(second)) / 2)
        p, q = first / (1 + first) / 2, second / (1 + second) / 2
        assert_close(gradient, np.array([[-p, p], [q, -q]]))

    @pytest.mark.parametrize("b", [1, 3, 6])
    def test_matches_scipy_and_finite_differences(self, b, rng):
        from scipy.special import log_softmax

        logits = 3 * rng.standard_normal((b, b))
        loss, gradient = in_batch_loss(logits)
        assert_close(loss, -float(np.diag(log_softmax(logits, axis=1)).mean()))
        expected = slopes(lambda l: -float(np.diag(log_softmax(l, axis=1)).mean()), logits)
        assert_close(gradient, expected, rtol=1e-6, atol=1e-8)  # differences of 1e-5

    def test_minus_infinity_adds_nothing(self):
        i = np.inf
        loss, gradient = in_batch_loss(np.array([[1.0, -i, 2.0], [-i, 0.5, -i], [0.0, 3.0, 1.0]]))
        third = math.log(math.exp(-1) + math.exp(2) + 1)
        assert_close(loss, (math.log1p(math.e) + 0 + third) / 3)
        assert_close(gradient[:2], np.array([[-math.e / (1 + math.e), 0, math.e / (1 + math.e)], [0.0, 0, 0]]) / 3)

    @pytest.mark.parametrize("size", [1e3, 1e4])
    def test_large_logits(self, size):
        loss, gradient = in_batch_loss(np.array([[-size, size], [-size, size]]))
        assert_close(loss, size)
        assert_close(gradient, np.array([[-0.5, 0.5], [0.0, 0.0]]))

    @pytest.mark.parametrize("size", [1e3, 1e4])
    def test_rows_far_from_each_other(self, size):
        loss, gradient = in_batch_loss(np.array([[size, size], [-size, -size]]))
        assert_close(loss, math.log(2))
        assert_close(gradient, np.array([[-0.25, 0.25], [0.25, -0.25]]))


class TestLossAndGradients:
    def test_the_example_worked_by_hand(self):
        loss, by_user, by_item = loss_and_gradients(np.eye(2), np.eye(2), U, V, 0.5, LOG_Q, np.array([7, 3]))
        assert_close(loss, (math.log1p(2 * math.exp(-0.8)) + math.log1p(math.exp(-1.6) / 2)) / 2)
        assert_equal((by_user.shape, by_item.shape), ((2, 2), (2, 2)))

    @pytest.mark.parametrize(("b", "d", "d_item", "f"), [(4, 3, 2, 2), (5, 2, 4, 3)])
    def test_matches_finite_differences(self, b, d, d_item, f, rng):
        w_user, w_item, *rest = batch(rng, b, d, d_item, f)
        loss, by_user, by_item = loss_and_gradients(w_user, w_item, *rest)
        assert_close(loss, loss_of(w_user, w_item, *rest))
        # Differences of 1e-5
        assert_close(by_user, slopes(lambda w: loss_of(w, w_item, *rest), w_user), rtol=1e-6, atol=1e-7)
        assert_close(by_item, slopes(lambda w: loss_of(w_user, w, *rest), w_item), rtol=1e-6, atol=1e-7)


def shop(rng, pairs):
    """60 users and 24 items in three groups; within each, items of very different popularity."""
    group, kind = np.arange(60) % 3, np.arange(24) % 3
    taste = np.where(group[:, None] == kind, 3.0, 0.15) / (1 + np.arange(24) // 3)
    taste /= taste.sum(axis=1, keepdims=True)
    users = rng.integers(0, 60, pairs)
    items = (rng.random((pairs, 1)) > taste.cumsum(axis=1)[users]).sum(axis=1)
    return np.stack([users, np.minimum(items, 23)], axis=1)


def recall(found, pairs):
    """The share of pairs whose item is among those found for its user."""
    return float(np.mean([(found[u] == i).any() for u, i in pairs]))


class TestTrain:
    @pytest.mark.parametrize(("temperature", "rate"), [(0.5, 0.1), (1.5, 0.7)])
    def test_descends_batch_by_batch(self, temperature, rate, rng):
        users, items = rng.standard_normal((6, 3)), rng.standard_normal((8, 2))
        log_q = rng.uniform(-3, -1, 8)
        batches = [
            np.array([[5, 1], [0, 7], [2, 1]]),
            np.array([[3, 4], [1, 2], [0, 0], [5, 6]]),
            np.array([[4, 3], [4, 6]]),
        ]
        start = rng.standard_normal((3, 2)), rng.standard_normal((2, 2))
        w_user, w_item = start
        for rows in batches:
            u, i = rows[:, 0], rows[:, 1]
            rest = (users[u], items[i], temperature, log_q[i], i)
            by_user = slopes(lambda w, rest=rest, other=w_item: loss_of(w, other, *rest), w_user)
            by_item = slopes(lambda w, rest=rest, other=w_user: loss_of(other, w, *rest), w_item)
            w_user, w_item = w_user - rate * by_user, w_item - rate * by_item
        got = train(*start, users, items, iter(batches), temperature, log_q, rate)
        assert_close(got, (w_user, w_item), rtol=1e-6, atol=1e-7)  # differences of 1e-5

    def test_no_batches(self, rng):
        start = rng.standard_normal((3, 2)), rng.standard_normal((2, 2))
        got = train(*start, np.ones((4, 3)), np.ones((5, 2)), [], 1.0, np.zeros(5), 0.1)
        assert_close(got, start)

    def test_the_correction_beats_none_and_best_sellers(self, rng):
        seen, new = shop(rng, 4000), shop(rng, 3000)
        share = np.bincount(seen[:, 1], minlength=24) / len(seen)
        start = 0.3 * rng.standard_normal((60, 6)), 0.3 * rng.standard_normal((24, 6))
        batches = [seen[rng.choice(len(seen), 32, replace=False)] for _ in range(80)]

        def found(log_q):
            w_user, w_item = train(*start, np.eye(60), np.eye(24), batches, 0.2, log_q, 6.0)
            return recall(retrieve(embed(np.eye(60), w_user), embed(np.eye(24), w_item), 3), new)

        corrected, plain = found(np.log(np.maximum(share, 1e-4))), found(np.zeros(24))
        sellers = recall(np.broadcast_to(np.argsort(-share)[:3], (60, 3)), new)
        if not corrected > plain + 0.05 or not corrected > sellers + 0.1:
            fail(
                f"recall is {corrected:.2f} with the correction, {plain:.2f} without, {sellers:.2f} of best-sellers",
                evidence=(corrected, plain),
            )

    def test_beats_best_sellers_on_lecturers(self, ratings, rng):
        users, items, _ = ratings
        few = users < 200
        pairs = np.stack([users[few], items[few]], axis=1)
        rng.shuffle(pairs)
        new, seen = pairs[:600], pairs[600:]
        counts = np.bincount(seen[:, 1], minlength=1128)
        start = 0.3 * rng.standard_normal((200, 16)), 0.3 * rng.standard_normal((1128, 16))
        batches = [seen[rng.choice(len(seen), 32, replace=False)] for _ in range(160)]
        log_q = np.log(np.maximum(counts, 0.5) / len(seen))
        w_user, w_item = train(*start, np.eye(200), np.eye(1128), batches, 0.2, log_q, 16.0)
        found = retrieve(embed(np.eye(200), w_user), embed(np.eye(1128), w_item), 50)
        sellers = np.broadcast_to(np.argsort(-counts)[:50], (200, 50))
        if not recall(found, new) > recall(sellers, new) + 0.02:
            fail(
                f"recall is {recall(found, new):.2f}, that of best-sellers {recall(sellers, new):.2f}",
                evidence=recall(found, new),
            )


class TestRetrieve:
    @pytest.mark.parametrize(("m", "n", "k"), [(3, 7, 4), (5, 4, 4), (2, 9, 1), (2, 300, 60)])
    def test_matches_sorting_one_by_one(self, m, n, k, rng):
        users, items = rng.integers(-2, 3, (m, 2)).astype(float), rng.integers(-2, 3, (n, 2)).astype(float)
        expected = [sorted(range(n), key=lambda j, u=u: (-float(u @ items[j]), j))[:k] for u in users]
        assert_equal(retrieve(users, items, k), np.array(expected))

    @pytest.mark.parametrize("k", [0, 5])
    def test_rejects_other_numbers(self, k):
        with raises(ValueError, k, 4):
            retrieve(np.ones((2, 3)), np.ones((4, 3)), k)
