"""Judges k19_offline_and_meta_rl by loops, Wright's omega function, every episode there is, and finite differences."""

import itertools
import math

import numpy as np
import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k19_offline_and_meta_rl import (
    Log,
    adapt,
    behaviour_cloning,
    conservative_fit,
    conservative_loss,
    expected_reward,
    fitted_q,
    importance_sampling,
    meta_objective,
    meta_train,
    td_targets,
)

pytestmark = [from_scratch("gymnasium", "d3rlpy", "torchrl", "higher"), pure()]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def log_of(*moves) -> Log:
    """A log of moves (state, action, reward, next state, terminated, truncated)."""
    columns = [np.array(column) for column in zip(*moves, strict=True)]
    columns[2] = columns[2].astype(float)
    return Log(*columns)


def some_log(n: int = 40, states: int = 4, actions: int = 3, seed: int = 0) -> Log:
    """Random moves; the last action is never taken, nor is the last state left."""
    g = rng([n, seed])
    ends = g.random(n)
    return Log(
        g.integers(0, states - 1, n),
        g.integers(0, actions - 1, n),
        g.normal(size=n) * 2,
        g.integers(0, states, n),
        ends < 0.25,
        (ends > 0.15) & (ends < 0.45),
    )


def counts_of(log: Log, states: int, actions: int) -> np.ndarray:
    counts = np.zeros((states, actions))
    for s, a in zip(log.states, log.actions, strict=True):
        counts[s, a] += 1
    return counts


ONE = log_of(*[(0, a, -1.0, 0, True, False) for a in (0, 0, 0, 1)])


class TestBehaviourCloning:
    def test_the_example_worked_by_hand(self):
        assert_close(behaviour_cloning(ONE, 1, 3, 0.5), np.array([[3.5, 1.5, 0.5]]) / 5.5)

    @pytest.mark.parametrize("smoothing", [0.0, 0.3, 2])
    def test_counts_of_each_state(self, smoothing):
        for seed in range(3):
            log = some_log(seed=seed)
            counts = counts_of(log, 4, 3)[:3] + smoothing
            found = behaviour_cloning(log, 4, 3, smoothing)
            assert_close(found[:3], counts / counts.sum(1, keepdims=True))
            assert_close(found[3], np.full(3, 1 / 3))

    def test_states_and_actions_beyond_the_log(self):
        found = behaviour_cloning(ONE, 3, 5, 0.0)
        assert_close(found, np.array([[0.75, 0.25, 0, 0, 0], [0.2] * 5, [0.2] * 5]))

    @pytest.mark.parametrize("smoothing", [-0.5, -2.0])
    def test_refuses_a_smoothing_below_0(self, smoothing):
        with raises(ValueError, "smoothing", smoothing):
            behaviour_cloning(ONE, 1, 3, smoothing)


class TestTdTargets:
    def test_the_example_worked_by_hand(self):
        log = log_of((0, 1, 1.0, 1, False, False), (0, 1, 1.0, 1, True, False))
        assert_close(td_targets(log, np.array([[0.5, 9.0], [4.0, 6.0]]), 0.5), np.array([4.0, 1.0]))

    @pytest.mark.parametrize("gamma", [0.0, 0.4, 1.0])
    def test_each_move(self, gamma):
        log, q = some_log(), rng(1).normal(size=(4, 3)) * 3 - 2
        expected = [
            r if over else r + gamma * max(q[t])
            for r, t, over in zip(log.rewards, log.next_states, log.terminated, strict=True)
        ]
        assert_close(td_targets(log, q, gamma), np.array(expected))

    def test_a_truncated_move_had_a_future(self):
        log = log_of((0, 0, 1.0, 1, False, True), (0, 0, 1.0, 1, True, True))
        assert_close(td_targets(log, np.array([[5.0], [3.0]]), 0.5), np.array([2.5, 1.0]))

    @pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan])
    def test_nothing_comes_through_an_end(self, odd):
        log = log_of((0, 0, 1.5, 1, True, False), (1, 0, 0.5, 0, False, False))
        assert_close(td_targets(log, np.array([[3.0], [odd]]), 0.5), np.array([1.5, 2.0]))


def loss_by_hand(q, log, targets, alpha, l2) -> float:
    total = 0.0
    for s, a, y in zip(log.states, log.actions, targets, strict=True):
        top = max(q[s])
        lse = top + math.log(sum(math.exp(value - top) for value in q[s]))
        total += (q[s, a] - y) ** 2 / 2 + alpha * (lse - q[s, a])
    return float(total + l2 / 2 * sum(value**2 for row in q for value in row))


class TestConservativeLoss:
    def test_the_drawing(self):
        """4/2 · 0.4575² + 4 · (log(e^-0.5425 + e^-1.2876) + 0.5425) + 1/2 · (0.5425² + 1.2876²)"""
        log = log_of(*[(0, 0, -1.0, 0, True, False)] * 4)
        q = np.array([[-0.5425, -1.2876]])
        expected = 2 * 0.4575**2 + 4 * math.log1p(math.exp(-0.7451)) + (0.5425**2 + 1.2876**2) / 2
        assert_close(conservative_loss(q, log, np.full(4, -1.0), 1.0, 1.0), expected)

    @pytest.mark.parametrize(("alpha", "l2"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.4, 0.7), (3.0, 0.05)])
    def test_all_three_parts(self, alpha, l2):
        for seed in range(2):
            log, q = some_log(17, seed=seed), rng(seed).normal(size=(4, 3)) * 2
            targets = rng(5).normal(size=17)
            assert_close(conservative_loss(q, log, targets, alpha, l2), loss_by_hand(q, log, targets, alpha, l2))

    @pytest.mark.parametrize("far", [10_000.0, -10_000.0])
    def test_large_values(self, far):
        log = log_of((0, 0, 0.0, 0, True, False), (0, 1, 0.0, 0, True, False))
        q = np.array([[far, far - 2.0]])
        expected = 2 * math.log1p(math.exp(-2)) + 2
        assert_close(conservative_loss(q, log, np.array([far, far - 2.0]), 1.0, 0.0), expected)

    @pytest.mark.parametrize("far", [10_000.0, -10_000.0])
    def test_large_values_of_both_signs(self, far):
        """lse is 10 000 here, whichever action has it."""
        log = log_of((0, 0, 0.0, 0, True, False), (0, 2, 0.0, 0, True, False))
        q, targets = np.array([[far, 3.0, -far]]), np.array([far, -far])
        assert_close(conservative_loss(q, log, targets, 0.5, 0.0), 10_000.0)

    def test_a_python_float(self):
        assert_equal(type(conservative_loss(np.zeros((4, 3)), some_log(), np.zeros(40), 1.0, 1.0)), float)


def least(log, targets, states, actions, alpha, l2) -> np.ndarray:
    """The minimum of the loss.  Given L = lse(Q[s]), each Q[s, a] is known by Wright's ω, where ω + log ω = z."""
    from scipy.optimize import brentq
    from scipy.special import wrightomega

    q = np.zeros((states, actions))
    counts, totals = counts_of(log, states, actions), np.zeros((states, actions))
    for s, a, y in zip(log.states, log.actions, targets, strict=True):
        totals[s, a] += y
    for s in range(states):
        n, c = counts[s].sum(), counts[s] + l2
        centre = (totals[s] + alpha * counts[s]) / c
        if not n or not alpha:
            q[s] = centre
            continue

        def excess(lse, n=n, c=c, centre=centre):
            return float((c / (alpha * n) * wrightomega(np.log(alpha * n / c) + centre - lse)).sum() - 1)

        low = high = float(centre.max())
        while excess(low) < 0:
            low -= 1 + abs(low)
        while excess(high) > 0:
            high += 1 + abs(high)
        lse = brentq(excess, low, high, xtol=1e-12, rtol=1e-14)
        q[s] = centre - wrightomega(np.log(alpha * n / c) + centre - lse)
    return q


class TestConservativeFit:
    def test_the_example_worked_by_hand(self):
        log = log_of(*[(0, 0, -1.0, 0, True, False)] * 4)
        assert_close(
            conservative_fit(log, np.full(4, -1.0), 1, 2, 1.0, 1.0), np.array([[-0.54248564, -1.28757179]]), atol=1e-6
        )
        assert_close(conservative_fit(log, np.full(4, -1.0), 1, 2, 0.0, 1.0), np.array([[-0.8, 0.0]]), atol=1e-6)

    @pytest.mark.parametrize(("alpha", "l2"), [(0.0, 0.5), (1.0, 1.0), (0.3, 0.01), (5.0, 2.0)])
    @pytest.mark.parametrize(("states", "actions"), [(4, 3), (3, 5)])
    def test_has_the_smallest_loss(self, states, actions, alpha, l2):
        for seed in range(2):
            log, targets = some_log(30, states, actions, seed), rng(seed).normal(size=30) * 2 - 1
            expected = least(log, targets, states, actions, alpha, l2)
            assert_close(conservative_fit(log, targets, states, actions, alpha, l2), expected, atol=1.1e-6)

    @pytest.mark.parametrize(
        ("alpha", "l2", "scale"),
        [(100.0, 0.001, 1.0), (100.0, 0.001, 1000.0), (0.01, 0.001, 1000.0), (100.0, 50.0, 300.0)],
    )
    def test_extreme_but_legal(self, alpha, l2, scale):
        log = some_log(60, seed=7)
        targets = np.clip(rng(7).normal(size=60), -1, 1) * scale
        expected = least(log, targets, 4, 3, alpha, l2)
        assert_close(conservative_fit(log, targets, 4, 3, alpha, l2), expected, rtol=0, atol=1.1e-6)

    @pytest.mark.parametrize(
        ("counts", "targets", "alpha", "l2"),
        [
            ([3, 0, 8], [-386.0, 0.0, -110.0], 0.3, 0.01),
            ([3, 0, 5], [-152.0, 0.0, -466.0], 0.3, 0.001),
            ([4, 3, 0], [-24.0, -8.0, 0.0], 0.3, 0.1),
            ([300, 500, 200], [4.0, -7.0, 9.0], 100.0, 0.001),
        ],
    )
    def test_where_steps_that_are_too_long_lead_to_and_fro(self, counts, targets, alpha, l2):
        actions = np.repeat(np.arange(3), counts).tolist()
        log, aims = log_of(*[(0, a, 0.0, 0, True, False) for a in actions]), np.array([targets[a] for a in actions])
        expected = least(log, aims, 1, 3, alpha, l2)
        assert_close(conservative_fit(log, aims, 1, 3, alpha, l2), expected, rtol=0, atol=1.1e-6)

    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_where_all_values_go_the_same_way(self, sign):
        log, targets = log_of(*[(0, a, 0.0, 0, True, False) for a in (0, 1, 1, 2)]), sign * np.array([40.0, 5, 9, 2])
        expected = least(log, targets, 1, 3, 3.0, 0.1)
        assert_close(conservative_fit(log, targets, 1, 3, 3.0, 0.1), expected, atol=1.1e-6)

    def test_without_a_penalty_a_shrunken_mean(self):
        log, targets = log_of(*[(1, a, 0.0, 0, False, False) for a in (0, 2, 2, 2)]), np.array([3.0, 1.0, 5.0, -1.5])
        expected = np.array([[0, 0, 0], [3 / 1.25, 0, 4.5 / 3.25]])
        assert_close(conservative_fit(log, targets, 2, 3, 0.0, 0.25), expected, atol=1e-6)

    def test_a_huge_penalty_is_cloning(self):
        """softmax(Q) becomes how often each action was taken."""
        log = log_of(*[(0, a, 0.0, 0, True, False) for a in [0] * 5 + [1] * 3 + [2] * 2])
        q = conservative_fit(log, np.zeros(10), 1, 3, 100.0, 0.001)[0]
        assert_close(np.exp(q) / np.exp(q).sum(), np.array([0.5, 0.3, 0.2]), atol=0.01)

    @pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 40), (40, 1)])
    def test_states_have_nothing_to_do_with_each_other(self, n, m):
        moves = [[(s, a % 2, 0.0, 0, True, False) for a in range(k)] for s, k in enumerate((n, m))]
        both = conservative_fit(log_of(*moves[0], *moves[1]), np.full(n + m, 2.0), 2, 3, 0.7, 0.5)
        alone = conservative_fit(log_of(*moves[0]), np.full(n, 2.0), 2, 3, 0.7, 0.5)
        assert_close(both[0], alone[0], atol=2e-6)
        assert_close(alone[1], np.zeros(3), atol=1e-6)

    @pytest.mark.parametrize("level", [-3.0, 0.0, 3.0])
    def test_no_action_that_nobody_took_looks_best(self, level):
        for seed in range(3):
            log = some_log(60, 4, 4, seed)
            q = conservative_fit(log, rng(seed).normal(size=60) + level, 4, 4, 2.0, 0.1)
            if not (q[:3, 3] < q[:3, :3].max(1) - 1).all() or not (q[:3, 3] < 0).all():
                fail(f"The action that nobody took has the values {q[:3, 3].round(2)}.", evidence=q[:3, 3])

    @pytest.mark.parametrize("alpha", [-0.25, -3.0])
    def test_refuses_an_alpha_below_0(self, alpha):
        with raises(ValueError, "alpha", alpha):
            conservative_fit(ONE, np.zeros(4), 1, 2, alpha, 0.5)

    @pytest.mark.parametrize("l2", [0.0, -0.25])
    def test_refuses_an_l2_that_isnt_above_0(self, l2):
        with raises(ValueError, "l2", l2):
            conservative_fit(ONE, np.zeros(4), 1, 2, 0.5, l2)


def rounds_by_hand(log, states, actions, gamma, alpha, l2, sweeps) -> np.ndarray:
    q = np.zeros((states, actions))
    for _ in range(sweeps):
        targets = [
            r + (0.0 if over else gamma * max(q[t]))
            for r, t, over in zip(log.rewards, log.next_states, log.terminated, strict=True)
        ]
        q = least(log, targets, states, actions, alpha, l2)
    return q


class TestFittedQ:
    def test_two_states_by_hand(self):
        """State 1 pays 2 and is the end; state 0 leads there for -1.  Without a penalty, and with hardly any l2."""
        log = log_of((0, 0, -1.0, 1, False, False), (1, 1, 2.0, 0, True, False))
        assert_close(fitted_q(log, 2, 2, 0.5, 0.0, 1e-9, 1), np.array([[-1.0, 0.0], [0.0, 2.0]]), atol=2e-6)
        assert_close(fitted_q(log, 2, 2, 0.5, 0.0, 1e-9, 2), np.array([[0.0, 0.0], [0.0, 2.0]]), atol=2e-6)

    @pytest.mark.parametrize("sweeps", [1, 2, 5])
    @pytest.mark.parametrize(("gamma", "alpha", "l2"), [(0.9, 0.0, 0.1), (0.6, 1.0, 0.5), (0.9, 0.3, 0.1)])
    def test_round_after_round(self, gamma, alpha, l2, sweeps):
        log = some_log(seed=3)
        expected = rounds_by_hand(log, 4, 3, gamma, alpha, l2, sweeps)
        assert_close(fitted_q(log, 4, 3, gamma, alpha, l2, sweeps), expected, atol=1e-5)

    def test_no_round(self):
        assert_close(fitted_q(some_log(), 4, 3, 0.9, 1.0, 0.5, 0), np.zeros((4, 3)))

    def test_cut_by_the_clock_or_over(self):
        """A loop that pays 1: for ever worth 5, once worth 1."""
        for over, worth in ((False, 5.0), (True, 1.0)):
            log = log_of(*[(0, 0, 1.0, 0, over, not over)] * 3)
            assert_close(fitted_q(log, 1, 1, 0.8, 0.0, 1e-9, 100), np.array([[worth]]), atol=1e-4)

    def test_comes_to_the_values_of_the_log(self):
        """Every action is taken, once and for certain, so it is value iteration."""
        leads, pays = rng(4).integers(0, 4, size=(4, 3)), rng(5).normal(size=(4, 3))
        log = log_of(*[(s, a, pays[s, a], leads[s, a], False, False) for s in range(4) for a in range(3)])
        values = np.zeros(4)
        for _ in range(200):
            values = (pays + 0.7 * values[leads]).max(1)
        assert_close(fitted_q(log, 4, 3, 0.7, 0.0, 1e-9, 60), pays + 0.7 * values[leads], atol=1e-5)


def mixed(states: int, actions: int, seed: int = 0) -> np.ndarray:
    return rng([seed, 9]).dirichlet(np.ones(actions), size=states)


EPISODES = log_of((0, 0, 1.0, 0, False, False), (0, 1, 2.0, 0, True, False), (0, 1, 4.0, 0, True, False))
KINDS = ["ordinary", "weighted", "per-decision"]


def estimate_by_hand(log, behaviour, target, gamma, kind) -> float:
    episodes: list[list[int]] = [[]]
    for i in range(len(log.states)):
        episodes[-1].append(i)
        if log.terminated[i] or log.truncated[i]:
            episodes.append([])
    rows = []
    for episode in [e for e in episodes if e]:
        weight, total, by_step = 1.0, 0.0, 0.0
        for t, i in enumerate(episode):
            weight *= target[log.states[i], log.actions[i]] / behaviour[log.states[i], log.actions[i]]
            total += gamma**t * log.rewards[i]
            by_step += weight * gamma**t * log.rewards[i]
        rows.append((weight, total, by_step))
    if kind == "per-decision":
        return sum(row[2] for row in rows) / len(rows)
    products = sum(row[0] * row[1] for row in rows)
    return float(products / (len(rows) if kind == "ordinary" else sum(row[0] for row in rows)))


class TestImportanceSampling:
    @pytest.mark.parametrize(("kind", "expected"), [("ordinary", 1.75), ("weighted", 2.8), ("per-decision", 2.125)])
    def test_the_example_worked_by_hand(self, kind, expected):
        found = importance_sampling(EPISODES, np.array([[0.5, 0.5]]), np.array([[0.75, 0.25]]), 0.5, kind)
        assert_close(found, expected)

    @pytest.mark.parametrize("gamma", [0.0, 0.6, 1.0])
    @pytest.mark.parametrize("kind", KINDS)
    def test_matches_loops(self, kind, gamma):
        for seed in range(3):
            log, behaviour, target = some_log(30, seed=seed), mixed(4, 3, 1), mixed(4, 3, 2)
            expected = estimate_by_hand(log, behaviour, target, gamma, kind)
            assert_close(importance_sampling(log, behaviour, target, gamma, kind), expected)

    @pytest.mark.parametrize(("terminated", "truncated"), [(True, False), (False, True), (True, True)])
    @pytest.mark.parametrize("kind", KINDS)
    def test_both_ends_are_ends(self, kind, terminated, truncated):
        log = log_of((0, 0, 1.0, 0, terminated, truncated), (0, 1, 2.0, 0, False, False), (0, 1, 3.0, 0, False, False))
        behaviour, target = np.array([[0.5, 0.5]]), np.array([[0.6, 0.4]])
        expected = estimate_by_hand(log, behaviour, target, 0.5, kind)
        assert_close(importance_sampling(log, behaviour, target, 0.5, kind), expected)

    @pytest.mark.parametrize("kind", ["ordinary", "per-decision"])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_right_on_average(self, kind, seed):
        """The log holds every episode of three moves as often as behaviour makes it: 27, 9, 3 or 1 times of 64."""
        g = rng(seed)
        leads, pays = g.integers(0, 3, size=(3, 2)), g.normal(size=(3, 2))
        behaviour, target = np.array([[0.75, 0.25], [0.25, 0.75], [0.75, 0.25]]), mixed(3, 2, seed)
        moves, exact = [], 0.0
        for actions in itertools.product(range(2), repeat=3):
            state, times, chance, total, episode = 0, 64.0, 1.0, 0.0, []
            for t, a in enumerate(actions):
                episode.append((state, a, pays[state, a], leads[state, a], False, t == 2))
                total += 0.9**t * pays[state, a]
                times *= behaviour[state, a]
                chance *= target[state, a]
                state = leads[state, a]
            moves += episode * round(times)
            exact += chance * total
        assert_close(importance_sampling(log_of(*moves), behaviour, target, 0.9, kind), float(exact))

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_same_policy_gives_the_mean_return(self, kind):
        policy = np.array([[0.5, 0.5]])
        assert_close(importance_sampling(EPISODES, policy, policy, 0.5, kind), 3.0)

    def test_the_weighted_one_stays_between_the_returns(self):
        log = log_of(*[(0, a, r, 0, True, False) for a, r in ((0, 3.0), (1, 5.0), (1, 4.0))])
        found = importance_sampling(log, np.array([[0.99, 0.01]]), np.array([[0.1, 0.9]]), 1.0, "weighted")
        assert_close(found, (3 * 0.1 / 0.99 + 9 * 90) / (0.1 / 0.99 + 180))

    @pytest.mark.parametrize("kind", KINDS)
    def test_some_weights_may_be_0(self, kind):
        behaviour, target = np.array([[0.5, 0.5]]), np.array([[0.0, 1.0]])
        expected = estimate_by_hand(EPISODES, behaviour, target, 0.5, kind)
        assert_close(importance_sampling(EPISODES, behaviour, target, 0.5, kind), expected)

    def test_weights_may_be_tiny(self):
        behaviour, target = np.array([[0.5, 0.5, 0.0]]), np.array([[2e-9, 1e-9, 1 - 3e-9]])
        expected = estimate_by_hand(EPISODES, behaviour, target, 0.5, "weighted")
        assert_close(importance_sampling(EPISODES, behaviour, target, 0.5, "weighted"), expected)

    @pytest.mark.parametrize("kind", ["ordinary", "per-decision"])
    def test_all_weights_0_are_worth_nothing(self, kind):
        behaviour, target = np.array([[0.5, 0.3, 0.2]]), np.array([[0.0, 0.0, 1.0]])
        assert_close(importance_sampling(EPISODES, behaviour, target, 0.5, kind), 0.0)

    def test_refuses_a_weighted_mean_of_nothing(self):
        with raises(ValueError, "weight"):
            importance_sampling(EPISODES, np.array([[0.5, 0.3, 0.2]]), np.array([[0.0, 0.0, 1.0]]), 0.5, "weighted")

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "policy", [[0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 1.0, 0.0]]
    )  # the second one does none of it
    def test_refuses_what_behaviour_never_does(self, kind, policy):
        log = log_of((2, 1, 0.0, 5, False, False), (5, 3, 0.0, 4, False, False), (4, 0, 0.0, 4, True, False))
        behaviour = np.full((6, 4), 0.25)
        behaviour[5], behaviour[4] = [0.5, 0.25, 0.25, 0.0], [0.0, 0.5, 0.25, 0.25]
        with raises(ValueError, 5, 3):
            importance_sampling(log, behaviour, np.array([policy] * 6), 0.5, kind)

    def test_behaviour_may_be_0_where_nothing_was_done(self):
        behaviour, target = np.array([[0.5, 0.5, 0.0]]), np.array([[0.2, 0.3, 0.5]])
        assert_close(importance_sampling(EPISODES, behaviour, target, 0.5, "ordinary"), (0.24 * 2 + 0.6 * 4) / 2)

    @pytest.mark.parametrize("kind", ["doubly-robust", "Ordinary"])
    def test_refuses_another_kind_first_of_all(self, kind):
        with raises(ValueError, kind):
            importance_sampling(EPISODES, np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]), 0.5, kind)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_python_float(self, kind):
        assert_equal(type(importance_sampling(EPISODES, mixed(1, 2), mixed(1, 2, 3), 0.5, kind)), float)


def numbers(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def tasks(t: int = 4, a: int = 3, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (a,) that ask for a gradient, and rewards (t, a)."""
    return torch.randn(a, dtype=dtype).requires_grad_(), torch.randn(t, a, dtype=dtype) * 2 + 1


def softmax(logits) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def uphill(logits, r) -> np.ndarray:
    policy = softmax(logits)
    return policy * (r - policy @ r)


def adapted_by_hand(logits, rewards, rate, steps) -> np.ndarray:
    rows = []
    for r in rewards:
        theta = np.array(logits, dtype=float)
        for _ in range(steps):
            theta = theta + rate * uphill(theta, r)
        rows.append(theta)
    return np.array(rows)


def objective_by_hand(logits, rewards, rate, steps) -> float:
    rows = adapted_by_hand(logits, rewards, rate, steps)
    return float(np.mean([softmax(theta) @ r for theta, r in zip(rows, rewards, strict=True)]))


def slope_by_hand(logits, rewards, rate, steps, first_order) -> np.ndarray:
    """The gradient of the objective: by finite differences, or, in first order, that of the worth at the ends."""
    if first_order:
        rows = adapted_by_hand(logits, rewards, rate, steps)
        return np.mean([uphill(theta, r) for theta, r in zip(rows, rewards, strict=True)], axis=0)
    h, slope = 1e-5, np.zeros(len(logits))
    for i in range(len(logits)):
        move = h * np.eye(len(logits))[i]
        ends = [objective_by_hand(logits + sign * move, rewards, rate, steps) for sign in (1, -1)]
        slope[i] = (ends[0] - ends[1]) / (2 * h)
    return slope


def gradient(value: torch.Tensor, logits: torch.Tensor) -> np.ndarray:
    if not value.requires_grad:
        fail("No gradient flows back to the logits: something is detached.", evidence="detached")
    (found,) = torch.autograd.grad(value, logits)
    return found.numpy()


class TestExpectedReward:
    def test_three_arms(self):
        assert_close(expected_reward(numbers(0.0, math.log(2), math.log(3)), numbers(6.0, 3.0, 0.0)), numbers(2.0)[0])

    @pytest.mark.parametrize("lead", [(), (2,), (2, 4)])
    def test_over_the_last_axis(self, lead):
        logits, rewards = torch.randn(*lead, 3, dtype=torch.float64), torch.randn(*lead, 3, dtype=torch.float64)
        expected = np.empty(lead)
        for place in np.ndindex(*lead):
            expected[place] = softmax(logits[place].numpy()) @ rewards[place].numpy()
        assert_close(expected_reward(logits, rewards), torch.tensor(expected))

    def test_one_policy_in_many_tasks(self):
        logits, rewards = tasks(5, 3)
        expected = rewards.numpy() @ softmax(logits.detach().numpy())
        assert_close(expected_reward(logits, rewards).detach(), torch.tensor(expected))

    def test_gradient(self):
        logits, rewards = tasks(1, 4)
        expected = uphill(logits.detach().numpy(), rewards[0].numpy())
        assert_close(gradient(expected_reward(logits, rewards[0]), logits), expected)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_large_logits(self, dtype):
        found = expected_reward(
            torch.tensor([900.0, 0.0, -900.0], dtype=dtype), torch.tensor([2.5, 7.0, 9.0], dtype=dtype)
        )
        assert_close(found, torch.tensor(2.5, dtype=dtype))


class TestAdapt:
    def test_the_example_worked_by_hand(self):
        expected = {1: [0.5, -0.5], 2: [0.89322387, -0.89322387]}
        for steps, row in expected.items():
            found = adapt(numbers(0.0, 0.0), numbers([1.0, 0.0]), 2.0, steps)
            assert_close(found, numbers(row), atol=1e-7)

    @pytest.mark.parametrize("steps", [1, 2, 3])
    @pytest.mark.parametrize("rate", [0.3, 2.5])
    @pytest.mark.parametrize("first_order", [False, True])
    def test_each_task_on_its_own(self, rate, steps, first_order):
        logits, rewards = tasks(4, 3)
        expected = adapted_by_hand(logits.detach().numpy(), rewards.numpy(), rate, steps)
        assert_close(adapt(logits, rewards, rate, steps, first_order).detach(), torch.tensor(expected))

    def test_two_steps_and_second_order_unless_said(self):
        logits, rewards = tasks(3, 4)
        found = adapt(logits, rewards, 1.5)
        assert_close(found.detach(), torch.tensor(adapted_by_hand(logits.detach().numpy(), rewards.numpy(), 1.5, 2)))
        weights = torch.randn(3, 4, dtype=torch.float64)
        full = gradient((adapt(logits, rewards, 1.5, 2, False) * weights).sum(), logits)
        assert_close(gradient((found * weights).sum(), logits), full)

    def test_no_step(self):
        logits, rewards = tasks(3, 2)
        found = adapt(logits, rewards, 1.5, 0)
        assert_close(found.detach(), logits.detach().expand(3, 2))
        assert_close(gradient(found[1:, 0].sum(), logits), np.array([2.0, 0.0]))

    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_the_gradient_goes_through_every_step(self, steps):
        logits, rewards = tasks(3, 4)
        weights = rng(2).normal(size=(3, 4))
        found = gradient((adapt(logits, rewards, 1.2, steps) * torch.tensor(weights)).sum(), logits)
        start, expected = logits.detach().numpy(), np.zeros(4)
        for i in range(4):
            ends = [
                adapted_by_hand(start + sign * 1e-5 * np.eye(4)[i], rewards.numpy(), 1.2, steps) for sign in (1, -1)
            ]
            expected[i] = ((ends[0] - ends[1]) / 2e-5 * weights).sum()
        assert_close(found, expected, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("steps", [1, 2, 3])
    def test_in_first_order_the_derivative_is_the_identity(self, steps):
        logits, rewards = tasks(3, 4)
        weights = torch.randn(3, 4, dtype=torch.float64)
        found = gradient((adapt(logits, rewards, 1.2, steps, first_order=True) * weights).sum(), logits)
        assert_close(found, weights.sum(0).numpy())

    @pytest.mark.parametrize("first_order", [False, True])
    def test_without_any_gradient(self, first_order):
        logits, rewards = tasks(3, 4)
        expected = torch.tensor(adapted_by_hand(logits.detach().numpy(), rewards.numpy(), 0.8, 2))
        assert_close(adapt(logits.detach(), rewards, 0.8, 2, first_order).detach(), expected)
        with torch.no_grad():
            assert_close(adapt(logits, rewards, 0.8, 2, first_order).detach(), expected)

    def test_logits_that_come_from_something_else(self):
        base, rewards = tasks(3, 4)
        found = gradient(adapt(2 * base, rewards, 0.7).sum(), base)
        start, expected = base.detach().numpy(), np.zeros(4)
        for i in range(4):
            ends = [
                adapted_by_hand(2 * (start + sign * 1e-5 * np.eye(4)[i]), rewards.numpy(), 0.7, 2) for sign in (1, -1)
            ]
            expected[i] = ((ends[0] - ends[1]) / 2e-5).sum()
        assert_close(found, expected, rtol=1e-6, atol=1e-7)

    def test_leaves_no_gradient_behind(self):
        logits, rewards = tasks(3, 4)
        adapt(logits, rewards, 1.2)
        assert_equal(logits.grad is None, True)

    def test_keeps_float32(self):
        logits, rewards = tasks(3, 4, torch.float32)
        assert_equal(adapt(logits, rewards, 1.2).dtype, torch.float32)


class TestMetaObjective:
    def test_the_example_worked_by_hand(self):
        logits = numbers(0.0, 0.0).requires_grad_()
        found = meta_objective(logits, numbers([1.0, 0.0]), 2.0)
        assert_close(found.detach(), numbers(0.85649)[0], atol=1e-5)
        assert_close(gradient(found, logits)[0].item(), 0.078243, atol=1e-5)
        first = meta_objective(logits, numbers([1.0, 0.0]), 2.0, 2, True)
        assert_close(gradient(first, logits)[0].item(), 0.122915, atol=1e-5)

    @pytest.mark.parametrize("first_order", [False, True])
    @pytest.mark.parametrize(
        ("t", "a", "rate", "steps"), [(4, 3, 0.5, 2), (3, 5, 2.0, 2), (1, 2, 1.0, 1), (2, 4, 1.5, 3)]
    )
    def test_value_and_gradient(self, t, a, rate, steps, first_order):
        logits, rewards = tasks(t, a)
        start, r = logits.detach().numpy(), rewards.numpy()
        found = meta_objective(logits, rewards, rate, steps, first_order)
        assert_close(found.detach(), torch.tensor(objective_by_hand(start, r, rate, steps), dtype=torch.float64))
        expected = slope_by_hand(start, r, rate, steps, first_order)
        assert_close(gradient(found, logits), expected, rtol=1e-6, atol=1e-7)

    def test_two_steps_and_second_order_unless_said(self):
        logits, rewards = tasks(3, 4)
        expected = slope_by_hand(logits.detach().numpy(), rewards.numpy(), 1.5, 2, False)
        assert_close(gradient(meta_objective(logits, rewards, 1.5), logits), expected, rtol=1e-6, atol=1e-7)


def trained_by_hand(logits, rewards, rate, meta_rate, rounds, steps, first_order) -> np.ndarray:
    theta = np.array(logits)
    for _ in range(rounds):
        theta = theta + meta_rate * slope_by_hand(theta, rewards, rate, steps, first_order)
    return theta


class TestMetaTrain:
    @pytest.mark.parametrize("first_order", [False, True])
    @pytest.mark.parametrize(
        ("rate", "meta_rate", "rounds", "steps"), [(1.5, 0.4, 1, 2), (0.6, 1.1, 4, 1), (2.0, 0.7, 3, 3)]
    )
    def test_round_after_round(self, rate, meta_rate, rounds, steps, first_order):
        logits, rewards = tasks(3, 4)
        found = meta_train(logits, rewards, rate, meta_rate, rounds, steps, first_order)
        expected = trained_by_hand(
            logits.detach().numpy(), rewards.numpy(), rate, meta_rate, rounds, steps, first_order
        )
        assert_close(found, torch.tensor(expected), rtol=1e-6, atol=1e-6)

    def test_two_steps_and_second_order_unless_said(self):
        logits, rewards = tasks(3, 4)
        expected = trained_by_hand(logits.detach().numpy(), rewards.numpy(), 1.5, 0.8, 2, 2, False)
        assert_close(meta_train(logits.detach(), rewards, 1.5, 0.8, 2), torch.tensor(expected), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_keeps_the_dtype(self, dtype):
        assert_equal(meta_train(*tasks(3, 4, dtype), 1.5, 0.8, 2).dtype, dtype)

    @pytest.mark.parametrize("rounds", [0, 2])
    def test_what_comes_out_is_a_tensor_of_its_own(self, rounds):
        logits, rewards = tasks(3, 4)
        found = meta_train(logits, rewards, 1.5, 0.8, rounds)
        assert_equal((found.requires_grad, tuple(found.shape), logits.grad is None), (False, (4,), True))
        if found.data_ptr() == logits.data_ptr():
            fail("The logits that come out share their memory with those that went in.", evidence="shared")
        if rounds == 0:
            assert_close(found, logits.detach())


def worth_of(p, r, policy, gamma) -> float:
    chain = (policy[:, :, None] * p).sum(1)
    return float(np.linalg.solve(np.eye(len(r)) - gamma * chain, (policy * r).sum(1)).mean())


@pytest.mark.learning
@pytest.mark.deadline(60)  # less than a second each on a quiet machine
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_better_than_the_log_and_than_plain_fitted_q(self, seed):
        """Two actions in each state were never tried, and are bad.  All rewards are below 0, the guess for these two."""
        g = rng(seed)
        states, actions, gamma = 6, 4, 0.8
        p = g.dirichlet(np.full(states, 0.5), size=(states, actions))
        r, behaviour = -10 + np.zeros((states, actions)), np.zeros((states, actions))
        for s in range(states):
            tried = g.permutation(actions)[:2]
            r[s, tried] = g.uniform(-4, -0.5, size=2)
            behaviour[s, tried] = 0.5
        moves, state = [], 0
        for i in range(400):
            action = int(g.choice(actions, p=behaviour[state]))
            following = int(g.choice(states, p=p[state, action]))
            moves.append((state, action, r[state, action], following, False, i % 20 == 19))
            state = int(g.integers(states)) if i % 20 == 19 else following
        log = log_of(*moves)
        clone = worth_of(p, r, behaviour_cloning(log, states, actions, 0.0), gamma)
        greedy = [
            worth_of(p, r, np.eye(actions)[fitted_q(log, states, actions, gamma, alpha, 0.05, 25).argmax(1)], gamma)
            for alpha in (0.1, 0.0)
        ]
        if not greedy[0] > max(clone, greedy[1]) + 1:
            fail(
                f"The conservative policy is worth {greedy[0]:.2f}, the clone {clone:.2f}, plain fitted Q {greedy[1]:.2f}.",
                evidence=[round(x, 1) for x in greedy],
            )

    @pytest.mark.parametrize("first_order", [False, True])
    @pytest.mark.parametrize("seed", range(3))
    def test_a_start_for_all_tasks_beats_a_policy_for_all_tasks(self, seed, first_order):
        """Each task has one arm that pays 1; another arm pays 0.6 in all.  Joint training ends on that one and stays."""
        torch.manual_seed(seed)
        rewards = torch.cat([torch.eye(3, dtype=torch.float64), torch.full((3, 1), 0.6, dtype=torch.float64)], 1)
        start = 0.1 * torch.randn(4, dtype=torch.float64)
        met = meta_train(start, rewards, 8.0, 2.0, 60, 2, first_order)
        joint = meta_train(start, rewards, 8.0, 10.0, 80, 0)
        scores = [float(meta_objective(theta, rewards, 8.0)) for theta in (met, joint, start)]
        if not scores[0] > max(scores[1] + 0.15, scores[2] + 0.02):
            fail(
                f"After two steps the trained start is worth {scores[0]:.3f}, a joint policy {scores[1]:.3f}, "
                f"the untrained start {scores[2]:.3f}.",
                evidence=scores[0],
            )


@pytest.mark.deadline(60)  # the pretended device takes a busy machine a while
class TestOnTheGpu:
    def test_expected_reward(self, gpu):
        gpu.check(expected_reward, *tasks())

    @pytest.mark.parametrize("first_order", [False, True])
    def test_adapt_and_the_objective(self, gpu, first_order):
        gpu.check(adapt, *tasks(), 1.3, 2, first_order)
        gpu.check(meta_objective, *tasks(), 1.3, 2, first_order)

    def test_meta_train(self, gpu):
        logits, rewards = tasks()
        gpu.check(meta_train, logits.detach(), rewards, 1.3, 0.5, 3)
