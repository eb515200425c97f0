"""Advanced reinforcement learning: games and options

**Before you start.**  You need the Bellman equation and the Q-learning step (the katas
markov_decision_processes and value_learning).  You import no other kata.  If linear programs are
new, read the first example in the documentation of scipy.optimize.linprog.

**The idea.**  Two things change when you leave the small gridworld.  First, somebody may play
against you.  Then the best action isn't one action: whoever can foresee you will beat you.  You
need a *mixed strategy*, which says how often to take each action.  Second, a plan has parts.  You
think "go to the door", and not "left, left, up".  Such a part is an *option*.  It has its own
small policy, and a rule that says when it is over.  Both ideas leave the Bellman equation nearly
as it was.  A game replaces the maximum by the value of a matrix game.  An option replaces one
move by a stretch of k moves.

**The formulas: games.**  You choose row a, the opponent chooses column b, and you get M[a, b].
The opponent loses as much.  x is your mixed strategy.

    value of a game     val(M) = max over x of min over b of Σ_a x[a] M[a, b]
    as a linear program maximise v,  with Σ_a x[a] M[a, b] ≥ v for each b,  Σ_a x[a] = 1,  x ≥ 0
    Markov game         Q[s, a, b] = R[s, a, b] + γ Σ_s' P[s, a, b, s'] V[s'],    V[s] = val(Q[s])
    minimax-Q           Q[s, a, b] += α · (r + γ · val(Q[s']) - Q[s, a, b])

**The formulas: options.**  An option starts in s, makes k ≥ 1 moves with rewards r1 … rk, and
ends in s'.  β[s'] is the probability that it stops when it arrives in s'.

    its reward          G = r1 + γ r2 + … + γ^(k-1) rk
    SMDP Q-learning     Q[s, o] += α · (G + γ^k · max over o' of Q[s', o'] - Q[s, o])
    its model           R_o[s] = E[G],      P_o[s, s'] = E[γ^k, where it ends in s']
    what it solves      R_o[s]     = r[s] + γ Σ_u P[s, u] (1 - β[u]) R_o[u]
                        P_o[s, s'] = γ P[s, s'] β[s'] + γ Σ_u P[s, u] (1 - β[u]) P_o[u, s']
    planning            V[s] = max over o of (R_o[s] + Σ_s' P_o[s, s'] V[s'])

Here r and P belong to the option's own policy.  SMDP stands for semi-Markov decision process: a
decision takes more than one unit of time.

**A drawing**

    what the strategy (x, 1 - x) earns in      3  -1
                                              -2   1
     3 ┤                  ╱   against column 0:  3x - 2(1 - x)
     2 ┤              ╱
     1 ┤╲          ╱
     0 ┤───────╱●╲─────────   ● the best of the worst: x = 3/7, worth 1/7
    -1 ┤    ╱             ╲   against column 1:  -x + (1 - x)
    -2 ┤╱
       └┬─────────────────┬
      x = 0             x = 1

    moves       s ──r1──▶ · ──r2──▶ · ──r3──▶ s'
    may stop?             no        no        yes
    the option  s ══════════════════════════▶ s'   G = r1 + γ r2 + γ² r3

**Why a mixed strategy?**  Play row 0, and the opponent takes column 1: you lose 1.  Play row 1,
and you lose 2.  Play row 0 in 3 of 7 rounds, and you win 1/7 on average against any column.  The
maximum of M is no help.  The opponent doesn't let you have it.

**Why is v free to be negative?**  Some games are lost.  linprog assumes that each variable is 0
or more unless you say otherwise.  So say it, or every lost game has "no solution".  linprog also
minimises, so give it -v.

**Why γ^k, and not γ?**  What follows comes k moves later.  Each move costs one factor γ.  With a
single γ, slow options would look as good as quick ones.

**Why is there no γ in the planning step?**  It is in P_o already.  So the rows of P_o sum to γ at
most, and not to 1.  So a sweep shrinks every error, as in value iteration.

**Worked by hand**

    game        at the best x both columns earn the same:  3x - 2(1-x) = -x + (1-x)
                7x = 3,  x = 3/7,  value 5 · 3/7 - 2 = 1/7
    for ever    play it again and again, γ = 0.5:  V = 1/7 + 0.5 V = 2/7
    minimax-Q   Q[1] is this game, Q[0, 0, 1] = 2.  You move 0, the opponent 1, r = 1, s' = 1,
                α = 0.5, γ = 0.7:  target 1 + 0.7/7 = 1.1,  error -0.9,  Q[0, 0, 1] = 1.55
    option      rewards -1, -1, 4, γ = 0.5:  G = -1 - 0.5 + 1 = -0.5,  k = 3
    SMDP        two moves with -1 each:  G = -1.5;  max Q[s'] = 4;  target -1.5 + 0.25 · 4 = -0.5
                Q[s, o] = 1.5, α = 0.5:  error -2,  Q[s, o] = 0.5
    model       states 0, 1, 2 in a row, each move costs 1, β[1] = 0.5, β[2] = 1, γ = 0.5
                R_o[0] = -1 + 0.5 · 0.5 · (-1) = -1.25
                P_o[0, 1] = 0.5 · 0.5 = 0.25,    P_o[0, 2] = 0.5 · 0.5 · 0.5 = 0.125

**Shapes**: S states, A actions of yours, B of your opponent's, O options, all at least 1.  In a
Markov game P is (S, A, B, S) and R is (S, A, B).  Later P is (S, A, S) and R is (S, A).  Arrays
are float64, states and actions are ints from 0.  A terminal state is one where each action stays
and pays 0.  No function changes its arguments, except where it says so.

**Steps.**

    solve_game         13 min   the signs of linprog
    stage_games         3 min   one line
    shapley_iteration   8 min   when is it close enough?
    minimax_q_step      5 min   who decides what s' is worth?
    train_minimax_q    13 min   draw from the mixture
                                (a good place for a pause)
    run_option         10 min   three ways to end
    smdp_q_step         6 min   γ to which power?
    option_model       10 min   two linear systems with one matrix
    plan_with_options  10 min   an option that may not start here

Sources: Shapley 1953, "Stochastic Games"; Littman 1994, "Markov games as a framework for
multi-agent reinforcement learning" (minimax-Q); Sutton, Precup and Singh 1999, "Between MDPs and
semi-MDPs" (options); Sutton and Barto 2018, "Reinforcement Learning", section 17.2.

From scratch: gymnasium and nashpy may not be used.  scipy.optimize.linprog may: it is a tool
here.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray


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
    raise NotImplementedError


def stage_games(transitions: Array, rewards: Array, values: Array, gamma: float) -> Array:
    """The matrix games (S, A, B) of all states, where what follows is worth `values` (S,)."""
    raise NotImplementedError


def shapley_iteration(transitions: Array, rewards: Array, gamma: float, tol: float) -> tuple[Array, Array]:
    """The values (S,) of a Markov game for the player of the rows, and for each state her mixed strategy (S, A).

    - No value is further than `tol` from the exact one.  tol is at least 1e-5.
    - Begins with 0 everywhere.  In place or not is open, and so is the number of sweeps.
    - Each strategy is a best one, as solve_game has it, in the stage game with the values that are returned.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    raise NotImplementedError


def minimax_q_step(q: Array, move: Round, alpha: float, gamma: float) -> float:
    """Move q[state, action, opponent] by the share `alpha` towards the target of minimax-Q.

    - q (S, A, B) is changed in place, in this one entry.
    - The target is reward + γ · (the value of the game q[next_state]), or the reward alone if it terminated.

    Returns the error, a Python float: the target minus the entry as it was before.
    """
    raise NotImplementedError


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
    raise NotImplementedError


def run_option(env: Any, state: int, option: Option, gamma: float, generator: np.random.Generator) -> Stretch:
    """Let an option act until it is over.  The env is in `state` already; reset() isn't called.

    env  as gymnasium has it: step(action) gives (next_state, reward, terminated, truncated, info)

    - It makes one move at least: β of the state where it starts isn't looked at.
    - It is over when the episode ends, either way.  Else it stops with probability β of the state where it
      arrived.  β = 1 always stops, β = 0 never does.

    Raises ValueError, naming the state, if the option may not start there.  Then the env isn't touched.
    """
    raise NotImplementedError


def smdp_q_step(q: Array, option: int, stretch: Stretch, allowed: Array, alpha: float, gamma: float) -> float:
    """Move q[stretch.state, option] by the share `alpha` towards the target of SMDP Q-learning.

    q        (S, O): the values of the options.  Changed in place, in this one entry
    option   the number of the option that acted
    allowed  (S, O), bool: which option may start where.  Only these count in the next state

    - Where the stretch terminated, the target is its reward alone.  A truncated one had a future.
    - If it didn't terminate, one option at least may start in the next state.

    Returns the error, a Python float: the target minus the entry as it was before.
    """
    raise NotImplementedError


def option_model(transitions: Array, rewards: Array, option: Option, gamma: float) -> tuple[Array, Array]:
    """What an option brings: R_o (S,) and P_o (S, S), as in the lesson, exact but for rounding.

    transitions (S, A, S) and rewards (S, A) are those of the single actions.  R_o[s] and P_o[s] are for an option
    that begins in s, whether it may start there or not.

    Raises ValueError, naming gamma, unless 0 ≤ gamma < 1.
    """
    raise NotImplementedError


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
    raise NotImplementedError
