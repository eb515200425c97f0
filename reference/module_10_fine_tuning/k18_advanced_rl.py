"""Advanced reinforcement learning, games and options: the reference."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linprog

Array = np.ndarray

_TIE = 1e-9


class Round(NamedTuple):
    """One move of a Markov game, given: both act at once.  `reward` is yours; `terminated` says if the game ended."""

    state: int
    action: int
    opponent: int
    reward: float
    next_state: int
    terminated: bool


class Option(NamedTuple):
    """A part of a plan, given.

    start   (S,), bool: whether the option may start in a state
    policy  (S,), ints: the action that it takes in each state
    stop    (S,), floats from 0 to 1: the probability β that it stops when it arrives in a state
    """

    start: Array
    policy: Array
    stop: Array


class Stretch(NamedTuple):
    """What an option did, given.

    reward                 the discounted sum of its rewards, a float
    steps                  how many moves it made, an int
    terminated, truncated  bools: whether the episode ended with its last move, and how
    """

    state: int
    reward: float
    next_state: int
    steps: int
    terminated: bool
    truncated: bool


def solve_game(payoff: Array) -> tuple[float, Array]:
    """The value of a matrix game for the player who chooses the row, and a best mixed strategy (m,) of hers.

    payoff  (m, n), floats or ints, at most 1000 in size: what she gets, and what the other player loses

    - The value is a Python float, right to 1e-6.
    - The strategy holds probabilities, float64.  None is below 0, and they sum to 1, both up to 1e-9.
    - Against every column it earns the value at least, up to 1e-6.  Where several do, any of them may come out.
    - Linear programming is one way.  The method is yours to choose.

    Raises ValueError, naming the shape, if payoff hasn't two axes, or has no entry.
    """
    if payoff.ndim != 2 or not payoff.size:
        raise ValueError(f"payoff must have rows and columns, got the shape {payoff.shape}")
    m, n = payoff.shape
    # The variables are x[0] … x[m-1] and v.  linprog minimises, so it gets -v.
    cost = -np.eye(m + 1)[m]
    # v - Σ_a x[a] M[a, b] ≤ 0 for each column b
    at_most = np.hstack([-payoff.T, np.ones((n, 1))])
    total = np.append(np.ones(m), 0.0)[None]
    bounds = [(0, None)] * m + [(None, None)]  # v may be below 0, which isn't linprog's default
    found = linprog(cost, A_ub=at_most, b_ub=np.zeros(n), A_eq=total, b_eq=[1.0], bounds=bounds)
    strategy = np.clip(found.x[:m], 0, None)
    return float(found.x[m]), strategy / strategy.sum()


def stage_games(transitions: Array, rewards: Array, values: Array, gamma: float) -> Array:
    """The matrix games (S, A, B) of all states, where what follows is worth `values` (S,)."""
    return rewards + gamma * (transitions @ values)


def shapley_iteration(transitions: Array, rewards: Array, gamma: float, tol: float) -> tuple[Array, Array]:
    """The values (S,) of a Markov game for the player of the rows, and for each state her mixed strategy (S, A).

    - No value is further than `tol` from the exact one.  tol is at least 1e-5.
    - Begins with 0 everywhere.  In place or not is open, and so is the number of sweeps.
    - Each strategy is a best one, as solve_game has it, in the stage game with the values that are returned.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    _check(gamma)
    values = np.zeros(len(rewards))
    while True:
        games = stage_games(transitions, rewards, values, gamma)
        swept = np.array([solve_game(game)[0] for game in games])
        change = np.abs(swept - values).max()
        values = swept
        # The value of a game moves no further than its entries do, so a sweep shrinks errors by γ, as in an MDP.
        if change * gamma / (1 - gamma) <= tol:
            break
    games = stage_games(transitions, rewards, values, gamma)
    return values, np.array([solve_game(game)[1] for game in games])


def minimax_q_step(q: Array, move: Round, alpha: float, gamma: float) -> float:
    """Move q[state, action, opponent] by the share `alpha` towards the target of minimax-Q.

    - q (S, A, B) is changed in place, in this one entry.
    - The target is reward + γ · (the value of the game q[next_state]), or the reward alone if it terminated.

    Returns the error, a Python float: the target minus the entry as it was before.
    """
    following = 0.0 if move.terminated else solve_game(q[move.next_state])[0]
    place = (move.state, move.action, move.opponent)
    error = move.reward + gamma * following - q[place]
    q[place] += alpha * error
    return float(error)


def train_minimax_q(
    env: Any,
    states: int,
    actions: int,
    opponent_actions: int,
    episodes: int,
    alpha: float,
    gamma: float,
    epsilon: float,
    generator: np.random.Generator,
) -> Array:
    """Play `episodes` episodes and learn on the way.  Returns q (states, actions, opponent_actions), float64.

    env  as gymnasium has it: reset() gives (state, info); step(action) gives (next_state, reward, terminated,
         truncated, info).  Here info["opponent"] is the action that the opponent took in the same move

    - All values begin with 0.
    - With probability `epsilon` your action is any, each as probable as the others.  Else it is drawn from a
      best mixed strategy in q[state].
    - After each move comes one minimax_q_step, and then the next action is chosen.
    - An episode is over when the move terminated or was truncated.  Only where it terminated is the target the
      reward alone.
    """
    q = np.zeros((states, actions, opponent_actions))
    for _ in range(episodes):
        state, _ = env.reset()
        over = False
        while not over:
            if generator.random() < epsilon:
                action = generator.integers(actions)
            else:
                strategy = solve_game(q[state])[1]
                action = generator.choice(actions, p=strategy)
            next_state, reward, terminated, truncated, info = env.step(action)
            # Only a true end cuts off the future; the clock doesn't.
            minimax_q_step(q, Round(state, action, info["opponent"], reward, next_state, terminated), alpha, gamma)
            state, over = next_state, terminated or truncated
    return q


def run_option(env: Any, state: int, option: Option, gamma: float, generator: np.random.Generator) -> Stretch:
    """Let an option act until it is over.  The env is in `state` already; reset() isn't called.

    env  as gymnasium has it: step(action) gives (next_state, reward, terminated, truncated, info)

    - It makes one move at least: β of the state where it starts isn't looked at.
    - It is over when the episode ends, either way.  Else it stops with probability β of the state where it
      arrived.  β = 1 always stops, β = 0 never does.

    Raises ValueError, naming the state, if the option may not start there.  Then the env isn't touched.
    """
    if not option.start[state]:
        raise ValueError(f"the option may not start in state {state}")
    here, total, steps = state, 0.0, 0
    while True:
        here, reward, terminated, truncated, _ = env.step(option.policy[here])
        total += gamma**steps * reward
        steps += 1
        # random() is below 1, so β = 1 always stops and β = 0 never does.
        if terminated or truncated or generator.random() < option.stop[here]:
            return Stretch(state, float(total), here, steps, terminated, truncated)


def smdp_q_step(q: Array, option: int, stretch: Stretch, allowed: Array, alpha: float, gamma: float) -> float:
    """Move q[stretch.state, option] by the share `alpha` towards the target of SMDP Q-learning.

    q        (S, O): the values of the options.  Changed in place, in this one entry
    option   the number of the option that acted
    allowed  (S, O), bool: which option may start where.  Only these count in the next state

    - Where the stretch terminated, the target is its reward alone.  A truncated one had a future.
    - If it didn't terminate, one option at least may start in the next state.

    Returns the error, a Python float: the target minus the entry as it was before.
    """
    following = 0.0 if stretch.terminated else q[stretch.next_state][allowed[stretch.next_state]].max()
    error = stretch.reward + gamma**stretch.steps * following - q[stretch.state, option]
    q[stretch.state, option] += alpha * error
    return float(error)


def option_model(transitions: Array, rewards: Array, option: Option, gamma: float) -> tuple[Array, Array]:
    """What an option brings: R_o (S,) and P_o (S, S), as in the lesson, exact but for rounding.

    transitions (S, A, S) and rewards (S, A) are those of the single actions.  R_o[s] and P_o[s] are for an option
    that begins in s, whether it may start there or not.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    _check(gamma)
    every = np.arange(len(rewards))
    chain, gain = transitions[every, option.policy], rewards[every, option.policy]
    # One move, and then the same again from where it didn't stop.
    system = np.eye(len(gain)) - gamma * chain * (1 - option.stop)
    return np.linalg.solve(system, gain), np.linalg.solve(system, gamma * chain * option.stop)


def plan_with_options(
    transitions: Array, rewards: Array, options: Sequence[Option], gamma: float, tol: float
) -> tuple[Array, Array]:
    """The best values (S,) for somebody who only chooses among options, and the number of a best option (S,), ints.

    - No value is further than `tol` > 0 from the exact optimum, but for rounding.
    - Begins with 0 everywhere.  In place or not is open, and so is the number of sweeps.
    - Only options that may start in a state count there.
    - The options that come out are the best for the values that are returned.  Those within 1e-9 of the best
      count as equally good; of these it is the first.

    Raises ValueError: naming gamma, unless 0 ≤ gamma < 1; naming the first such state, if there is one where
    no option may start.
    """
    _check(gamma)
    allowed = np.stack([option.start for option in options], axis=1)
    if not allowed.any(1).all():
        raise ValueError(f"no option may start in state {allowed.any(1).argmin()}")
    models = [option_model(transitions, rewards, option, gamma) for option in options]
    gains, chains = map(np.stack, zip(*models, strict=True))

    def option_values(values: Array) -> Array:
        # No γ: it is in the chains already.
        return np.where(allowed, (gains + chains @ values).T, -np.inf)

    values = np.zeros(len(rewards))
    while True:
        swept = option_values(values).max(1)
        change = np.abs(swept - values).max()
        values = swept
        # An option makes one move at least, so the rows of its chain sum to γ at most.
        if change * gamma / (1 - gamma) <= tol:
            break
    q = option_values(values)
    return values, (q >= q.max(1, keepdims=True) - _TIE).argmax(1)


def _check(gamma: float) -> None:
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma must be from 0 to below 1, got {gamma}")
