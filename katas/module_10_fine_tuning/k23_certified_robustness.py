"""Certified robustness

**Before you start.**  You need a classifier in torch, a training loop, the normal distribution and
the binomial one; no other kata.  If the last two are new: any book on probability.

**The idea.**  An attack that fails proves nothing: a better one may come.  You want a promise
instead: within this distance of x *no* input gets another class.  *Randomized smoothing* gives
one, for any network.  Don't ask the network about x.  Ask it about many noisy copies of x, and let
them vote.  A small step moves the cloud of copies only a little, so the vote changes only a
little.  A clear vote therefore can't turn within a certain radius.  For words there is no such
cloud.  So the last part of this kata is an attack again: it replaces words by synonyms.

**The formulas.**  f is the network, ε normal noise with mean 0 and variance 1 in each entry.

    smoothed      g(x) = the class that f(x + σ · ε) has most often
    radius        R = σ · Φ⁻¹(p)                     class A has a chance of at least p > ½
                  R = σ/2 · (Φ⁻¹(p) - Φ⁻¹(q))        and each other class of at most q
    tail          P(X ≥ k) = Σ over i from k to n of C(n, i) pⁱ (1 - p)ⁿ⁻ⁱ
    lower bound   the p at which the tail is α       k of n copies gave class A
    test          min(1, 2 · tail at p = ½), for the larger of k and n - k
    importance    P(label | text) - P(label | text without the word)

Φ⁻¹ is the inverse of the normal distribution function.  Wherever you move x by less than R (in
the ℓ2 norm), g gives class A.  The lower bound is Clopper and Pearson's.

**A drawing**

    class A            ╲   class B
        ·    ·          ╲              0        ½    lower  k/n     1
      ·    ·  ·  ·    ·  ╲             ├────────┼─────┼──────┼──────┤
       ·  ·  x  ·  ·   ·  ╲ ·                   ╰─────╯
      ·   ·   ·  ·   ·     ╲ ·                 this gives R
        ·    ◀───── R ─────▶╲          lower below ½: no promise, abstain

**Why a lower bound, and not k/n?**  You don't know p.  You saw n copies, and you may have been
lucky.  The bound is above the true p with a chance of at most α, so the promise is false with a
chance of at most α.

**Why abstain?**  51 votes to 49 say little: a fair coin does that, too.  So `predict_smoothed`
tests the two largest classes against a coin.  If the p-value is above α, it gives no answer.
`certify` gives none if the lower bound isn't above ½.

**Why two samples?**  The first picks the class, the second counts it.  If one sample did both, it
would pick the class that was lucky in it.  Then the bound would be too high.

**Why train with noise?**  Smoothing asks the network about noisy pictures.  A network that never
saw one fails there.  The choice of σ is a trade: more noise gives larger radii and more mistakes.
The number of copies sets a limit, too.  If all n agree, the bound is α^(1/n).  For α = 0.001 the
radius is then at most 1.5 σ with 100 copies, and 3.8 σ with 100,000.

**Worked by hand**

    linear     logits 0 and 3·x₁ - 4·x₂, x = (0.7, 0.4), σ = 0.25.  The lead is 0.5, |w| = 5.
               p = Φ(0.5 / (0.25 · 5)) = Φ(0.4) = 0.6554,  R = 0.25 · 0.4 = 0.1
               This is 0.5 / 5, the distance to the border: for a linear model R is exact.
    test       9 of 10:  2 · (C(10, 9) + 1) / 2¹⁰ = 2 · 11 / 1024 = 0.0215
    bound      α = 0.05;  5 of 5:  p⁵ = 0.05, p = 0.5493, and with σ = 0.5, R = 0.0619
               4 of 5:  5 p⁴ (1 - p) + p⁵ = 0.05, p = 0.3426, so abstain
    words      P(bad) = s(sum of scores), s the sigmoid:  dull 2, slow 1, film 0
               dull slow film            s(3) = 0.953
               slow film                 0.731, so dull has importance 0.222
               dull film, dull slow      0.881, 0.953: importance 0.072 and 0
               dull → quiet (-0.5) or dreary (1.5):  0.622 or 0.924, take quiet
               slow → unhurried (-1):  s(-1.5) = 0.182, the class is no longer bad
               2 words changed, 1 + 3 + 2 + 1 = 7 queries

**Shapes**: x in the first part is one example, without an axis for the batch.  The model maps a
batch (m, …) to logits (m, classes), with at least 2 classes.  It is used in the mode that it is
in.  A text is a list of words, at least one.  No function changes its arguments, but for the
weights that you train.  A generator is on x's device, σ ≥ 0, n ≥ 1, 0 < α < 1.

**Steps.**

    noisy_counts             8 min   no batch too large, no gradient
    binomial_test            7 min   C(n, i) is too large for a float
    predict_smoothed         5 min   two classes count
    lower_confidence_bound  12 min   bisection
    certified_radius         5 min   both forms, and the ends
    certify                  6 min   two samples
    certified_accuracy       4 min   right, and far enough
                                     (a good place for a pause)
    noise_training           9 min   new noise for each batch
    word_importance          5 min   leave out each word
    substitution_attack     14 min   rank, try, keep, stop
    attack_summary           4 min   shares of what?

In the tests a small network learns digits with your noise.  It must be certified at more digits
than the same network without noise, with three seeds.

Sources: Cohen, Rosenfeld and Kolter 2019, "Certified Adversarial Robustness via Randomized
Smoothing"; Clopper and Pearson 1934, "The Use of Confidence or Fiducial Limits"; Jin et al. 2020,
"Is BERT Really Robust?" (TextFooler, of which the word attack is a short form).

From scratch: scipy, statsmodels, art and textattack may not be used.  Φ⁻¹ is in Python's library:
statistics.NormalDist().inv_cdf, which refuses 0 and 1.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

ABSTAIN = -1

Predict = Callable[[list[list[str]]], Tensor]
"""Called with a list of one text or more; returns the probabilities (texts, classes).  It takes a text without words,
too."""


def noisy_counts(
    model: nn.Module, x: Tensor, n: int, sigma: float, generator: Generator, batch_size: int = 1000
) -> Tensor:
    """How often each class comes out for n noisy copies of x (…): int64 counts (classes,), on x's device.

    - Each copy has normal noise of its own, with standard deviation sigma in each entry, in x's dtype.
    - All noise comes from `generator`; in which order numbers are drawn is open.
    - No call of the model gets more than `batch_size` ≥ 1 copies, and all are made without gradients.
    - The class is the one with the highest logit; equal highest ones are left open.
    """
    raise NotImplementedError


def binomial_test(k: int, n: int) -> float:
    """The two-sided p-value of k successes in n tries, if both outcomes are equally likely.

    n may be large, such as 100,000.  The answer is right to a millionth of itself; below 1e-300 it may be 0.

    Raises ValueError, naming both numbers, unless 0 ≤ k ≤ n and n ≥ 1.
    """
    raise NotImplementedError


def predict_smoothed(
    model: nn.Module,
    x: Tensor,
    n: int,
    sigma: float,
    alpha: float,
    generator: Generator,
    batch_size: int = 1000,
) -> int:
    """The class of g at x, or ABSTAIN.

    - Call `noisy_counts` once, with n, this generator and this batch_size.  Nothing else is drawn.
    - Take the two largest counts.  Other classes are left out.
    - The class with the largest count is the answer, if the p-value of that count among the two is at most alpha.
      Otherwise abstain.
    """
    raise NotImplementedError


def lower_confidence_bound(k: int, n: int, alpha: float) -> float:
    """Clopper and Pearson's one-sided lower bound of the chance, if k of n tries succeeded.

    - The bound is 0 for k = 0.
    - n may be large, such as 100,000.  The answer is right to 1e-6.

    Raises ValueError, naming both numbers, unless 0 ≤ k ≤ n and n ≥ 1; and naming alpha and its value, unless
    0 < alpha < 1.
    """
    raise NotImplementedError


def certified_radius(lower: float, sigma: float, upper: float | None = None) -> float:
    """The radius in which g can't change: a float.

    lower  at most the chance of the class, from 0 to 1
    upper  at least the chance of each other class, from 0 to 1.  None stands for 1 - lower

    - It is 0 if lower is not above upper.
    - It is math.inf if lower is above upper, and lower is 1 or upper is 0.
    """
    raise NotImplementedError


def certify(
    model: nn.Module,
    x: Tensor,
    n0: int,
    n: int,
    sigma: float,
    alpha: float,
    generator: Generator,
    batch_size: int = 1000,
) -> tuple[int, float]:
    """The class of g at x, and a radius in which it holds; (ABSTAIN, 0.0) if there is no such promise.

    - Call `noisy_counts` first with n0, then with n, this generator and this batch_size.  Nothing else is drawn.
    - The first sample picks the class: the one with the largest count, of equal ones the lowest.
    - The second sample alone gives the lower bound of this class's chance.
    - There is no promise unless the bound is above 1/2.  The radius uses the bound alone, without an `upper`.
    """
    raise NotImplementedError


def certified_accuracy(results: list[tuple[int, float]], y: list[int], radii: list[float]) -> list[float]:
    """For each of `radii`, the share of all examples whose class is right and whose radius is at least that one.

    results  what `certify` gave for each example.  ABSTAIN is never right
    y        the true classes, ints from 0 on

    Raises ValueError, naming both numbers, if there are not as many results as classes, or none of both.
    """
    raise NotImplementedError


def noise_training(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: torch.optim.Optimizer,
    sigma: float,
    epochs: int,
    batch_size: int,
    generator: Generator,
) -> list[float]:
    """Train on noisy copies alone, with cross-entropy.  x (n, …), int64 y (n,).  Returns a mean loss for each epoch.

    - Each epoch takes every example once, in a new random order.  Batches have `batch_size` examples; the last may
      be smaller.
    - Each batch gets new noise, as in `noisy_counts`: each entry its own.  Order and noise are drawn from `generator`.
    - For each batch, call the model once, and take one step of the optimizer on the mean loss, in training mode.
    - Gradients from before don't count.
    - An epoch's number is the mean over its examples of the losses that the steps were taken on, as a float.
    - The model ends in evaluation mode, also after 0 epochs.
    """
    raise NotImplementedError


def word_importance(predict: Predict, words: list[str], label: int, whole: float) -> Tensor:
    """How much P(label) falls if a word is left out: (number of words,), in the dtype and on the device of predict's.

    `whole` is P(label) of the text itself, which isn't asked again.  Each word is left out once, at its place only,
    and the rest stays in order.  How many texts go into a call is open.
    """
    raise NotImplementedError


def substitution_attack(
    predict: Predict, words: list[str], label: int, synonyms: dict[str, list[str]], budget: int
) -> dict[str, Any]:
    """A greedy attack that replaces at most `budget` words, so that the class is no longer `label`.

    1. Ask for the text itself.  If its class isn't label, the outcome is "skipped", and nothing more is asked.
    2. Rank the words by `word_importance`, the most important first, of equal ones the earlier first.  They are not
       ranked again.
    3. Go through the words in this order.  Ask for the text with each of the word's synonyms in its place.  What was
       changed before stays changed.  A word that isn't, just as it is written, a key of `synonyms` has none.
    4. If some of these texts have another class than label, take one of them.  If none has, take one of all.  In both
       cases take the one with the lowest P(label), and of equal ones the first.
    5. One that leaves the class is kept whatever its P(label).  One that doesn't is kept only if its P(label) is lower
       than before; otherwise the word stays, and costs no budget.
    6. Stop once the class isn't label: the outcome is "success".  Stop when `budget` words are changed, or all words
       were tried: it is "failure".

    The class is the one with the highest probability; equal highest ones are left open.

    Returns a dict
    - "outcome": "skipped", "success" or "failure",
    - "words": the text in the end, a new list,
    - "changed": the places of the changed words, as a list in the order of the changes,
    - "queries": how many texts were asked for: the text itself, one for each word, whether it has synonyms or not,
      and each synonym of each word that was tried.

    Raises ValueError, naming `budget` and its value, if it is below 1.
    """
    raise NotImplementedError


def attack_summary(results: list[dict[str, Any]]) -> dict[str, float]:
    """Five floats about what `substitution_attack` gave for several texts.

    - "accuracy": the share of texts that were not skipped.
    - "under_attack": the share of all texts whose attack failed.
    - "success": the share of successes among those that were not skipped.
    - "changed": the mean number of changed words, over the successes.
    - "queries": the mean number of queries, over those that were not skipped.

    A mean or a share of nothing is NaN.  Raises ValueError, with the word "results", if there are none at all.
    """
    raise NotImplementedError
