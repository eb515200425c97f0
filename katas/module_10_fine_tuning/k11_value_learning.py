"""Learning values: Q-learning, SARSA, double Q, replay, and DQN with a target network

**Before you start.**  You need the Bellman equation (the kata markov_decision_processes), NumPy,
and a training step in torch.  You import no other kata.  If the subject is new: Sutton and Barto,
"Reinforcement Learning", chapter 6 (free online).

**The idea.**  Most problems come without a table of probabilities.  You can only act and see what
happens.  So you keep a guess Q[s, a] of what an action is worth.  After each move you compare the
guess with something slightly better: the reward that you really got, plus the guess for the next
state.  Then you move the guess a little towards it.  Learning a guess from a guess is called
*bootstrapping*.  With few states the guesses are a table.  With many they are a network: a deep
Q-network (DQN).

**The formulas.**  A move leads from s with action a and reward r to s'.  α (alpha) is the
learning rate, γ (gamma) the discount.

    error = target - Q[s, a],      Q[s, a] += α · error

    Q-learning   target = r + γ · max_b Q[s', b]              what the best action would bring
    SARSA        target = r + γ · Q[s', a']                   a' is the action taken next
    double Q     target = r + γ · Q2[s', argmax_b Q[s', b]]   one chooses, the other values
    all three    target = r                                   if the move terminated
    ε-greedy     a random action with probability ε, else the best one

**A drawing**

         ┌────────── action, ε-greedy ──────────┐
         │                                      ▼
    ┌────┴─────┐   state, reward   ┌──────────────────┐
    │  online  │◀──────────────────│       env        │
    └─┬─────▲──┘                   └────────┬─────────┘
      │     │ loss                          │ move
      │     └───────────┐                   ▼
      │ sync, now and   │         ┌────────────────────┐
      ▼ then            │         │   replay buffer    │
    ┌──────────┐        │         │ oldest ▒▒▒▒ newest │
    │  target  │──▶ r + γ max ◀───└────────────────────┘
    └──────────┘       a random batch

**Why does an end by the clock count differently?**  There are two ways to end.  A *terminated*
episode is over: the pole fell, nothing follows, and the target is r alone.  A *truncated* one was
cut by a time limit.  Its last state still has a future, so its target has one, too.  Mix them up,
and states near the limit look worthless.

**Why two tables?**  The maximum of noisy guesses is too high on average: it picks the luckiest
error.  Double Q lets one table choose and the other value.  The second one's error has nothing to
do with the choice.

**Why replay, and why a target network?**  Moves that follow each other are alike, and a network
that sees only them forgets the rest.  A random batch of old moves mixes them.  And if the target
came from the network that you are changing, the network would chase its own guess.  So a copy
gives the targets.  You renew it only now and then.

**Worked by hand.**  Q[0] = [1, 2], Q[1] = [4, 3], α = 0.5, γ = 0.9.  You are in 0, take action 1,
get r = 1, and land in 1.

    Q-learning:    target 1 + 0.9 · 4 = 4.6     error 2.6      Q[0, 1] = 2 + 1.3 = 3.3
    SARSA, a' = 1: target 1 + 0.9 · 3 = 3.7     error 1.7      Q[0, 1] = 2.85
    double Q, Q2[1] = [-2, 8]: Q chooses action 0, Q2 says -2
                   target 1 - 1.8 = -0.8        error -2.8     Q[0, 1] = 0.6
    terminated:    target 1                     error -1       Q[0, 1] = 1.5

**Shapes**: tables are float64 NumPy arrays (S, A).  Networks map float32 states (n, …) to values
(n, A).  Random numbers come from the generator that you get.  How many you draw, and in which
order, is open. No function changes its arguments, except where it says so.

**Steps.**  A good place to pause is before ReplayBuffer.

    epsilon_greedy    4 min   the best one may be drawn, too
    q_learning_step   6 min   what if it terminated?
    sarsa_step        3 min   the action that is taken
    double_q_step     5 min   who chooses, who values?
    train_tabular    18 min   the order of choosing and learning
    ReplayBuffer     14 min   copies
    dqn_targets       8 min   which network, and no gradient
    dqn_loss          6 min   the values of the actions taken
    sync              5 min   in place
    train_dqn        18 min   two kinds of ends, two networks

Sources: Watkins and Dayan 1992, "Q-learning"; van Hasselt 2010, "Double Q-learning"; Mnih et al.
2015, "Human-level control through deep reinforcement learning" (DQN); van Hasselt, Guez and
Silver 2016, "Deep Reinforcement Learning with Double Q-learning"; Pardo et al. 2018, "Time Limits
in Reinforcement Learning".

From scratch: gymnasium, stable_baselines3 and torchrl may not be used.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Transition(NamedTuple):
    """One move, given: `state`, `action`, `reward`, `next_state`, and whether the episode `terminated` there."""

    state: Any
    action: int
    reward: float
    next_state: Any
    terminated: bool


class Batch(NamedTuple):
    """Many moves as tensors, given: one row for each."""

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    terminated: Tensor


def epsilon_greedy(values: np.ndarray, epsilon: float, generator: np.random.Generator) -> int:
    """An action, an int, for the action values (A,).

    With probability `epsilon` any of the A actions, each as probable as the others, the best one included.
    Otherwise the best one; of equal ones the first.
    """
    raise NotImplementedError


def q_learning_step(q: np.ndarray, move: Transition, alpha: float, gamma: float) -> float:
    """Move q[state, action] by the share `alpha` towards the target of Q-learning.

    - q (S, A) is changed in place, in this one entry.
    - The target is reward + γ · (the best value of the next state), or the reward alone if it terminated.

    Returns the error, a float: the target minus the entry as it was before.
    """
    raise NotImplementedError


def sarsa_step(q: np.ndarray, move: Transition, next_action: int | None, alpha: float, gamma: float) -> float:
    """Like q_learning_step, but with the value of `next_action` in the next state.

    Where the move terminated, next_action isn't looked at; it may be None.
    """
    raise NotImplementedError


def double_q_step(q: np.ndarray, other: np.ndarray, move: Transition, alpha: float, gamma: float) -> float:
    """Like q_learning_step, but the next state's best action is chosen by `q` and valued by `other`.

    Of equal actions the first is chosen.  Only q changes; `other` doesn't.
    """
    raise NotImplementedError


def train_tabular(
    env: Any,
    states: int,
    actions: int,
    method: str,
    episodes: int,
    alpha: float,
    gamma: float,
    epsilon: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Play `episodes` episodes and learn on the way.  Returns the action values (states, actions), float64.

    env     as gymnasium has it: reset() gives (state, info); step(action) gives (next_state, reward, terminated,
            truncated, info).  States are ints from 0, actions are ints.
    method  "q", "sarsa" or "double"

    - All values begin with 0.  Every action comes from epsilon_greedy with the values of its state.
    - After each move comes one learning step of the method.
    - An episode is over when the move terminated or was truncated.  A truncated one had a future, so the target
      of its last move counts what follows.  Only where the move terminated is the target the reward alone.
      A move may be both; then it terminated.
    - "q" and "double" choose the next action after the learning step.  "sarsa" chooses it before, learns with
      it, and then takes that very action.  In a truncated episode it chooses one, too, and doesn't take it.
    - "double" has two tables.  It acts by their sum; a fair coin says each time which one learns, with the
      help of the other.  It returns their mean.

    Raises ValueError, naming the method, for any other, before the env is touched.
    """
    raise NotImplementedError


class ReplayBuffer:
    """Holds the last moves.  len() says how many it holds now."""

    def __init__(self, capacity: int, device: Any = "cpu") -> None:
        """Holds `capacity` moves at most; what `sample` gives is on `device`.

        Raises ValueError, naming capacity, if it is below 1.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        """How many moves it holds."""
        raise NotImplementedError

    def add(self, move: Transition) -> None:
        """Keep a move; where the buffer is full, the oldest one leaves.

        States are arrays of numbers of one shape.  They are copied, because many envs write each state into the same array.
        """
        raise NotImplementedError

    def sample(self, n: int, generator: np.random.Generator) -> Batch:
        """`n` different moves, drawn at random, each set of n as probable as any other.  They stay in the buffer.

        Returns a Batch: states and next_states float32 (n, …), actions int64 (n,), rewards float32 (n,), terminated
        bool (n,).  Raises ValueError, naming both numbers, if it holds fewer than n.
        """
        raise NotImplementedError


def dqn_targets(batch: Batch, online: nn.Module, target: nn.Module, gamma: float, double: bool = False) -> Tensor:
    """What the values of the moves should be, (n,), without gradient.

    Both networks map states (n, …) to action values (n, A).

    - The reward plus γ times the target network's best value of the next state.
    - With `double` the online network chooses the action, and the target network says its value.
    - Where the move terminated: the reward alone, even if the networks give inf or NaN there.
    """
    raise NotImplementedError


def dqn_loss(batch: Batch, online: nn.Module, target: nn.Module, gamma: float, double: bool = False) -> Tensor:
    """The mean Huber loss, a scalar, between the online values of the actions taken and dqn_targets.

    Huber's loss of an error e is e²/2 where |e| ≤ 1, and |e| - 1/2 beyond.
    The gradient reaches the online network alone, through the values of the actions taken.
    """
    raise NotImplementedError


def sync(online: nn.Module, target: nn.Module, tau: float = 1.0) -> None:
    """Bring the target network closer to the online one: w_target = τ · w_online + (1 - τ) · w_target.

    - The target's parameters are changed in place and keep their requires_grad.  The online network isn't changed.
    - Buffers (such as a running mean) are copied, whatever τ is.
    - τ = 1 makes a copy of all values; nothing is shared after it.
    """
    raise NotImplementedError


def train_dqn(
    env: Any,
    online: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    gamma: float,
    generator: np.random.Generator,
    *,
    capacity: int = 10_000,
    batch_size: int = 32,
    sync_every: int = 50,
    epsilon_end: float = 0.05,
    explore: int = 500,
    double: bool = True,
) -> list[float]:
    """Make `steps` moves in the env and train `online` on the way.  Returns each finished episode's sum of rewards.

    env        as in train_tabular, but its states are arrays of numbers of one shape; it may write each state
               into the same array
    optimizer  has the parameters of `online`

    - Before the first move, and after every end of an episode, comes env.reset().  After the very last move it
      may be left out.
    - Moves are chosen by epsilon_greedy.  ε falls in a straight line from 1 at move 0 to `epsilon_end` at move
      `explore` ≥ 1, and stays there.
    - To choose, the network gets its state as float32, (1, …), on the device of its parameters.
    - Each move goes into a ReplayBuffer of `capacity`.  Then comes one step of the optimizer on dqn_loss, with
      batch_size moves from it, as soon as it holds so many: the first one after move number batch_size.
    - The target network begins as a copy of `online`.  After every `sync_every` steps of the optimizer it is
      synced with τ = 1.
    - An episode ends at a move that terminated or was truncated.  The sums aren't discounted; an episode that is
      still going on at the end doesn't count.
    """
    raise NotImplementedError
