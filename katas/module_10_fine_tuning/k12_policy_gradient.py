"""Policy gradients: REINFORCE, a baseline, actor-critic, and GAE

**Before you start.**  You need autograd, log-softmax, and what a value is (the kata
markov_decision_processes).  You import no other kata.  If the subject is new: OpenAI's "Spinning
Up", part 3, "Intro to Policy Optimization" (free online).

**The idea.**  Value learning asks what an action is worth, and then takes the best.  You can also
turn the knobs of the policy directly: make actions that went well more probable, and the others
less.  That works with any network that gives probabilities.  Language models are trained with
rewards in this way.  The price is noise.  The same action goes well today and badly tomorrow, by
chance.  Most of this kata is about less noise: compare with what was to be expected, and count
only what came later.

**The formulas.**  π(a | s) is the policy, r a reward, γ (gamma) the discount, V the value of a
state, λ (lambda), from 0 to 1, a mixing weight.

    return         G_t = r_t + γ G_{t+1}                        within one episode
    REINFORCE      gradient of J = E[ G_t · ∇ log π(a_t | s_t) ]
    baseline       gradient of J = E[ (G_t - V(s_t)) · ∇ log π(a_t | s_t) ]
    TD error       δ_t = r_t + γ V(s_{t+1}) - V(s_t)
    GAE            A_t = δ_t + γ λ A_{t+1}                      within one episode
    actor-critic   loss = -mean(A · log π) + c_v · mean((V - target)²) - c_e · entropy
                   target = A + V

**A drawing.**  Six moves of one env.  Move 2 terminated, move 4 was truncated, and the rollout
stops in the middle of the third episode.

    move            0      1      2   ┃   3      4   ┃   5
    episode         ├── first ────┤   ┃   ├─ next ┤  ┃   ├── …
    ended by               terminated ┃    truncated ┃
    δ takes V of    s1     s2     0   ┃   s4     s5' ┃   s6
    A adds          A1     A2     0   ┃   A4     0   ┃   0

    s5' is where move 4 led, not the first state of the third episode

**Why may you subtract a baseline?**  The probabilities sum to 1 whatever you do, so ∇ log π is 0
on average: Σ_a π(a) ∇ log π(a) = ∇ 1 = 0.  A baseline that doesn't depend on the action changes
nothing on average.  But it takes away much of the noise.

**What does λ do?**  With λ = 0, A is δ alone: little noise, but it trusts V, which is wrong at
first.  With λ = 1, A is the return minus V: no trust, much noise.  Values in between mix the two.

**Why are advantages and targets constants?**  They say how good the actions were.  If gradients
flowed through them, the value network would learn to make its own advantages look good.

**Worked by hand.**  Rewards 1, 0, 2, all in one episode, which terminates; γ = 0.5, λ = 0.5.

    returns      G2 = 2        G1 = 0 + 0.5 · 2 = 1        G0 = 1 + 0.5 · 1 = 1.5
    V = 1, 2, 1; next_values = 2, 1, 9 (the 9 isn't used, as the last move terminated)
    δ            1 + 1 - 1 = 1        0 + 0.5 - 2 = -1.5        2 + 0 - 1 = 1
    A            A2 = 1        A1 = -1.5 + 0.25 · 1 = -1.25        A0 = 1 - 0.3125 = 0.6875
    targets      1.6875        0.75        2
    whiten(1, 3)  mean 2, std 1 (not √2): -1, 1
    a bandit, π = 1/6, 2/6, 3/6, rewards 6, 3, 0: mean 2, gradient of J by the logits π · (r - 2):
                 4/6, 2/6, -1

**Shapes**: T moves in a row, N envs beside each other, A actions.  Results keep dtype and device
of what goes in.  No function changes its arguments, except where it says so: training changes the
model, the optimizer, the env and the generator.

**Steps.**  A good place to pause is before collect.

    returns_to_go        8 min   backwards, and nothing crosses an end
    whiten               4 min   which standard deviation?
    reinforce_loss       4 min   the sign, and no gradient into the weights
    gae                 15 min   two kinds of ends
    ActorCritic          6 min   one trunk, two heads
    actor_critic_loss   10 min   three signs
    collect             15 min   copies, and the last state of an episode
    train_actor_critic  12 min   what belongs to what

Sources: Williams 1992, "Simple statistical gradient-following algorithms" (REINFORCE); Sutton and
Barto 2018, chapter 13; Schulman et al. 2016, "High-Dimensional Continuous Control Using
Generalized Advantage Estimation"; Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement
Learning" (actor-critic).

From scratch: gymnasium, torchrl, stable_baselines3 and torch.distributions may not be used.
"""

from typing import Any, NamedTuple

import torch
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
    raise NotImplementedError


def whiten(values: Tensor, eps: float = 1e-8) -> Tensor:
    """Shift and scale to mean 0 and standard deviation 1, over all entries: (x - mean) / (std + eps).

    std divides by the number of entries n, not by n - 1.  A single entry gives 0.  The shape stays.
    """
    raise NotImplementedError


def reinforce_loss(log_probs: Tensor, weights: Tensor) -> Tensor:
    """A scalar whose gradient is that of REINFORCE: minus the mean of log-probability times weight.

    log_probs  (T,): log π of the actions taken, with gradient
    weights    (T,): returns or advantages; no gradient flows into them
    """
    raise NotImplementedError


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
    raise NotImplementedError


class ActorCritic(nn.Module):
    """A policy and a value with a common trunk."""

    def __init__(self, inputs: int, hidden: int, actions: int) -> None:
        """The layers, each an nn.Linear with torch's own initialization.

        `trunk` (inputs to hidden), `policy` (hidden to actions) and `value` (hidden to 1).
        """
        raise NotImplementedError

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """For states (…, inputs) the logits (…, actions) and the values (…), both from tanh(trunk(states))."""
        raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError
