"""Markov decision processes: gridworld, evaluation, value iteration, policy iteration

**Before you start.**  You need expectations, matrix products and linear systems in NumPy; no
other kata.  If Markov chains are new: Sutton and Barto, "Reinforcement Learning", chapter 3 (free
online).

**The idea.**  Many decisions pay off late: a move in a game, a treatment, the next word of an
answer. A Markov decision process (MDP) is the standard model for them.  You are in a state,
choose an action, get a reward, and land in a next state by chance.  What comes next depends on
state and action alone. The *value* of a state is the reward that you can expect from there on,
where later rewards count less.  Values obey an equation, the Bellman equation, so you can compute
them.  Here you know all probabilities.  The next kata learns the same values from experience.

**The formulas.**  s is a state, a an action, s' the next state.  P[s, a, s'] is the probability
to land in s'.  R[s, a] is the expected reward.  γ (gamma), from 0 to below 1, is the discount: a
reward that comes k moves later counts γᵏ.  A policy π[s, a] says how probable each action is.

    value of an action   Q[s, a] = R[s, a] + γ Σ_s' P[s, a, s'] V[s']
    under a policy       P_π[s, s'] = Σ_a π[s, a] P[s, a, s'],      r_π[s] = Σ_a π[s, a] R[s, a]
    its value            V = r_π + γ P_π V,      so      (I - γ P_π) V = r_π
    the best value       V*[s] = max_a Q*[s, a]

There are two ways to solve these.  A *sweep* puts the old V on the right and takes the left as
the new one.  *Policy iteration* solves the linear system for a policy, takes the best action in
every state, and repeats.

**A drawing**

    rows = ["..+",    the states     aim up, slip 0.2      policy iteration
            ".#-"]    0  1  2
                      3  ▒  4             0.8            policy ─evaluate─▶ V
       0 up           + and - end          ▲                ▲               │
    3 ◀─┼─▶ 1         the episode   0.1 ◀──┼──▶ 0.1         └────improve────┘
       2 down         ▒ is a wall                           until none changes

**Why is a sweep enough?**  A sweep multiplies every error by γ at most, so errors die out.  You
can even say when to stop.  If the last sweep changed V by at most c, all later sweeps together
change it by at most γ c + γ² c + … = c · γ / (1 - γ).  With γ = 0.99 that is 99 times c!
Stopping as soon as c ≤ tol would leave an error far above tol.

**Why does policy iteration end?**  Each new policy is at least as good in every state, and better
in one.  There are finitely many policies, so none comes twice.  But rounding can make one of two
equal actions look better by 1e-16, now this one, now the other.  So a state changes its action
only for a real gain, more than 1e-9.

**Why must a terminal cell pay nothing?**  The reward belongs to the move that enters.  If staying
there paid too, the reward would come again and again: 1 + γ + γ² + …

**Worked by hand.**  A machine is cool (state 0) or hot (1).  Actions: 0 slow, 1 fast.  γ = 0.5.

    P[0] = [[1, 0], [0.5, 0.5]]     R[0] = [1, 2]       fast pays 2, and may heat up
    P[1] = [[0.5, 0.5], [0, 1]]     R[1] = [0, -1]      when hot, fast pays -1 and stays hot

    always slow:   V0 = 1 + 0.5 V0 = 2          V1 = 0 + 0.25 V0 + 0.25 V1 = 2/3
    its actions:   Q[0] = [2, 2 + 0.5 + 1/6 = 2.667]       Q[1] = [2/3, -1 + 1/3 = -0.667]
    so: fast when cool, slow when hot
                   V0 = 2 + 0.25 V0 + 0.25 V1,  V1 = 0.25 V0 + 0.25 V1      V = [3, 1]
    its actions:   Q[0] = [2.5, 3]    Q[1] = [1, -0.5]     nothing changes: 2 policies evaluated

**Shapes**: S states, A actions, both at least 1 where nothing else is said.  P is (S, A, S) and R
is (S, A), float64 NumPy arrays; every row P[s, a] sums to 1.  Values that come out are float64
arrays (S,).  No function changes its arguments.

**Steps.**

    gridworld             20 min   two slips may end in the same cell
    action_values          4 min   one line
    greedy                 5 min   ties
    induced                6 min   mix over actions, never over states
    policy_evaluation      6 min   one linear system
    evaluation_by_sweeps   9 min   when is it close enough?
    value_iteration        9 min   the same with a max
    policy_iteration      14 min   change only for a real gain

Sources: Sutton and Barto 2018, "Reinforcement Learning", chapters 3 and 4; Puterman 1994, "Markov
Decision Processes", chapter 6 (stopping rules); Howard 1960, "Dynamic Programming and Markov
Processes" (policy iteration).

From scratch: gymnasium may not be used.  NumPy may, numpy.linalg.solve too.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Array = np.ndarray


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
    raise NotImplementedError


def action_values(transitions: Array, rewards: Array, values: Array, gamma: float) -> Array:
    """Q (S, A): the expected reward of action a in state s, plus γ times the expected value of what follows."""
    raise NotImplementedError


def greedy(q: Array) -> Array:
    """For each state the action with the greatest value in q (S, A).  Returns integers (S,).

    Actions within 1e-9 of the best count as equally good; of those it is the first.
    """
    raise NotImplementedError


def induced(transitions: Array, rewards: Array, policy: Array) -> tuple[Array, Array]:
    """The chain that is left once `policy` decides: its transitions (S, S) and its rewards (S,).

    policy  (S, A): the probability of each action in each state; every row sums to 1
    """
    raise NotImplementedError


def policy_evaluation(transitions: Array, rewards: Array, policy: Array, gamma: float) -> Array:
    """The exact value (S,) of each state under `policy` (S, A), from one linear system.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    raise NotImplementedError


def evaluation_by_sweeps(transitions: Array, rewards: Array, policy: Array, gamma: float, tol: float) -> Array:
    """The value (S,) of each state under `policy` (S, A), by repeated sweeps: no linear system is solved.

    - No value that it returns is further than `tol` > 0 from the exact one, but for rounding.
    - Begins with 0 everywhere.  In place or not is open, and so is the number of sweeps.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    raise NotImplementedError


def value_iteration(transitions: Array, rewards: Array, gamma: float, tol: float) -> tuple[Array, Array]:
    """The values (S,) of the best policy, and for each state its action (S,), integers.

    - No value is further than `tol` > 0 from the exact optimum, but for rounding.
    - Begins with 0 everywhere.  In place or not is open, and so is the number of sweeps.
    - The actions are greedy for the values that are returned, with greedy's rule for ties.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    raise NotImplementedError


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
    raise NotImplementedError
