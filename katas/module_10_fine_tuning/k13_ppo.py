"""Proximal policy optimization: clipping, a KL stop, and minibatches

**Before you start.**  You need an actor-critic and GAE.  You may use yours (the reference's are
used until yours are green):

    from .k12_policy_gradient import collect, gae, whiten

You also know entropy and the KL divergence.  If the subject is new: OpenAI's "Spinning Up", the
page "Proximal Policy Optimization" (free online).

**The idea.**  Moves are expensive: somebody has to play them.  Yet the actor-critic makes one step
on them and throws them away.  You would like to make many steps on the same moves.  But they show
how good actions were under the *old* policy.  After some steps the policy is another one, and old
moves say little about it.  Then training may break down, and a broken policy makes poor moves to
learn from.

PPO makes many steps and takes care not to go far.  It compares each probability with the old one,
as a ratio ρ (rho).  Once a probability has moved far enough, the loss stops pulling.  InstructGPT
was trained on human feedback with PPO.

**The formulas.**  π_old is the policy that made the moves, A an advantage, ε the clip,
and ε_v the clip of the values.  c_v and c_e are weights.

    ratio          ρ = π(a | s) / π_old(a | s) = exp(log π - log π_old)
    policy loss    -mean( min( ρ A,  clamp(ρ, 1 - ε, 1 + ε) · A ) )
    value loss     mean( (V - target)² )                                        plain
                   mean( max( (V - target)²,  (V' - target)² ) )                clipped
                   V' = V_old + clamp(V - V_old, -ε_v, ε_v)
    entropy        H = -Σ_a π(a | s) log π(a | s)
    loss           policy loss + c_v · value loss - c_e · mean(H)
    KL(old ‖ new)  is about mean(ρ - 1 - log ρ)

**A drawing** of min(…) for one move, and where its gradient is gone:

      A > 0, a good action                  A < 0, a bad action

                ╭──────── flat              flat ────╮
              ╱                                        ╲
            ╱                                            ╲
    ──────┼───┼───┼────── ρ               ──────┼───┼───┼────── ρ
         0.8  1  1.2                           0.8  1  1.2

One round:

    env 1 ──▶ rollout ─┐                             ┌▶ epoch 1   ▒▒▒ ▒▒▒ ▒▒
    env 2 ──▶ rollout ─┼▶ batch: log π_old, V_old,  ─┼▶ epoch 2   ▒▒▒ ▒▒▒ ▒▒
    env 3 ──▶ rollout ─┘  A, targets; all fixed      └▶ epoch 3   ▒▒▒ ■ KL: stop

**Why the minimum, and not just the clamp?**  Say a good action has become rare by accident: A > 0
and ρ = 0.5.  The clamp alone is flat there, so nothing would bring the action back.  With the
minimum, ρ A is the smaller one, and its gradient pulls.  So the clip hides gains only, never harm.

**Isn't the clip enough?**  No.  A flat loss stops pulling, but it doesn't hold.  Other moves change
the same weights, and ρ goes further.  So you measure the KL, and stop when it is too large.

**Why ρ - 1 - log ρ?**  The KL is the mean of -log ρ over actions of the old policy.  The mean of
ρ - 1 is 0 there: you may add it.  The sum is never negative, and usually much less noisy.

**Why the larger value loss?**  It mirrors the policy: moving V far from V_old must not pay.
Whether that helps depends on the task.  Much code has it, so you should know it.  Here it is off
unless you ask.

**Worked by hand**, with ε = 0.2

    ρ        1.5     0.5     1.5     0.5
    A        2       2      -2      -2
    ρ A      3       1      -3      -1
    clamped  2.4     1.6    -2.4    -1.6
    min      2.4     1      -3      -1.6        the mean is -0.3, so the policy loss is 0.3
    gradient by log π: 0, -0.25, 0.75, 0        -ρ A / 4, where ρ A is the smaller one

    V_old 1, V 2, ε_v 0.5, so V' = 1.5
    target 3:  max(1, 2.25) = 2.25              target 0:  max(4, 2.25) = 4
    KL, ρ = 1.5 and 0.5:  (0.095 + 0.193) / 2 = 0.144
    entropy of 1/2, 1/4, 1/4:  0.5 · 0.693 + 0.5 · 1.386 = 1.04

**Shapes**: n moves, A actions.  Losses and the KL are scalars.  Results keep dtype and device of
what goes in.  Everything has at least one row, unless something else is said.  Clips
are above 0.  No function changes its arguments, except where it says so.  Training changes the
model, the optimizer, the envs and the generator.

**Steps.**  A good place to pause is before make_batch.

    entropy          4 min   a probability of 0
    policy_loss     10 min   the minimum, then the sign
    value_loss       8 min   clamp the step, not the value
    approximate_kl   6 min   which way round?
    make_batch      12 min   rollouts don't meet
    ppo_loss         6 min   put it together
    minibatches      5 min   every row once
    ppo_update      15 min   what comes once, and what each time
    train_ppo       10 min   several envs

Sources: Schulman et al. 2017, "Proximal Policy Optimization Algorithms"; Schulman 2020,
"Approximating KL Divergence"; Huang et al. 2022, "The 37 Implementation Details of Proximal Policy
Optimization"; Ouyang et al. 2022, "Training language models to follow instructions with human
feedback" (InstructGPT).

From scratch: gymnasium, torchrl, stable_baselines3, trl and torch.distributions may not be used.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


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
    raise NotImplementedError


def policy_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """The clipped surrogate as a loss, a scalar: minus the mean of min(ρ A, clamp(ρ, 1 - clip, 1 + clip) · A).

    log_probs      (n,): log π of the actions taken under the present policy, with gradient
    old_log_probs  (n,): the same under the policy that took them
    advantages     (n,): A, taken as they are

    The gradient reaches log_probs alone.
    """
    raise NotImplementedError


def value_loss(values: Tensor, old_values: Tensor, targets: Tensor, clip: float | None = None) -> Tensor:
    """The loss of the values (n,), a scalar: the mean of (V - target)², or its clipped form.

    With a `clip`, V' = V_old + clamp(V - V_old, -clip, clip), and each row has the larger one of (V - target)²
    and (V' - target)².  The gradient reaches `values` alone.
    """
    raise NotImplementedError


def approximate_kl(log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    """An estimate of KL(old ‖ new) from the log-probabilities (n,) of actions that the old policy took.

    The mean of ρ - 1 - log ρ, with ρ = π / π_old; a scalar without gradient.
    """
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError


def minibatches(n: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """The numbers 0 … n - 1 in random order, cut into pieces of `size`; the last one may be shorter.

    Each piece is int64, (size,), on the generator's device.  Every order is equally probable.  n may be 0: then
    there are no pieces.

    Raises ValueError, naming size, if it is below 1.
    """
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError
