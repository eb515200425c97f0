"""Offline reinforcement learning, and learning to adapt

**Before you start.**  You need the Q-learning target (the kata value_learning), softmax and its
gradient (policy_gradient), and autograd in torch.  You import no other kata.  If the subject is
new, read sections 2 and 4 of Levine et al. 2020, "Offline Reinforcement Learning".

**The idea.**  Often you may not try things out: on patients, on cars, on people who pay.  All you
have is a log of what somebody else did.  You want a better policy than theirs, and you may never
test it.  The trap is an action that nobody took.  Your guess for it is never corrected.  If the
guess is too high, the maximum picks it, and the mistake spreads to the states before.  A
*conservative* learner presses such guesses down.  You will also judge a policy by a log of
another one.  The second part turns the question around.  There you may try things out, but only a
little: two gradient steps.  So you look for a start from which two steps go far.  That is MAML.

**The formulas: offline.**  Sums over i run over the n moves of the log.  lse is log Σ_a exp.

    cloning       π[s, a] = (n[s, a] + c) / (n[s] + c A)           n counts moves, c smooths
    targets       y_i = r_i + γ max_b Q[s'_i, b],  or r_i alone where the move terminated
    loss          L(Q) = 1/2 Σ_i (Q[s_i, a_i] - y_i)²
                       + α Σ_i (lse(Q[s_i]) - Q[s_i, a_i])         the penalty
                       + l2/2 Σ_sa Q[s, a]²
    its gradient  n[s, a] Q[s, a] - Σ_i y_i + α (n[s] softmax(Q[s])[a] - n[s, a]) + l2 Q[s, a]
                  where this sum takes the moves of s and a alone
    fitted Q      Q ← the Q with the smallest loss for the targets of the old Q, again and again

**The formulas: another policy's log.**  b is the policy that made the log, π the one to judge.
Within an episode ρ_t = π[s_t, a_t] / b[s_t, a_t], and w_t = ρ_0 ρ_1 … ρ_t.  W is the last w of an
episode, G = r_0 + γ r_1 + … its return.

    ordinary      mean of W · G over episodes
    weighted      Σ W · G / Σ W
    per-decision  mean over episodes of Σ_t w_t γ^t r_t

**The formulas: MAML.**  A task is a bandit: reward r[a] for action a.  θ are the logits.

    worth         J(θ) = Σ_a π[a] r[a]  with π = softmax(θ),       ∇J = π · (r - J)
    two steps     θ' = θ + rate · ∇J(θ),   θ'' = θ' + rate · ∇J(θ')          for each task
    objective     M(θ) = mean over tasks of J(θ''),  and you climb its gradient by θ
    first order   the same, but ∇J(θ) and ∇J(θ') count as constants

**A drawing**

    one state    log       α = 0                  α = 1
    action 0     ● ● ● ●   ░░░░│ -0.80               ░░░│ -0.54  ◀ best
    action 1     nothing       │  0.00  ◀ best    ░░░░░░│ -1.29

               θ                   every task begins here
          ┌────┴────┐
       task 1    task 2
       θ' ▶ θ''  θ' ▶ θ''          two steps of each task's own
          └────┬────┘
            mean J                 its gradient goes back through both steps

**Why is lse minus Q a penalty?**  lse is a soft maximum.  It is large when an action that nobody
took has a high value.  Q of the taken action is subtracted, so what the log knows isn't pressed
down.  The gradient says it plainly: softmax(Q) minus what was done.

**What does α do?**  With α = 0 you have plain fitted Q.  With a huge α only the penalty counts,
and it is smallest where softmax(Q) is how often each action was taken.  That is cloning.  So α
goes from "trust your guesses" to "do as they did".

**What does l2 do?**  Nothing but the penalty touches an action that nobody took.  It would sink
for ever.  l2 holds it.  You can also read l2 as so many extra moves whose target is 0.

**Why weights, and why three kinds?**  The log shows b's episodes, not π's.  W says how much more
often π would have made one.  The ordinary mean is right on average, but one W of 1000 ruins it.
The weighted one stays between the returns that were seen, and pays with a bias.  A reward at time
t can't depend on later actions.  So the per-decision one leaves their ratios out.

**Why do second derivatives come up?**  θ'' depends on θ in two ways: by itself, and through the
gradients that made it.  The second way is what tells a good start from a good end.  First order
leaves it out.  That is cheaper, and often good enough, but it is another gradient.

**Worked by hand**

    cloning       actions 0 0 0 1 in one state, A = 3, c = 0.5:  3.5/5.5, 1.5/5.5, 0.5/5.5
    targets       r = 1, γ = 0.5, Q[s'] = [4, 6]:  1 + 0.5 · 6 = 4;  terminated: 1
    fit           the drawing: four moves with target -1, α = 1, l2 = 1.  Q = [-0.5425, -1.2876]
                  softmax(Q) = [0.6781, 0.3219].  The gradient is 0:
                  4 · (-0.5425) + 4 + 4 · 0.6781 - 4 - 0.5425 = 0,    4 · 0.3219 - 1.2876 = 0
    weights       b is 1/2 each, π = [3/4, 1/4], so ρ is 1.5 or 0.5.  γ = 0.5
                  first episode: actions 0 1, rewards 1 2:  G = 2, W = 0.75
                  second one: action 1, reward 4:  G = 4, W = 0.5
                  ordinary (1.5 + 2) / 2 = 1.75,  weighted 3.5 / 1.25 = 2.8
                  per-decision ((1.5 · 1 + 0.75 · 0.5 · 2) + 2) / 2 = 2.125
    MAML          θ = [0, 0], r = [1, 0], rate 2.  J = 0.5, ∇J = [0.25, -0.25], θ' = [0.5, -0.5]
                  J(θ') = 0.7311, ∇J(θ') = [0.1966, -0.1966], θ'' = [0.8932, -0.8932], J = 0.8565
                  its gradient by θ[0]:  first order 0.1229,  in full 0.0782

**Shapes**: S states, A actions, all at least 1; n moves, at least 1; T tasks, at least 1.  The
offline part is NumPy in float64.  MAML is torch: float32 or float64, and what comes out has the
dtype and the device of the logits.  No function changes its arguments.

**Steps.**

    behaviour_cloning     5 min   a state that nobody visited
    td_targets            4 min   which end cuts off the future?
    conservative_loss     6 min   sums, and large values
    conservative_fit     16 min   Newton's method a state, or any that gets there
    fitted_q              5 min   the targets of the old Q
    importance_sampling  15 min   products within an episode
                                  (a good place for a pause)
    expected_reward       3 min   one line
    adapt                12 min   each task on its own
    meta_objective        4 min   one line
    meta_train            8 min   uphill

Sources: Kumar et al. 2020, "Conservative Q-Learning for Offline Reinforcement Learning" (CQL);
Ernst, Geurts and Wehenkel 2005, "Tree-Based Batch Mode Reinforcement Learning" (fitted Q);
Precup, Sutton and Singh 2000, "Eligibility Traces for Off-Policy Policy Evaluation"; Finn, Abbeel
and Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks" (MAML).

From scratch: gymnasium, d3rlpy, torchrl and higher may not be used.  NumPy, scipy and torch may.
"""

from typing import NamedTuple

import numpy as np
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
    raise NotImplementedError


def td_targets(log: Log, q: Array, gamma: float) -> Array:
    """The targets (n,) of the moves: the reward, plus γ times the best value of the next state in q (S, A).

    Where the move terminated it is the reward alone, even if q has inf or NaN there.  A truncated one had a
    future.
    """
    raise NotImplementedError


def conservative_loss(q: Array, log: Log, targets: Array, alpha: float, l2: float) -> float:
    """The loss L of the lesson, a Python float, for q (S, A) and targets (n,).

    - All three parts are sums: the first two over moves, the last over all states and actions.
    - It is right for values of ±10 000, too.
    """
    raise NotImplementedError


def conservative_fit(log: Log, targets: Array, states: int, actions: int, alpha: float, l2: float) -> Array:
    """The Q (states, actions) with the smallest conservative_loss for the targets (n,).

    - Each value is right to 1e-6, for targets up to 1000 in size, alpha from 0 to 100 and l2 from 0.001.
    - A state with no move gets 0.
    - The method is yours to choose.

    Raises ValueError: naming alpha and its value, if it is below 0; naming l2 and its value, if it isn't above 0.
    """
    raise NotImplementedError


def fitted_q(log: Log, states: int, actions: int, gamma: float, alpha: float, l2: float, sweeps: int) -> Array:
    """Q (states, actions) after `sweeps` rounds of fitted Q iteration.

    Begins with 0 everywhere.  A round takes td_targets with the present Q, and then Q is the conservative_fit to them.
    `sweeps` may be 0.
    """
    raise NotImplementedError


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
    raise NotImplementedError


def expected_reward(logits: Tensor, rewards: Tensor) -> Tensor:
    """J: the expected reward of softmax(logits), for logits (…, A) and rewards (…, A), which broadcast.

    The last axis is summed over, so (A,) and (T, A) give (T,).  It is exact: nothing is drawn.
    """
    raise NotImplementedError


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
    raise NotImplementedError


def meta_objective(logits: Tensor, rewards: Tensor, rate: float, steps: int = 2, first_order: bool = False) -> Tensor:
    """M, of shape (): the mean over tasks of what each one's adapted logits are worth in it.  Arguments as in adapt."""
    raise NotImplementedError


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
    raise NotImplementedError
