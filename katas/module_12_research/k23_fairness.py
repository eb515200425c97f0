"""Fairness: rates by group, what can be made equal, and what can't all be

**Before you start.**  You need precision, recall, conditional probability and the idea of
calibration; no other kata.  More: Barocas, Hardt and Narayanan, "Fairness and Machine Learning"
(free at fairmlbook.org), chapter 3.

**The idea.**  A model decides who gets a loan.  It is right on 90% of all people.  In one group
it may still refuse most of those who would have paid.  One number over all people doesn't show
that. So you compute the same rates in each group, and compare.

Three demands sound alike, and aren't.

- *Demographic parity*: the same share of each group is selected.
- *Equalized odds*: among those who deserve it, the same share is selected in each group; and among
  those who don't, too.
- *Calibration by group*: a score of 0.7 means 70% in each group.

You can repair a model before training, with weights.  You can repair it afterwards, with a
threshold for each group, or by flipping some decisions at random.  But you can't have everything.
If the groups differ in how often the label is 1, then equal precision and equal recall force
different false alarms.  You will compute by how much.

**The formulas.**  y is the label, ŷ the decision (1: selected), s a score, g the group.  n counts
people: n_g those of a group, n_y those with a label, n_gy those with both.

    base        P(y = 1 | g)                selection   P(ŷ = 1 | g)
    tpr         P(ŷ = 1 | y = 1, g)         also called recall
    fpr         P(ŷ = 1 | y = 0, g)         the share of false alarms
    ppv         P(y = 1 | ŷ = 1, g)         also called precision
    parity      difference: largest - smallest selection;  ratio: smallest / largest
    odds        the larger of two gaps: largest - smallest tpr, and largest - smallest fpr
    micro       share of right decisions among all people
    macro       mean over the groups of the share in each
    ECE         Σ_b n_b / n_g · | mean score in bin b - share of y = 1 in bin b |
    reweighing  w = n_g n_y / (n n_gy)
    impossible  fpr = base / (1 - base) · (1 - ppv) / ppv · tpr
    flips       tpr* = p₁ tpr + p₀ (1 - tpr)        fpr* = p₁ fpr + p₀ (1 - fpr)

In flips, p₁ is the chance to be selected for somebody whom the model selects, p₀ for somebody
whom it doesn't.  Bin b of B has the scores with b/B ≤ s < (b + 1)/B; the last one has s = 1, too.

**A drawing**

    tpr 1 ┤           ● a         ● everybody
          │                                  A model is a point in each group.
        ¾ ┤                                  Flips reach each point of a
          │           ★                      parallelogram.  Its corners are
        ½ ┤     ● b         ● b*             "nobody", the model, "everybody",
          │                                  and the model turned round: a*, b*.
        ¼ ┤                                  Choose a point ★ that lies in both
          │                                  parallelograms.
        0 ●─────┬─────● a*──┬─────┬  fpr
       nobody   ¼     ½     ¾     1

**Why not leave out the group?**  Other columns give it away: the postcode, the school.  And
without the column you can't even measure what goes wrong.

**Why is it impossible?**  Write down the four counts of a confusion matrix.  In a group of a
given size, base, ppv and tpr fix all four, and so they fix fpr.  With the same ppv and tpr,
another base gives another fpr.  Only two ways out remain for a model that selects anybody
rightly: equal bases, or no false alarms at all (ppv = 1).

**Why do weights help?**  In the data one group has label 1 more often.  The weight of each pair
of group and label is what the pair would have if both were independent, over what it has.  With
these weights, each group has the same weighted base.

**Worked by hand**

    group a    y 1 1 0 0         ŷ 1 1 1 0
    group b    y 1 1 0 0 0 0     ŷ 1 0 0 0 0 1
    rates      a: base 1/2, selection 3/4, tpr 1,   fpr 1/2, ppv 2/3
               b: base 1/3, selection 1/3, tpr 1/2, fpr 1/4, ppv 1/2
    parity     3/4 - 1/3 = 0.4167, ratio 0.4444           odds   max(1/2, 1/4) = 0.5
    accuracy   micro 7/10, macro (3/4 + 2/3)/2 = 0.7083, worst 2/3
    weights    a: 0.8 for y = 1, 1.2 for y = 0.  b: 1.2 for y = 1, 0.9 for y = 0
    ECE        s .1 .3 .8 .6, y 0 1 1 0, two bins: ½ |.2 - .5| + ½ |.7 - .5| = 0.25
    threshold  s .9 .8 .4 .1: half of them is reached at 0.8, a share of 0.6 at 0.4
    impossible ppv 0.8, tpr 0.6: base 0.5 gives fpr 0.15, base 0.2 gives 0.0375
    flips      fpr 0.2, tpr 0.8 to fpr* 0.35, tpr* 0.65: p₀ = 0.25, p₁ = 0.75

**Shapes**: labels, decisions, scores and groups are arrays (n,).  Labels and decisions are 0 and
1, as integers, floats or booleans; groups are strings or integers.  Dicts have the groups' names
as keys.  n is at least 1.  No function changes its arguments, but for `rng`, which is drawn from.

**Steps.**  A good place to pause is after reweigh.

    group_rates                10 min   five shares; what if nobody is there?
    accuracy_by_group           5 min   micro and macro
    demographic_parity          5 min   a difference and a ratio
    equalized_odds_difference   6 min   two gaps
    calibration_by_group       10 min   the bins of one group
    reweigh                     8 min   four kinds of people
    group_thresholds           10 min   rounding, ties
    implied_fpr                 5 min   the impossibility
    odds_flips                  8 min   two equations
    flip                        8 min   by chance, each person alone

Sources: Hardt, Price and Srebro 2016, "Equality of Opportunity in Supervised Learning"; Kamiran
and Calders 2012, "Data Preprocessing Techniques for Classification without Discrimination";
Chouldechova 2017, "Fair Prediction with Disparate Impact"; Kleinberg, Mullainathan and Raghavan
2016, "Inherent Trade-Offs in the Fair Determination of Risk Scores".

From scratch: fairlearn and sklearn may not be used.
"""

from __future__ import annotations

import numpy as np


def group_rates(labels: np.ndarray, decisions: np.ndarray, groups: np.ndarray) -> dict[str, dict[str, float]]:
    """For each group a dict with "n", "base", "selection", "tpr", "fpr" and "ppv".

    A share of nobody is NaN, without a warning: tpr in a group without label 1, fpr without label 0, ppv if nobody
    is selected.
    """
    raise NotImplementedError


def accuracy_by_group(
    labels: np.ndarray, decisions: np.ndarray, groups: np.ndarray
) -> tuple[float, float, float]:
    """(micro, macro, worst): worst is the smallest accuracy of any group."""
    raise NotImplementedError


def demographic_parity(decisions: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """(difference, ratio).  The ratio is 1 if nobody is selected in any group."""
    raise NotImplementedError


def equalized_odds_difference(labels: np.ndarray, decisions: np.ndarray, groups: np.ndarray) -> float:
    """The lesson's odds.

    Raises ValueError, naming the group, if one has no label 1 or no label 0.
    """
    raise NotImplementedError


def calibration_by_group(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, bins: int = 10
) -> dict[str, float]:
    """The ECE of each group; scores are from 0 to 1.

    An empty bin adds nothing.  Where rounding decides, as for s = 0.29 and 100 bins, either bin is right.
    """
    raise NotImplementedError


def reweigh(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The weight w of each person, float64 (n,)."""
    raise NotImplementedError


def group_thresholds(
    scores: np.ndarray, groups: np.ndarray, rate: float, labels: np.ndarray | None = None
) -> dict[str, float]:
    """For each group the largest of its scores t such that s ≥ t selects at least the share `rate` of the group.

    rate     above 0 and at most 1
    labels   None: the share of all in the group (demographic parity).
             Otherwise the share of those with label 1, and t is one of their scores (equal opportunity).

    - A share counts as reached if it is at least rate - 1e-9, so that rounding doesn't decide.
    - Raises ValueError, naming the group, if labels are given and a group has no label 1.
    """
    raise NotImplementedError


def implied_fpr(base: float, ppv: float, tpr: float) -> float:
    """The fpr that follows; base is above 0 and below 1, ppv above 0.

    Raises ValueError, naming the fpr that would follow, if that is above 1: no model has these three.
    """
    raise NotImplementedError


def odds_flips(fpr: float, tpr: float, target_fpr: float, target_tpr: float) -> tuple[float, float]:
    """(p₀, p₁) that take a model from (fpr, tpr) to the target.

    - Raises ValueError, naming fpr, if tpr = fpr: such a model knows nothing.
    - Raises ValueError, naming p₀ and p₁, if either is below -1e-9 or above 1 + 1e-9: the target is out of reach.
    """
    raise NotImplementedError


def flip(
    decisions: np.ndarray, groups: np.ndarray, chances: dict[str, tuple[float, float]], rng: np.random.Generator
) -> np.ndarray:
    """New decisions (n,), int64, with the chances (p₀, p₁) of each group.

    Each person is drawn alone.  All that is random comes from `rng`.
    """
    raise NotImplementedError
