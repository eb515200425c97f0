"""Offline reinforcement learning and MAML: the reference."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

Array = np.ndarray


class Log(NamedTuple):
    """A fixed data set, given: n moves in the order in which they were made, one entry each.

    states, actions, next_states  ints;  rewards  floats
    terminated, truncated         bools: whether the episode ended with the move, and how.  Both may be True, which
                                  counts as terminated
    """

    states: Array
    actions: Array
    rewards: Array
    next_states: Array
    terminated: Array
    truncated: Array


def behaviour_cloning(log: Log, states: int, actions: int, smoothing: float) -> Array:
    """The policy (states, actions) that does what was done: counts, with `smoothing` added to each.

    A state with no move gets the same probability for each action, for any smoothing.
    Raises ValueError, naming smoothing and its value, if it is below 0.
    """
    if smoothing < 0:
        raise ValueError(f"smoothing must be at least 0, got {smoothing}")
    counts = np.zeros((states, actions))
    # add.at, as counts[s, a] += 1 would count a pair once, however often it comes.
    np.add.at(counts, (log.states, log.actions), 1)
    policy = np.full((states, actions), 1 / actions)
    seen = counts.any(1)
    smooth = counts[seen] + smoothing
    policy[seen] = smooth / smooth.sum(1, keepdims=True)
    return policy


def td_targets(log: Log, q: Array, gamma: float) -> Array:
    """The targets (n,) of the moves: the reward, plus γ times the best value of the next state in q (S, A).

    Where the move terminated it is the reward alone, even if q has inf or NaN there.  A truncated one had a
    future.
    """
    # where, and not a factor of 0: 0 times inf is NaN.
    following = np.where(log.terminated, 0.0, q[log.next_states].max(1))
    return log.rewards + gamma * following


def conservative_loss(q: Array, log: Log, targets: Array, alpha: float, l2: float) -> float:
    """The loss L of the lesson, a Python float, for q (S, A) and targets (n,).

    - All three parts are sums: the first two over moves, the last over all states and actions.
    - It is right for values of ±10 000, too.
    """
    rows = q[log.states]
    taken = q[log.states, log.actions]
    top = rows.max(1)
    lse = top + np.log(np.exp(rows - top[:, None]).sum(1))
    fit = ((taken - targets) ** 2).sum() / 2
    penalty = (lse - taken).sum()
    return float(fit + alpha * penalty + l2 / 2 * (q**2).sum())


def conservative_fit(log: Log, targets: Array, states: int, actions: int, alpha: float, l2: float) -> Array:
    """The Q (states, actions) with the smallest conservative_loss for the targets (n,).

    - Each value is right to 1e-6, for targets up to 1000 in size, alpha from 0 to 100 and l2 from 0.001.
    - A state with no move gets 0.
    - The method is yours to choose.

    Raises ValueError: naming alpha and its value, if it is below 0; naming l2 and its value, if it isn't above 0.
    """
    if alpha < 0:
        raise ValueError(f"alpha must be at least 0, got {alpha}")
    if not l2 > 0:
        raise ValueError(f"l2 must be above 0, got {l2}")
    counts, totals = np.zeros((states, actions)), np.zeros((states, actions))
    np.add.at(counts, (log.states, log.actions), 1)
    np.add.at(totals, (log.states, log.actions), targets)
    # The loss is a sum over states: each has a small problem of its own.
    return np.stack([_fit_state(count, total, alpha, l2) for count, total in zip(counts, totals, strict=True)])


def fitted_q(log: Log, states: int, actions: int, gamma: float, alpha: float, l2: float, sweeps: int) -> Array:
    """Q (states, actions) after `sweeps` rounds of fitted Q iteration.

    Begins with 0 everywhere.  A round takes td_targets with the present Q, and then Q is the conservative_fit to them.
    `sweeps` may be 0.
    """
    q = np.zeros((states, actions))
    for _ in range(sweeps):
        q = conservative_fit(log, td_targets(log, q, gamma), states, actions, alpha, l2)
    return q


def importance_sampling(log: Log, behaviour: Array, target: Array, gamma: float, kind: str) -> float:
    """What the policy `target` (S, A) is worth, from a log that the policy `behaviour` (S, A) made.  A Python float.

    kind  "ordinary", "weighted" or "per-decision"

    - An episode ends with a move that terminated or was truncated, and with the last move of the log.  What
      would have come after a truncated one isn't counted.
    - Each episode counts once, however long it is.

    Raises ValueError, checked in this order
    - naming the kind, for any other,
    - naming state and action of the first such move, if behaviour says 0 for what was done,
    - with the word "weight", if the kind is "weighted" and all weights W are 0.
    """
    if kind not in ("ordinary", "weighted", "per-decision"):
        raise ValueError(f"unknown kind {kind!r}; expected 'ordinary', 'weighted' or 'per-decision'")
    made = behaviour[log.states, log.actions]
    never = np.flatnonzero(made == 0)
    if never.size:
        first = never[0]
        raise ValueError(f"behaviour never takes action {log.actions[first]} in state {log.states[first]}")
    ratios = target[log.states, log.actions] / made
    weights, returns, stepwise = [], [], []
    weight, discount, total, by_step = 1.0, 1.0, 0.0, 0.0
    last = len(ratios) - 1
    for i, ratio in enumerate(ratios):
        weight *= ratio
        total += discount * log.rewards[i]
        by_step += weight * discount * log.rewards[i]  # the weight up to here: later actions can't matter
        discount *= gamma
        if log.terminated[i] or log.truncated[i] or i == last:
            weights.append(weight)
            returns.append(total)
            stepwise.append(by_step)
            weight, discount, total, by_step = 1.0, 1.0, 0.0, 0.0
    if kind == "per-decision":
        return float(np.mean(stepwise))
    if kind == "ordinary":
        return float(np.mean(np.multiply(weights, returns)))
    if not any(weights):
        raise ValueError("every weight is 0: the policy makes none of these episodes")
    return float(np.dot(weights, returns) / np.sum(weights))


def expected_reward(logits: Tensor, rewards: Tensor) -> Tensor:
    """J: the expected reward of softmax(logits), for logits (…, A) and rewards (…, A), which broadcast.

    The last axis is summed over, so (A,) and (T, A) give (T,).  It is exact: nothing is drawn.
    """
    return (torch.softmax(logits, -1) * rewards).sum(-1)


def adapt(logits: Tensor, rewards: Tensor, rate: float, steps: int = 2, first_order: bool = False) -> Tensor:
    """The logits (T, A) of each task after `steps` ≥ 0 steps uphill on its own expected reward.

    logits   (A,): where every task begins
    rewards  (T, A), without gradient

    - A task's steps depend on its own rewards alone.
    - Each step takes the gradient at the place where the last one led.
    - What comes out can be differentiated by `logits`: through the steps, too, unless first_order.  With
      first_order the steps are constants, so each row has the identity as its derivative.  The values are equal.
    - logits may need no gradient, and all of it may stand under torch.no_grad().
    """
    adapted = logits.expand(rewards.shape)
    for _ in range(steps):
        # The gradient in closed form, so that autograd can go through it, and no_grad does no harm.
        policy = torch.softmax(adapted, -1)
        gain = policy * (rewards - (policy * rewards).sum(-1, keepdim=True))
        adapted = adapted + rate * (gain.detach() if first_order else gain)
    return adapted


def meta_objective(logits: Tensor, rewards: Tensor, rate: float, steps: int = 2, first_order: bool = False) -> Tensor:
    """M, of shape (): the mean over tasks of what each one's adapted logits are worth in it.  Arguments as in adapt."""
    return expected_reward(adapt(logits, rewards, rate, steps, first_order), rewards).mean()


def meta_train(
    logits: Tensor,
    rewards: Tensor,
    rate: float,
    meta_rate: float,
    rounds: int,
    steps: int = 2,
    first_order: bool = False,
) -> Tensor:
    """The logits (A,) after `rounds` ≥ 0 steps of plain gradient ascent on meta_objective, of size meta_rate.

    What comes out needs no gradient, and shares no memory with `logits`.
    """
    now = logits.detach().clone()
    for _ in range(rounds):
        now.requires_grad_()
        worth = meta_objective(now, rewards, rate, steps, first_order)
        (uphill,) = torch.autograd.grad(worth, now)
        now = now.detach() + meta_rate * uphill
    return now


def _fit_state(count: Array, total: Array, alpha: float, l2: float) -> Array:
    """Newton's method for one state: counts (A,) of its moves, and sums (A,) of their targets."""
    n = count.sum()
    q = np.zeros(len(count))

    def gradient(q: Array) -> Array:
        return (count + l2) * q - total + alpha * (n * softmax(q) - count)

    for _ in range(200):
        policy = softmax(q)
        hessian = np.diag(count + l2) + alpha * n * (np.diag(policy) - np.outer(policy, policy))
        step = np.linalg.solve(hessian, gradient(q))
        if np.abs(step).max() < 1e-9:
            break
        # A full step may go too far where softmax is flat: at its end the way may rise, but half as steeply as it fell.
        # The loss itself would be too coarse a measure near the minimum, where rounding hides what a step brings.
        while -2 * gradient(q - step) @ step > gradient(q) @ step:
            step /= 2
        q = q - step
    return q
