"""Markov decision processes: the reference."""

from collections.abc import Mapping, Sequence

import numpy as np

Array = np.ndarray

_TIE = 1e-9


def gridworld(
    rows: Sequence[str], terminals: Mapping[str, float], slip: float = 0.0, step: float = 0.0
) -> tuple[Array, Array, list[tuple[int, int]]]:
    """The transitions and rewards of a map.

    rows       texts of equal length: "." is a free cell, "#" a wall, and each key of `terminals` (one
               character, neither of the two) a cell where the episode ends, with the reward for entering it
    slip       the share of moves that go astray, from 0 to 1: half of them to either side of where you aim
    step       the reward of every move that doesn't enter a terminal cell, one that bumps into something included

    - The states are the cells that are no walls, row by row, each row from the left.
    - The actions are 0 up, 1 right, 2 down, 3 left.  Up goes to the row before.
    - A move into a wall or off the map stays where it is.
    - In a terminal cell every action stays, with probability 1 and reward 0.

    Returns P (S, 4, S), R (S, 4), both float64, and the (row, column) of each state.  S may be 0.
    R is the expected reward, so a slip counts.
    Raises ValueError: naming the character, for one that is neither "." nor "#" nor in `terminals`; naming
    both lengths, if a row is not as long as the first; naming slip, if it isn't from 0 to 1.
    """
    if not 0 <= slip <= 1:
        raise ValueError(f"slip must be from 0 to 1, got {slip}")
    for row in rows:
        if len(row) != len(rows[0]):
            raise ValueError(f"a row has {len(row)} cells, but the first has {len(rows[0])}")
        for cell in row:
            if cell not in ".#" and cell not in terminals:
                raise ValueError(f"unknown cell {cell!r}; expected '.', '#' or one of {list(terminals)}")
    cells = [(i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell != "#"]
    number = {cell: s for s, cell in enumerate(cells)}
    moves = [(-1, 0), (0, 1), (1, 0), (0, -1)]
    transitions, rewards = np.zeros((len(cells), 4, len(cells))), np.zeros((len(cells), 4))
    for s, (i, j) in enumerate(cells):
        if rows[i][j] in terminals:
            transitions[s, :, s] = 1
            continue
        for action in range(4):
            # Neighbours in the list of moves are at right angles, and the list is a ring.
            for turn, share in ((0, 1 - slip), (1, slip / 2), (-1, slip / 2)):
                down, right = moves[(action + turn) % 4]
                end = number.get((i + down, j + right), s)
                # += as two of the three may end in the same cell, both stopped by walls for example.
                transitions[s, action, end] += share
                rewards[s, action] += share * terminals.get(rows[cells[end][0]][cells[end][1]], step)
    return transitions, rewards, cells


def action_values(transitions: Array, rewards: Array, values: Array, gamma: float) -> Array:
    """Q (S, A): the expected reward of action a in state s, plus γ times the expected value of what follows."""
    return rewards + gamma * (transitions @ values)


def greedy(q: Array) -> Array:
    """For each state the action with the greatest value in q (S, A).  Returns integers (S,).

    Actions within 1e-9 of the best count as equally good; of those it is the first.
    """
    return (q >= q.max(1, keepdims=True) - _TIE).argmax(1)


def induced(transitions: Array, rewards: Array, policy: Array) -> tuple[Array, Array]:
    """The chain that is left once `policy` decides: its transitions (S, S) and its rewards (S,).

    policy  (S, A): the probability of each action in each state; every row sums to 1
    """
    return np.einsum("sa,sat->st", policy, transitions), (policy * rewards).sum(1)


def policy_evaluation(transitions: Array, rewards: Array, policy: Array, gamma: float) -> Array:
    """The exact value (S,) of each state under `policy` (S, A), from one linear system.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    _check(gamma)
    chain, gain = induced(transitions, rewards, policy)
    return np.linalg.solve(np.eye(len(gain)) - gamma * chain, gain)


def evaluation_by_sweeps(transitions: Array, rewards: Array, policy: Array, gamma: float, tol: float) -> Array:
    """The value (S,) of each state under `policy` (S, A), by repeated sweeps: no linear system is solved.

    - No value that it returns is further than `tol` > 0 from the exact one, but for rounding.
    - Begins with 0 everywhere.  In place or not is open, and so is the number of sweeps.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    _check(gamma)
    chain, gain = induced(transitions, rewards, policy)
    values = np.zeros(len(gain))
    while True:
        swept = gain + gamma * (chain @ values)
        change = np.abs(swept - values).max()
        values = swept
        # All sweeps that are still to come can't add more than γ + γ² + … times this change.
        if change * gamma / (1 - gamma) <= tol:
            return values


def value_iteration(transitions: Array, rewards: Array, gamma: float, tol: float) -> tuple[Array, Array]:
    """The values (S,) of the best policy, and for each state its action (S,), integers.

    - No value is further than `tol` > 0 from the exact optimum, but for rounding.
    - Begins with 0 everywhere.  In place or not is open, and so is the number of sweeps.
    - The actions are greedy for the values that are returned, with greedy's rule for ties.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    _check(gamma)
    values = np.zeros(len(rewards))
    while True:
        best = action_values(transitions, rewards, values, gamma).max(1)
        change = np.abs(best - values).max()
        values = best
        if change * gamma / (1 - gamma) <= tol:
            return values, greedy(action_values(transitions, rewards, values, gamma))


def policy_iteration(
    transitions: Array, rewards: Array, gamma: float, start: Array | None = None
) -> tuple[Array, Array, int]:
    """Evaluate a policy exactly, improve it, and again, until nothing changes.

    start   the first policy: an action for each state, integers (S,); None means action 0 everywhere

    - A state changes its action only if another one is better by more than 1e-9.  Then it takes what
      `greedy` names.
    - It is over when no state changes its action.

    Returns the values (S,) and actions (S,) of the last policy, and how many policies were evaluated, the last
    included: 1 if the first was the best already.
    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    _check(gamma)
    states, choices = rewards.shape
    actions = np.zeros(states, dtype=int) if start is None else np.array(start)
    evaluated = 0
    while True:  # it ends: each policy is better than the last, and there are only so many
        evaluated += 1
        values = policy_evaluation(transitions, rewards, np.eye(choices)[actions], gamma)
        q = action_values(transitions, rewards, values, gamma)
        # Without a margin two equally good actions could take turns for ever, by rounding.
        better = q.max(1) > q[np.arange(states), actions] + _TIE
        if not better.any():
            return values, actions, evaluated
        actions = np.where(better, greedy(q), actions)


def _check(gamma: float) -> None:
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma must be at least 0 and below 1, got {gamma}")
