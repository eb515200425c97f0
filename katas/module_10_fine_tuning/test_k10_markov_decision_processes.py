"""Judges k10_markov_decision_processes against linear solves, long sums, every policy there is, and simulation."""

import itertools

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k10_markov_decision_processes import (
    action_values,
    evaluation_by_sweeps,
    greedy,
    gridworld,
    induced,
    policy_evaluation,
    policy_iteration,
    value_iteration,
)

pytestmark = [from_scratch("gymnasium"), pure()]

MACHINE_P = np.array([[[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5], [0.0, 1.0]]])
MACHINE_R = np.array([[1.0, 2.0], [0.0, -1.0]])
GAMMAS = [-0.1, 1.0, 1.5]


def some(states: int, actions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A random MDP; some transitions are impossible."""
    rng = np.random.default_rng([states, actions, seed])
    p = rng.random((states, actions, states)) * (rng.random((states, actions, states)) < 0.6)
    p[..., 0] += 0.05
    return p / p.sum(-1, keepdims=True), rng.normal(size=(states, actions))


def mixed(states: int, actions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, 9]).dirichlet(np.ones(actions), size=states)


def solved(p, r, policy, gamma) -> np.ndarray:
    """The value of a policy, by a linear system."""
    chain = (policy[:, :, None] * p).sum(1)
    return np.linalg.solve(np.eye(len(r)) - gamma * chain, (policy * r).sum(1))


def fixed(actions, choices: int) -> np.ndarray:
    return np.eye(choices)[np.asarray(actions)]


def best_of_all(p, r, gamma) -> np.ndarray:
    """The best value of each state over every policy there is."""
    states, choices = r.shape
    every = itertools.product(range(choices), repeat=states)
    return np.max([solved(p, r, fixed(actions, choices), gamma) for actions in every], axis=0)


def is_within(found, exact, tol: float, what: str) -> None:
    assert_equal(np.shape(found), np.shape(exact))
    error = float(np.abs(np.asarray(found) - exact).max())
    if not error <= tol * (1 + 1e-6) + 1e-12:
        fail(f"{what} is {error:.3g} from the exact value somewhere; at most {tol:g} was promised.", evidence=found)


class TestGridworld:
    def test_the_map_of_the_drawing(self):
        p, r, cells = gridworld(["..+", ".#-"], {"+": 3.0, "-": -2.0}, 0.2, -0.25)
        assert_equal([tuple(int(x) for x in cell) for cell in cells], [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)])
        expected = np.zeros((5, 4, 5))
        expected[0] = [[0.9, 0.1, 0, 0, 0], [0.1, 0.8, 0, 0.1, 0], [0.1, 0.1, 0, 0.8, 0], [0.9, 0, 0, 0.1, 0]]
        expected[1] = [[0.1, 0.8, 0.1, 0, 0], [0, 0.2, 0.8, 0, 0], [0.1, 0.8, 0.1, 0, 0], [0.8, 0.2, 0, 0, 0]]
        expected[2, :, 2] = 1
        expected[3] = [[0.8, 0, 0, 0.2, 0], [0.1, 0, 0, 0.9, 0], [0, 0, 0, 1, 0], [0.1, 0, 0, 0.9, 0]]
        expected[4, :, 4] = 1
        assert_close(p, expected)
        to_goal = np.array([0.1, 0.8, 0.1, 0])
        assert_close(r[0], np.full(4, -0.25))
        assert_close(r[1], to_goal * 3.0 + (1 - to_goal) * -0.25)
        assert_close(r[[2, 3, 4]], np.array([[0.0] * 4, [-0.25] * 4, [0.0] * 4]))

    @pytest.mark.parametrize("action", [0, 1, 2, 3])
    def test_each_action_goes_its_way(self, action):
        p, _, _ = gridworld(["...", "...", "..."], {})
        end = {0: (0, 1), 1: (1, 2), 2: (2, 1), 3: (1, 0)}[action]
        expected = np.zeros(9)
        expected[end[0] * 3 + end[1]] = 1
        assert_close(p[4, action], expected)

    @pytest.mark.parametrize("slip", [0.0, 0.3, 1.0])
    def test_half_of_the_slips_goes_to_either_side(self, slip):
        p, _, _ = gridworld(["...", "...", "..."], {}, slip)
        up, right, down, left = 1, 5, 7, 3
        for action, (ahead, one, other) in enumerate(
            [(up, left, right), (right, up, down), (down, left, right), (left, up, down)]
        ):
            expected = np.zeros(9)
            expected[[ahead, one, other]] = [1 - slip, slip / 2, slip / 2]
            assert_close(p[4, action], expected)

    @pytest.mark.parametrize("slip", [0.0, 0.4])
    def test_off_the_map_and_into_walls_it_stays(self, slip):
        p, r, cells = gridworld([".#"], {}, slip, 0.7)
        assert_equal(len(cells), 1)
        assert_close(p, np.ones((1, 4, 1)))
        assert_close(r, np.full((1, 4), 0.7))

    @pytest.mark.parametrize("slip", [0.0, 0.5])
    def test_a_terminal_cell_keeps_you_and_pays_nothing_more(self, slip):
        p, r, _ = gridworld(["G.", "X."], {"G": 5.0, "X": -7.0}, slip, -1.0)
        for s in (0, 2):
            assert_close(p[s], np.eye(4)[[s] * 4])
            assert_close(r[s], np.zeros(4))

    @pytest.mark.parametrize("reward", [2.0, -3.0, 0.0])
    def test_entering_pays_in_place_of_the_step(self, reward):
        _, r, _ = gridworld([".G"], {"G": reward}, 0.0, -0.5)
        assert_close(r[0], np.array([-0.5, reward, -0.5, -0.5]))

    def test_by_default_nothing_slips_and_steps_are_free(self):
        p, r, _ = gridworld(["..G"], {"G": 4.0})
        assert_close(p[0, 1], np.array([0.0, 1.0, 0.0]))
        assert_close(r[:2], np.array([[0.0] * 4, [0, 4.0, 0, 0]]))

    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_every_row_is_a_distribution(self, seed):
        rng = np.random.default_rng(seed)
        rows = ["".join(rng.choice(list("...#G"), size=5)) for _ in range(4)]
        p, r, cells = gridworld(rows, {"G": 1.0}, 0.3, -0.1)
        free = sum(cell != "#" for row in rows for cell in row)
        assert_equal((p.shape, r.shape, len(cells)), ((free, 4, free), (free, 4), free))
        assert_close(p.sum(-1), np.ones((free, 4)))
        assert_equal(bool((p >= 0).all()), True)

    @pytest.mark.parametrize("rows", [[], ["##", "##"]])
    def test_a_map_without_states(self, rows):
        p, r, cells = gridworld(rows, {})
        assert_equal((p.shape, r.shape, list(cells)), ((0, 4, 0), (0, 4), []))

    def test_counts_are_float64(self):
        p, r, _ = gridworld([".G"], {"G": 1}, 0, 0)
        assert_equal((p.dtype.name, r.dtype.name), ("float64", "float64"))

    @pytest.mark.parametrize(("rows", "cell"), [([".", "Q"], "Q"), (["..x."], "x")])
    def test_refuses_an_unknown_character(self, rows, cell):
        with raises(ValueError, cell):
            gridworld(rows, {"G": 1.0})

    @pytest.mark.parametrize("rows", [["." * 7, "." * 4], ["." * 4, "." * 4, "." * 7]])
    def test_refuses_rows_of_other_lengths(self, rows):
        with raises(ValueError, 7, 4):
            gridworld(rows, {})

    @pytest.mark.parametrize("slip", [-0.25, 1.5])
    def test_refuses_a_slip_that_is_no_share(self, slip):
        with raises(ValueError, slip):
            gridworld([".."], {}, slip)


class TestActionValues:
    def test_the_example_worked_by_hand(self):
        found = action_values(MACHINE_P, MACHINE_R, np.array([2.0, 2 / 3]), 0.5)
        assert_close(found, np.array([[2, 2.5 + 1 / 6], [2 / 3, -2 / 3]]))
        assert_close(action_values(MACHINE_P, MACHINE_R, np.array([3.0, 1.0]), 0.5), np.array([[2.5, 3], [1, -0.5]]))

    @pytest.mark.parametrize("gamma", [0.0, 0.3, 0.9])
    @pytest.mark.parametrize(("states", "actions"), [(4, 2), (3, 5), (1, 1)])
    def test_matches_the_sum_over_next_states(self, states, actions, gamma):
        p, r = some(states, actions)
        v = np.random.default_rng(7).normal(size=states)
        expected = np.zeros((states, actions))
        for s, a in itertools.product(range(states), range(actions)):
            expected[s, a] = r[s, a] + gamma * sum(p[s, a, t] * v[t] for t in range(states))
        assert_close(action_values(p, r, v, gamma), expected)


class TestGreedy:
    def test_each_state_takes_its_best(self):
        q = np.array([[1.5, 4.0, -2.0], [-3.0, -5.0, -1.0], [7.0, 0.5, 6.9], [0.0, 1e-8, -1.0]])
        assert_equal(greedy(q).tolist(), [1, 2, 0, 1])

    def test_the_first_of_those_within_a_billionth(self):
        q = np.array([[2.0, 2.0, 1.0], [0.0, 5.0, 5.0], [1.0, 1.0 + 5e-10, 0.0], [3.0, 3.0 + 2e-9, 3.0 + 2.5e-9]])
        assert_equal(greedy(q).tolist(), [0, 1, 0, 1])

    def test_within_of_the_best_and_not_of_each_other(self):
        q = np.array([[0.0, 8e-10, 1.6e-9]])
        assert_equal(greedy(q).tolist(), [1])

    def test_of_large_values(self):
        """Beside 1e12 a billionth is lost in rounding."""
        assert_equal(greedy(np.array([[1e12, 2e12, 1.5e12], [-1e13, -2e13, -1e13]])).tolist(), [1, 0])

    def test_integers_come_out(self):
        found = greedy(np.array([[0.5, 1.5]]))
        assert_equal((found.shape, found.dtype.kind), ((1,), "i"))


class TestInduced:
    def test_the_machine_half_slow_when_cool(self):
        chain, gain = induced(MACHINE_P, MACHINE_R, np.array([[0.25, 0.75], [0.6, 0.4]]))
        assert_close(chain, np.array([[0.625, 0.375], [0.3, 0.7]]))
        assert_close(gain, np.array([1.75, -0.4]))

    @pytest.mark.parametrize(("states", "actions"), [(4, 2), (3, 5)])
    def test_matches_the_sum_over_actions(self, states, actions):
        p, r = some(states, actions)
        policy = mixed(states, actions)
        chain, gain = induced(p, r, policy)
        assert_close(chain, np.array([sum(policy[s, a] * p[s, a] for a in range(actions)) for s in range(states)]))
        assert_close(gain, np.array([sum(policy[s, a] * r[s, a] for a in range(actions)) for s in range(states)]))


class TestPolicyEvaluation:
    def test_the_example_worked_by_hand(self):
        slow, best = fixed([0, 0], 2), fixed([1, 0], 2)
        assert_close(policy_evaluation(MACHINE_P, MACHINE_R, slow, 0.5), np.array([2, 2 / 3]))
        assert_close(policy_evaluation(MACHINE_P, MACHINE_R, best, 0.5), np.array([3.0, 1.0]))

    @pytest.mark.parametrize("gamma", [0.0, 0.4, 0.9])
    @pytest.mark.parametrize(("states", "actions"), [(4, 2), (3, 5), (1, 2)])
    def test_is_the_sum_of_all_discounted_rewards(self, states, actions, gamma):
        p, r = some(states, actions)
        policy = mixed(states, actions)
        chain = np.einsum("sa,sat->st", policy, p)
        reward, expected = (policy * r).sum(1), np.zeros(states)
        for k in range(400):
            expected += gamma**k * reward
            reward = chain @ reward
        assert_close(policy_evaluation(p, r, policy, gamma), expected)

    def test_exact_close_to_1(self):
        p, r = some(5, 3)
        policy = mixed(5, 3)
        found = policy_evaluation(p, r, policy, 0.9999)
        assert_close(found, solved(p, r, policy, 0.9999), rtol=1e-9, atol=1e-9)

    def test_an_episode_that_ends(self):
        p, r, _ = gridworld_of_three()
        assert_close(policy_evaluation(p, r, fixed([1, 1, 1], 4), 0.5), np.array([-1 + 0.5 * 8, 8, 0.0]))

    @pytest.mark.parametrize("gamma", GAMMAS)
    def test_refuses_other_gammas(self, gamma):
        with raises(ValueError, gamma):
            policy_evaluation(MACHINE_P, MACHINE_R, fixed([0, 0], 2), gamma)


def gridworld_of_three() -> tuple[np.ndarray, np.ndarray, None]:
    """Three cells in a row, the right one a goal that pays 8; a step costs 1."""
    p, r = np.zeros((3, 4, 3)), np.full((3, 4), -1.0)
    p[0, :, 0] = p[1, :, 1] = p[2, :, 2] = 1
    p[0, 1], p[1, 1], p[1, 3] = [0, 1, 0], [0, 0, 1], [1, 0, 0]
    r[1, 1], r[2] = 8.0, 0.0
    return p, r, None


class TestEvaluationBySweeps:
    @pytest.mark.parametrize("tol", [0.5, 1e-2, 1e-6])
    @pytest.mark.parametrize("gamma", [0.3, 0.9, 0.99])
    def test_is_as_close_as_promised(self, gamma, tol):
        for seed in range(2):
            p, r = some(5, 3, seed)
            policy = mixed(5, 3, seed)
            found = evaluation_by_sweeps(p, r, policy, gamma, tol)
            is_within(found, solved(p, r, policy, gamma), tol, f"With γ = {gamma} a value")

    def test_the_machine(self):
        assert_close(
            evaluation_by_sweeps(MACHINE_P, MACHINE_R, fixed([1, 0], 2), 0.5, 1e-10), np.array([3.0, 1.0]), atol=2e-10
        )
        assert_close(
            evaluation_by_sweeps(MACHINE_P, MACHINE_R, fixed([0, 0], 2), 0.5, 1e-10), np.array([2, 2 / 3]), atol=2e-10
        )

    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_one_state_that_pays_for_ever(self, sign):
        p, r = np.ones((1, 1, 1)), np.array([[sign]])
        is_within(evaluation_by_sweeps(p, r, np.ones((1, 1)), 0.99, 0.1), np.array([sign * 100]), 0.1, "The value")

    def test_states_that_learn_of_a_reward_late(self):
        """A chain with its only reward at the end: a sweep that changes nothing in most states isn't the last."""
        n = 12
        p, r = np.zeros((n, 1, n)), np.zeros((n, 1))
        p[np.arange(n), 0, np.minimum(np.arange(n) + 1, n - 1)] = 1
        r[n - 2] = 5.0
        expected = np.append(5.0 * 0.9 ** np.arange(n - 2, -1, -1), 0.0)
        is_within(evaluation_by_sweeps(p, r, np.ones((n, 1)), 0.9, 1e-8), expected, 1e-8, "A value")

    @pytest.mark.parametrize("gamma", [0.0, 0.5])
    def test_no_reward_no_value(self, gamma):
        p, _ = some(4, 2)
        assert_close(evaluation_by_sweeps(p, np.zeros((4, 2)), mixed(4, 2), gamma, 1e-6), np.zeros(4))

    @pytest.mark.parametrize("gamma", GAMMAS)
    def test_refuses_other_gammas(self, gamma):
        with raises(ValueError, gamma):
            evaluation_by_sweeps(MACHINE_P, MACHINE_R, fixed([0, 0], 2), gamma, 1e-3)


class TestValueIteration:
    def test_the_example_worked_by_hand(self):
        values, actions = value_iteration(MACHINE_P, MACHINE_R, 0.5, 1e-10)
        assert_close(values, np.array([3.0, 1.0]), atol=2e-10)
        assert_equal(np.asarray(actions).tolist(), [1, 0])

    @pytest.mark.parametrize("gamma", [0.0, 0.6, 0.9])
    @pytest.mark.parametrize(("states", "choices"), [(4, 3), (5, 2), (1, 3)])
    def test_no_policy_is_better(self, states, choices, gamma):
        p, r = some(states, choices)
        values, actions = value_iteration(p, r, gamma, 1e-6)
        best = best_of_all(p, r, gamma)
        is_within(values, best, 1e-6, "A value")
        is_within(solved(p, r, fixed(actions, choices), gamma), best, 1e-4, "What its policy is worth")

    @pytest.mark.parametrize(("gamma", "tol"), [(0.5, 0.5), (0.5, 1e-6), (0.97, 0.5), (0.97, 1e-2)])
    def test_is_as_close_as_promised(self, gamma, tol):
        for seed in range(2):
            p, r = some(3, 2, seed)
            values, actions = value_iteration(p, r, gamma, tol)
            is_within(values, best_of_all(p, r, gamma), tol, f"With γ = {gamma} a value")
            assert_equal((np.shape(actions), np.asarray(actions).dtype.kind), ((3,), "i"))

    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_one_state_that_pays_for_ever(self, sign):
        values, _ = value_iteration(np.ones((1, 2, 1)), np.array([[sign, sign - 1]]), 0.99, 0.1)
        is_within(values, np.array([sign * 100]), 0.1, "The value")

    @pytest.mark.parametrize("tol", [1000.0, 20.0, 2.0, 0.3])  # with the largest, one sweep may do
    def test_the_actions_are_greedy_for_the_values(self, tol):
        for seed in range(4):
            p, r = some(5, 4, seed)
            values, actions = value_iteration(p, r, 0.9, tol)
            q = r + 0.9 * np.einsum("sat,t->sa", p, values)
            assert_equal(np.asarray(actions).tolist(), q.argmax(1).tolist())

    def test_of_equal_actions_the_first(self):
        p, r = some(4, 2)
        _, actions = value_iteration(p[:, [0, 0, 0]], r[:, [0, 0, 0]], 0.8, 1e-6)
        assert_equal(np.asarray(actions).tolist(), [0] * 4)

    def test_all_rewards_negative(self):
        p, r, _ = gridworld_of_three()
        values, actions = value_iteration(p, r - np.array([[10.0], [10.0], [0.0]]), 0.5, 1e-9)
        assert_close(values, np.array([-12.0, -2.0, 0.0]), atol=2e-9)
        assert_equal(np.asarray(actions).tolist(), [1, 1, 0])

    @pytest.mark.parametrize("gamma", GAMMAS)
    def test_refuses_other_gammas(self, gamma):
        with raises(ValueError, gamma):
            value_iteration(MACHINE_P, MACHINE_R, gamma, 1e-3)


def rounds_by_hand(p, r, gamma, actions) -> tuple[np.ndarray, list[int], int]:
    """Policy iteration on an MDP without ties, in plain loops."""
    actions, count = list(actions), 0
    while True:
        count += 1
        values = solved(p, r, fixed(actions, r.shape[1]), gamma)
        changed = False
        for s in range(len(r)):
            q = [r[s, a] + gamma * p[s, a] @ values for a in range(r.shape[1])]
            if max(q) > q[actions[s]] + 1e-9:
                actions[s], changed = int(np.argmax(q)), True
        if not changed:
            return values, actions, count


class TestPolicyIteration:
    def test_the_example_worked_by_hand(self):
        values, actions, evaluated = policy_iteration(MACHINE_P, MACHINE_R, 0.5)
        assert_close(values, np.array([3.0, 1.0]))
        assert_equal((np.asarray(actions).tolist(), int(evaluated)), ([1, 0], 2))

    @pytest.mark.parametrize("gamma", [0.0, 0.6, 0.95])
    @pytest.mark.parametrize(("states", "choices"), [(4, 3), (5, 2), (1, 3)])
    def test_no_policy_is_better(self, states, choices, gamma):
        p, r = some(states, choices)
        values, actions, _ = policy_iteration(p, r, gamma)
        assert_close(values, best_of_all(p, r, gamma))
        assert_close(solved(p, r, fixed(actions, choices), gamma), values)

    @pytest.mark.parametrize("seed", range(4))
    def test_counts_the_policies(self, seed):
        p, r = some(9, 6, seed)
        start = np.random.default_rng(seed).integers(0, 6, size=9)
        values, actions, evaluated = policy_iteration(p, r, 0.9, start)
        wanted = rounds_by_hand(p, r, 0.9, start)
        assert_close(values, wanted[0])
        assert_equal((np.asarray(actions).tolist(), int(evaluated)), wanted[1:])

    def test_begins_with_action_0(self):
        p, r = some(9, 6, 11)
        assert_equal(int(policy_iteration(p, r, 0.9)[2]), rounds_by_hand(p, r, 0.9, [0] * 9)[2])

    def test_from_the_best_it_is_one(self):
        p, r = some(6, 4)
        _, actions, _ = policy_iteration(p, r, 0.8)
        start = np.array(actions)
        _, again, evaluated = policy_iteration(p, r, 0.8, start)
        assert_equal((np.asarray(again).tolist(), int(evaluated)), (start.tolist(), 1))

    def test_an_equal_action_is_no_reason_to_change(self):
        p, r = some(4, 2)
        p, r = p[:, [0, 0, 0]], r[:, [0, 0, 0]]
        start = np.array([2, 0, 1, 2])
        _, actions, evaluated = policy_iteration(p, r, 0.9, start)
        assert_equal((np.asarray(actions).tolist(), int(evaluated)), ([2, 0, 1, 2], 1))

    def test_nor_is_a_gain_below_a_billionth(self):
        p, r = np.ones((1, 2, 1)), np.array([[1.0, 1.0 + 5e-10]])
        assert_equal(np.asarray(policy_iteration(p, r, 0.5)[1]).tolist(), [0])
        assert_equal(np.asarray(policy_iteration(p, r + np.array([[0.0, 1e-8]]), 0.5)[1]).tolist(), [1])

    def test_only_states_with_a_gain_change(self):
        """State 1 is left on its second action, as good as its first; state 0 improves."""
        p, r = np.zeros((2, 3, 2)), np.array([[0.0, 0.5, 2.0], [1.0, 1.0, 0.0]])
        p[0, :, 0] = p[1, :, 1] = 1
        _, actions, evaluated = policy_iteration(p, r, 0.5, np.array([1, 1]))
        assert_equal((np.asarray(actions).tolist(), int(evaluated)), ([2, 1], 2))

    def test_many_ties_come_to_an_end(self):
        n = 6
        free = [(i, j) for i in range(n) for j in range(n)]
        p, r = np.zeros((n * n, 4, n * n)), np.zeros((n * n, 4))
        for s, (i, j) in enumerate(free):
            for a, (di, dj) in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)]):
                x, y = min(max(i + di, 0), n - 1), min(max(j + dj, 0), n - 1)
                p[s, a, s if s == n * n - 1 else x * n + y] = 1
                r[s, a] = -1.0 * (s != n * n - 1)
        values, _, _ = policy_iteration(p, r, 0.9)
        far = np.array([2 * (n - 1) - i - j for i, j in free])
        assert_close(values, -(1 - 0.9**far) / 0.1)

    def test_a_start_of_integers_of_any_width(self):
        start = np.array([1, 1], dtype=np.int32)
        _, actions, evaluated = policy_iteration(MACHINE_P, MACHINE_R, 0.5, start)
        assert_equal((np.asarray(actions).tolist(), int(evaluated)), ([1, 0], 2))

    def test_what_comes_out_isnt_the_start(self):
        start = np.array([1, 0])
        _, actions, _ = policy_iteration(MACHINE_P, MACHINE_R, 0.5, start)
        if np.shares_memory(np.asarray(actions), start):
            fail("The actions that come out share their memory with the start.", evidence="shared")

    @pytest.mark.parametrize("gamma", GAMMAS)
    def test_refuses_other_gammas(self, gamma):
        with raises(ValueError, gamma):
            policy_iteration(MACHINE_P, MACHINE_R, gamma)


class TestTogether:
    @pytest.mark.parametrize("gamma", [0.5, 0.95])
    @pytest.mark.parametrize("slip", [0.0, 0.2])
    def test_both_ways_agree_on_a_map(self, slip, gamma):
        p, r, _ = gridworld(["....+", ".##.-", "....."], {"+": 1.0, "-": -1.0}, slip, -0.04)
        by_values, _ = value_iteration(p, r, gamma, 1e-9)
        by_policies, actions, _ = policy_iteration(p, r, gamma)
        is_within(by_values, by_policies, 1e-8, "A value of value_iteration")
        assert_close(solved(p, r, fixed(actions, 4), gamma), by_policies)

    def test_any_small_mdp(self):
        """hypothesis looks for an MDP whose values break the Bellman equation, or aren't as close as promised."""
        from hypothesis import HealthCheck, Phase, given, seed, settings
        from hypothesis import strategies as st

        weights = st.lists(st.integers(0, 3), min_size=18, max_size=18)
        gains = st.lists(st.integers(-4, 4), min_size=6, max_size=6)

        @seed(1)
        @settings(
            max_examples=15,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(weights, gains, st.sampled_from([0.0, 0.5, 0.9]))
        def check(w, g, gamma):
            p = np.array(w, dtype=float).reshape(3, 2, 3)
            p[..., 1] += p.sum(-1) == 0
            p /= p.sum(-1, keepdims=True)
            r = np.array(g, dtype=float).reshape(3, 2)
            values, _, _ = policy_iteration(p, r, gamma)
            assert_close(values, (r + gamma * np.einsum("sat,t->sa", p, values)).max(1), rtol=1e-7, atol=1e-7)
            is_within(value_iteration(p, r, gamma, 1e-4)[0], values, 1e-4, "A value of value_iteration")

        check()
