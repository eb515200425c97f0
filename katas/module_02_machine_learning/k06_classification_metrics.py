"""Classification metrics

**Before you start.**  You need numpy's sorting and cumulative sums, and logarithms.  ROC curves
are new to you?  Read Fawcett 2006 (below), sections 1 to 5 and 7.

**The idea.**  A model that never finds a tumour is right 99% of the time, if 1% of patients are
ill.  Accuracy hides that.  So count each kind of error by itself:

                     predicted
                     a   b   c
    true     a     [ 1   1   0 ]  ──▶ recall of a: 1 of 2 rows is found
             b     [ 1   2   0 ]
             c     [ 1   0   0 ]
                     │
                     ▼ precision of a: 1 of 3 alarms is right

Many models give a *score*.  Whoever uses it picks a threshold: a row is called positive if its
score is at least that.  A curve shows all thresholds at once, from the highest down:

    scores   .9   .6   .6   .2           ROC  1 ┤     ╱──●  threshold .2
    truth     +    +    -    -                  │   ╱●   ▲  threshold .6
             ├────┼─────────┼──▶                ½ ●
             one point a distinct score         0 ●──────┴─▶ FPR

**The formulas.**  TP, FP, TN, FN count true and false positives and negatives:

    precision P = TP/(TP + FP)     recall R = TPR = TP/(TP + FN)     FPR = FP/(FP + TN)
    F1 = 2 P R/(P + R) = 2 TP/(2 TP + FP + FN)
    macro      the mean over classes          weighted   the same, weighted by true rows
    micro      TP, FP and FN summed over all classes first, then the formula
    AUC        area under TPR against FPR
               = the share of (positive, negative) pairs with the positive's score higher;
                 a tie counts ½
    average precision = ∑ᵢ (Rᵢ - Rᵢ₋₁) Pᵢ     thresholds falling, R₀ = 0
    log loss = mean of -ln p[true class]
    ECE = ∑_b (rows in bin b / rows) · |accuracy in b - mean confidence in b|

- A 0/0 in P, R or F1 counts as 0.
- *Confidence* is a row's largest probability.  A model is *calibrated* if, of the rows with
  confidence 0.8, 80% are right.  ECE, the expected calibration error, sorts the rows into bins
  by confidence and adds up the gaps.

**Why one point for tied scores?**  A threshold takes all of them or none.  If you put tied rows
in some order, that order invents points, and AUC depends on how the table was sorted.

**Why steps for average precision?**  Between two thresholds precision doesn't move along a
straight line.  Trapezoids are too optimistic (Davis and Goadrich 2006).

**Worked by hand**:

    the matrix above:  P [1/3 2/3 0]   R [1/2 2/3 0]   F1 [2/5 2/3 0]
        F1: macro 16/45, micro 3/6, weighted (2·2/5 + 3·2/3)/6 = 7/15
    the scores above:  FPR [0 0 ½ 1]   TPR [0 ½ 1 1]   AUC = (1 + 1 + ½ + 1)/4 = 0.875
        P [1 2/3 ½]   R [½ 1 1]   average precision = ½·1 + ½·2/3 = 5/6
    probabilities [.8 .2] and [.4 .6], the truth is 0 both times:
        log loss -(ln .8 + ln .4)/2;  confidences .8 (right) and .6 (wrong)
        ECE with 2 bins: |1/2 - .7| = .2     with 10: ½|1 - .8| + ½|0 - .6| = .4

**Shapes**: each function says its own.  A binary truth `y` (n,) is of 0 and 1 or of False and
True, and n ≥ 1 unless said otherwise.  Scores may be integers, unsigned ones too.  All numbers
that come out are float64.  No function changes its arguments.

**Steps.**

    confusion_matrix            10 min   many rows fall into one cell
    precision_recall_f1         15 min   0/0, and three averages
    roc_curve                   12 min   sort, cumulate, keep one point a distinct score
    roc_auc                      5 min   trapezoids
    precision_recall_curve       8 min   no extra point
    average_precision            5 min   steps
    log_loss                     8 min   a probability of 0
    expected_calibration_error  10 min   to which bin does an edge belong?

Sources: Fawcett 2006, "An Introduction to ROC Analysis"; Davis and Goadrich 2006, "The
Relationship Between Precision-Recall and ROC Curves"; Guo et al. 2017, "On Calibration of Modern
Neural Networks".

From scratch: sklearn and scipy may not be used.
"""

from collections.abc import Sequence

import numpy as np


def confusion_matrix(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    labels: Sequence | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """How often class i (row) was predicted as class j (column): float64 (k, k).

    - `y_true` and `y_pred` (n,) hold the same kind of labels, integers or strings; n may be 0.
    - `labels` are the k distinct classes in the order of rows and columns; one may never occur.
      By default: all that occur in `y_true` or `y_pred`, sorted.
    - `weights` (n,) says how much each row counts; by default 1.

    Raises ValueError
    - naming both lengths, if `y_true` and `y_pred` differ in length,
    - naming the label, if one of either isn't in `labels`.
    """
    raise NotImplementedError


def precision_recall_f1(matrix: np.ndarray, average: str | None = "macro") -> tuple:
    """(precision, recall, F1) of a confusion matrix (k, k), rows the truth, k ≥ 1.

    - `average` None: three arrays (k,), a value for each class.
    - "macro", "micro", "weighted": three numbers.  Macro F1 is the mean of the classes' F1, not
      the F1 of the mean precision and recall.
    - A 0/0 counts as 0, so a class that never occurs lowers the macro mean.  A matrix of zeros
      scores 0 everywhere.
    - The matrix may hold integers or fractions.

    Raises ValueError, naming the average, if it is none of these.
    """
    raise NotImplementedError


def roc_curve(
    y: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(fpr, tpr, thresholds) of the lesson, each (m + 1,) for m distinct scores.

    - The first point is (0, 0) with threshold inf; then the distinct scores, falling.
    - Point i calls rows positive whose score is ≥ thresholds[i].
    - No point is left out, though it may lie on a line between others.
    - Scores that differ at all are distinct.
    - `weights` (n,), above 0, says how much each row counts; by default 1.

    Raises ValueError, saying "positive" or "negative", if there is no such row.
    """
    raise NotImplementedError


def roc_auc(y: np.ndarray, scores: np.ndarray) -> float:
    """The area under the ROC curve; errors as in roc_curve."""
    raise NotImplementedError


def precision_recall_curve(y: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(precision, recall, thresholds), each (m,) for m distinct scores, falling.

    - Point i calls rows positive whose score is ≥ thresholds[i].
    - No point is added at recall 0, and none left out at the end.
    - Without negative rows precision is 1 throughout.

    Raises ValueError, saying "positive", if there is no positive row.
    """
    raise NotImplementedError


def average_precision(y: np.ndarray, scores: np.ndarray) -> float:
    """The lesson's sum over the precision-recall curve; errors as there."""
    raise NotImplementedError


def log_loss(y: np.ndarray, proba: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The mean of -ln p[true class], of rows `proba` (n, k) and classes `y` (n,) from 0 to k - 1.

    - A probability below 1e-15 counts as 1e-15.
    - `weights` (n,) makes it a weighted mean: divided by their sum.

    Raises ValueError, naming the first such row, from 0, if a row's probabilities don't sum to 1
    to within 1e-6.
    """
    raise NotImplementedError


def expected_calibration_error(y: np.ndarray, proba: np.ndarray, bins: int = 10) -> float:
    """The lesson's ECE, of rows `proba` (n, k) and classes `y` (n,) from 0 to k - 1.

    - A row is right if its most probable class is the true one; of equally probable classes the
      first is predicted.
    - The bins are (0, 1/bins], (1/bins, 2/bins], …, (1 - 1/bins, 1]: the upper edge belongs to it.
      Compare with edges that you divide, b/bins: 0.56 is 14/25, but 0.56·25 is rounded to above 14.
    - An empty bin counts 0.
    """
    raise NotImplementedError
