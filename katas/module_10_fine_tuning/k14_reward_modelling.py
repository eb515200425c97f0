"""Reward modelling

**Before you start.**  You need the sigmoid, logistic regression, and a torch module that gives a
vector for each token; no other kata.  If these are new: Ouyang et al. 2022, section 3.5.

**The idea.**  You want a number that says how good an answer is, so that you can train a policy
on it, or pick the best of ten.  People disagree about numbers: is this answer a 6 or a 7?  They
agree more about which of two is better.  A reward model turns such choices into numbers.  It
gives each answer a reward, and is trained so that the chosen one gets the higher reward.  Then
you have to look at what it learned.  Is it right, does it know how sure it is, or does it just
like long answers?

**The formulas.**  c is the reward of the chosen answer, r that of the rejected one, σ the sigmoid.

    Bradley-Terry   p(c beats r) = σ(c - r)
    loss            -log σ(c - r - m)                  m: a margin, for pairs that are far apart
    ranking         mean over prompts of (mean over the pairs of a prompt of -log σ(better - worse))
    linear reward   w minimises Σ over pairs of -log σ(w · (x_c - x_r)) + l2/2 · |w|²
    confidence      q = σ(|c - r|), from 0.5 to 1
    calibration     Σ over bins of (share of pairs) · |mean confidence - accuracy|
    temperature     T > 0 minimises the mean of -log σ((c - r) / T)
    without length  reward - slope · (length - mean length)

**A drawing**

    tokens   P  P  c  c  c  ·  ·         rewards of a prompt, ranks 0 1 1
    mask     1  1  1  1  1  0  0
             │  │  │  │  │  │  │         2.0 ──┬──▶ 1.0      pairs: 0 ▶ 1
            ┌┴──┴──┴──┴──┴──┴──┴┐              │                    0 ▶ 2
            │     backbone      │              └──▶ 0.5
            └┬──┬──┬──┬──┬──┬──┬┘
                         │               1 and 2 are tied: no pair
                       head ──▶ one reward, read at the last real token

**Why the last real token?**  In a causal model each position knows what stands before it.  So only
the last one has seen the whole answer.  Position -1 may be padding: look into the mask.

**Why does only the difference count?**  Add 5 to all rewards, and no probability changes.  So a
reward of 3.2 means nothing by itself, and the head needs no bias.

**Why is this logistic regression?**  With a linear reward, c - r = w · (x_c - x_r).  The loss is
that of logistic regression on differences, without an intercept.  It is convex, so Newton's
method finds its one minimum in a few steps.  The pairs may be told apart without a mistake.  Then
w would grow without end, and l2 stops it.

**Why one mean per prompt?**  Somebody ranks 9 answers to one prompt: that is 36 pairs.  They aren't
36 independent opinions.  If each counted in full, this prompt would drown the others.

**Why look at length?**  People like long answers a little, and reward models like them a lot.  A
model that has learned nothing else may still be right more often than not.  So look at the pairs
whose *shorter* answer was chosen.

**Worked by hand**

    loss         c = 1.2, r = 0.4:  -log σ(0.8) = 0.3711;  with m = 0.5:  -log σ(0.3) = 0.5544
    ranking      the drawing's:  (-log σ(1) - log σ(1.5)) / 2 = (0.3133 + 0.2014) / 2 = 0.2573
    linear       x_c - x_r is 1 in three pairs, -1 in one; l2 near 0:  σ(w) = 3/4, w = log 3
    accuracy     c - r = 2, 1, -0.4, 0:  (1 + 1 + 0 + 0.5) / 4 = 0.625
    calibration  the first three, 2 bins:  q = 0.8808, 0.7311, 0.5987
                 from 0.5 to 0.75: |0.6649 - 1/2|;  from 0.75 to 1: |0.8808 - 1|
                 2/3 · 0.1649 + 1/3 · 0.1192 = 0.1496
    temperature  c - r = 2 and -1:  with z = exp(1/T),  z³ - z - 2 = 0,  z = 1.5214,  T = 2.383
    length       rewards 1 2 4.5, lengths 10 20 30:  slope 0.175;  without it 2.75  2  2.75

**Shapes**: n pairs; rewards are (n,), float32 or float64.  What is a tensor comes out in the
dtype and on the device of the rewards.  What is a float is a Python float.  n is at least 1.  No
function changes its arguments.

**Steps.**

    bradley_terry_loss   4 min   large differences
    ranking_loss        12 min   ties, gaps, and two means
    RewardModel         10 min   where is the last real token?
    fit_reward          14 min   Newton's method, or any that gets to the minimum
                                 (a good place for a pause)
    ranking_accuracy     3 min   a tie is half right
    calibration_error   10 min   bins from 0.5 to 1
    fit_temperature     10 min   convex in 1/T
    length_report        8 min   three numbers to look at
    remove_length        5 min   what is left after a straight line

In the tests your model learns to tell liked films from disliked ones by the words of the reviews.

Sources: Bradley and Terry 1952; Ouyang et al. 2022, "Training language models to follow
instructions with human feedback" (ranking loss); Touvron et al. 2023, "Llama 2" (margin); Guo et
al. 2017, "On Calibration of Modern Neural Networks"; Singhal et al. 2023, "A Long Way to Go"
(length).

From scratch: sklearn, scipy and trl may not be used.
"""

from torch import Tensor, nn


def bradley_terry_loss(chosen: Tensor, rejected: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """The loss (n,) of each pair.  `margin` is a number for all pairs, or a tensor (n,).

    Loss and gradient are finite and right for differences of ±10 000, too.
    """
    raise NotImplementedError


def ranking_loss(rewards: Tensor, ranks: Tensor) -> Tensor:
    """The mean loss, of shape (), of n prompts with up to K completions each.

    rewards  (n, K)
    ranks    (n, K), int64.  A lower rank is better; ranks need not be 0, 1, 2 ….  A rank below 0 says that
             there is no completion at this place

    - Each two completions of one prompt with different ranks are a pair.  Those of equal rank are none.
    - The losses are averaged over a prompt's pairs first, then over prompts.
    - A prompt without a pair is left out of the mean.
    - A reward where there is no completion may be anything, NaN included.  It has no influence, and its
      gradient is 0.

    Raises ValueError, with the word "pair", if no prompt has one.
    """
    raise NotImplementedError


class RewardModel(nn.Module):
    """A backbone, and a linear head that reads one reward per row.

    backbone  the module that it was given, itself
    head      an nn.Linear from `width` to 1, without bias.  How it is drawn is yours to choose
    """

    def __init__(self, backbone: nn.Module, width: int) -> None:
        """backbone(tokens) gives vectors (n, L, width) for tokens (n, L)."""
        raise NotImplementedError

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The rewards (n,), each read at the last place where the row's mask is True.

        tokens  (n, L), int64
        mask    (n, L), bool: True at real tokens.  Padding may stand left, right or in between

        Gradients flow to the backbone and the head.

        Raises ValueError, naming the first such row's index, if a row has no real token.
        """
        raise NotImplementedError


def fit_reward(chosen: Tensor, rejected: Tensor, l2: float) -> Tensor:
    """The weights w (d,) of the linear reward, from features (n, d) in float64.

    - The loss is a sum over pairs, no mean.
    - Each weight is right to 1e-5, or to 1e-5 of itself where it is above 1.  The method is yours to choose.
    - n may be below d.  The features may be large or small, and tell the pairs apart without a mistake.

    Raises ValueError, naming l2 and its value, if l2 isn't above 0.
    """
    raise NotImplementedError


def ranking_accuracy(chosen: Tensor, rejected: Tensor) -> float:
    """The share of pairs whose chosen one has the higher reward.  A tie counts one half."""
    raise NotImplementedError


def calibration_error(chosen: Tensor, rejected: Tensor, bins: int) -> float:
    """How far the confidence is from the accuracy, over `bins` bins of equal width from 0.5 to 1.

    - A bin has its lower edge and not its upper one; the last has both.  What rounding does at an inner edge
      isn't tested.
    - Accuracy is `ranking_accuracy`'s: a tie counts one half, and has the confidence 0.5.
    - An empty bin counts 0.

    Raises ValueError, naming bins and its value, if there is not at least 1.
    """
    raise NotImplementedError


def fit_temperature(chosen: Tensor, rejected: Tensor) -> float:
    """The temperature T > 0 that makes the mean Bradley-Terry loss of the rewards, divided by T, smallest.

    It is right to a millionth of itself for rewards in float64, and for differences of any size, say 1e-6 or
    1e6.

    Raises ValueError, checked in this order
    - with the word "mean", if the mean of chosen - rejected isn't above 0: T would go to infinity,
    - with the word "wrong", if no pair has chosen < rejected: T would go to 0.
    """
    raise NotImplementedError


def length_report(
    chosen: Tensor, rejected: Tensor, chosen_lengths: Tensor, rejected_lengths: Tensor
) -> dict[str, float]:
    """What length has to do with the rewards.  Lengths are int64, (n,).  Python floats under three keys:

    longer       the ranking accuracy on the pairs whose chosen answer is the longer one
    shorter      that on the pairs whose chosen answer is the shorter one
    correlation  Pearson's, over all pairs, of c - r with the difference of lengths, chosen - rejected

    A number is NaN where it isn't defined: no such pair, or all differences (of rewards, or of lengths) exactly
    equal, as 0.1, 0.1 and 0.1 are, whose computed mean is another number.
    """
    raise NotImplementedError


def remove_length(rewards: Tensor, lengths: Tensor) -> Tensor:
    """The rewards (n,) without what a straight line in length explains.  lengths (n,) are int64.

    - The line is the least-squares fit of reward on length, with an intercept.
    - The mean of the rewards stays.
    - If all lengths are equal, the rewards stay as they are.
    """
    raise NotImplementedError
