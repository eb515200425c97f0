"""Judges k11_value_learning against formulas replayed on a log of every move, value iteration, and small tasks."""

import copy
import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.walk import Walk, corridor
from katas.module_10_fine_tuning.k11_value_learning import (
    Batch,
    ReplayBuffer,
    Transition,
    double_q_step,
    dqn_loss,
    dqn_targets,
    epsilon_greedy,
    q_learning_step,
    sarsa_step,
    sync,
    train_dqn,
    train_tabular,
)

pytestmark = [
    from_scratch("gymnasium", "stable_baselines3", "torchrl"),
    pure("q_learning_step", "sarsa_step", "double_q_step", "sync", "train_tabular", "train_dqn", "dqn_loss", "add"),
]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def table() -> np.ndarray:
    return np.array([[1.0, 2.0], [4.0, 3.0]])


def big(seed: int) -> np.ndarray:
    return rng(seed).normal(size=(5, 3)) * 3


BY_HAND = Transition(0, 1, 1.0, 1, False)
GENERIC = Transition(3, 2, -0.7, 1, False)
STEPS = [(0.5, 0.9), (0.1, 0.5), (1.0, 1.0), (0.3, 0.0)]


class TestEpsilonGreedy:
    @pytest.mark.parametrize("values", [[1.0, 5.0, 2.0], [-3.0, -1.0, -2.0], [0.5, 7.0, 7.0, 6.9]])
    def test_without_epsilon_the_first_best(self, values):
        g = rng()
        assert_equal([epsilon_greedy(np.array(values), 0.0, g) for _ in range(20)], [1] * 20)

    @pytest.mark.parametrize("epsilon", [1.0, 0.4])
    def test_how_often_each_action_comes(self, epsilon):
        g, n = rng(3), 6000
        found = np.bincount([epsilon_greedy(np.array([0.0, 1.0, 9.0]), epsilon, g) for _ in range(n)], minlength=3) / n
        expected = np.array([epsilon / 3, epsilon / 3, 1 - epsilon + epsilon / 3])
        if np.abs(found - expected).max() > 0.035:
            fail(
                f"The actions come with shares {found.round(2)}, expected {expected.round(2)}.", evidence=found.round(1)
            )

    def test_an_int_comes_out(self):
        for epsilon in (0.0, 1.0):
            assert_equal(type(epsilon_greedy(np.array([1.0, 2.0]), epsilon, rng())), int)

    def test_the_generator_decides(self):
        one, other = rng(5), rng(5)
        values = np.zeros(50)
        first = [epsilon_greedy(values, 1.0, one) for _ in range(10)]
        assert_equal([epsilon_greedy(values, 1.0, other) for _ in range(10)], first)
        assert_equal(len(set(first)) > 3, True)


class TestQLearningStep:
    def test_the_example_worked_by_hand(self):
        q = table()
        assert_close(q_learning_step(q, BY_HAND, 0.5, 0.9), 2.6)
        assert_close(q, np.array([[1.0, 3.3], [4.0, 3.0]]))

    def test_terminated_the_reward_alone(self):
        q = table()
        assert_close(q_learning_step(q, BY_HAND._replace(terminated=True), 0.5, 0.9), -1.0)
        assert_close(q, np.array([[1.0, 1.5], [4.0, 3.0]]))

    @pytest.mark.parametrize(("alpha", "gamma"), STEPS)
    def test_one_entry_moves_by_alpha(self, alpha, gamma):
        q = big(1)
        expected = q.copy()
        error = -0.7 + gamma * q[1].max() - q[3, 2]
        expected[3, 2] += alpha * error
        assert_close(q_learning_step(q, GENERIC, alpha, gamma), float(error))
        assert_close(q, expected)

    def test_back_to_the_same_state(self):
        q = np.array([[2.0, 5.0]])
        assert_close(q_learning_step(q, Transition(0, 1, 1.0, 0, False), 0.5, 0.5), -1.5)
        assert_close(q, np.array([[2.0, 4.25]]))


class TestSarsaStep:
    def test_the_example_worked_by_hand(self):
        q = table()
        assert_close(sarsa_step(q, BY_HAND, 1, 0.5, 0.9), 1.7)
        assert_close(q, np.array([[1.0, 2.85], [4.0, 3.0]]))

    @pytest.mark.parametrize("next_action", [None, 0, 1])
    def test_terminated_the_reward_alone(self, next_action):
        q = table()
        assert_close(sarsa_step(q, BY_HAND._replace(terminated=True), next_action, 0.5, 0.9), -1.0)
        assert_close(q, np.array([[1.0, 1.5], [4.0, 3.0]]))

    @pytest.mark.parametrize("next_action", [0, 1, 2])
    @pytest.mark.parametrize(("alpha", "gamma"), STEPS)
    def test_the_action_that_comes_next(self, alpha, gamma, next_action):
        q = big(2)
        expected = q.copy()
        error = -0.7 + gamma * q[1, next_action] - q[3, 2]
        expected[3, 2] += alpha * error
        assert_close(sarsa_step(q, GENERIC, next_action, alpha, gamma), float(error))
        assert_close(q, expected)


class TestDoubleQStep:
    def test_the_example_worked_by_hand(self):
        q, other = table(), np.array([[0.0, 0.0], [-2.0, 8.0]])
        assert_close(double_q_step(q, other, BY_HAND, 0.5, 0.9), -2.8)
        assert_close(q, np.array([[1.0, 0.6], [4.0, 3.0]]))

    def test_terminated_the_reward_alone(self):
        q, other = table(), np.array([[0.0, 0.0], [-2.0, 8.0]])
        assert_close(double_q_step(q, other, BY_HAND._replace(terminated=True), 0.5, 0.9), -1.0)
        assert_close(q, np.array([[1.0, 1.5], [4.0, 3.0]]))

    @pytest.mark.parametrize("seed", [1, 2, 3])
    @pytest.mark.parametrize(("alpha", "gamma"), STEPS)
    def test_q_chooses_and_the_other_values(self, alpha, gamma, seed):
        q, other = big(seed), big(seed + 10)
        before, kept = q.copy(), other.copy()
        error = -0.7 + gamma * other[1, q[1].argmax()] - q[3, 2]
        assert_close(double_q_step(q, other, GENERIC, alpha, gamma), float(error))
        before[3, 2] += alpha * error
        assert_close(q, before)
        assert_close(other, kept)

    def test_of_equal_actions_the_first(self):
        q, other = np.array([[0.0, 0.0, 0.0]]), np.array([[3.0, 5.0, 7.0]])
        assert_close(double_q_step(q, other, Transition(0, 2, 0.0, 0, False), 1.0, 0.5), 1.5)


class Loop:
    """One state, from which every move leads back; it pays `rewards[action]`.

    An episode terminates, or is truncated, after `moves` moves.
    """

    def __init__(self, rewards, moves, terminates, vector=False):
        self.rewards, self.moves, self.terminates, self.vector = rewards, moves, terminates, vector
        self.taken, self.ends, self.resets = [], 0, 0

    def reset(self):
        self.left = self.moves
        self.resets += 1
        return (np.ones(1) if self.vector else 0), {}

    def step(self, action):
        if self.left < 1:
            fail("step() is called after the end of an episode; reset() comes first.", evidence="after the end")
        self.taken.append(int(action))
        self.left -= 1
        over = self.left == 0
        self.ends += over
        shown = np.ones(1) if self.vector else 0
        return shown, self.rewards[int(action)], over and self.terminates, over and not self.terminates, {}


def replayed(log, n, method, alpha, gamma) -> np.ndarray:
    """The table after the moves of the log, for "q" and "sarsa"."""
    q = np.zeros((n, 2))
    for i, (s, a, r, t, terminated, _) in enumerate(log):
        following = 0.0
        if not terminated:
            following = q[t].max() if method == "q" else q[t, log[i + 1][1]]
        q[s, a] += alpha * (r + gamma * following - q[s, a])
    return q


class TestTrainTabular:
    @pytest.mark.parametrize(("alpha", "gamma"), [(0.5, 0.9), (0.2, 0.6)])
    @pytest.mark.parametrize("method", ["q", "sarsa"])
    def test_the_log_of_moves_gives_the_table(self, method, alpha, gamma):
        env = Walk(6, {0: -1.0, 5: 2.0}, noise=0.5)
        found = train_tabular(env, 6, 2, method, 15, alpha, gamma, 0.5, rng(1))
        assert_close(found, replayed(env.log, 6, method, alpha, gamma))
        assert_equal((env.resets, env.over), (15, True))

    @pytest.mark.parametrize("limit", [1, 3])
    def test_truncated_isnt_terminated(self, limit):
        env = Walk(7, {6: 2.0, 2: 1.0, 4: 0.5}, limit=limit, noise=0.3)
        found = train_tabular(env, 7, 2, "q", 40, 0.4, 0.8, 0.6, rng(2))
        assert_close(found, replayed(env.log, 7, "q", 0.4, 0.8))
        assert_equal(env.resets, 40)

    @pytest.mark.parametrize("method", ["q", "sarsa", "double"])
    def test_a_loop_cut_by_the_clock_is_worth_all_of_it(self, method):
        found = train_tabular(Loop([1.0], 4, False), 1, 1, method, 200, 0.5, 0.8, 0.1, rng(3))
        assert_close(found, np.array([[5.0]]), rtol=1e-6)

    @pytest.mark.parametrize("method", ["q", "sarsa", "double"])
    def test_an_episode_of_one_move(self, method):
        found = train_tabular(Loop([3.0], 1, True), 1, 1, method, 60, 0.9, 0.8, 0.1, rng(4))
        assert_close(found, np.array([[3.0]]), rtol=1e-6)

    @pytest.mark.parametrize("method", ["q", "sarsa"])
    def test_without_epsilon_it_takes_the_best_it_knows(self, method):
        env = Walk(6, {0: -1.0, 5: -1.0, 3: -0.3, 2: -0.2}, limit=30, noise=0.4)
        train_tabular(env, 6, 2, method, 8, 0.5, 0.9, 0.0, rng(5))
        first = True
        for i, (state, action, _, _, terminated, truncated) in enumerate(env.log):
            # SARSA has chosen before it learned from the move before; at the start of an episode both know all.
            known = env.log[: i - 1] if method == "sarsa" and not first else env.log[:i]
            q = np.zeros((6, 2))
            for j, (s, a, r, t, done, _) in enumerate(known):
                last = method == "sarsa" and not done
                following = 0.0 if done else q[t, env.log[j + 1][1]] if last and not env.log[j][5] else q[t].max()
                q[s, a] += 0.5 * (r + 0.9 * following - q[s, a])
            if action != int(q[state].argmax()):
                fail(
                    f"Move {i} takes action {action} in state {state}; the values known then are {q[state].round(3)}.",
                    evidence=(i, action),
                )
            first = terminated or truncated

    @pytest.mark.parametrize(("method", "taken"), [("q", [0, 1, 1]), ("sarsa", [0, 0, 1]), ("double", [0, 1, 1])])
    def test_a_move_back_to_the_same_state_shows_what_comes_first(self, method, taken):
        """Action 0 looks good until its -6 is learned: SARSA has chosen it once more by then."""
        env = Loop([-6.0, 0.0], 3, True)
        train_tabular(env, 1, 2, method, 1, 1.0, 0.9, 0.0, rng())
        assert_equal(env.taken, taken)

    def test_how_often_it_explores(self):
        env = Loop([1.0, 0.0], 1, True)
        train_tabular(env, 1, 2, "q", 3000, 0.5, 0.9, 0.3, rng(6))
        share = np.mean(env.taken)
        if not 0.12 < share < 0.18:
            fail(
                f"The worse action is taken in {share:.0%} of the moves; with ε = 0.3 it is 15 %.",
                evidence=share.round(1),
            )

    def test_sarsa_learns_what_it_does(self):
        """With ε = 1 SARSA values a random walk, Q-learning the best one."""
        best = train_tabular(Walk(4, start=1), 4, 2, "q", 400, 0.2, 0.9, 1.0, rng(7))
        assert_close(best[1:3], np.array([[0.0, 0.9], [0.81, 1.0]]), atol=1e-3)
        random = np.mean(
            [train_tabular(Walk(4, start=1), 4, 2, "sarsa", 400, 0.05, 0.9, 1.0, rng(s)) for s in range(4)], 0
        )
        # v1 = 0.45 v2, v2 = 0.45 v1 + 0.5
        v2 = 0.5 / (1 - 0.45**2)
        assert_close(random[1:3], np.array([[0.0, 0.9 * v2], [0.9 * 0.45 * v2, 1.0]]), atol=0.12)

    @pytest.mark.parametrize("seed", range(6))
    def test_double_flips_one_coin_and_returns_the_mean(self, seed):
        """After one move with α = 1 one table knows the reward, the other doesn't."""
        found = train_tabular(Loop([6.0], 1, True), 1, 1, "double", 1, 1.0, 0.9, 0.0, rng(seed))
        assert_close(found, np.array([[3.0]]))

    def test_doubles_coin_is_fair(self):
        both = 0
        for seed in range(1500):
            found = train_tabular(Loop([6.0], 1, True), 1, 1, "double", 2, 1.0, 0.9, 0.0, rng(seed))
            both += abs(found[0, 0] - 6) < 1e-9
        if not 675 <= both <= 825:
            fail(f"In {both} of 1500 runs of two moves both tables learn; expected about 750.", evidence=both // 100)

    @pytest.mark.parametrize("seed", range(6))
    def test_double_acts_by_both_tables(self, seed):
        env = Loop([-6.0, 0.0], 1, True)
        train_tabular(env, 1, 2, "double", 12, 1.0, 0.9, 0.0, rng(seed))
        assert_equal(env.taken, [0] + [1] * 11)

    def test_double_learns_the_best_too(self):
        found = train_tabular(Walk(5, {4: 1.0, 0: 0.3}), 5, 2, "double", 600, 0.3, 0.9, 0.6, rng(8))
        assert_close(found[1:4], np.array([[0.3, 0.81], [0.729, 0.9], [0.81, 1.0]]), atol=0.02)

    def test_double_isnt_fooled_by_luck(self):
        """Ten noisy actions, each worth -0.1: the best of the guesses is too high, unless another table values it."""

        class Noisy:
            def __init__(self, seed):
                self.generator = rng(seed)

            def reset(self):
                self.state = 0
                return 0, {}

            def step(self, action):
                if self.state == 0:
                    self.state = 1
                    return 1, 0.0, False, False, {}
                return 1, self.generator.normal(-0.1, 1.0), True, False, {}

        def worth(method):
            runs = [train_tabular(Noisy(s), 2, 10, method, 150, 0.1, 1.0, 1.0, rng(s + 50)) for s in range(8)]
            return float(np.mean([run[0].mean() for run in runs]))

        single, double = worth("q"), worth("double")
        if not double < single - 0.05:
            fail(
                f"Q-learning says {single:.2f}, double Q {double:.2f}, which should be clearly lower.", evidence="luck"
            )

    def test_the_values_are_float64(self):
        for method in ("q", "sarsa", "double"):
            found = train_tabular(Loop([1, 2, 3], 1, True), 4, 3, method, 0, 0.5, 0.9, 0.0, rng())
            assert_close(found, np.zeros((4, 3)))

    @pytest.mark.parametrize("method", ["Q", "expected sarsa"])
    def test_refuses_another_method(self, method):
        env = Walk()
        with raises(ValueError, method):
            train_tabular(env, 5, 2, method, 1, 0.5, 0.9, 0.1, rng())
        assert_equal(env.resets, 0)


def numbered(i: int, shape=(2,)) -> Transition:
    return Transition(np.full(shape, i + 0.25), i % 7, -float(i), np.full(shape, i + 0.5), i % 3 == 0)


def filled(capacity: int, n: int, **options) -> ReplayBuffer:
    buffer = ReplayBuffer(capacity, **options)
    for i in range(n):
        buffer.add(numbered(i))
    return buffer


def rows(batch: Batch) -> list[int]:
    return sorted(int(-r) for r in batch.rewards.tolist())


class TestReplayBuffer:
    @pytest.mark.parametrize(
        ("capacity", "n", "kept"), [(5, 3, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (4, 11, [7, 8, 9, 10]), (1, 3, [2])]
    )
    def test_the_oldest_leave(self, capacity, n, kept):
        buffer = filled(capacity, n)
        assert_equal(len(buffer), len(kept))
        assert_equal(rows(buffer.sample(len(kept), rng())), kept)

    def test_the_fields_of_a_move_stay_together(self):
        batch = filled(20, 17).sample(12, rng(1))
        n = -batch.rewards
        assert_close(batch.states, (n + 0.25)[:, None].expand(12, 2))
        assert_close(batch.next_states, (n + 0.5)[:, None].expand(12, 2))
        assert_equal(batch.actions.tolist(), [int(i) % 7 for i in n])
        assert_equal(batch.terminated.tolist(), [int(i) % 3 == 0 for i in n])

    def test_types(self):
        batch = filled(5, 3).sample(2, rng())
        assert_equal(
            [str(t.dtype) for t in batch],
            ["torch.float32", "torch.int64", "torch.float32", "torch.float32", "torch.bool"],
        )
        assert_equal(type(batch).__name__, "Batch")

    @pytest.mark.parametrize("shape", [(1,), (3, 2)])
    def test_states_of_any_shape(self, shape):
        buffer = ReplayBuffer(4)
        for i in range(3):
            buffer.add(numbered(i, shape))
        batch = buffer.sample(2, rng())
        assert_equal([tuple(t.shape) for t in batch], [(2, *shape), (2,), (2,), (2, *shape), (2,)])

    @pytest.mark.parametrize("seed", range(4))
    def test_no_move_comes_twice_in_a_sample(self, seed):
        assert_equal(len(set(rows(filled(10, 10).sample(8, rng(seed))))), 8)

    def test_every_move_comes_alike(self):
        buffer, g = filled(6, 9), rng(2)
        count = np.zeros(9)
        for _ in range(1500):
            count[rows(buffer.sample(2, g))] += 1
        share = count[3:] / 500
        if np.abs(share - 1).max() > 0.2 or count[:3].any():
            fail(f"The moves 3 to 8 are drawn {share.round(2)} times as often as expected.", evidence=share.round(0))

    def test_the_generator_decides(self):
        buffer = filled(50, 50)
        one, again, other = (buffer.sample(10, rng(seed)).rewards.tolist() for seed in (1, 1, 2))
        assert_equal(one, again)
        assert_equal(one == other, False)

    def test_sampling_takes_nothing_out(self):
        buffer = filled(5, 5)
        for _ in range(3):
            buffer.sample(4, rng())
        assert_equal((len(buffer), rows(buffer.sample(5, rng()))), (5, [0, 1, 2, 3, 4]))

    def test_states_are_copied(self):
        buffer, state, next_state = (
            ReplayBuffer(3),
            np.array([1.0, 2.0], dtype=np.float32),
            np.array([3.0, 4.0], dtype=np.float32),
        )
        buffer.add(Transition(state, 0, 1.0, next_state, False))
        state += 10
        next_state += 10
        batch = buffer.sample(1, rng())
        assert_close((batch.states, batch.next_states), (torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])))

    def test_a_sample_is_a_copy(self):
        buffer = filled(3, 1)
        for tensor in buffer.sample(1, rng()):
            tensor.zero_()
        assert_close(buffer.sample(1, rng()).states, torch.full((1, 2), 0.25))

    def test_two_buffers_dont_meet(self):
        one, other = filled(3, 2), ReplayBuffer(3)
        assert_equal((len(one), len(other)), (2, 0))

    @pytest.mark.parametrize(("n", "held"), [(5, 3), (1, 0)])
    def test_refuses_more_than_it_holds(self, n, held):
        buffer = filled(10, held)
        with raises(ValueError, n, held):
            buffer.sample(n, rng())

    @pytest.mark.parametrize("capacity", [0, -3])
    def test_refuses_a_capacity_below_1(self, capacity):
        with raises(ValueError, capacity):
            ReplayBuffer(capacity)


def networks(seed: int = 0, actions: int = 4) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    online, target = nn.Linear(3, actions), nn.Linear(3, actions)
    for network in (online, target):
        nn.init.normal_(network.weight, std=1.5)
    return online, target


def some_batch(n: int = 7, seed: int = 0, actions: int = 4) -> Batch:
    torch.manual_seed(seed + 100)
    ends = torch.arange(n) % 3 == 1
    return Batch(torch.randn(n, 3), torch.randint(0, actions, (n,)), torch.randn(n), torch.randn(n, 3), ends)


def targets_by_rows(batch, online, target, gamma, double) -> torch.Tensor:
    found = []
    for i in range(len(batch.rewards)):
        value = batch.rewards[i].item()
        if not batch.terminated[i]:
            values = target(batch.next_states[i : i + 1])[0]
            chooser = online(batch.next_states[i : i + 1])[0] if double else values
            value += gamma * values[int(chooser.argmax())].item()
        found.append(value)
    return torch.tensor(found)


class TestDqnTargets:
    @pytest.mark.parametrize("gamma", [0.9, 0.5])
    @pytest.mark.parametrize("double", [False, True])
    def test_move_by_move(self, double, gamma):
        for seed in range(3):
            batch, (online, target) = some_batch(seed=seed), networks(seed)
            found = dqn_targets(batch, online, target, gamma, double)
            assert_close(found, targets_by_rows(batch, online, target, gamma, double))

    def test_not_double_by_default(self):
        batch, (online, target) = some_batch(30), networks()
        assert_close(dqn_targets(batch, online, target, 0.9), targets_by_rows(batch, online, target, 0.9, False))

    @pytest.mark.parametrize("double", [False, True])
    def test_no_gradient(self, double):
        batch, (online, target) = some_batch(), networks()
        assert_equal(dqn_targets(batch, online, target, 0.9, double).requires_grad, False)

    @pytest.mark.parametrize("value", [math.inf, math.nan])
    @pytest.mark.parametrize("double", [False, True])
    def test_what_follows_an_end_doesnt_count_at_all(self, double, value):
        batch, (online, target) = some_batch(), networks()
        wild = batch._replace(next_states=batch.next_states.masked_fill(batch.terminated[:, None], value))
        found = dqn_targets(wild, online, target, 0.9, double)
        assert_close(found, targets_by_rows(batch, online, target, 0.9, double))

    def test_a_batch_of_one(self):
        batch, (online, target) = some_batch(1), networks()
        assert_close(dqn_targets(batch, online, target, 0.9), targets_by_rows(batch, online, target, 0.9, False))


class TestDqnLoss:
    @pytest.mark.parametrize("double", [False, True])
    @pytest.mark.parametrize("gamma", [0.9, 0.5])
    def test_the_mean_huber_loss(self, gamma, double):
        batch, (online, target) = some_batch(11), networks()
        wanted = targets_by_rows(batch, online, target, gamma, double)
        errors = torch.stack([online(batch.states)[i, a] for i, a in enumerate(batch.actions)]) - wanted
        huber = torch.where(errors.abs() <= 1, errors**2 / 2, errors.abs() - 0.5)
        assert_equal(bool((errors.abs() < 1).any() and (errors.abs() > 1).any()), True)
        assert_close(dqn_loss(batch, online, target, gamma, double), huber.mean())

    def test_not_double_by_default(self):
        batch, (online, target) = some_batch(30), networks()
        assert_close(dqn_loss(batch, online, target, 0.9), dqn_loss(batch, online, target, 0.9, False))
        if torch.equal(dqn_loss(batch, online, target, 0.9), dqn_loss(batch, online, target, 0.9, True)):
            fail("dqn_loss gives the same with and without double.", evidence="double")

    @pytest.mark.parametrize("double", [False, True])
    def test_the_gradient_reaches_the_values_taken(self, double):
        batch, (online, target) = some_batch(9), networks()
        expected = copy.deepcopy(online)
        wanted = targets_by_rows(batch, online, target, 0.9, double)
        F.smooth_l1_loss(expected(batch.states)[torch.arange(9), batch.actions], wanted).backward()
        dqn_loss(batch, online, target, 0.9, double).backward()
        assert_close(online.weight.grad, expected.weight.grad)
        assert_close(online.bias.grad, expected.bias.grad)
        assert_equal((target.weight.grad, target.bias.grad), (None, None))

    def test_a_batch_of_one(self):
        batch, (online, target) = some_batch(1), networks()
        loss = dqn_loss(batch, online, target, 0.9)
        error = online(batch.states)[0, batch.actions[0]] - targets_by_rows(batch, online, target, 0.9, False)[0]
        assert_close(loss, F.smooth_l1_loss(error, torch.zeros(())))


class TestSync:
    @pytest.mark.parametrize("tau", [0.25, 0.9, 0.0])
    def test_by_the_share_tau(self, tau):
        online, target = networks()
        expected = {k: tau * v + (1 - tau) * target.state_dict()[k] for k, v in online.state_dict().items()}
        kept = copy.deepcopy(online.state_dict())
        sync(online, target, tau)
        assert_close(dict(target.state_dict()), expected)
        assert_close(dict(online.state_dict()), dict(kept))

    def test_all_of_it_by_default(self):
        online, target = networks()
        sync(online, target)
        assert_close(dict(target.state_dict()), dict(online.state_dict()))

    @pytest.mark.parametrize("tau", [1.0, 0.5])
    def test_in_place_and_nothing_shared(self, tau):
        online, target = networks()
        weight, kept = target.weight, target.weight.data_ptr()
        sync(online, target, tau)
        assert_equal((target.weight is weight, target.weight.data_ptr() == kept), (True, True))
        after = target.weight.detach().clone()
        with torch.no_grad():
            online.weight.add_(1.0)
        assert_close(target.weight.detach(), after)

    @pytest.mark.parametrize("trainable", [True, False])
    def test_requires_grad_stays(self, trainable):
        online, target = networks()
        target.requires_grad_(trainable)
        sync(online, target, 0.5)
        assert_equal((target.weight.requires_grad, target.weight.grad_fn), (trainable, None))
        assert_equal(online.weight.requires_grad, True)

    @pytest.mark.parametrize("tau", [0.3, 1.0])
    def test_buffers_are_copied(self, tau):
        online, target = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        for _ in range(3):
            online(torch.randn(6, 3) * 4 + 2)
        sync(online, target, tau)
        assert_close(target.running_mean, online.running_mean)
        assert_close(target.running_var, online.running_var)
        assert_equal(target.num_batches_tracked.item(), 3)


def one_weight(start: float = 0.0) -> nn.Module:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, start)
    return network


def weight_by_hand(steps, batch_size, sync_every, gamma, rate, reward, terminates=False) -> float:
    """The only weight after `steps` moves in a loop of one state: every sample is the same, so nothing is random."""
    w = target = 0.0
    trained = 0
    for move in range(1, steps + 1):
        if move < batch_size:
            continue
        error = reward + (0.0 if terminates else gamma * target) - w
        w += rate * max(-1.0, min(1.0, error))
        trained += 1
        if trained % sync_every == 0:
            target = w
    return w


def two_weights() -> nn.Module:
    network = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.5], [0.4]]))
    return network


def two_weights_by_hand(taken, rewards, size, sync_every, gamma, rate, double) -> np.ndarray:
    """Both weights after the moves in a loop of one state; each sample is the whole buffer, so nothing is random."""
    w = np.array([0.5, 0.4])
    target = w.copy()
    for trained, end in enumerate(range(size, len(taken) + 1), 1):
        following, step = (target[w.argmax()] if double else target.max()), np.zeros(2)
        for a in taken[end - size : end]:
            step[a] += max(-1.0, min(1.0, rewards[a] + gamma * following - w[a])) / size
        w = w + rate * step
        if trained % sync_every == 0:
            target = w.copy()
    return w


class TestTrainDqn:
    @pytest.mark.parametrize("double", [True, False])
    @pytest.mark.parametrize(
        ("steps", "batch_size", "sync_every"), [(40, 4, 6), (25, 9, 1), (31, 2, 7), (8, 8, 3), (30, 5, 26)]
    )
    def test_a_loop_worked_by_hand(self, steps, batch_size, sync_every, double):
        network, env = one_weight(), Loop([0.8], 3, False, vector=True)
        sums = train_dqn(
            env, network, torch.optim.SGD(network.parameters(), lr=0.3), steps, 0.9, rng(), batch_size=batch_size,
            sync_every=sync_every, double=double,
        )  # fmt: skip
        expected = weight_by_hand(steps, batch_size, sync_every, 0.9, 0.3, 0.8)
        assert_close(network.weight.detach(), torch.tensor([[expected]]), rtol=1e-4, atol=1e-5)
        assert_close(sums, [2.4] * (steps // 3))

    def test_each_move_is_learned_with_its_own_states(self):
        """Buffer and batch hold one move, so every step learns from the move just made."""
        env, network = Walk(5, {0: -0.7, 4: 1.0}, limit=4, vector=True), nn.Linear(5, 2, bias=False)
        q = network.weight.detach().double().numpy().T.copy()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
        options = {"capacity": 1, "batch_size": 1, "sync_every": 1, "epsilon_end": 1.0}
        train_dqn(env, network, optimizer, 60, 0.9, rng(3), **options)
        for state, action, reward, after, terminated, _ in env.log:
            following = 0.0 if terminated else q[after].max()
            q[state, action] += 0.3 * max(-1.0, min(1.0, reward + 0.9 * following - q[state, action]))
        assert_close(network.weight.detach().double().T, torch.tensor(q), rtol=1e-4, atol=1e-5)

    def test_defaults(self):
        network, env = one_weight(), Loop([0.8], 3, False, vector=True)
        train_dqn(env, network, torch.optim.SGD(network.parameters(), lr=0.1), 140, 0.9, rng())
        expected = weight_by_hand(140, 32, 50, 0.9, 0.1, 0.8)
        assert_close(network.weight.detach(), torch.tensor([[expected]]), rtol=1e-4, atol=1e-5)
        given = inspect.signature(train_dqn).parameters
        found = [given[name].default for name in ("capacity", "epsilon_end", "explore")]
        assert_equal(found, [10_000, 0.05, 500])

    @pytest.mark.parametrize("options", [{"double": True}, {"double": False}, {}])
    def test_who_chooses_the_best(self, options):
        """The buffer is as large as a batch, so every sample is all of it."""
        network, env = two_weights(), Loop([0.1, 0.9], 3, False, vector=True)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
        train_dqn(env, network, optimizer, 45, 0.9, rng(2), capacity=4, batch_size=4, sync_every=9, **options)
        moves = env.taken, [0.1, 0.9], 4, 9, 0.9, 0.3
        expected = two_weights_by_hand(*moves, options.get("double", True))
        assert_close(network.weight.detach()[:, 0].double(), torch.tensor(expected), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("gamma", [0.5, 0.95])
    def test_an_end_has_no_future(self, gamma):
        network, env = one_weight(), Loop([0.8], 1, True, vector=True)
        sums = train_dqn(
            env, network, torch.optim.SGD(network.parameters(), lr=0.3), 60, gamma, rng(), batch_size=4, sync_every=5
        )
        assert_close(network.weight.detach(), torch.tensor([[0.8]]), atol=1e-4)
        assert_close(sums, [0.8] * 60)

    def test_without_enough_moves_nothing_is_learned(self):
        network, env = one_weight(0.5), Loop([2.0], 4, False, vector=True)
        sums = train_dqn(env, network, torch.optim.SGD(network.parameters(), lr=0.3), 9, 0.9, rng(), batch_size=10)
        assert_close(network.weight.detach(), torch.tensor([[0.5]]))
        assert_close(sums, [8.0, 8.0])

    def test_a_buffer_smaller_than_a_batch(self):
        network, env = one_weight(0.5), Loop([2.0], 4, False, vector=True)
        train_dqn(
            env, network, torch.optim.SGD(network.parameters(), lr=0.3), 30, 0.9, rng(), batch_size=10, capacity=9
        )
        assert_close(network.weight.detach(), torch.tensor([[0.5]]))

    def frozen(self, steps, epsilon_end, explore):
        """The actions taken by a network that always likes action 1."""
        network, env = nn.Linear(1, 2, bias=False), Loop([0.0, 0.0], 5, True, vector=True)
        with torch.no_grad():
            network.weight.copy_(torch.tensor([[0.0], [1.0]]))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        train_dqn(
            env, network, optimizer, steps, 0.9, rng(1), batch_size=10_000, epsilon_end=epsilon_end, explore=explore
        )
        return np.array(env.taken)

    def test_after_exploring_it_takes_the_best(self):
        taken = self.frozen(700, 0.0, 400)
        assert_equal(len(taken), 700)
        assert_equal(int((taken[400:] == 0).sum()), 0)

    def test_epsilon_falls_in_a_straight_line(self):
        taken = self.frozen(2000, 0.0, 2000) == 0
        share = [float(part.mean()) for part in np.split(taken, 4)]
        if np.abs(np.array(share) - [0.4375, 0.3125, 0.1875, 0.0625]).max() > 0.09:
            fail(
                f"In four quarters of the moves it explores with shares {share}; expected 44, 31, 19 and 6 %.",
                evidence=np.round(share, 1),
            )

    @pytest.mark.parametrize(("end", "low", "high"), [(0.4, 0.16, 0.24), (1.0, 0.44, 0.56)])
    def test_and_stays_where_it_ends(self, end, low, high):
        share = float((self.frozen(1600, end, 1)[1:] == 0).mean())
        if not low < share < high:
            fail(f"With ε = {end} the other action is taken in {share:.0%} of the moves.", evidence=round(share, 1))

    def test_an_unfinished_episode_doesnt_count(self):
        network, env = one_weight(), Loop([1.5], 5, True, vector=True)
        sums = train_dqn(env, network, torch.optim.SGD(network.parameters(), lr=0.1), 14, 0.5, rng())
        assert_close(sums, [7.5, 7.5])

    def test_sums_of_floats(self):
        network, env = one_weight(), Loop([2], 2, True, vector=True)
        sums = train_dqn(env, network, torch.optim.SGD(network.parameters(), lr=0.1), 4, 0.5, rng())
        assert_equal([type(one) for one in sums], [float, float])

    def test_old_moves_leave_the_buffer(self):
        """The first ten moves pay 5, all others 0; a buffer of 8 has forgotten them."""

        class Early(Loop):
            def step(self, action):
                shown, _, terminated, truncated, info = super().step(action)
                return shown, 5.0 if len(self.taken) <= 10 else 0.0, terminated, truncated, info

        network = one_weight()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.3)
        train_dqn(Early([0.0], 1, True, vector=True), network, optimizer, 120, 0.9, rng(), batch_size=4, capacity=8)
        assert_close(network.weight.detach(), torch.tensor([[0.0]]), atol=1e-3)


def greedy_sum(network: nn.Module, env) -> float:
    state, total, over = env.reset()[0], 0.0, False
    while not over:
        with torch.no_grad():
            action = int(network(torch.as_tensor(state)[None]).argmax())
        state, reward, terminated, truncated, _ = env.step(action)
        total, over = total + reward, terminated or truncated
    return total


@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize(
        ("seed", "double"), [(0, True), (1, True), (2, True), (3, True), (4, True), (5, False), (6, False)]
    )
    def test_a_far_reward_is_found(self, seed, double):
        """No move from the start pays anything; DQN finds the large reward with each seed, and not the small one."""
        torch.manual_seed(seed)
        network = nn.Linear(7, 2)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
        train_dqn(
            corridor(),
            network,
            optimizer,
            600,
            0.8,
            rng(seed),
            batch_size=16,
            sync_every=20,
            explore=400,
            double=double,
        )
        found = greedy_sum(network, corridor())
        if found < 0.9:
            fail(
                f"After 600 moves the network earns {found:.2f} an episode; the far reward of 1 was expected.",
                evidence=("far", found),
            )

    @pytest.mark.parametrize("seed", range(3))
    def test_the_table_agrees_with_value_iteration(self, seed):
        v = np.zeros(6)
        for _ in range(100):
            ahead = np.append(v[1:], 0.0)
            behind = np.append(0.0, v[:-1])
            v = np.maximum((np.arange(6) == 4) * 1.0 + 0.9 * ahead, (np.arange(6) == 1) * 0.4 + 0.9 * behind)
            v[[0, 5]] = 0.0
        found = train_tabular(Walk(6, {0: 0.4, 5: 1.0}), 6, 2, "q", 300, 0.5, 0.9, 0.8, rng(seed))
        assert_close(found.max(1)[1:5], v[1:5], atol=1e-4)


class TestGymnasium:
    def cart_pole(self, seed: int):
        gymnasium = pytest.importorskip(
            "gymnasium", reason="needs the extra `tuning`: pip install -c constraints.txt -e '.[tuning]'"
        )
        env = gymnasium.make("CartPole-v1")
        env.reset(seed=seed)
        return env

    def network(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))

    @pytest.mark.deadline(60)  # gymnasium's import is slow on a busy machine
    def test_cart_pole_can_be_played(self):
        env, network = self.cart_pole(0), self.network(0)
        sums = train_dqn(env, network, torch.optim.Adam(network.parameters()), 200, 0.99, rng())
        if not sums or not 100 <= sum(sums) <= 200:
            fail(f"200 moves, each of which pays 1, gave episodes of {sums}.", evidence=len(sums))

    @pytest.mark.slow
    @pytest.mark.learning
    @pytest.mark.deadline(300)
    def test_cart_pole_is_learned(self):
        env, network = self.cart_pole(1), self.network(1)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        sums = train_dqn(env, network, optimizer, 12_000, 0.99, rng(1), batch_size=64, sync_every=200, explore=3000)
        random = float(np.mean(sums[:20]))
        best = float(np.max(np.convolve(sums, np.ones(10) / 10, "valid")))
        if best < 6 * random:
            fail(f"The best ten episodes last {best:.0f} moves, the first ones {random:.0f}.", evidence="cart pole")


class TestOnTheGpu:
    def test_samples(self, gpu):
        batch = filled(5, 4, device=gpu.device).sample(3, rng())
        assert_equal({t.device.type for t in batch}, {gpu.device.type})
        expected = filled(5, 4).sample(3, rng())
        for found, one in zip(batch, expected, strict=True):
            assert_close(found.cpu(), one)

    @pytest.mark.parametrize("double", [False, True])
    def test_targets_and_loss(self, gpu, double):
        online, target = networks()
        gpu.check(dqn_targets, some_batch(), online, target, 0.9, double)
        gpu.check(dqn_loss, some_batch(), online, target, 0.9, double)

    def test_sync(self, gpu):
        online, target = networks()
        here = gpu(target)
        sync(gpu(online), here, 0.3)
        sync(online, target, 0.3)
        assert_equal(here.weight.device.type, gpu.device.type)
        assert_close(here.weight.detach().cpu(), target.weight.detach())

    def test_training(self, gpu):
        network = gpu(one_weight())
        env = Loop([0.8], 3, False, vector=True)
        train_dqn(
            env, network, torch.optim.SGD(network.parameters(), lr=0.3), 20, 0.9, rng(), batch_size=4, sync_every=6
        )
        assert_equal(network.weight.device.type, gpu.device.type)
        expected = weight_by_hand(20, 4, 6, 0.9, 0.3, 0.8)
        assert_close(network.weight.detach().cpu(), torch.tensor([[expected]]), rtol=1e-4, atol=1e-5)
