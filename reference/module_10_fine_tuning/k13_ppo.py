"""Proximal policy optimization: the reference."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from katas.module_10_fine_tuning.k12_policy_gradient import collect, gae, whiten


class Batch(NamedTuple):
    """Moves, given: n rows in each field.  `log_probs` and `values` come from the model that made the moves."""

    states: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    advantages: Tensor
    targets: Tensor


class Update(NamedTuple):
    """What ppo_update tells, given: steps of the optimizer, whether the KL stopped it, the KL measured last."""

    steps: int
    stopped: bool
    kl: float


def entropy(logits: Tensor) -> Tensor:
    """For logits (…, A) the entropies (…) of softmax(logits), in nats.

    A logit of -inf rules its action out: it adds 0, and no gradient becomes NaN.
    """
    log_probs = F.log_softmax(logits, -1)
    # p · log p is 0 · -inf where an action is ruled out: its log must not meet the 0.
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0.0)).sum(-1)


def policy_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """The clipped surrogate as a loss, a scalar: minus the mean of min(ρ A, clamp(ρ, 1 - clip, 1 + clip) · A).

    log_probs      (n,): log π of the actions taken under the present policy, with gradient
    old_log_probs  (n,): the same under the policy that took them
    advantages     (n,): A, taken as they are

    The gradient reaches log_probs alone.
    """
    ratio = (log_probs - old_log_probs.detach()).exp()
    advantages = advantages.detach()
    # The minimum of the two: what a clip would hide is only a gain, never a harm.
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()


def value_loss(values: Tensor, old_values: Tensor, targets: Tensor, clip: float | None = None) -> Tensor:
    """The loss of the values (n,), a scalar: the mean of (V - target)², or its clipped form.

    With a `clip`, V' = V_old + clamp(V - V_old, -clip, clip), and each row has the larger one of (V - target)²
    and (V' - target)².  The gradient reaches `values` alone.
    """
    old_values, targets = old_values.detach(), targets.detach()
    errors = (values - targets).square()
    if clip is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        errors = torch.maximum(errors, (near - targets).square())
    return errors.mean()


def approximate_kl(log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    """An estimate of KL(old ‖ new) from the log-probabilities (n,) of actions that the old policy took.

    The mean of ρ - 1 - log ρ, with ρ = π / π_old; a scalar without gradient.
    """
    log_ratio = (log_probs - old_log_probs).detach()
    # expm1: near ρ = 1 a plain ρ - 1 loses its digits.
    return (log_ratio.expm1() - log_ratio).mean()


def make_batch(rollouts: Sequence[Any], model: nn.Module, gamma: float, lam: float) -> Batch:
    """One batch of all moves of one or more rollouts, which may differ in length.

    rollouts  each as `collect` of policy_gradient gives it, with the fields states, actions, rewards,
              next_states, terminated and truncated, T moves in a row
    model     the one that made the moves; it gives (logits, values) for states (n, …)

    - The rows are the moves of the first rollout in their order, then those of the second, and so on.
    - log_probs are those of the actions taken, and values are V(s), both from the model as it is now.
    - advantages and targets are those of `gae`, of each rollout by itself.  They aren't whitened.

    Nothing in the batch has a gradient.
    """
    parts = []
    with torch.no_grad():
        for rollout in rollouts:
            logits, values = model(rollout.states)
            log_probs = _taken(logits, rollout.actions)
            next_values = model(rollout.next_states)[1]
            advantages, targets = gae(
                rollout.rewards, values, next_values, rollout.terminated, rollout.truncated, gamma, lam
            )
            parts.append(Batch(rollout.states, rollout.actions, log_probs, values, advantages, targets))
    return Batch(*(torch.cat(column) for column in zip(*parts, strict=True)))


def ppo_loss(
    model: nn.Module,
    batch: Batch,
    clip: float = 0.2,
    value_clip: float | None = None,
    value_weight: float = 0.5,
    entropy_weight: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """The loss of the model on a batch, a scalar, and the approximate KL, a scalar without gradient.

    - loss = policy_loss + value_weight · value_loss - entropy_weight · (mean of entropy)
    - `clip` belongs to policy_loss, `value_clip` to value_loss.
    - The advantages are taken as they are.
    - The gradient reaches the model alone.
    """
    logits, values = model(batch.states)
    log_probs = _taken(logits, batch.actions)
    loss = (
        policy_loss(log_probs, batch.log_probs, batch.advantages, clip)
        + value_weight * value_loss(values, batch.values, batch.targets, value_clip)
        - entropy_weight * entropy(logits).mean()
    )
    return loss, approximate_kl(log_probs, batch.log_probs)


def minibatches(n: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """The numbers 0 … n - 1 in random order, cut into pieces of `size`; the last one may be shorter.

    Each piece is int64, (size,), on the generator's device.  Every order is equally probable.  n may be 0: then
    there are no pieces.

    Raises ValueError, naming size, if it is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if n == 0:
        return []
    return list(torch.randperm(n, generator=generator, device=generator.device).split(size))


def ppo_update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    epochs: int,
    size: int,
    generator: torch.Generator,
    *,
    clip: float = 0.2,
    value_clip: float | None = None,
    value_weight: float = 0.5,
    entropy_weight: float = 0.01,
    max_norm: float = 0.5,
    target_kl: float | None = None,
) -> Update:
    """Train the model on a batch of at least one move, `epochs` ≥ 1 times over.  Returns an Update.

    - First the advantages are whitened, once, over the whole batch.  `batch` itself isn't changed.
    - Each epoch goes through new `minibatches` of the batch, and makes one step of the optimizer on each.
    - Before a step, gradients whose norm, over all parameters of the model together, is above max_norm are
      scaled down to it.
    - Before a step, too, the approximate KL of this minibatch is measured, with the model as it is then.  If it
      is above `target_kl` > 0, this step isn't made, and the whole update ends.  None: it never stops.

    `kl` is the KL of the last minibatch that was looked at.
    """
    batch = batch._replace(advantages=whiten(batch.advantages))
    steps = 0
    for _ in range(epochs):
        for rows in minibatches(len(batch.actions), size, generator):
            part = Batch(*(field[rows] for field in batch))
            loss, kl = ppo_loss(model, part, clip, value_clip, value_weight, entropy_weight)
            # Further steps on these moves would trust them too far from where they were made.
            if target_kl is not None and kl > target_kl:
                return Update(steps, True, kl.item())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            steps += 1
    return Update(steps, False, kl.item())


def train_ppo(
    envs: Sequence[Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rounds: int,
    steps: int,
    epochs: int,
    size: int,
    gamma: float,
    lam: float,
    generator: torch.Generator,
    **options: Any,
) -> list[float]:
    """Train for `rounds` rounds on `steps` moves of each env.  Returns the mean reward of a move for each round.

    envs     one or more, each as gymnasium has it (see policy_gradient)
    model    gives (logits, values) for states (…, inputs), as ActorCritic of policy_gradient does
    options  go on to ppo_update by their names

    - Each env is reset once at the start.  Each round goes on where the last one stopped.
    - A round collects `steps` moves from every env, makes one batch of them, and calls ppo_update on it.
    - Actions are drawn with the generator, which is on the model's device; minibatches come from it, too.
    """
    states, means = [env.reset()[0] for env in envs], []
    for _ in range(rounds):
        rollouts = []
        for i, env in enumerate(envs):
            rollout, states[i] = collect(env, model, states[i], steps, generator)
            rollouts.append(rollout)
        batch = make_batch(rollouts, model, gamma, lam)
        ppo_update(model, optimizer, batch, epochs, size, generator, **options)
        means.append(torch.cat([rollout.rewards for rollout in rollouts]).mean().item())
    return means


def _taken(logits: Tensor, actions: Tensor) -> Tensor:
    return F.log_softmax(logits, -1).gather(-1, actions[:, None]).squeeze(-1)
