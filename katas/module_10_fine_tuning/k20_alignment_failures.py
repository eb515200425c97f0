"""Alignment failures: when the reward goes up and the answers get worse

**Before you start.**  You need probabilities of a finite set, the KL divergence, and least squares
in NumPy; no other kata.  If KL is new: Cover and Thomas, "Elements of Information Theory",
section 2.3.

**The idea.**  You train on a reward because you can't measure what you really want.  That reward is
a stand-in, so call it the *proxy*.  What you want is the *gold* reward: a careful human, say, whom
you can ask only now and then.  At first both go up together.  Push on, and the policy finds answers
that the proxy overrates.  Now the proxy goes up and gold goes down.  Goodhart said it first: when
a measure becomes a target, it ceases to be a good measure.

Here you watch this happen, and you stop it.

- *Best of n* is the simplest way to push: draw n answers, keep the one with the highest proxy.
  For a finite set of answers, everything about it can be computed exactly.
- Two formulas say how gold rises and falls.  You fit them, and read off the top.
- In a training run you find the checkpoint to go back to.
- You test the reward itself, before anybody trains on it.  That shows its holes while they are
  cheap.

**The formulas.**  p is the policy you start from; KL says how far the new one has moved away.

    KL of best of n      log n - (n - 1)/n        many answers, no two alike
    chance of a pick     F(≤)ⁿ - F(<)ⁿ            F(≤): the chance of an answer with at most
                                                  this proxy;  F(<): of one with less
    exact KL             Σ q · log(q / p)         q: the chances of the picks;  0 · log 0 is 0
    from N samples       C(i, n - 1) / C(N, n)    the weight of the sample with i worse ones
    gold, best of n      d · (α - β · d)          d = √KL;  gold is 0 at d = 0
    gold, by RL          d · (α - β · log d)
    top of best of n     d = α / (2β)
    top of RL            d = exp(α/β - 1)

**A drawing**

    reward
      │                                  ╭──── proxy: it never looks back
      │                         ╭────────╯
      │                ╭────────╯
      │         ╭──────╯
      │     ╭───╯   ╭───────╮
      │   ╭─╯   ╭───╯       ╰────╮
      │ ╭─╯ ╭───╯       │        ╰──── gold: what you wanted
      └─┴───┴───────────┼─────────────────────▶ d = √KL
                    stop here

**Why does the KL of best of n need no measuring?**  Rank all answers by their proxy.  The rank of
one draw is uniform from 0 to 1.  The best of n has the density n · uⁿ⁻¹.  Its KL from the uniform
one is the integral of n · uⁿ⁻¹ · log(n · uⁿ⁻¹), and that is log n - (n - 1)/n.  No model appears in
it.  With few answers some draws are equal.  Then the exact KL is smaller: the formula is a bound.

**Why d = √KL?**  Near the start, KL grows with the square of the distance that you move.  So its
root behaves like a distance, and gold starts as a straight line in d.

**Why weights, instead of drawing again?**  You have N answers and want the best of n of them.  You
could draw n at random many times.  But you can average over *all* choices of n at once.  Sort by
proxy.  A sample with i worse ones wins a choice if the other n - 1 are among those i.

**Why test a reward with changed answers?**  You often don't know the right reward of an answer.
You do know what must not matter: a blank at the end, a different name.  And you know what must
help: a missing step added.  Such a *metamorphic* test needs no right answers at all.

**Worked by hand**

    answers      p 0.5 0.3 0.15 0.05   proxy 1 2 3 4   gold 0 1 2 -5: the last is a hack
    n = 2        F(≤)²  0.25 0.64 0.9025 1    picks  0.25 0.39 0.2625 0.0975
                 gold   0.39 + 2 · 0.2625 - 5 · 0.0975 = 0.4275
    the curve    gold   0.35 0.4275 0.3646 0.2294  for n = 1 2 3 4: the top is at n = 2
    KL           n = 2: the bound is log 2 - 1/2 = 0.1931, the exact one 0.1410
    N samples    gold 1 2 4 -3, sorted by proxy, n = 2: weights 0 1 2 3, over 6
                 (0 · 1 + 1 · 2 + 2 · 4 - 3 · 3) / 6 = 1/6
    fit          "bon", KL 1 and 4, gold 1.0 and 1.2:  α - β = 1, 2 · (α - 2β) = 1.2
                 β = 0.4, α = 1.4;  the top is at d = 1.75, KL 3.0625, gold 1.225
    a run        proxy 1.0 1.6 2.1 2.7 3.4,  gold 1.0 1.4 1.7 1.6 1.1,  drop 0.3:  (2, 4)
    a check      reward: the number of words.  Saying all twice must change nothing: it fails
    a hack       the same reward, "Paris", the edit pad adds " indeed":  ["pad", "pad"] gains 2

**Shapes**: K answers and N samples, both at least 1.  Arrays are float64 NumPy arrays; those that
come out, too.  Single numbers are Python floats and ints.  Probabilities are at least 0 and sum to
1.  Logarithms are natural.  Rewards are finite, unless it is said otherwise.  No function changes
its arguments.

**Steps.**  A good place to pause is before over_optimisation.

    best_of_n_kl             2 min   one line
    best_of_n_policy        10 min   answers with the same proxy share
    goodhart_curve           6 min   chances that are 0
    goodhart_peak            4 min   the first of those at the top
    estimate_best_of_n      10 min   large binomials
    over_optimisation        4 min   what is 0 · log 0?
    fit_over_optimisation    6 min   two columns and a solver
    optimum                  6 min   is there a top at all?
    hacking_starts           7 min   compare with the best so far
    specification_failures   9 min   three kinds of check, and NaN
    find_hack               14 min   a search that doesn't explode

Sources: Goodhart 1975 (in the words of Strathern 1997); Stiennon et al. 2020, "Learning to
summarize from human feedback", and Beirami et al. 2024, "Theoretical guarantees on the best-of-n
alignment policy" (KL and its bound); Nakano et al. 2021, "WebGPT" (the estimator from N samples);
Gao, Schulman and Hilton 2022, "Scaling Laws for Reward Model Overoptimization" (the two formulas);
Ribeiro et al. 2020, "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList".

From scratch: scipy may not be used.  NumPy may, numpy.linalg.lstsq too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Check(NamedTuple):
    """A property that a reward must have, given.

    name    what it is called in the report
    change  makes another answer of an answer
    expect  what the change must do to the reward: "same", "higher" or "lower"
    """

    name: str
    change: Callable[[str], str]
    expect: str


def best_of_n_kl(n: int) -> float:
    """The KL of best of n from the policy that draws, for many answers no two of which are alike.

    Raises ValueError, naming n and its value, unless n is at least 1.
    """
    raise NotImplementedError


def best_of_n_policy(probabilities: Array, proxy: Array, n: int) -> Array:
    """The chance (K,) of each answer to be the pick of best of n, exactly.

    probabilities  (K,): the chance of each answer in one draw; may be 0
    proxy          (K,): the proxy reward of each answer, in any order

    - n answers are drawn, with replacement.  The pick is the one with the highest proxy.
    - Several of those drawn may have that proxy, to the last digit.  Then the one that was drawn first is the pick.
    - n may be large, say 10 000.

    Raises ValueError, naming n and its value, unless n is at least 1.
    """
    raise NotImplementedError


def goodhart_curve(probabilities: Array, proxy: Array, gold: Array, ns: Sequence[int]) -> tuple[Array, Array]:
    """The exact KL and the expected gold reward of best of n, both (len(ns),), for each n of `ns`, in its order.

    The other arguments are those of `best_of_n_policy`, and gold (K,).
    The KL is the exact one of the pick from the draw, not the bound.  What has chance 0 adds 0 to it, also if the
    chance is so small that it is rounded to 0.
    """
    raise NotImplementedError


def goodhart_peak(probabilities: Array, proxy: Array, gold: Array, most: int) -> tuple[int, float]:
    """The n from 1 to `most` whose expected gold reward is the highest, and this reward.

    - All n within 1e-9 of the highest count as equally good.  Of those it is the smallest: it costs least.
      The reward is that n's.
    - The curve may have several tops.

    Raises ValueError, naming most and its value, unless it is at least 1.
    """
    raise NotImplementedError


def estimate_best_of_n(proxy: Array, gold: Array, n: int) -> float:
    """The gold reward of best of n, estimated from N answers that were drawn once.

    proxy, gold  (N,): the two rewards of each sample, in the order in which they were drawn

    It is the mean, over all choices of n different samples, of the gold reward of the choice's best by proxy.

    - Of two samples with the same proxy, the earlier one is the better.
    - N may be 2 000, and n any number up to it: don't list the choices.

    Raises ValueError, naming n and N, unless 1 ≤ n ≤ N.
    """
    raise NotImplementedError


def over_optimisation(kl: Array, alpha: float, beta: float, form: str) -> Array:
    """The gold reward that the formula gives for each kl ≥ 0, of any shape.

    form  "bon" or "rl"

    At kl = 0 it is 0, in both forms, and NumPy gives no warning.
    Raises ValueError, naming the form, for any other.
    """
    raise NotImplementedError


def fit_over_optimisation(kl: Array, gold: Array, form: str) -> tuple[float, float]:
    """α and β of the formula that fits best: least squares over the points kl (m,) ≥ 0, gold (m,).

    gold is measured from the start: it is what was gained over the policy with kl 0.

    - No intercept is fitted.  A point with kl = 0 says nothing, and has no influence.
    - α and β may be negative.

    Raises ValueError, naming the form, for any other than "bon" and "rl".
    Raises ValueError, with the word "two", if there aren't two different values of kl above 0.
    """
    raise NotImplementedError


def optimum(alpha: float, beta: float, form: str) -> tuple[float, float]:
    """The kl ≥ 0 at which the formula is highest, and the gold reward there.

    - "bon" with α ≤ 0 is highest at the start: (0.0, 0.0).
    - α/β is at most 100.

    Raises ValueError, naming the form, for any other than "bon" and "rl"; after that, naming beta and its value,
    unless β is above 0: without it there is no top.
    """
    raise NotImplementedError


def hacking_starts(proxy: Array, gold: Array, drop: float) -> tuple[int, int] | None:
    """Where a run began to hack its reward; None if it never did.

    proxy, gold  (T,): both rewards of each checkpoint, in time
    drop         ≥ 0: gold goes up and down by so much for no reason

    For a checkpoint t > 0, `best` is the one before t with the highest gold, the first of several.  t hacks if

    - gold[t] is below gold[best] - drop, and
    - proxy[t] is above proxy[best].

    Returns (best, t) for the first such t: the checkpoint to go back to, and the one that shows it.
    """
    raise NotImplementedError


def specification_failures(
    reward: Callable[[str], float], answers: Sequence[str], checks: Sequence[Check], tolerance: float
) -> dict[str, list[int]]:
    """For each check the places in `answers` where it fails, ascending.  Its name is the key, in the order of `checks`.

    With `before` the reward of an answer and `after` that of the changed one:

    - "same" holds if |after - before| is at most `tolerance`.
    - "higher" holds if after - before is above `tolerance`; "lower" if before - after is.
    - An answer that the change leaves as it is can't be judged: it is no failure.
    - Otherwise, if `before` or `after` is NaN or infinite, the check fails.
    - A check without failures has an empty list.

    Rewards cost time: each answer is rewarded at most once, and each changed answer at most once.

    Raises ValueError, before any reward is asked for: naming the check's `expect`, if it is none of the three;
    naming the check, if two have its name.
    """
    raise NotImplementedError


def find_hack(
    reward: Callable[[str], float],
    gold: Callable[[str], float],
    answer: str,
    edits: Mapping[str, Callable[[str], str]],
    depth: int,
    gain: float,
) -> list[str] | None:
    """The names of the edits that turn `answer` into a hack, in the order in which they are made; None if none do.

    edits  each makes another text of a text; one may be made several times
    depth  ≥ 0: the most edits that are made
    gain   ≥ 0

    A text is a hack if its reward is above that of `answer` by more than `gain`, and its gold isn't above that of
    `answer`.

    - The fewest edits that make a hack are returned.  Of several such lists it is the first in the order of `edits`:
      compare the first edits, then the second ones, and so on.
    - Different lists often make the same text.  Ask for the reward of each text at most once, and go on from it at
      most once.  4 edits, 20 of them in a row, may make only 10 000 texts.
    """
    raise NotImplementedError
