"""Learning values from experience: the reference."""

import copy
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
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
    if generator.random() < epsilon:
        return int(generator.integers(len(values)))
    return int(np.argmax(values))


def q_learning_step(q: np.ndarray, move: Transition, alpha: float, gamma: float) -> float:
    """Move q[state, action] by the share `alpha` towards the target of Q-learning.

    - q (S, A) is changed in place, in this one entry.
    - The target is reward + γ · (the best value of the next state), or the reward alone if it terminated.

    Returns the error, a float: the target minus the entry as it was before.
    """
    return _move(q, move, 0.0 if move.terminated else float(q[move.next_state].max()), alpha, gamma)


def sarsa_step(q: np.ndarray, move: Transition, next_action: int | None, alpha: float, gamma: float) -> float:
    """Like q_learning_step, but with the value of `next_action` in the next state.

    Where the move terminated, next_action isn't looked at; it may be None.
    """
    return _move(q, move, 0.0 if move.terminated else float(q[move.next_state, next_action]), alpha, gamma)


def double_q_step(q: np.ndarray, other: np.ndarray, move: Transition, alpha: float, gamma: float) -> float:
    """Like q_learning_step, but the next state's best action is chosen by `q` and valued by `other`.

    Of equal actions the first is chosen.  Only q changes; `other` doesn't.
    """
    following = 0.0 if move.terminated else float(other[move.next_state, q[move.next_state].argmax()])
    return _move(q, move, following, alpha, gamma)


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
    if method not in ("q", "sarsa", "double"):
        raise ValueError(f"method must be 'q', 'sarsa' or 'double', got {method!r}")
    q, other = np.zeros((states, actions)), np.zeros((states, actions))  # only "double" fills the other

    def choose(state: int) -> int:
        return epsilon_greedy(q[state] + other[state], epsilon, generator)

    for _ in range(episodes):
        state, _ = env.reset()
        action, over = choose(state), False
        while not over:
            next_state, reward, terminated, truncated, _ = env.step(action)
            move = Transition(state, action, float(reward), next_state, bool(terminated))
            over = terminated or truncated
            if method == "sarsa":
                action = None if terminated else choose(next_state)
                sarsa_step(q, move, action, alpha, gamma)
            elif method == "q":
                q_learning_step(q, move, alpha, gamma)
            elif generator.random() < 0.5:
                double_q_step(q, other, move, alpha, gamma)
            else:
                double_q_step(other, q, move, alpha, gamma)
            if method != "sarsa" and not over:
                action = choose(next_state)
            state = next_state
    return (q + other) / 2 if method == "double" else q


class ReplayBuffer:
    """Holds the last moves.  len() says how many it holds now."""

    def __init__(self, capacity: int, device: Any = "cpu") -> None:
        """Holds `capacity` moves at most; what `sample` gives is on `device`.

        Raises ValueError, naming capacity, if it is below 1.
        """
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.device = device
        self.moves: deque[Transition] = deque(maxlen=capacity)

    def __len__(self) -> int:
        """How many moves it holds."""
        return len(self.moves)

    def add(self, move: Transition) -> None:
        """Keep a move; where the buffer is full, the oldest one leaves.

        States are arrays of numbers of one shape.  They are copied, because many envs write each state into the same array.
        """
        state, next_state = (np.array(one, dtype=np.float32) for one in (move.state, move.next_state))
        self.moves.append(move._replace(state=state, next_state=next_state))

    def sample(self, n: int, generator: np.random.Generator) -> Batch:
        """`n` different moves, drawn at random, each set of n as probable as any other.  They stay in the buffer.

        Returns a Batch: states and next_states float32 (n, …), actions int64 (n,), rewards float32 (n,), terminated
        bool (n,).  Raises ValueError, naming both numbers, if it holds fewer than n.
        """
        if n > len(self):
            raise ValueError(f"{n} moves were asked for, but the buffer holds {len(self)}")
        chosen = [self.moves[i] for i in generator.choice(len(self), n, replace=False)]
        # One column for each field; arrays are stacked by numpy, which is far quicker than torch with lists of them.
        states, actions, rewards, next_states, terminated = zip(*chosen, strict=True)

        def tensor(column: Any, dtype: torch.dtype) -> Tensor:
            return torch.as_tensor(np.array(column), dtype=dtype, device=self.device)

        return Batch(
            tensor(states, torch.float32),
            tensor(actions, torch.int64),
            tensor(rewards, torch.float32),
            tensor(next_states, torch.float32),
            tensor(terminated, torch.bool),
        )


def dqn_targets(batch: Batch, online: nn.Module, target: nn.Module, gamma: float, double: bool = False) -> Tensor:
    """What the values of the moves should be, (n,), without gradient.

    Both networks map states (n, …) to action values (n, A).

    - The reward plus γ times the target network's best value of the next state.
    - With `double` the online network chooses the action, and the target network says its value.
    - Where the move terminated: the reward alone, even if the networks give inf or NaN there.
    """
    with torch.no_grad():
        values = target(batch.next_states)
        best = (online(batch.next_states) if double else values).argmax(1, keepdim=True)
        following = values.gather(1, best).squeeze(1)
        # masked_fill and not a product: 0 · inf is NaN.
        return batch.rewards + gamma * following.masked_fill(batch.terminated, 0.0)


def dqn_loss(batch: Batch, online: nn.Module, target: nn.Module, gamma: float, double: bool = False) -> Tensor:
    """The mean Huber loss, a scalar, between the online values of the actions taken and dqn_targets.

    Huber's loss of an error e is e²/2 where |e| ≤ 1, and |e| - 1/2 beyond.
    The gradient reaches the online network alone, through the values of the actions taken.
    """
    taken = online(batch.states).gather(1, batch.actions[:, None]).squeeze(1)
    return F.smooth_l1_loss(taken, dqn_targets(batch, online, target, gamma, double))


def sync(online: nn.Module, target: nn.Module, tau: float = 1.0) -> None:
    """Bring the target network closer to the online one: w_target = τ · w_online + (1 - τ) · w_target.

    - The target's parameters are changed in place and keep their requires_grad.  The online network isn't changed.
    - Buffers (such as a running mean) are copied, whatever τ is.
    - τ = 1 makes a copy of all values; nothing is shared after it.
    """
    with torch.no_grad():
        for new, old in zip(online.parameters(), target.parameters(), strict=True):
            old.lerp_(new, tau)
        for new, old in zip(online.buffers(), target.buffers(), strict=True):
            old.copy_(new)


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
    device = next(online.parameters()).device
    target = copy.deepcopy(online)
    buffer = ReplayBuffer(capacity, device)
    sums: list[float] = []
    # A copy each time, as the env may write its next state into the same array.
    state, total, trained = np.array(env.reset()[0]), 0.0, 0
    for step in range(steps):
        epsilon = 1 + (epsilon_end - 1) * min(step / explore, 1.0)
        with torch.no_grad():
            values = online(torch.as_tensor(state, dtype=torch.float32, device=device)[None])[0]
        action = epsilon_greedy(values.cpu().numpy(), epsilon, generator)
        next_state, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        # Truncated isn't terminated: the clock ended the episode, and its last state still has a value.
        buffer.add(Transition(state, action, float(reward), next_state, bool(terminated)))
        state = np.array(next_state)
        if terminated or truncated:
            sums.append(total)
            state, total = np.array(env.reset()[0]), 0.0
        if len(buffer) >= batch_size:
            loss = dqn_loss(buffer.sample(batch_size, generator), online, target, gamma, double)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trained += 1
            if trained % sync_every == 0:
                sync(online, target)
    return sums


def _move(q: np.ndarray, move: Transition, following: float, alpha: float, gamma: float) -> float:
    error = move.reward + gamma * following - float(q[move.state, move.action])
    q[move.state, move.action] += alpha * error
    return error
