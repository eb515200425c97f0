"""Judges k18_advanced_rl by duality, games solved in closed form, logs of every move, long sums and all plans."""

import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k18_advanced_rl import (
    Option,
    Round,
    Stretch,
    minimax_q_step,
    option_model,
    plan_with_options,
    run_option,
    shapley_iteration,
    smdp_q_step,
    solve_game,
    stage_games,
    train_minimax_q,
)

pytestmark = [
    from_scratch("gymnasium", "nashpy"),
    pure("minimax_q_step", "train_minimax_q", "run_option", "smdp_q_step"),
    pytest.mark.deadline(60),  # a linear program takes milliseconds, on a busy machine many
]

DRAWN = np.array([[3.0, -1.0], [-2.0, 1.0]])
GAMMAS = [-0.1, 1.0, 1.5]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def is_within(found, exact, tol: float, what: str) -> None:
    assert_equal(np.shape(found), np.shape(exact))
    error = float(np.abs(np.asarray(found) - exact).max())
    if not error <= tol * (1 + 1e-6) + 1e-9:
        fail(f"{what} is {error:.3g} from the exact value somewhere; at most {tol:g} was promised.", evidence=found)


def small_value(game) -> float:
    """The value of a game in which one player has two choices at most: the highest point of the lowest lines."""
    m, n = game.shape
    if m > 2:
        return -small_value(-game.T)
    if m == 1:
        return float(game.min())
    corners = [0.0, 1.0]
    for i, j in itertools.combinations(range(n), 2):
        slope = (game[0, i] - game[1, i]) - (game[0, j] - game[1, j])
        if slope:
            corners.append((game[1, j] - game[1, i]) / slope)
    return float(max((x * game[0] + (1 - x) * game[1]).min() for x in corners if 0 <= x <= 1))


def value_by_the_columns(game) -> float:
    """The value as the player of the columns sees it: the least that she must give."""
    from scipy.optimize import linprog

    m, n = game.shape
    found = linprog(
        np.append(np.zeros(n), 1.0),
        A_ub=np.hstack([game, -np.ones((m, 1))]),
        b_ub=np.zeros(m),
        A_eq=[[1.0] * n + [0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * n + [(None, None)],
    )
    return float(found.fun)


def is_a_best_strategy(strategy, game, value: float, slack: float = 2e-6) -> None:
    assert_equal((np.shape(strategy), np.asarray(strategy).dtype.name), ((len(game),), "float64"))
    if not (np.min(strategy) >= -1e-9 and abs(np.sum(strategy) - 1) <= 1e-9):
        fail("The strategy isn't made of probabilities: 0 or more each, and a sum of 1.", evidence=strategy)
    least = float((strategy @ game).min())
    if not least >= value - slack:
        fail(f"Against the worst column the strategy earns {least:.6g}, but {value:.6g} is possible.", evidence=least)


class TestSolveGame:
    def test_the_example_worked_by_hand(self):
        value, strategy = solve_game(DRAWN)
        assert_close(value, 1 / 7, atol=1e-6)
        assert_close(strategy, np.array([3 / 7, 4 / 7]), atol=1e-5)

    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_a_game_that_is_won_or_lost_for_certain(self, sign):
        game = sign * np.array([[5.0, 7.5], [4.0, 9.0], [8.0, 6.0]])
        value, strategy = solve_game(game)
        assert_close(value, small_value(game), atol=1e-6)
        is_a_best_strategy(strategy, game, small_value(game))

    @pytest.mark.parametrize("shape", [(2, 2), (2, 5), (4, 2), (3, 3), (5, 4), (3, 6)])
    def test_no_column_does_better_against_it(self, shape):
        for seed in range(3):
            game = rng(seed).normal(size=shape) * 4 - 1
            value, strategy = solve_game(game)
            assert_close(value, value_by_the_columns(game), atol=2e-6)
            is_a_best_strategy(strategy, game, value_by_the_columns(game))

    def test_rock_paper_scissors_with_a_costly_rock(self):
        """Rock loses 2 to paper.  All columns earn the same at 1/4, 1/3, 5/12."""
        value, strategy = solve_game(np.array([[0.0, -2.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]))
        assert_close(value, -1 / 12, atol=1e-6)
        assert_close(strategy, np.array([1 / 4, 1 / 3, 5 / 12]), atol=1e-5)

    @pytest.mark.parametrize(("row", "column"), [(1, 0), (2, 1), (0, 2)])
    def test_a_saddle_point_needs_no_mixture(self, row, column):
        game = rng(4).uniform(-1, 1, size=(3, 3))
        game[row] = [2.0, 2.5, 3.0]
        game[:, column] = [-3.0, -4.0, -5.0]
        game[row, column] = 1.25
        value, strategy = solve_game(game)
        assert_close(value, 1.25, atol=1e-6)
        assert_close(strategy, np.eye(3)[row], atol=1e-5)

    @pytest.mark.parametrize("game", [[[2.0, -3.0, 0.5]], [[2.0], [-3.0], [0.5]], [[-4.5]]])
    def test_where_somebody_has_no_choice(self, game):
        value, strategy = solve_game(np.array(game))
        assert_close(value, small_value(np.array(game)), atol=1e-6)
        is_a_best_strategy(strategy, np.array(game), value)

    @pytest.mark.parametrize("constant", [-2.0, 0.0, 7.0])
    def test_where_all_payoffs_are_equal(self, constant):
        value, strategy = solve_game(np.full((3, 2), constant))
        assert_close(value, constant, atol=1e-6)
        is_a_best_strategy(strategy, np.full((3, 2), constant), constant)

    @pytest.mark.parametrize(("shift", "scale"), [(-700.0, 60.0), (900.0, 20.0), (0.0, 0.01)])
    def test_large_and_small_payoffs(self, shift, scale):
        game = rng(5).uniform(-1, 1, size=(4, 3)) * scale + shift
        value, strategy = solve_game(game)
        assert_close(value, value_by_the_columns(game), rtol=0, atol=2e-6)
        is_a_best_strategy(strategy, game, value)

    @pytest.mark.parametrize("gap", [0.005, 1e-4])
    def test_a_saddle_point_but_for_a_little(self, gap):
        """Near 1000 even 0.005 looks like nothing, and yet only a mixture earns the value."""
        game = 990 + gap * np.array([[2.0, 0.0], [0.0, 2.0], [-7.0, 1.0]])
        value, strategy = solve_game(game)
        assert_close(value, 990 + gap, rtol=0, atol=1e-6)
        is_a_best_strategy(strategy, game, value)

    def test_payoffs_may_be_ints(self):
        value, strategy = solve_game(DRAWN.astype(int))
        assert_close(value, 1 / 7, atol=1e-6)
        assert_close(strategy, np.array([3 / 7, 4 / 7]), atol=1e-5)

    def test_the_value_is_a_float(self):
        assert_equal(type(solve_game(DRAWN)[0]), float)

    @pytest.mark.parametrize("shape", [(4,), (0, 3), (3, 0), (2, 3, 5)])
    def test_refuses_what_is_no_matrix(self, shape):
        with raises(ValueError, shape):
            solve_game(np.ones(shape))


def some_game(states: int, actions: int, opponents: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A random Markov game; its last state is terminal."""
    g = rng(seed)
    p = g.dirichlet(np.full(states, 0.4), size=(states, actions, opponents))
    r = g.normal(size=(states, actions, opponents)) * 2
    if states > 1:
        p[-1], r[-1] = np.eye(states)[-1], 0
    return p, r


def games_by_hand(p, r, values, gamma) -> np.ndarray:
    games = np.zeros(r.shape)
    for place in np.ndindex(*r.shape):
        games[place] = r[place] + gamma * sum(p[place][t] * values[t] for t in range(len(values)))
    return games


def exact_values(p, r, gamma) -> np.ndarray:
    values = np.zeros(len(r))
    for _ in range(2000):
        swept = np.array([small_value(game) for game in r + gamma * (p @ values)])
        if np.abs(swept - values).max() < 1e-13:
            break
        values = swept
    return values


class TestStageGames:
    @pytest.mark.parametrize("gamma", [0.0, 0.3, 0.9])
    def test_reward_now_and_what_follows(self, gamma):
        p, r = some_game(4, 2, 3)
        values = rng(7).normal(size=4) * 3
        assert_close(stage_games(p, r, values, gamma), games_by_hand(p, r, values, gamma))


class TestShapleyIteration:
    def test_a_game_for_ever(self):
        values, strategies = shapley_iteration(np.ones((1, 2, 2, 1)), DRAWN[None], 0.5, 1e-5)
        is_within(values, np.array([2 / 7]), 1e-5, "The value")
        assert_close(strategies, np.array([[3 / 7, 4 / 7]]), atol=1e-5)

    @pytest.mark.parametrize(
        ("shape", "gamma"), [((3, 2, 3), 0.5), ((2, 4, 2), 0.3), ((3, 2, 2), 0.6), ((2, 2, 3), 0.0)]
    )
    def test_matches_games_in_closed_form(self, shape, gamma):
        p, r = some_game(*shape)
        values, strategies = shapley_iteration(p, r, gamma, 1e-3)
        is_within(values, exact_values(p, r, gamma), 1e-3, "A value")
        for strategy, game in zip(strategies, games_by_hand(p, r, values, gamma), strict=True):
            is_a_best_strategy(strategy, game, small_value(game))

    @pytest.mark.parametrize(("seed", "tol"), [(1, 2.0), (2, 0.4)])
    def test_the_strategies_belong_to_the_values(self, seed, tol):
        """With a large tol one sweep may do, and the games before and after it differ."""
        p, r = some_game(3, 2, 3, seed)
        values, strategies = shapley_iteration(p, r, 0.7, tol)
        for strategy, game in zip(strategies, games_by_hand(p, r, values, 0.7), strict=True):
            is_a_best_strategy(strategy, game, small_value(game))

    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_is_as_close_as_promised(self, sign):
        game = sign * np.array([[1.0, 1.5], [0.5, 0.2]]) + (sign - 1) * 0.25
        values, _ = shapley_iteration(np.ones((1, 2, 2, 1)), game[None], 0.9, 0.5)
        is_within(values, np.array([10 * small_value(game)]), 0.5, "The value")

    @pytest.mark.parametrize("tol", [0.01, 5.0])
    def test_begins_with_0(self, tol):
        """Where nothing pays, 0 is right from the start, and no sweep changes it."""
        p, r = some_game(3, 2, 3, 5)
        assert_close(shapley_iteration(p, 0 * r, 0.6, tol)[0], np.zeros(3), atol=1e-5)

    def test_with_an_opponent_who_has_no_choice_it_is_value_iteration(self):
        p, r = some_game(3, 3, 1, 3)
        best = np.full(3, -math.inf)
        for actions in itertools.product(range(3), repeat=3):
            chain = p[np.arange(3), actions, 0]
            best = np.maximum(best, np.linalg.solve(np.eye(3) - 0.5 * chain, r[np.arange(3), actions, 0]))
        is_within(shapley_iteration(p, r, 0.5, 1e-3)[0], best, 1e-3, "A value")

    def test_with_no_choice_of_your_own_the_opponent_minimises(self):
        p, r = some_game(2, 1, 3, 4)
        worst = np.full(2, math.inf)
        for actions in itertools.product(range(3), repeat=2):
            chain = p[np.arange(2), 0, actions]
            worst = np.minimum(worst, np.linalg.solve(np.eye(2) - 0.4 * chain, r[np.arange(2), 0, actions]))
        values, strategies = shapley_iteration(p, r, 0.4, 1e-4)
        is_within(values, worst, 1e-4, "A value")
        assert_close(strategies, np.ones((2, 1)))

    @pytest.mark.parametrize("gamma", GAMMAS)
    def test_refuses_other_gammas(self, gamma):
        with raises(ValueError, gamma):
            shapley_iteration(np.ones((1, 2, 2, 1)), DRAWN[None], gamma, 1e-3)


def table(seed: int = 0, shape=(4, 2, 3)) -> np.ndarray:
    return rng(seed).normal(size=shape) * 3


STEPS = [(0.5, 0.9), (0.1, 0.5), (1.0, 1.0), (0.3, 0.0)]


class TestMinimaxQStep:
    def test_the_example_worked_by_hand(self):
        q = np.stack([np.array([[0.5, 2.0], [1.0, -1.0]]), DRAWN])
        assert_close(minimax_q_step(q, Round(0, 0, 1, 1.0, 1, False), 0.5, 0.7), -0.9, atol=1e-6)
        assert_close(q, np.stack([np.array([[0.5, 1.55], [1.0, -1.0]]), DRAWN]), atol=1e-6)

    def test_terminated_the_reward_alone(self):
        q = np.stack([np.array([[0.5, 2.0], [1.0, -1.0]]), DRAWN])
        assert_close(minimax_q_step(q, Round(0, 0, 1, 1.0, 1, True), 0.5, 0.7), -1.0)
        assert_close(q, np.stack([np.array([[0.5, 1.5], [1.0, -1.0]]), DRAWN]))

    @pytest.mark.parametrize(("alpha", "gamma"), STEPS)
    def test_one_entry_moves_by_alpha(self, alpha, gamma):
        for seed in range(3):
            q = table(seed)
            expected = q.copy()
            error = -0.7 + gamma * small_value(q[2]) - q[1, 0, 2]
            expected[1, 0, 2] += alpha * error
            assert_close(minimax_q_step(q, Round(1, 0, 2, -0.7, 2, False), alpha, gamma), float(error), atol=3e-6)
            assert_close(q, expected, atol=3e-6)

    def test_back_to_the_same_state(self):
        q = table(5)
        expected = 0.4 + 0.5 * small_value(q[3]) - q[3, 1, 1]
        assert_close(minimax_q_step(q, Round(3, 1, 1, 0.4, 3, False), 1.0, 0.5), float(expected), atol=3e-6)

    def test_the_error_is_a_float(self):
        assert_equal(type(minimax_q_step(table(), Round(1, 0, 2, 1.0, 2, False), 0.5, 0.5)), float)
        assert_equal(type(minimax_q_step(table(), Round(1, 0, 2, 1.0, 2, True), 0.5, 0.5)), float)


class Duel:
    """A Markov game with an opponent who draws at random; every move is logged.

    starts  the states in which the episodes begin, one after the other, again and again
    limit   moves after which an episode is truncated, or terminated, if `ends`
    """

    def __init__(self, rewards, following, terminal=(), starts=(0,), limit=1000, seed=0, noise=0.0, ends=False):
        self.rewards, self.following, self.terminal = rewards, following, terminal
        self.starts, self.limit, self.noise, self.ends = starts, limit, noise, ends
        self.generator = rng(seed)
        self.log, self.over, self.resets = [], True, 0

    def reset(self):
        self.state, self.moves, self.over = self.starts[self.resets % len(self.starts)], 0, False
        self.resets += 1
        return self.state, {}

    def step(self, action):
        if self.over:
            fail("step() is called after the end of an episode; reset() comes first.", evidence="after the end")
        if action not in range(self.rewards.shape[1]):
            fail(f"The action is {action!r}, which is none.", evidence=("action", str(action)))
        before, opponent = self.state, int(self.generator.integers(self.rewards.shape[2]))
        place = (before, int(action), opponent)
        self.state = int(self.following[place])
        self.moves += 1
        reward = float(self.rewards[place] + self.noise * self.generator.normal())
        terminated = self.state in self.terminal or (self.ends and self.moves == self.limit)
        truncated = not terminated and self.moves == self.limit
        self.over = terminated or truncated
        self.log.append((*place, reward, self.state, terminated, truncated))
        return self.state, reward, terminated, truncated, {"opponent": opponent}


def replayed(log, shape, alpha, gamma) -> np.ndarray:
    q = np.zeros(shape)
    for s, a, b, r, t, terminated, _ in log:
        following = 0.0 if terminated else gamma * small_value(q[t])
        q[s, a, b] += alpha * (r + following - q[s, a, b])
    return q


def walk(states: int, actions: int, opponents: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rewards, and where each pair of actions leads."""
    g = rng(seed)
    shape = (states, actions, opponents)
    return g.normal(size=shape) * 2, g.integers(0, states, size=shape)


class TestTrainMinimaxQ:
    @pytest.mark.parametrize(("alpha", "gamma", "epsilon"), [(0.5, 0.9, 0.4), (0.8, 0.6, 1.0)])
    def test_the_log_of_moves_gives_the_table(self, alpha, gamma, epsilon):
        rewards, following = walk(4, 2, 3, 1)
        env = Duel(rewards, following, terminal=(3,), limit=20, noise=0.5)
        found = train_minimax_q(env, 4, 2, 3, 8, alpha, gamma, epsilon, rng(1))
        assert_close(found, replayed(env.log, (4, 2, 3), alpha, gamma), atol=1e-4)
        assert_equal((env.resets, env.over), (8, True))

    @pytest.mark.parametrize("limit", [1, 3])
    def test_truncated_isnt_terminated(self, limit):
        rewards, following = walk(3, 3, 2, 2)
        env = Duel(rewards, following, starts=(0, 1, 2), limit=limit, noise=0.3)
        found = train_minimax_q(env, 3, 3, 2, 36 // limit, 0.7, 0.8, 1.0, rng(2))
        assert_close(found, replayed(env.log, (3, 3, 2), 0.7, 0.8), atol=1e-4)
        assert_equal(env.resets, 36 // limit)

    def test_a_game_may_end_in_a_state_where_it_goes_on_at_other_times(self):
        rewards, following = walk(3, 3, 2, 6)
        env = Duel(rewards, following, limit=4, noise=0.3, ends=True)
        found = train_minimax_q(env, 3, 3, 2, 9, 0.7, 0.8, 1.0, rng(5))
        assert_close(found, replayed(env.log, (3, 3, 2), 0.7, 0.8), atol=1e-4)

    @pytest.mark.parametrize(("epsilon", "shares", "episodes"), [(0.0, (0.2, 0.8), 200), (1.0, (0.5, 0.5), 400)])
    def test_draws_from_the_mixture_of_its_state(self, epsilon, shares, episodes):
        """After a while both games are known; the best mixtures are 1/5, 4/5 and 4/5, 1/5."""
        rewards = np.array([[[-5.0, -1.0], [-1.0, -2.0]], [[-2.0, -1.75], [-1.0, -2.0]], [[0.0, 0.0], [0.0, 0.0]]])
        env = Duel(rewards, np.full((3, 2, 2), 2), terminal=(2,), starts=(0, 1))
        train_minimax_q(env, 3, 2, 2, episodes, 1.0, 0.5, epsilon, rng(3))
        for state, expected in enumerate(shares):
            taken = [move[1] == 0 for move in env.log[40:] if move[0] == state]
            share = sum(taken) / len(taken)
            if abs(share - expected) > 0.18:  # four standard deviations
                fail(
                    f"In state {state} action 0 is taken in {share:.2f} of the moves, expected {expected:.2f}.",
                    evidence=(state, round(share, 1)),
                )

    @pytest.mark.parametrize("seed", range(6))
    def test_what_a_move_taught_counts_at_once(self, seed):
        """Both actions lose, and values begin with 0: whichever came first, the other one is the better now."""
        env = Duel(np.full((1, 2, 1), -3.0), np.zeros((1, 2, 1), dtype=int), limit=2, seed=seed)
        train_minimax_q(env, 1, 2, 1, 1, 1.0, 0.0, 0.0, rng(seed))
        assert_equal(sorted(move[1] for move in env.log), [0, 1])

    def test_no_episode(self):
        assert_close(train_minimax_q(Duel(*walk(2, 2, 3)), 2, 2, 3, 0, 0.5, 0.5, 0.5, rng()), np.zeros((2, 2, 3)))

    def test_the_generator_decides(self):
        taken = []
        for seed in (1, 1, 2):
            env = Duel(*walk(3, 3, 2, 6), limit=12)
            train_minimax_q(env, 3, 3, 2, 1, 0.5, 0.5, 1.0, rng(seed))
            taken.append([move[1] for move in env.log])
        assert_equal(taken[0], taken[1])
        if taken[0] == taken[2]:
            fail("Two generators with different seeds give the same actions.", evidence="not the generator")

    def test_a_second_training_begins_anew(self):
        rewards, following = walk(3, 2, 3, 5)
        for _ in range(2):
            env = Duel(rewards, following, terminal=(2,), limit=6)
            found = train_minimax_q(env, 3, 2, 3, 3, 0.5, 0.5, 1.0, rng(4))
            assert_close(found, replayed(env.log, (3, 2, 3), 0.5, 0.5), atol=1e-4)

    @pytest.mark.learning
    @pytest.mark.parametrize("seed", range(3))
    def test_it_holds_out_against_the_worst_opponent(self, seed):
        """Against whoever foresees you, the mixtures are worth the game's values.  The greatest Q's action isn't."""
        rewards = np.stack([DRAWN, np.array([[-1.0, 2.0], [1.0, -2.0]])])
        following = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]])
        p = np.eye(2)[following]
        env = Duel(rewards, following, limit=120, seed=seed + 50)
        q = train_minimax_q(env, 2, 2, 2, 1, 1.0, 0.4, 1.0, rng(seed))
        exact = exact_values(p, rewards, 0.4)

        def worst(mixtures) -> np.ndarray:
            values = np.zeros(2)
            for _ in range(60):
                values = np.einsum("sa,sab->sb", mixtures, rewards + 0.4 * (p @ values)).min(1)
            return values

        held = worst(np.stack([solve_game(game)[1] for game in q]))
        greedy = worst(np.eye(2)[q.max(2).argmax(1)])
        if not (held >= exact - 0.15).all() or not (held > greedy + 0.5).all():
            fail(
                f"The worst opponent leaves it {held.round(2)} of {exact.round(2)}, and the greatest Q {greedy.round(2)}.",
                evidence=held.round(1),
            )


class Line:
    """States in a row; action 0 goes back, 1 on, 2 two on; a list of rewards comes one by one, again and again."""

    def __init__(self, state, n=7, rewards=(-1.0, -1.0, 4.0, 0.5), terminal=(), limit=1000):
        self.state, self.n, self.rewards, self.terminal, self.limit = state, n, rewards, terminal, limit
        self.taken, self.over = [], False

    def reset(self):
        fail("reset() is called; the env is in its state already.", evidence="reset")

    def step(self, action):
        if self.over:
            fail("step() is called after the option was over.", evidence="after the end")
        reward = self.rewards[len(self.taken) % len(self.rewards)]
        self.taken.append((self.state, int(action)))
        self.state = min(max(self.state + (-1, 1, 2)[int(action)], 0), self.n - 1)
        terminated = self.state in self.terminal
        truncated = len(self.taken) == self.limit
        self.over = terminated or truncated
        return self.state, reward, terminated, truncated, {}


def option(policy, stop, start=None) -> Option:
    stop = np.array(stop, dtype=float)
    return Option(np.ones(len(stop), bool) if start is None else np.array(start), np.array(policy), stop)


ON = option([1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0])


class TestRunOption:
    def test_the_example_worked_by_hand(self):
        env = Line(0)
        assert_close(tuple(run_option(env, 0, ON, 0.5, rng())), (0, -0.5, 3, 3, False, False))
        assert_equal(env.taken, [(0, 1), (1, 1), (2, 1)])

    @pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
    def test_later_rewards_count_less(self, gamma):
        found = run_option(Line(1, rewards=(2.0, 0.75)), 1, ON, gamma, rng())
        assert_close(tuple(found), (1, 2.0 + gamma * 0.75, 3, 2, False, False))

    def test_each_state_takes_its_own_action(self):
        env = Line(4)
        found = run_option(env, 4, option([2, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0]), 0.5, rng())
        assert_equal((env.taken, found.steps), ([(4, 0)], 1))
        env = Line(0)
        found = run_option(env, 0, option([2, 1, 1, 2, 0, 1, 0], [0, 0, 0, 0, 0, 1, 0]), 0.5, rng())
        assert_equal(env.taken, [(0, 2), (2, 1), (3, 2)])
        assert_close(tuple(found), (0, -0.5, 5, 3, False, False))

    def test_it_moves_once_at_least(self):
        found = run_option(Line(3, rewards=(1.5,)), 3, option([1] * 7, [0, 0, 0, 1, 1, 0, 0]), 0.5, rng())
        assert_close(tuple(found), (3, 1.5, 4, 1, False, False))

    def test_back_where_it_began_it_stops(self):
        found = run_option(Line(0, rewards=(1.5, 1.0)), 0, option([0] * 7, [1, 0, 0, 0, 0, 0, 0]), 0.5, rng())
        assert_close(tuple(found), (0, 1.5, 0, 1, False, False))

    @pytest.mark.parametrize(("terminal", "limit"), [((2,), 1000), ((), 2), ((2,), 2)])
    def test_the_end_of_the_episode_ends_it(self, terminal, limit):
        found = run_option(Line(0, terminal=terminal, limit=limit), 0, ON, 0.5, rng())
        assert_close(tuple(found), (0, -1.5, 2, 2, bool(terminal), limit == 2))

    def test_it_may_stop_where_it_may_not_start(self):
        start = [True, False, False, False, False, False, False]
        found = run_option(Line(0), 0, ON._replace(start=np.array(start)), 0.5, rng())
        assert_close(found.steps, 3)

    @pytest.mark.parametrize("stop", [0.3, 0.8])
    def test_how_often_it_stops(self, stop):
        n, always = 1500, option([0] * 7, [stop] + [1.0] * 6)
        g = rng(6)
        steps = [run_option(Line(0), 0, always, 0.5, g).steps for _ in range(n)]
        mean, once = float(np.mean(steps)), steps.count(1) / n
        if abs(mean - 1 / stop) > 0.3 or abs(once - stop) > 0.06:
            fail(
                f"With β = {stop} it makes {mean:.2f} moves on average, expected {1 / stop:.2f}; "
                f"it makes one in {once:.2f} of the cases, expected {stop}.",
                evidence=(round(mean), round(once, 1)),
            )

    def test_beta_is_that_of_the_state_where_it_arrives(self):
        g = rng(7)
        both = option([1] * 7, [0.9, 0.2, 0, 1, 0, 0, 0])
        ends = [run_option(Line(0), 0, both, 0.5, g).next_state for _ in range(600)]
        share = ends.count(1) / 600
        if abs(share - 0.2) > 0.08:
            fail(f"It stops in state 1 in {share:.2f} of the cases, expected 0.2.", evidence=round(share, 1))

    def test_the_generator_decides(self):
        half = option([0] * 7, [0.2] + [1.0] * 6)
        steps = [[run_option(Line(0), 0, half, 0.5, g).steps for _ in range(20)] for g in (rng(1), rng(1), rng(2))]
        assert_equal(steps[0], steps[1])
        if steps[0] == steps[2]:
            fail("Two generators with different seeds stop alike, 20 times.", evidence="not the generator")

    def test_types(self):
        found = run_option(Line(0, rewards=(np.float32(1.5), 2)), 0, ON, 1, rng())
        kinds = (type(found).__name__, type(found.reward), type(found.steps))
        assert_equal(kinds, ("Stretch", float, int))
        assert_equal((bool(found.terminated), bool(found.truncated)), (False, False))

    def test_refuses_a_state_where_it_may_not_start(self):
        env = Line(5)
        with raises(ValueError, 5):
            run_option(env, 5, ON._replace(start=np.array([True] * 5 + [False] * 2)), 0.5, rng())
        assert_equal(env.taken, [])


EVERY = np.ones((3, 2), dtype=bool)


class TestSmdpQStep:
    def test_the_example_worked_by_hand(self):
        q = np.array([[0.25, 1.5], [9.0, 7.0], [4.0, 3.0]])
        assert_close(smdp_q_step(q, 1, Stretch(0, -1.5, 2, 2, False, False), EVERY, 0.5, 0.5), -2.0)
        assert_close(q, np.array([[0.25, 0.5], [9.0, 7.0], [4.0, 3.0]]))

    @pytest.mark.parametrize("truncated", [False, True])
    def test_terminated_the_reward_alone(self, truncated):
        q, allowed = np.array([[0.25, 1.5], [9.0, 7.0], [4.0, 3.0]]), EVERY.copy()
        allowed[2] = False
        assert_close(smdp_q_step(q, 1, Stretch(0, -1.5, 2, 2, True, truncated), allowed, 0.5, 0.5), -3.0)
        assert_close(q, np.array([[0.25, 0.0], [9.0, 7.0], [4.0, 3.0]]))

    def test_truncated_had_a_future(self):
        q = np.array([[0.25, 1.5], [9.0, 7.0], [4.0, 3.0]])
        assert_close(smdp_q_step(q, 1, Stretch(0, -1.5, 2, 2, False, True), EVERY, 0.5, 0.5), -2.0)

    @pytest.mark.parametrize("steps", [1, 4])
    @pytest.mark.parametrize(("alpha", "gamma"), STEPS)
    def test_what_follows_counts_gamma_to_the_steps(self, alpha, gamma, steps):
        q = table(3, (5, 4))
        expected = q.copy()
        error = -0.7 + gamma**steps * q[1].max() - q[3, 2]
        expected[3, 2] += alpha * error
        found = smdp_q_step(q, 2, Stretch(3, -0.7, 1, steps, False, False), np.ones((5, 4), bool), alpha, gamma)
        assert_close(found, float(error))
        assert_close(q, expected)

    @pytest.mark.parametrize(("forbidden", "scale"), [(50.0, 1.0), (math.nan, 1.0), (0.0, 1e10)])
    def test_only_options_that_may_start_there(self, forbidden, scale):
        q = np.array([[0.5, 2.0, 1.0], [-3.0 * scale, forbidden, -4.0 * scale]])
        allowed = np.array([[True, True, True], [True, False, True]])
        assert_close(smdp_q_step(q, 2, Stretch(0, 1.0, 1, 2, False, False), allowed, 0.5, 0.5), -0.75 * scale)
        assert_close(q[0], np.array([0.5, 2.0, 1 - 0.375 * scale]))

    def test_back_to_the_same_state(self):
        q = np.array([[2.0, 5.0]])
        assert_close(smdp_q_step(q, 1, Stretch(0, 1.0, 0, 2, False, False), EVERY[:1], 0.5, 0.5), -2.75)

    def test_the_error_is_a_float(self):
        assert_equal(type(smdp_q_step(np.ones((3, 2)), 1, Stretch(0, 1.0, 2, 2, False, False), EVERY, 0.5, 0.5)), float)
        assert_equal(type(smdp_q_step(np.ones((3, 2)), 1, Stretch(0, 1.0, 2, 2, True, False), EVERY, 0.5, 0.5)), float)


def some(states: int, actions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A random MDP."""
    g = rng(seed)
    return g.dirichlet(np.full(states, 0.5), size=(states, actions)), g.normal(size=(states, actions)) * 2


def some_option(states: int, actions: int, seed: int = 0) -> Option:
    g = rng([seed, 5])
    stop = np.where(g.random(states) < 0.3, 1.0, g.random(states))
    return Option(np.ones(states, bool), g.integers(0, actions, size=states), stop)


def model_by_sums(p, r, one: Option, gamma) -> tuple[np.ndarray, np.ndarray]:
    """Move after move: where it still acts, what it got, and where it stopped."""
    n = len(r)
    gains, ends = np.zeros(n), np.zeros((n, n))
    for s in range(n):
        acting, weight = np.eye(n)[s], 1.0
        for _ in range(4000):
            gains[s] += weight * sum(acting[u] * r[u, one.policy[u]] for u in range(n))
            acting = sum(acting[u] * p[u, one.policy[u]] for u in range(n))
            weight *= gamma
            ends[s] += weight * acting * one.stop
            acting = acting * (1 - one.stop)
            if weight * acting.sum() < 1e-15:
                break
    return gains, ends


def line_model(n: int = 3, reward: float = -1.0) -> tuple[np.ndarray, np.ndarray]:
    """One action, which goes on; the last state is terminal."""
    p, r = np.zeros((n, 1, n)), np.full((n, 1), reward)
    for s in range(n):
        p[s, 0, min(s + 1, n - 1)] = 1
    r[-1] = 0
    return p, r


class TestOptionModel:
    def test_the_example_worked_by_hand(self):
        gains, ends = option_model(*line_model(), option([0, 0, 0], [0.0, 0.5, 1.0]), 0.5)
        assert_close(gains, np.array([-1.25, -1.0, 0.0]))
        assert_close(ends, np.array([[0, 0.25, 0.125], [0, 0, 0.5], [0, 0, 0.5]]))

    @pytest.mark.parametrize("gamma", [0.0, 0.4, 0.95])
    @pytest.mark.parametrize(("states", "actions"), [(4, 2), (3, 5), (1, 1)])
    def test_matches_long_sums(self, states, actions, gamma):
        p, r = some(states, actions)
        one = some_option(states, actions)
        assert_close(list(option_model(p, r, one, gamma)), list(model_by_sums(p, r, one, gamma)))

    @pytest.mark.parametrize("gamma", [0.3, 0.9])
    def test_an_option_of_one_move(self, gamma):
        p, r = some(4, 3, 2)
        gains, ends = option_model(p, r, option([2, 0, 1, 2], [1, 1, 1, 1]), gamma)
        assert_close(gains, r[np.arange(4), [2, 0, 1, 2]])
        assert_close(ends, gamma * p[np.arange(4), [2, 0, 1, 2]])

    def test_an_option_that_never_stops(self):
        p, r = some(4, 3, 3)
        gains, ends = option_model(p, r, option([2, 0, 1, 2], [0, 0, 0, 0]), 0.99)
        chain, gain = p[np.arange(4), [2, 0, 1, 2]], r[np.arange(4), [2, 0, 1, 2]]
        assert_close(gains, np.linalg.solve(np.eye(4) - 0.99 * chain, gain))
        assert_close(ends, np.zeros((4, 4)))

    def test_where_it_may_start_changes_nothing(self):
        p, r = some(4, 2, 4)
        one = some_option(4, 2, 4)
        found = option_model(p, r, one._replace(start=np.array([True, False, False, True])), 0.7)
        assert_close(list(found), list(model_by_sums(p, r, one, 0.7)))

    def test_foretells_what_run_option_brings(self):
        """On a line where nothing but β is left to chance; six standard deviations are allowed."""
        one, gamma, n = option([0, 0, 0, 0, 0], [0, 0.3, 0.5, 0, 1.0]), 0.8, 1500
        gains, ends = option_model(*line_model(5), one, gamma)
        g = rng(8)
        runs = [
            run_option(Line(0, rewards=(-1.0,)), 0, one._replace(policy=np.ones(5, int)), gamma, g) for _ in range(n)
        ]
        shares = np.zeros(5)
        for run in runs:
            shares[run.next_state] += gamma**run.steps / n
        if abs(np.mean([run.reward for run in runs]) - gains[0]) > 0.15 or np.abs(shares - ends[0]).max() > 0.07:
            fail(f"It ends with weights {shares.round(2)}, but its model says {ends[0].round(2)}.", evidence=ends[0])

    @pytest.mark.parametrize("gamma", GAMMAS)
    def test_refuses_other_gammas(self, gamma):
        with raises(ValueError, gamma):
            option_model(*line_model(), option([0, 0, 0], [0.0, 0.5, 1.0]), gamma)


def single(action: int, states: int) -> Option:
    """A single action as an option."""
    return option([action] * states, [1] * states)


def best_plan(p, r, options, gamma) -> np.ndarray:
    """The best values over every assignment of options to states."""
    n = len(r)
    models = [model_by_sums(p, r, one, gamma) for one in options]
    choices = [[k for k, one in enumerate(options) if one.start[s]] for s in range(n)]
    best = np.full(n, -math.inf)
    for plan in itertools.product(*choices):
        gains = np.array([models[k][0][s] for s, k in enumerate(plan)])
        ends = np.array([models[k][1][s] for s, k in enumerate(plan)])
        best = np.maximum(best, np.linalg.solve(np.eye(n) - ends, gains))
    return best


def are_best_choices(chosen, models) -> None:
    """Each state's choice is the first of its best.  Near a difference of 1e-9 rounding decides, so both are right."""
    models = np.array(models).T
    assert_equal((np.shape(chosen), np.asarray(chosen).dtype.kind), ((len(models),), "i"))
    for s, k in enumerate(np.asarray(chosen).tolist()):
        gap = models[s].max() - models[s]
        first = [int((gap <= slack).argmax()) for slack in (0.9e-9, 1.1e-9)]
        if not first[1] <= k <= first[0] or gap[k] > 1.1e-9:
            fail(f"In state {s} option {k} is chosen, but option {first[0]} is the first of the best.", evidence=(s, k))


class TestPlanWithOptions:
    def test_a_way_around(self):
        """0 ─▶ 1 ─▶ 2 costs 1 a move; or an option pays 2 later: from 0 it goes to the end, where it gets 5."""
        p, r = np.zeros((3, 2, 3)), np.array([[-1.0, -2.0], [-1.0, 5.0], [0.0, 0.0]])
        p[0, :, 1] = p[1, :, 2] = p[2, :, 2] = 1
        options = [single(0, 3), option([1, 1, 1], [0, 0, 1])]
        values, chosen = plan_with_options(p, r, options, 0.5, 1e-9)
        assert_close(values, np.array([1.5, 5.0, 0.0]), atol=1e-8)
        assert_equal(np.asarray(chosen).tolist(), [0, 1, 0])

    @pytest.mark.parametrize("gamma", [0.0, 0.6, 0.9])
    @pytest.mark.parametrize(("states", "actions"), [(4, 2), (3, 3)])
    def test_no_plan_is_better(self, states, actions, gamma):
        p, r = some(states, actions, 6)
        options = [some_option(states, actions, seed) for seed in range(3)]
        values, chosen = plan_with_options(p, r, options, gamma, 1e-7)
        is_within(values, best_plan(p, r, options, gamma), 1e-7, "A value")
        are_best_choices(chosen, [option_by_sums(p, r, one, gamma, values) for one in options])

    @pytest.mark.parametrize("gamma", [0.5, 0.9])
    def test_only_where_they_may_start(self, gamma):
        p, r = some(4, 2, 7)
        starts = [[True, False, True, False], [False, True, False, True], [True, True, False, False]]
        options = [some_option(4, 2, k)._replace(start=np.array(start)) for k, start in enumerate(starts)]
        options[2] = options[2]._replace(stop=options[2].stop * 0.5)
        values, chosen = plan_with_options(p, r - 3, options, gamma, 1e-7)
        is_within(values, best_plan(p, r - 3, options, gamma), 1e-7, "A value")
        assert_equal([starts[k][s] for s, k in enumerate(np.asarray(chosen).tolist())], [True] * 4)

    @pytest.mark.parametrize("tol", [20.0, 2.0, 0.3])
    def test_what_is_chosen_belongs_to_the_values(self, tol):
        for seed in range(4):
            p, r = some(5, 4, seed)
            options = [single(a, 5) for a in range(4)] + [some_option(5, 4, seed)]
            values, chosen = plan_with_options(p, r, options, 0.9, tol)
            are_best_choices(chosen, [option_by_sums(p, r, one, 0.9, values) for one in options])

    @pytest.mark.parametrize(("gamma", "tol"), [(0.5, 0.5), (0.97, 0.5), (0.97, 1e-2)])
    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_is_as_close_as_promised(self, gamma, tol, sign):
        values, _ = plan_with_options(np.ones((1, 1, 1)), np.array([[sign]]), [single(0, 1)], gamma, tol)
        is_within(values, np.array([sign / (1 - gamma)]), tol, "The value")

    def test_single_actions_alone_are_value_iteration(self):
        p, r = some(4, 3, 8)
        values, chosen = plan_with_options(p, r, [single(a, 4) for a in range(3)], 0.8, 1e-8)
        best = values_of_all(p, r, 0.8)
        is_within(values, best, 1e-8, "A value")
        assert_equal(np.asarray(chosen).tolist(), (r + 0.8 * (p @ best)).argmax(1).tolist())

    def test_of_equal_options_the_first_that_may_start(self):
        p, r = some(3, 2, 9)
        never = single(0, 3)._replace(start=np.array([False, True, False]))
        _, chosen = plan_with_options(p[:, [0, 0]], r[:, [0, 0]], [never, single(1, 3), single(0, 3)], 0.7, 1e-6)
        assert_equal(np.asarray(chosen).tolist(), [1, 0, 1])

    @pytest.mark.parametrize(("gap", "expected"), [(5e-10, 1), (1.5e-9, 2), (1e-8, 2)])
    def test_within_a_billionth_is_equal(self, gap, expected):
        p, r = np.ones((1, 3, 1)), np.array([[1.0, 1.0 + gap, 0.0]])
        options = [single(2, 1), single(0, 1), single(1, 1)]
        assert_equal(np.asarray(plan_with_options(p, r, options, 0.5, 1e-6)[1]).tolist(), [expected])

    @pytest.mark.parametrize("tol", [0.01, 5.0])
    def test_begins_with_0(self, tol):
        """Where nothing pays, 0 is right from the start, and no sweep changes it."""
        p, r = some(4, 2, 11)
        options = [single(0, 4), some_option(4, 2)]
        assert_close(plan_with_options(p, 0 * r, options, 0.6, tol)[0], np.zeros(4))

    def test_numbers_of_options_come_out(self):
        _, chosen = plan_with_options(*some(4, 2), [single(0, 4)], 0.5, 0.1)
        assert_equal((np.shape(chosen), np.asarray(chosen).dtype.kind), ((4,), "i"))

    @pytest.mark.parametrize("state", [2, 3])
    def test_refuses_a_state_without_an_option(self, state):
        start = np.arange(6) < state
        start[5] = True
        options = [single(0, 6)._replace(start=start), single(1, 6)._replace(start=start & (np.arange(6) > 0))]
        with raises(ValueError, state):
            plan_with_options(*some(6, 2), options, 0.5, 0.1)

    @pytest.mark.parametrize("gamma", GAMMAS)
    def test_refuses_other_gammas(self, gamma):
        with raises(ValueError, gamma):
            plan_with_options(*some(3, 2), [single(0, 3)], gamma, 0.1)


def option_by_sums(p, r, one, gamma, values) -> np.ndarray:
    gains, ends = model_by_sums(p, r, one, gamma)
    return gains + ends @ values


def values_of_all(p, r, gamma) -> np.ndarray:
    """The best value of each state over every policy of single actions."""
    n, choices = r.shape
    best = np.full(n, -math.inf)
    for actions in itertools.product(range(choices), repeat=n):
        chain, gain = p[np.arange(n), actions], r[np.arange(n), actions]
        best = np.maximum(best, np.linalg.solve(np.eye(n) - gamma * chain, gain))
    return best


class TestTogether:
    @pytest.mark.parametrize("gamma", [0.5, 0.9])
    def test_learning_comes_to_what_planning_says(self, gamma):
        """Nothing is left to chance, so with α = 1 the table becomes that of the plan.  Truncation doesn't matter."""
        n = 7
        rewards = -0.5 - 0.25 * np.arange(n)
        p, r = np.zeros((n, 3, n)), np.repeat(rewards[:, None], 3, axis=1)
        for s, a in itertools.product(range(n - 1), range(3)):
            p[s, a, min(max(s + (-1, 1, 2)[a], 0), n - 1)] = 1
        p[n - 1, :, n - 1], r[n - 1] = 1, 0

        class Priced(Line):
            def step(self, action):
                paid = rewards[self.state]
                state, _, *ends = super().step(action)
                return state, float(paid), *ends

        options = [single(0, n), single(1, n), option([1] * n, [0, 0, 0, 1, 0, 0, 0]), option([2] * n, [0] * 6 + [1])]
        options[3] = options[3]._replace(start=np.array([False, True, False, True, True, False, False]))
        allowed = np.stack([one.start for one in options], axis=1)
        q, g = np.zeros((n, 4)), rng(9)
        for limit in [1000, 2, *[1000] * 160]:
            for s, k in itertools.product(range(n - 1), range(4)):
                if allowed[s, k]:
                    stretch = run_option(Priced(s, n, terminal=(n - 1,), limit=limit), s, options[k], gamma, g)
                    smdp_q_step(q, k, stretch, allowed, 1.0, gamma)
        values, chosen = plan_with_options(p, r, options, gamma, 1e-8)
        learned = np.where(allowed, q, -math.inf)[:-1]
        assert_close(learned.max(1), values[:-1], atol=1e-6)
        assert_equal(
            (learned >= learned.max(1, keepdims=True) - 1e-6)[np.arange(n - 1), np.asarray(chosen)[:-1]].all(), True
        )

    def test_more_options_are_never_worse(self):
        p, r = some(5, 2, 10)
        options = [single(0, 5), some_option(5, 2, 1), some_option(5, 2, 2)]
        few, _ = plan_with_options(p, r, options[:2], 0.8, 1e-8)
        more, _ = plan_with_options(p, r, options, 0.8, 1e-8)
        assert_equal(bool((more >= few - 1e-7).all()), True)
