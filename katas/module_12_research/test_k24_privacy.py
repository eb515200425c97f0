"""Judges k24_privacy by counting, by numerical integration, by published values, and by attacking what it protects."""

import math
from contextlib import contextmanager

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.without_warnings import without_warnings
from katas.module_12_research.k24_privacy import (
    clip_each,
    epsilon_spent,
    estimate_share,
    federated_average,
    k_anonymity,
    l_diversity,
    membership_attack,
    private_gradient,
    respond,
    subsampled_rdp,
    train_privately,
)

pytestmark = [from_scratch("opacus", "dp_accounting", "tensorflow_privacy", "sklearn"), pure()]


@contextmanager
def numpys_generator_stays():
    before = np.random.get_state()[1].copy()
    position = np.random.get_state()[2]
    yield
    after = np.random.get_state()
    assert_equal((bool((before == after[1]).all()), after[2]), (True, position))


TABLE = np.array([["30s", "803"], ["40s", "803"], ["40s", "803"], ["30s", "803"], ["40s", "803"]])
ILL = np.array(["flu", "flu", "cancer", "flu", "flu"])


class TestKAnonymity:
    def test_the_example_worked_by_hand(self):
        assert_equal(k_anonymity(TABLE), 2)

    @pytest.mark.parametrize("columns", [1, 3])
    def test_counted_one_by_one(self, columns, rng):
        rows = rng.integers(0, 3, (120, columns)) * 7
        rows = np.concatenate([rows, rows[:5]])
        keys = [tuple(row) for row in rows.tolist()]
        assert_equal(k_anonymity(rows), min(keys.count(key) for key in keys))

    def test_columns_arent_glued_together(self):
        assert_equal(k_anonymity(np.array([["1", "11"], ["11", "1"], ["1", "11"]])), 1)

    def test_one_row(self):
        assert_equal(k_anonymity(np.array([[4, 5]])), 1)


class TestLDiversity:
    def test_the_example_worked_by_hand(self):
        assert_equal(l_diversity(TABLE, ILL), 1)

    def test_counted_one_by_one(self, rng):
        rows, sensitive = rng.integers(0, 2, (80, 2)), rng.integers(0, 9, 80)
        groups = [[int(s) for r, s in zip(rows, sensitive, strict=True) if tuple(r) == key] for key in np.ndindex(2, 2)]
        assert_equal(l_diversity(rows, sensitive), min(len(set(group)) for group in groups if group))

    def test_different_values_and_not_rows(self):
        rows = np.array([[1], [1], [1], [1], [2], [2], [2]])
        assert_equal(l_diversity(rows, np.array([5, 5, 6, 5, 7, 8, 9])), 2)


class TestRespond:
    @pytest.mark.parametrize("epsilon", [0.0, math.log(3), 2.5])
    @pytest.mark.parametrize("dtype", [int, bool, float])
    def test_keeps_with_its_chance(self, epsilon, dtype, rng):
        answers = (np.arange(12000) % 3 == 0).astype(int)
        with numpys_generator_stays():
            found = respond(answers.astype(dtype), epsilon, rng)
        p = math.exp(epsilon) / (1 + math.exp(epsilon))
        assert_equal((found.dtype, set(found.tolist()) <= {0, 1}), (np.dtype(np.int64), True))
        for kind in (0, 1):
            assert_close(float((found == answers)[answers == kind].mean()), p, atol=0.042, rtol=0)  # five errors

    def test_each_answer_alone(self, rng):
        found = respond(np.ones(6000, dtype=int), 0.0, rng)
        assert_close(float((found[1:] == found[:-1]).mean()), 0.5, atol=0.035, rtol=0)

    def test_hardly_any_noise(self, rng):
        answers = np.array([1, 0, 0, 1])
        assert_equal(respond(answers, 1000.0, rng), answers)

    def test_equal_generators_give_equal_responses(self):
        answers = np.tile([0, 1], 50)
        one, two, other = (respond(answers, 1.0, np.random.default_rng(s)).tolist() for s in (1, 1, 2))
        assert_equal((one == two, one == other), (True, False))


class TestEstimateShare:
    def test_the_example_worked_by_hand(self):
        responses = np.array([1] * 40 + [0] * 60)
        assert_close(estimate_share(responses, math.log(3)), (0.3, math.sqrt(0.24 / 100) / 0.5))

    @pytest.mark.parametrize("dtype", [bool, float])
    @pytest.mark.parametrize(("yes", "epsilon"), [(3, 0.5), (17, 2.0), (9, 1000.0)])
    def test_the_formula(self, yes, epsilon, dtype):
        p = 1 / (1 + math.exp(-epsilon))
        expected = ((yes / 20 - 1 + p) / (2 * p - 1), math.sqrt(yes * (20 - yes) / 20**3) / (2 * p - 1))
        assert_close(estimate_share((np.arange(20) < yes).astype(dtype), epsilon), expected)

    def test_isnt_cut(self):
        assert_close(estimate_share(np.array([0, 0, 0]), math.log(3))[0], -0.5)
        assert_close(estimate_share(np.array([1, 1]), math.log(3)), (1.5, 0.0))

    def test_undoes_what_was_drawn(self, rng):
        p = 0.75
        errors = []
        for _ in range(300):
            answers = rng.random(200) < 0.2
            responses = np.where(rng.random(200) < p, answers, ~answers)
            share, error = estimate_share(responses, math.log(3))
            errors.append((share - 0.2) / error)
        assert_close(float(np.mean(errors)), 0.0, atol=0.3, rtol=0)  # five standard errors
        assert_close(float(np.std(errors)), 1.0, atol=0.21, rtol=0)

    @pytest.mark.parametrize("epsilon", [0.0, -0.5])
    def test_says_nothing(self, epsilon):
        with raises(ValueError, epsilon):
            estimate_share(np.array([0, 1]), epsilon)


class TestClipEach:
    def test_the_example_worked_by_hand(self):
        found = clip_each(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0)
        assert_close(found, np.array([[0.6, 0.8], [0.3, 0.4]]))

    @pytest.mark.parametrize("bound", [0.5, 3.0])
    def test_one_by_one(self, bound, rng):
        gradients = rng.normal(0, 1, (7, 5)) * np.array([0.1, 1, 10, 1e6, 0.5, 2, 1e-9])[:, None]
        expected = [g if np.sqrt(g @ g) <= bound else g * bound / np.sqrt(g @ g) for g in gradients]
        assert_close(clip_each(gradients, bound), np.array(expected))

    def test_zeros(self):
        with without_warnings():
            found = clip_each(np.zeros((2, 3)), 0.5)
        assert_close(found, np.zeros((2, 3)))

    def test_none(self):
        assert_equal(clip_each(np.zeros((0, 3)), 0.5).shape, (0, 3))


class TestPrivateGradient:
    def test_the_example_worked_by_hand(self, rng):
        assert_close(private_gradient(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0, 0.0, 4, rng), np.array([0.225, 0.3]))

    @pytest.mark.parametrize("bound", [0.5, 2.0])
    @pytest.mark.parametrize("lot", [2.5, 40])
    def test_without_noise(self, lot, bound, rng):
        gradients = rng.normal(0, 1, (6, 4))
        clipped = [g * min(1.0, bound / float(np.sqrt(g @ g))) for g in gradients]
        assert_close(private_gradient(gradients, bound, 0.0, lot, rng), np.sum(clipped, 0) / lot)

    @pytest.mark.parametrize("scale", [0.0, 1e-3, 100.0])
    @pytest.mark.parametrize(("bound", "noise", "lot"), [(0.5, 1.5, 4), (2.0, 0.7, 10.0)])
    def test_the_noise_knows_no_data(self, bound, noise, lot, scale, rng):
        gradients = scale * rng.normal(0, 1, (3, 3000))
        with numpys_generator_stays():
            found = private_gradient(gradients, bound, noise, lot, rng)
        without = gradients / np.maximum(np.sqrt((gradients**2).sum(1, keepdims=True)) / bound, 1)
        z = (found - without.sum(0) / lot) * lot / (noise * bound)
        assert_close(float(z.std()), 1.0, atol=0.065, rtol=0)  # five standard errors, of a normal distribution
        assert_close(float(z.mean()), 0.0, atol=0.092, rtol=0)
        assert_close(float((np.abs(z) < 1).mean()), 0.683, atol=0.043, rtol=0)
        assert_close(float((z[1:] * z[:-1]).mean()), 0.0, atol=0.092, rtol=0)

    def test_nobody_in_the_lot(self, rng):
        found = private_gradient(np.zeros((0, 4000)), 0.5, 2.0, 5, rng)
        assert_equal(found.shape, (4000,))
        assert_close(float(found.std()), 0.2, atol=0.0115, rtol=0)

    def test_equal_generators_give_equal_noise(self):
        one, two, other = (private_gradient(np.ones((2, 3)), 1.0, 1.0, 2, np.random.default_rng(s)) for s in (1, 1, 2))
        assert_equal((one.tolist() == two.tolist(), one.tolist() == other.tolist()), (True, False))


class TestTrainPrivately:
    def test_everybody_without_noise_is_clipped_descent(self, rng):
        targets = rng.normal(0, 3, (5, 2))
        w = np.array([1, -1])
        found = train_privately(lambda w, i: w - targets[i], w, 5, 1.0, 4, 0.3, 0.8, 0.0, rng)
        expected = w.astype(float)
        for _ in range(4):
            g = expected - targets
            expected = expected - 0.3 * (g / np.maximum(np.sqrt((g**2).sum(1, keepdims=True)) / 0.8, 1)).sum(0) / 5
        assert_close(found, expected)

    @pytest.mark.parametrize("rate", [0.1, 0.6])
    def test_each_example_has_its_own_coin(self, rate, rng):
        lots = []

        def gradient(w, indices):
            lots.append(np.array(indices))
            return np.ones((len(indices), 1))

        with numpys_generator_stays():
            found = train_privately(gradient, np.zeros(1), 40, rate, 600, 0.1, 1.0, 0.0, rng)
        counts = np.bincount(np.concatenate(lots), minlength=40)
        assert_equal((len(lots), len(counts), all(len(set(lot.tolist())) == len(lot) for lot in lots)), (600, 40, True))
        assert_close(counts / 600, np.full(40, rate), atol=0.11, rtol=0)
        sizes = np.array([len(lot) for lot in lots])
        spread = math.sqrt(40 * rate * (1 - rate))
        assert_close(float(sizes.std()), spread, atol=0.2 * spread, rtol=0)  # of a fixed size it would be 0
        assert_close(found, np.array([-0.1 * sizes.sum() / (40 * rate)]), rtol=1e-6)

    def test_a_lot_of_nobody(self, rng):
        found = train_privately(lambda w, i: np.ones((len(i), 3)), np.ones(3), 10, 1e-12, 5, 1.0, 1.0, 0.0, rng)
        assert_close(found, np.ones(3))

    @pytest.mark.parametrize(("noise", "bound"), [(1.0, 0.5), (3.0, 0.2)])
    def test_every_step_has_its_own_noise(self, noise, bound, rng):
        found = train_privately(lambda w, i: np.zeros((len(i), 2000)), np.zeros(2000), 20, 0.5, 9, 0.1, bound, noise, rng)
        # 9 independent steps: three times the deviation of one.
        assert_close(float(found.std()), 3 * 0.1 * noise * bound / 10, rtol=0.08, atol=0)

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    def test_learns_in_spite_of_the_noise(self, rng):
        x = rng.normal(0, 1, (1000, 5))
        labels = (x @ np.array([2.0, -1, 0, 1, 1]) + rng.normal(0, 0.5, 1000) > 0).astype(float)

        def gradient(w, i):
            return (0.5 * (1 + np.tanh(x[i] @ w / 2)) - labels[i])[:, None] * x[i]

        w = train_privately(gradient, np.zeros(5), 1000, 0.1, 100, 1.0, 1.0, 1.5, rng)
        right = float(((x @ w > 0) == labels).mean())
        majority = max(labels.mean(), 1 - labels.mean())
        if not right > majority + 0.2:
            fail(f"{right:.2f} are right; the majority's class gives {majority:.2f}", evidence=right > 0.6)


def rdp_by_integration(rate: float, noise: float, order: int) -> float:
    """ln E[(p(z)/q(z))^α] / (α - 1), with z from q: one normal density; p is the mixture of two."""
    from scipy.integrate import quad

    def f(z):
        log = -z * z / (2 * noise**2) - math.log(noise * math.sqrt(2 * math.pi))
        with_me = math.log(rate) + (2 * z - 1) / (2 * noise**2)
        without = math.log1p(-rate) if rate < 1 else -math.inf
        return math.exp(log + order * np.logaddexp(without, with_me))

    value, _ = quad(f, -20 * noise, order + 20 * noise, limit=500, points=[0.0, 1.0, float(order)])
    return math.log(value) / (order - 1)


class TestSubsampledRdp:
    def test_the_example_worked_by_hand(self):
        assert_close(subsampled_rdp(0.5, 1.0, 2), math.log(0.75 + 0.25 * math.e))

    @pytest.mark.parametrize(
        ("rate", "noise", "order"), [(0.01, 1.0, 2), (0.01, 4.0, 32), (0.1, 2.0, 8), (0.5, 0.8, 3), (0.02, 1.1, 16), (0.9, 1.5, 5)]
    )
    def test_is_the_divergence(self, rate, noise, order):
        assert_close(subsampled_rdp(rate, noise, order), rdp_by_integration(rate, noise, order), rtol=1e-6, atol=1e-12)

    @pytest.mark.parametrize("order", [2, 7, 200])
    @pytest.mark.parametrize("noise", [0.5, 3.0])
    def test_everybody_in_every_step(self, order, noise):
        with without_warnings():
            found = subsampled_rdp(1.0, noise, order)
        assert_close(found, order / (2 * noise**2))

    def test_nothing_overflows(self):
        with without_warnings():
            found = subsampled_rdp(0.01, 0.3, 256)
        # The last term decides: α ln q + (α² - α)/(2σ²), over α - 1.
        assert_close(found, (256 * math.log(0.01) + (256**2 - 256) / (2 * 0.09)) / 255)

    @pytest.mark.parametrize("order", [1, 0])
    def test_an_order_below_2(self, order):
        with raises(ValueError, order):
            subsampled_rdp(0.1, 1.0, order)


class TestEpsilonSpent:
    def test_the_example_worked_by_hand(self):
        assert_close(epsilon_spent(1.0, 2.0, 1, 1e-5), (11 / 8 + math.log(1e5) / 10, 11))

    @pytest.mark.parametrize(
        ("rate", "noise", "steps", "published"),
        [
            (0.01, 4.0, 10_000, 1.26),  # Abadi et al. 2016
            (256 / 60_000, 1.1, 60 * 60_000 // 256, 3.01),  # TensorFlow Privacy's MNIST tutorial
            (256 / 60_000, 1.3, 15 * 60_000 // 256, 1.19),
        ],
    )
    def test_published_values(self, rate, noise, steps, published):
        epsilon, order = epsilon_spent(rate, noise, steps, 1e-5)
        # Published to two digits, with orders between the whole ones, too.
        assert_close(epsilon, published, atol=0.02, rtol=0)
        assert_equal(2 <= order <= 256, True)

    @pytest.mark.parametrize(("steps", "delta"), [(1, 1e-3), (500, 1e-6)])
    def test_the_best_of_the_orders_given(self, steps, delta):
        orders = [3, 17, 8, 40]
        each = {a: steps * rdp_by_integration(0.05, 2.0, a) + math.log(1 / delta) / (a - 1) for a in orders}
        best = min(orders, key=each.get)
        assert_close(epsilon_spent(0.05, 2.0, steps, delta, orders), (each[best], best), rtol=1e-6)

    def test_the_orders_may_stand_in_any_sequence(self):
        # The best is 11; in two of these the ε rises before it falls to it.
        for orders in ([2, 11, 40], [40, 2, 11], [4, 2, 60, 11], [60, 11, 4]):
            assert_close(epsilon_spent(1.0, 2.0, 1, 1e-5, orders), (11 / 8 + math.log(1e5) / 10, 11))

    def test_orders_from_2_to_256(self):
        assert_equal(epsilon_spent(1.0, 0.3, 400, 1e-5)[1], 2)
        assert_equal(epsilon_spent(1e-4, 100.0, 1, 1e-9)[1], 256)


class TestFederatedAverage:
    def test_the_example_worked_by_hand(self):
        found = federated_average([{"w": np.array([1.0])}, {"w": np.array([5.0])}], [30, 10])
        assert_close(found, {"w": np.array([2.0])})

    @pytest.mark.parametrize("sizes", [[3, 1, 6], [5, 5, 5], [0, 2, 7]])
    def test_name_by_name(self, sizes, rng):
        clients = [{"layer.weight": rng.normal(0, 1, (2, 3)), "bias": rng.normal(0, 1, 4)} for _ in range(3)]
        expected = {
            name: sum(n * c[name] for n, c in zip(sizes, clients, strict=True)) / sum(sizes)
            for name in ("layer.weight", "bias")
        }
        assert_close(federated_average(clients, sizes), expected)

    def test_integers_are_averaged_as_numbers(self):
        found = federated_average([{"steps": np.array([1, 4])}, {"steps": np.array([2, 7])}], [1, 1])
        assert_close(found, {"steps": np.array([1.5, 5.5])})

    def test_gives_what_all_data_together_would(self, rng):
        parts = [rng.normal(0, 1, n) for n in (4, 9, 2)]
        found = federated_average([{"mean": np.array(part.mean())} for part in parts], [4, 9, 2])
        assert_close(float(found["mean"]), float(np.concatenate(parts).mean()))

    def test_no_examples_at_all(self):
        with raises(ValueError):
            federated_average([{"w": np.ones(2)}, {"w": np.ones(2)}], [0, 0])


class TestMembershipAttack:
    def test_the_example_worked_by_hand(self):
        found = membership_attack(np.array([0.1, 0.2, 0.9]), np.array([0.3, 0.8, 1.0]))
        assert_close(found, (2 / 3, 7 / 9))

    @pytest.mark.parametrize(("n", "m"), [(7, 12), (15, 4), (1, 1)])
    @pytest.mark.parametrize("digits", [1, 9])
    def test_one_by_one(self, n, m, digits, rng):
        members, outsiders = rng.random(n).round(digits), (rng.random(m) * 1.5).round(digits)
        gaps = [0.0] + [
            sum(x <= t for x in members) / n - sum(x <= t for x in outsiders) / m for t in [*members, *outsiders]
        ]
        auc = sum((x < y) + 0.5 * (x == y) for x in members for y in outsiders) / (n * m)
        assert_close(membership_attack(members, outsiders), (float(max(gaps)), float(auc)))

    def test_the_wrong_way_round(self):
        assert_close(membership_attack(np.array([2.0, 3.0]), np.array([0.5, 1.0, 1.5])), (0.0, 0.0))

    def test_no_difference(self):
        assert_close(membership_attack(np.full(4, 1.0), np.full(3, 1.0)), (0.0, 0.5))

    @pytest.mark.learning
    @pytest.mark.deadline(60)
    def test_finds_those_whom_a_model_knows_by_heart_and_not_those_whom_noise_protects(self, rng):
        x = rng.normal(0, 1, (160, 200))
        labels = rng.integers(0, 2, 160).astype(float)  # nothing to learn: only to remember

        def gradient(w, i):
            return (0.5 * (1 + np.tanh(x[i] @ w / 2)) - labels[i])[:, None] * x[i]

        aucs = []
        for noise in (0.0, 20.0):
            w = train_privately(gradient, np.zeros(200), 80, 0.5, 60, 1.0, 5.0, noise, rng)
            losses = np.logaddexp(0, (1 - 2 * labels) * (x @ w))
            aucs.append(membership_attack(losses[:80], losses[80:])[1])
        if not (aucs[0] > 0.78 and aucs[1] < aucs[0] - 0.15):
            fail(f"the attack's AUC is {aucs[0]:.2f} without noise and {aucs[1]:.2f} with it", evidence=aucs[0] > 0.8)
