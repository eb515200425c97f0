"""Policy gradients: the reference."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rollout(NamedTuple):
    """Moves in a row, given: one entry for each move, on the first axis."""

    states: Tensor
    actions: Tensor
    rewards: Tensor
    next_states: Tensor
    terminated: Tensor
    truncated: Tensor


def returns_to_go(rewards: Tensor, over: Tensor, gamma: float) -> Tensor:
    """For each move the discounted sum of its reward and all later ones of its episode.

    rewards  (T,) or (T, N): T moves in a row, in N envs; floats
    over     bool, of the same shape: whether the episode ended with this move.  Episodes follow each other

    What comes after the last move counts 0, over or not.  Returns the shape and dtype of rewards; T may be 0.
    """
    returns, later = torch.empty_like(rewards), rewards.new_zeros(())
    for t in reversed(range(len(rewards))):
        later = rewards[t] + gamma * later.masked_fill(over[t], 0.0)
        returns[t] = later
    return returns


def whiten(values: Tensor, eps: float = 1e-8) -> Tensor:
    """Shift and scale to mean 0 and standard deviation 1, over all entries: (x - mean) / (std + eps).

    std divides by the number of entries n, not by n - 1.  A single entry gives 0.  The shape stays.
    """
    return (values - values.mean()) / (values.std(correction=0) + eps)


def reinforce_loss(log_probs: Tensor, weights: Tensor) -> Tensor:
    """A scalar whose gradient is that of REINFORCE: minus the mean of log-probability times weight.

    log_probs  (T,): log π of the actions taken, with gradient
    weights    (T,): returns or advantages; no gradient flows into them
    """
    return -(log_probs * weights.detach()).mean()


def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """Generalized advantage estimation.  Returns the advantages and the targets of the values.

    All tensors are (T,) or (T, N): T moves in a row, in N envs.

    values       V of the state before each move
    next_values  V of the state that each move led to; where an episode ended, that of its last state, not
                 of the next episode's first one
    terminated, truncated  bool: two ways to end; both may be True, which counts as terminated

    - δ = reward + γ · next_value - value; where the move terminated, next_value counts 0, even if it is inf or NaN.
    - advantage = δ + γ λ · (the advantage of the next move), which counts 0 if the episode ended with this one, either way,
      and after the last move.
    - target = advantage + value.

    Neither result has a gradient.  Both have the shape and dtype of rewards.
    """
    rewards, values, next_values = rewards.detach(), values.detach(), next_values.detach()
    # A truncated episode had a future, so its last value counts; but the next row is another episode.
    deltas = rewards + gamma * next_values.masked_fill(terminated, 0.0) - values
    over = terminated | truncated
    advantages, later = torch.empty_like(deltas), deltas.new_zeros(())
    for t in reversed(range(len(deltas))):
        later = deltas[t] + gamma * lam * later.masked_fill(over[t], 0.0)
        advantages[t] = later
    return advantages, advantages + values


class ActorCritic(nn.Module):
    """A policy and a value with a common trunk."""

    def __init__(self, inputs: int, hidden: int, actions: int) -> None:
        """The layers, each an nn.Linear with torch's own initialization.

        `trunk` (inputs to hidden), `policy` (hidden to actions) and `value` (hidden to 1).
        """
        super().__init__()
        self.trunk = nn.Linear(inputs, hidden)
        self.policy = nn.Linear(hidden, actions)
        self.value = nn.Linear(hidden, 1)

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """For states (…, inputs) the logits (…, actions) and the values (…), both from tanh(trunk(states))."""
        hidden = torch.tanh(self.trunk(states))
        return self.policy(hidden), self.value(hidden).squeeze(-1)


def actor_critic_loss(
    logits: Tensor,
    values: Tensor,
    actions: Tensor,
    advantages: Tensor,
    targets: Tensor,
    value_weight: float = 0.5,
    entropy_weight: float = 0.01,
) -> Tensor:
    """Policy loss + value_weight · value loss - entropy_weight · entropy, a scalar.

    logits (T, A) and values (T,) come from the model; actions (T,) are ints; advantages and targets are (T,).

    - The policy loss is reinforce_loss of the actions taken, weighted by the advantages.
    - The value loss is the mean of (value - target)².
    - The entropy is the mean over the moves of -Σ_a π(a) log π(a).  It is 0 · log 0 = 0 for a logit of -inf.
    - No gradient flows into advantages or targets.
    """
    log_probs = F.log_softmax(logits, -1)
    taken = log_probs.gather(-1, actions[:, None]).squeeze(-1)
    # A logit of -inf has probability 0: its log must not meet the 0.
    entropy = -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0.0)).sum(-1).mean()
    value_loss = (values - targets.detach()).square().mean()
    return reinforce_loss(taken, advantages) + value_weight * value_loss - entropy_weight * entropy


def collect(env: Any, model: nn.Module, state: Any, steps: int, generator: torch.Generator) -> tuple[Rollout, Any]:
    """Make `steps` ≥ 1 moves, from `state` on.  Returns them, and the state from which to go on.

    env    as gymnasium has it: reset() gives (state, info); step(action), an int, gives (next_state, reward, terminated,
           truncated, info).  States are arrays of numbers; the env may write each into the same array
    model  gives (logits, values) for states (…, inputs), as ActorCritic does

    - Actions are drawn from softmax(logits) with the generator.  The model gets float32, and no gradient is kept.
    - After an end comes env.reset(); next_states has the last state of the episode, not the new one's first.
    - Floats are float32, actions int64, terminated and truncated bool; all on the device of the model's
      parameters, where the generator is, too.
    """
    device = next(model.parameters()).device
    moves = []
    state = _tensor(state, device)
    for _ in range(steps):
        with torch.no_grad():
            probabilities = model(state)[0].softmax(-1)
        action = torch.multinomial(probabilities, 1, generator=generator)[0]
        next_state, reward, terminated, truncated, _ = env.step(int(action))
        moves.append((state, action, float(reward), _tensor(next_state, device), bool(terminated), bool(truncated)))
        state = _tensor(env.reset()[0], device) if terminated or truncated else moves[-1][3]
    states, actions, rewards, next_states, terminated, truncated = zip(*moves, strict=True)
    rollout = Rollout(
        torch.stack(states),
        torch.stack(actions),
        torch.tensor(rewards, dtype=torch.float32, device=device),
        torch.stack(next_states),
        torch.tensor(terminated, device=device),
        torch.tensor(truncated, device=device),
    )
    return rollout, state


def train_actor_critic(
    env: Any,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rounds: int,
    steps: int,
    gamma: float,
    lam: float,
    generator: torch.Generator,
    entropy_weight: float = 0.01,
) -> list[float]:
    """Train `rounds` times on `steps` moves each.  Returns for each round the mean reward of its moves.

    - The env is reset once at the start.  Each round goes on where the last one stopped.
    - A round collects, computes values, next_values and gae with the present model, whitens the advantages, and
      makes one step of the optimizer on actor_critic_loss (with value_weight 0.5).
    - The targets belong to the advantages before they are whitened.
    """
    state, means = env.reset()[0], []
    for _ in range(rounds):
        rollout, state = collect(env, model, state, steps, generator)
        logits, values = model(rollout.states)
        with torch.no_grad():
            next_values = model(rollout.next_states)[1]
        advantages, targets = gae(
            rollout.rewards, values, next_values, rollout.terminated, rollout.truncated, gamma, lam
        )
        loss = actor_critic_loss(
            logits, values, rollout.actions, whiten(advantages), targets, entropy_weight=entropy_weight
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        means.append(rollout.rewards.mean().item())
    return means


def _tensor(state: Any, device: Any) -> Tensor:
    """A copy, as the env may write the next state into the same array."""
    return torch.as_tensor(state, dtype=torch.float32, device=device).clone()
