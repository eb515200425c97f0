"""Human and automatic evaluation: raters, judges, and tests that leaked

**Before you start.**  You need conditional probability, Bayes' rule and logistic regression; no
other kata.  If EM is new: Bishop 2006, "Pattern Recognition and Machine Learning", chapter 9.

**The idea.**  No metric says whether an answer is helpful.  So you ask people, or a large model
as a judge.  Both measure with errors of their own, and you must measure these errors first.

- *Rubrics*: raters score several criteria.  Some cells are empty.  How do you get one number?
- *Agreement*: two raters agree on 80%.  If both say "good" nine times out of ten, chance alone
  would give 82%.
- *Dawid–Skene*: nobody knows the true labels.  Still you can find out who is careful.  Whoever
  agrees with careful raters is careful: EM solves that circle.
- *Position bias*: a judge prefers the answer that it sees first.  Ask in both orders, or estimate
  the bias, γ, together with the strengths.
- *Contamination*: a test set in the training data is no test.  Its items could stand in any
  order.  If the model likes the published order best, it has read it.

**The formulas.**

    rubric      Σ_c w_c · mean rating_c / highest_c  over  Σ_c w_c      criteria that were rated
    kappa       κ = 1 - Σ w_ij O_ij / Σ w_ij E_ij
                w_ij = 1 for i ≠ j (none),  |i - j| (linear),  (i - j)² (quadratic),  w_ii = 0
    alpha       α = 1 - D_o / D_e
                D_o = (1/m) Σ_items (ordered pairs of different ratings) / (ratings of item - 1)
                D_e = (ordered pairs of different ratings among all m) / (m (m - 1))
    M step      prior_k = mean over items of T_ik
                C_jkl = (Σ_i T_ik [label_ij = l] + s) / (Σ_i T_ik [label_ij given] + s K)
    E step      T_ik ∝ prior_k · Π_j C_jk,label_ij          annotators who labelled i
    judge       P(the first one wins) = σ(θ_first - θ_second + γ)
                minimise  -Σ (won ln P + (1 - won) ln(1 - P)) + ridge/2 (Σθ² + γ²)
    order test  p = (1 + number of shuffles that score at least as high) / (1 + shuffles)

O_ij is the share of items that the first rater puts into class i, the second into j.  E_ij is the
product of the share of i in the first one's ratings and that of j in the second one's.  m is the
number of ratings on items that have two or more.  0 and 1 make two ordered pairs: 0 1 and 1 0.
Dawid and Skene call raters *annotators*.  [ ] is 1 if what stands in it holds, and 0 otherwise.
T_ik is the probability that item i is of class k.  C_jkl is the probability that annotator j says
l where the truth is k.  K is the number of classes, s the smoothing.  θ are strengths, γ is the
bias for the first place, σ is the logistic function.

**A drawing** of Dawid–Skene's circle:

            labels       a  b  c                 who is careful?
            item 0       0  0  1      M step     a   .9 .1      c   .5 .5
            item 1       1  1  1    ─────────▶       .1 .9          .5 .5
            item 2       0  0  0
            item 3       1  1  0    ◀─────────   c's votes change nothing,
                                      E step     a's decide

**Why not the majority?**  It gives everybody the same weight.  Five who click at random outvote
two who read.  Dawid–Skene even uses an annotator who always says the opposite.

**Why kappa and alpha?**  Both compare disagreement with what chance would give.  1 is perfect, 0
is chance.  Kappa takes two raters who rated everything.  Alpha takes any number, with gaps.

**Why is the order test fair?**  Before anybody published the set, all orders were alike.  For a
model that hasn't read it, the published order is one draw among the shuffles, so p ≤ 0.05 happens
in at most 5% of the cases.

**Worked by hand**

    rubric      highest 4 2 1, weights 2 1 1; two raters: 4 1 – and 2 1 –
                means 3 1 –, as shares 0.75 0.5;  (2·0.75 + 0.5)/3 = 0.6667
    kappa       0 0 1 2 and 0 1 1 2:  1 - 0.25/0.6875 = 0.6364;  linear 1 - 0.25/0.875 = 0.7143
    alpha       items (0 0) (0 1) (1 1) (1 –):  m = 6, D_o = 2/6, D_e = 18/30, α = 0.4444
    votes       0 1 1 of two classes:  1/3 2/3
    M step      T = (0.75 0.25), (0.5 0.5); one annotator says 0, then 1; s = 0:
                prior 0.625 0.375;  C has rows (0.6 0.4) and (0.3333 0.6667)
    E step      prior ½ ½, C rows (0.8 0.2) (0.3 0.7), the label 0:  0.8/1.1 = 0.7273
    orders      ab + + - 0, ba - + + -:  A wins, no, B wins, no.  Agreement 2/4, first place 4/7
    judge       0 first: it wins 24 of 30.  1 first: it wins 12 of 30.  As ridge goes to 0:
                γ = (ln 4 + ln ⅔)/2 = 0.4904,  θ₀ - θ₁ = (ln 4 - ln ⅔)/2 = 0.8959
    order test  the published order beats all of 19 shuffles:  p = 1/20

**Shapes**: labels are integers from 0 to K - 1, and -1 where there is none; (items, annotators),
or (items,) of one rater.  A judge's verdict is 1 if the answer shown first is better, -1 if the
second is, 0 for a tie.  There is at least one item, pair or game.  Answers are float64.  No
function changes its arguments, but for `rng`, which is drawn from.

**Steps.**  A good place to pause is after dawid_skene.

    rubric_scores       10 min   gaps, and a criterion that must be met
    kappa                8 min   three weights, one formula
    krippendorff_alpha  10 min   which ratings count?
    vote_shares          4 min   nobody voted?
    estimate_annotators  8 min   the M step
    infer_labels         8 min   the E step, in logarithms
    dawid_skene          5 min   which step comes first?
    combine_orders       4 min   one sign
    position_bias        6 min   ties are no choice
    fit_judge           14 min   Newton, or any optimiser
    order_test           8 min   ties count

Sources: Cohen 1960 and 1968 (kappa, weighted); Krippendorff 2004, "Content Analysis"; Dawid and
Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm"; Zheng
et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena"; Oren et al. 2023, "Proving
Test Set Contamination in Black Box Language Models".

From scratch: sklearn and statsmodels may not be used.  scipy.optimize may.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def rubric_scores(
    ratings: np.ndarray, weights: np.ndarray, highest: np.ndarray, required: np.ndarray | None = None
) -> np.ndarray:
    """One score from 0 to 1 for each item, (items,).

    ratings    (items, raters, criteria), from 0 to `highest`; NaN where nothing was rated
    weights    (criteria,), above 0
    highest    (criteria,), above 0
    required   booleans (criteria,).  An item scores 0 if its mean on a required criterion is below half of `highest`

    - A criterion's mean is that of the raters who rated it.  A criterion that nobody rated counts for nothing, also
      if it is required.
    - An item without any rating gets NaN, without a warning.
    """
    raise NotImplementedError


def kappa(a: np.ndarray, b: np.ndarray, classes: int, weights: str = "none") -> float:
    """Cohen's κ of two raters' labels (items,), none missing; weights is "none", "linear" or "quadratic".

    - 1.0 if no disagreement is expected, as both always say the same class.
    - Raises ValueError, naming the weights, if they are none of the three.
    """
    raise NotImplementedError


def krippendorff_alpha(labels: np.ndarray) -> float:
    """Krippendorff's α for classes without order; labels (items, annotators), -1 where missing.

    - Items with fewer than two labels count for nothing, in D_e neither.
    - 1.0 if D_e is 0.
    - Raises ValueError if no item has two labels.
    """
    raise NotImplementedError


def vote_shares(labels: np.ndarray, classes: int) -> np.ndarray:
    """The share of each class among an item's votes, (items, classes); 1/classes each where nobody voted."""
    raise NotImplementedError


def estimate_annotators(
    labels: np.ndarray, posteriors: np.ndarray, smoothing: float = 0.01
) -> tuple[np.ndarray, np.ndarray]:
    """The M step: prior (K,) and C (annotators, K, K), from T = posteriors (items, K).

    C's axes are annotator, truth, label.  The prior is the mean over all items, also those without labels.
    With smoothing above 0, an annotator without labels gets 1/K everywhere.  It is 0 only where no 0 stands below.
    """
    raise NotImplementedError


def infer_labels(labels: np.ndarray, prior: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """The E step: T (items, K); prior and confusion have no zeros.

    Nothing underflows with thousands of annotators.  An item without labels gets the prior.
    """
    raise NotImplementedError


def dawid_skene(
    labels: np.ndarray, classes: int, steps: int, smoothing: float = 0.01
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T, prior, C) after `steps` ≥ 1 rounds, each an M step and then an E step.

    The first M step takes the vote shares for T.
    """
    raise NotImplementedError


def combine_orders(ab: np.ndarray, ba: np.ndarray) -> np.ndarray:
    """Who wins, (n,) integers: 1 for A, -1 for B, 0 if the two orders don't agree on it.

    ab, ba   verdicts (n,): A was shown first in ab, B in ba
    """
    raise NotImplementedError


def position_bias(ab: np.ndarray, ba: np.ndarray) -> tuple[float, float]:
    """(agreement, first place) of verdicts as in combine_orders.

    agreement     share of pairs on which both orders give the same: A, B, or a tie both times
    first place   among the 2n verdicts that aren't ties, the share for the answer shown first; NaN if all are ties
    """
    raise NotImplementedError


def fit_judge(
    first: np.ndarray, second: np.ndarray, won: np.ndarray, models: int, ridge: float = 0.01
) -> tuple[np.ndarray, float]:
    """(θ, γ) of the lesson's judge: strengths (models,), and the bias for the first place.

    first, second   (n,): which models were compared, 0 … models - 1, in the order shown
    won             (n,): 1 if the first one won, 0 if it lost, 0.5 for a tie
    ridge           above 0

    They minimise  -Σ (won ln P + (1 - won) ln(1 - P)) + ridge/2 (Σθ² + γ²),  to 1e-5 in each number.
    """
    raise NotImplementedError


def order_test(
    score: Callable[[list[Any]], float], items: list[Any], shuffles: int, rng: np.random.Generator
) -> float:
    """The lesson's p, for items in their published order.

    - `score` takes a list of all items in some order, and gives the model's log-probability of it.  It may change
      that list, but not the items in it.  It is called 1 + shuffles times.
    - A shuffle counts if its score is at least that of the published order - 1e-9.
    - All that is random comes from `rng`, and numpy's global generator stays as it is.
    """
    raise NotImplementedError
