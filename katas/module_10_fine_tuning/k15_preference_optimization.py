"""Preference optimization

**Before you start.**  You need log-softmax, the sigmoid, and how a language model's logits predict
the next token; no other kata.  `reward_modelling` tells where the Bradley-Terry model comes from,
but you can do this one first.  If these are new: Rafailov et al. 2023, sections 3 and 4.

**The idea.**  People can say which of two answers they like better.  They can't write down a score
for every answer.  The classical way trains a reward model on the pairs, and then a policy by
reinforcement learning.  That takes four models and much patience.  Direct preference optimization
(DPO) does it with one loss.  It raises the log-probability of the chosen answer and lowers that of
the rejected one, both compared with where the policy began.  That beginning is the *reference*: a
frozen copy.  IPO, KTO, ORPO and SimPO change one thing each.

**The formulas.**  x is a prompt, c the chosen and r the rejected completion.  π(c) is short for the
log-probability log π(c|x) of the policy, ref(c) for that of the reference.  σ is the sigmoid.

    sum       π(c) = Σ over the completion's tokens of log p(token | all before it)
    mean      the same, divided by the number of these tokens

    h         (π(c) - ref(c)) - (π(r) - ref(r))
    DPO       -(1 - ε) · log σ(β h) - ε · log σ(-β h)       ε: smoothing
    IPO       (h - 1 / (2τ))²
    KTO       desirable:    w · (1 - σ(β (π(y) - ref(y) - z)))
              undesirable:  w · (1 - σ(β (z - (π(y) - ref(y)))))
              z = max(0, mean of π - ref over completions of other prompts)
    ORPO      -π(c) - λ · log σ(odds(c) - odds(r))          odds(y) = log(p / (1 - p)), p = exp π(y)
    SimPO     -log σ(β (π(c) - π(r)) - γ)
    reward    β (π(y) - ref(y))                             the implied reward of a completion

What goes in:

    DPO, KTO        pairs, single answers     sums      with a reference
    IPO             pairs                     sums      with a reference  (trl takes means)
    ORPO, SimPO     pairs                     means     without a reference

**A drawing**: one pair in a batch.  P is the prompt, c and r are completions, · is padding.

    tokens     P  P  P  c  c  ·  ·         mask     0  0  0  1  1  0  0
               P  P  P  r  r  r  r                  0  0  0  1  1  1  1
    position   0  1  2  3  4  5  6

    logits at  0  1  2  3  4  5  6
                     │  │
                     │  └──────▶ predict token 4
                     └─────────▶ predict token 3, the first of the completion

**Why does the mask go with the tokens, not with the logits?**  The first token of the answer is
predicted by the last logits of the prompt.  Whoever takes logits and tokens at the same position
loses that token, and counts one of the padding.

**Why the log-ratio?**  A policy that maximises reward - β · KL(π, ref) has the form
π*(y) ∝ ref(y) · exp(reward(y) / β).  Solve it for the reward: it is β (π*(y) - ref(y)), plus a
number that is the same for all answers to x.  In a pair that number cancels.  So the policy itself
is a reward model, and DPO fits it to the pairs by the Bradley-Terry model: p(c beats r) = σ(β h).

**Why the others?**  DPO never has enough: log σ grows for any h.  IPO stops at h = 1/(2τ).  KTO
needs no pairs, only thumbs up or down.  z tells it how far the policy has moved in general.  ORPO
and SimPO save the reference.  ORPO holds the policy by the usual loss on the chosen answer.
SimPO asks for a margin γ.  Means keep them from preferring short answers: a sum over fewer tokens
is larger.

**Worked by hand**

    log-probs    tokens [0 2 1], the last two are the completion; p at 0 is [.5 .25 .25],
                 p at 1 is [.1 .1 .8]:    log .25 + log .1 = -3.6889      mean -1.8444
    π(c) = -2, π(r) = -3.5, ref(c) = -2.6, ref(r) = -3.1:   h = 0.6 - (-0.4) = 1
    DPO, β 0.5         -log σ(0.5) = 0.4741;   with ε = 0.1:  0.9 · 0.4741 + 0.1 · 0.9741 = 0.5241
    IPO, τ 0.2         (1 - 2.5)² = 2.25
    KTO, β 0.5, z 0.2  c desirable:  1 - σ(0.5 · 0.4) = 0.4502
                       r undesirable, w = 2:  2 · (1 - σ(0.5 · 0.6)) = 0.8511
    ORPO, λ 0.5        p = 0.5 and 0.2: odds log 1 and log 1/4:  0.6931 - 0.5 · log 0.8 = 0.8047
    SimPO, β 2, γ 0.5  means -0.5 and -0.9:  -log σ(0.8 - 0.5) = 0.5544

**Shapes**: n pairs, length L, vocabulary V.  logits (n, L, V), tokens and mask (n, L).  Log-probs
are (n,), and so are losses: one for each pair.  Whoever trains takes the mean.  All float tensors
of a call have one dtype, float32 or float64, and one device; the answer has both.  No function
changes its arguments.

**Steps.**

    pair_batch            10 min   where does the completion begin and end?
    completion_log_probs  12 min   shift by one; sum or mean
    frozen_reference       4 min   three things make it a reference
    dpo_loss               8 min   signs; large h
    ipo_loss               3 min   the same h, a square
                                   (a good place for a pause)
    kto_baseline           3 min   a KL is never below 0
    kto_loss               8 min   two cases, with their signs
    orpo_loss              8 min   1 - p for a p near 1
    simpo_loss             3 min   no reference, but a margin
    preference_metrics     5 min   what you plot while it trains

In the tests a small policy learns with your functions from pairs that follow a hidden rule.  On new
pairs it must do better than "the longer one is better".

Sources: Rafailov et al. 2023, "Direct Preference Optimization"; Mitchell 2023, "A note on DPO with
noisy preferences" (smoothing); Azar et al. 2023, "A General Theoretical Paradigm to Understand
Learning from Human Preferences" (IPO); Ethayarajh et al. 2024, "KTO"; Hong et al. 2024, "ORPO";
Meng et al. 2024, "SimPO".

From scratch: trl may not be used.
"""

from torch import Tensor, nn


def pair_batch(
    prompts: list[list[int]], chosen: list[list[int]], rejected: list[list[int]], pad: int
) -> tuple[Tensor, Tensor]:
    """The tokens (2n, L) and the mask (2n, L) of n pairs.

    Rows 0 … n - 1 are prompt + chosen, rows n … 2n - 1 are prompt + rejected, in the order given.

    - Rows are filled with `pad` on the right, up to the longest of all 2n.
    - Tokens are int64.  The mask is bool: True at each token of a completion, False elsewhere.
    - `pad` may also be a real token of a prompt or a completion: that one is treated as any other.

    Raises ValueError
    - naming the three numbers, if there aren't as many prompts as chosen and rejected completions,
    - with the word "pairs", if there are none,
    - naming the first such pair's index, counted from 0, if its prompt or one of its completions is empty.
    """
    raise NotImplementedError


def completion_log_probs(logits: Tensor, tokens: Tensor, mask: Tensor, average: bool = False) -> Tensor:
    """The log-probability (n,) of each row's masked tokens: their sum, or with `average` their mean.

    - logits[:, t] predicts tokens[:, t + 1].  Nothing predicts the token at 0: its mask isn't looked at.
    - Tokens are masked where `mask`, of dtype bool, is True.  They may lie apart.
    - A token that isn't masked may be any integer, such as -100.  It has no influence, nor have the logits
      that predict it.
    - A row without a masked token gets 0, in both cases.
    - The mean is that of the row's own masked tokens.
    - Gradients flow to the logits.  Logits of ±1000 must do no harm.
    """
    raise NotImplementedError


def frozen_reference(policy: nn.Module) -> nn.Module:
    """A copy of the policy to compare it with, on the same device.

    - The copy and all its submodules are in evaluation mode.  None of its parameters requires a gradient.
    - Training the policy doesn't change the copy.
    - The policy stays as it is: its mode, its parameters, and which of them require a gradient.
    """
    raise NotImplementedError


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    smoothing: float = 0.0,
) -> Tensor:
    """The DPO loss of each pair, from sums of log-probs, all of shape (n,).

    - No gradient flows to the reference's log-probs, even if they require one.
    - Loss and gradient are finite and right for any h that is finite, say ±10 000.

    Raises ValueError, naming beta or smoothing and its value, if beta isn't above 0, or if smoothing isn't
    in 0 ≤ smoothing < 0.5.
    """
    raise NotImplementedError


def ipo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, tau: float
) -> Tensor:
    """The IPO loss of each pair, from log-probs of shape (n,).

    No gradient flows to the reference's log-probs.

    Raises ValueError, naming tau and its value, if tau isn't above 0.
    """
    raise NotImplementedError


def kto_baseline(policy: Tensor, reference: Tensor) -> Tensor:
    """KTO's z, a tensor of shape (): the mean of policy - reference, and 0 where that is below 0.

    Both (n,) are log-probs of completions that were written for other prompts; n is at least 1.

    z carries no gradient.
    """
    raise NotImplementedError


def kto_loss(
    policy: Tensor,
    reference: Tensor,
    desirable: Tensor,
    baseline: Tensor,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """The KTO loss of each completion, from sums of log-probs of shape (n,).

    desirable  (n,), bool: True for thumbs up.  All may be alike.
    baseline   z, of shape ()

    - w is `desirable_weight` for thumbs up, `undesirable_weight` for thumbs down.
    - No gradient flows to `reference` or `baseline`, even if they require one.

    Raises ValueError, naming beta and its value, if beta isn't above 0.
    """
    raise NotImplementedError


def orpo_loss(chosen: Tensor, rejected: Tensor, weight: float) -> Tensor:
    """The ORPO loss of each pair, from the policy's mean log-probs (n,), which are below 0.  `weight` is λ.

    - Gradients flow to both.
    - It is as exact for log-probs near 0, say -1e-12 in float64, and for -1000, as for others.
    """
    raise NotImplementedError


def simpo_loss(chosen: Tensor, rejected: Tensor, beta: float, gamma: float) -> Tensor:
    """The SimPO loss of each pair, from the policy's mean log-probs (n,).

    γ isn't multiplied by β.  The loss is finite and right for differences of ±10 000, too.

    Raises ValueError, naming beta and its value, if beta isn't above 0.
    """
    raise NotImplementedError


def preference_metrics(
    policy_chosen: Tensor, policy_rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float
) -> dict[str, float]:
    """How well the policy's implied rewards tell n ≥ 1 pairs apart: Python floats under four keys.

    chosen    the mean implied reward of the chosen completions
    rejected  that of the rejected ones
    margin    the mean of chosen - rejected
    accuracy  the share of pairs whose chosen completion has the higher implied reward; a tie doesn't count

    Raises ValueError, naming beta and its value, if beta isn't above 0.
    """
    raise NotImplementedError
