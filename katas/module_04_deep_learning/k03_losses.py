"""Losses

**Before you start.**  You need softmax, maximum likelihood and autograd; no other kata.  If these
are new: Goodfellow et al. 2016, "Deep Learning", sections 6.2.1 and 6.2.2 (free online).

**The idea.**  A loss turns "how wrong is this answer?" into one number, and its gradient is all
that a network ever learns from.  The formulas are short.  What goes wrong lies around them:
logarithms of 0, means over the wrong count, shapes that broadcast by accident, a gradient that is
NaN at one special input.  After one such NaN, the next step makes every weight NaN.

**The formulas.**  One loss per example; `reduction` takes their mean or sum, or leaves them.

*Regression*, with the error r, prediction minus target:

    MSE       r²
    Huber     r²/2              where |r| ≤ δ
              δ·(|r| - δ/2)     elsewhere

*One of C classes*, with logits x, the class y, class weights w and label smoothing ε:

    log p_c         = x_c - log Σ_k e^(x_k)
    cross-entropy   = (1 - ε) · w_y · (-log p_y)  +  ε/C · Σ_c w_c · (-log p_c)
    its mean        = Σ losses / Σ w_y            over examples that aren't ignored
    hinge           = 1/C · Σ_{c ≠ y} max(0, margin - x_y + x_c)

*Yes or no*, with one logit x and a target t; σ is the sigmoid, v the weight of positives:

    BCE     = -v·t·log σ(x) - (1 - t)·log σ(-x)
    focal   = α_t · (1 - p_t)^γ · (-log p_t)

p_t is the probability of the right answer, σ(x) or σ(-x).  α_t is α where t is 1, else 1 - α.

*Distributions and distances*:

    KL(p ‖ q)   = Σ_c p_c · (log p_c - log q_c)          with 0 · log 0 taken as 0
    triplet     = max(0, ‖a - p‖ - ‖a - n‖ + margin)     anchor a, positive p, negative n

    loss
      │  ╲               ╱     MSE    an outlier pulls more, the farther it is
      │ ╲ ╲             ╱ ╱
      │   ╲╲           ╱╱      Huber  an outlier never pulls by more than δ
      │      ╲╲     ╱╱
      └─────────╲▁╱───────── r
              -δ   δ

**Why logits, not probabilities?**  In float32, σ(200) is exactly 1 and log(1 - 1) is -inf.
Computed from the logit, the same loss is 200.  The tool is log Σ e^x with the largest x taken out
first:

    log Σ_k e^(x_k) = m + log Σ_k e^(x_k - m),    m = max x

**Why is the mean divided by Σ w_y?**  A weighted mean divides by its weights.  Then weights that
are all 3 change nothing, and padding that is ignored doesn't dilute the loss.

**Why care about the gradient at x = 0?**  A fresh head often starts there.  BCE's slope is
σ(0) - t.  Written as max(x, 0) - x·t + log(1 + e^(-|x|)), its value is right, but autograd has to
pick slopes for max and |x| at their kinks.  With relu it picks 0 for both: -t instead of 0.5 - t.

**Worked by hand**

    Huber, δ = 1:  r = 0.5 gives 0.125,  r = 3 gives 2.5
    p = [0.5 0.25 0.125 0.125], y = 1:   cross-entropy log 4 = 1.3863
      ε = 0.2:   0.8 · 1.3863 + 0.05 · (0.6931 + 1.3863 + 2.0794 + 2.0794) = 1.4210
      and a second example with y = 0, w = [1 3 1 1], ε = 0:
                 mean = (3 · 1.3863 + 1 · 0.6931) / (3 + 1) = 1.2130
    hinge, x = [3 1 2.5], y = 0, margin 1:   (0 + 0.5) / 3 = 0.1667
    BCE, σ(x) = 0.75:   t = 1 gives 0.2877, twice that with v = 2;   t = 0 gives 1.3863
    focal, p_t = 0.9, t = 1, α = 0.25, γ = 2:   0.25 · 0.01 · 0.1054 = 0.000263
    KL, p = [0.5 0.5], q = [0.25 0.75]:   0.5 · log 2 + 0.5 · log(2/3) = 0.1438
    triplet, a = (0 0), p = (3 4), n = (0 6), margin 2:   5 - 6 + 2 = 1

**Shapes** are in each docstring.

- Floats are float32 or float64.  All of a call share a dtype and a device, and the loss has them.
- Losses and gradients are finite for logits of ±10,000.
- Gradients exactly at a kink (a maximum of 0, a tie) aren't tested unless promised.
- No function changes its arguments.

**Steps.**  A good place to pause is after cross_entropy.

    reduce             3 min   the one place that knows the three reductions
    mse_loss           3 min   refuse what would broadcast
    huber_loss         5 min   no r² for large r
    log_softmax        5 min   the largest logit goes first
    cross_entropy     20 min   what is ignored counts nowhere
    hinge_loss         8 min   all classes but the right one
    bce_with_logits    8 min   right at 0 and at ±10,000
    focal_loss         8 min   powers without NaN
    kl_divergence      7 min   zeros; what is averaged?
    triplet_loss       6 min   the slope of a distance of 0

Sources: Huber 1964 (his loss); Szegedy et al. 2016 (label smoothing); Weston and Watkins 1999
(hinge); Lin et al. 2017, "Focal Loss for Dense Object Detection"; Schroff et al. 2015, "FaceNet"
(triplet; there with squared distances).  torch.nn.functional has all of them but focal; where yours
differ, the docstrings say so.

From scratch: torch.nn, torch.log_softmax, torch.special.log_softmax, torch.Tensor.log_softmax,
torch.logsumexp, torch.special.logsumexp and torch.Tensor.logsumexp may not be used; nor may
torch.binary_cross_entropy_with_logits, torch.kl_div and torch.triplet_margin_loss.
"""

from torch import Tensor


def reduce(losses: Tensor, reduction: str) -> Tensor:
    """`losses` of any shape: their "mean" or "sum" as a tensor without axes, or for "none" as they are.

    Raises ValueError, naming the reduction, for any other.
    """
    raise NotImplementedError


def mse_loss(predictions: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
    """The squared error.  Both arguments have one shape, which "none" returns.

    - Raises ValueError, naming both shapes, if they differ: (n, 1) and (n,) would broadcast to (n, n).
    - Raises ValueError, naming the reduction, if it isn't "mean", "sum" or "none".  So do all losses below.
    """
    raise NotImplementedError


def huber_loss(predictions: Tensor, targets: Tensor, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """The Huber loss with δ = `delta` > 0.  Both arguments have one shape, which "none" returns.

    - Losses and gradients are finite for errors up to 1e30 in float32, where r² isn't.
    - The gradient at an error of 0 is 0.
    - Raises ValueError, naming both shapes, if they differ.
    """
    raise NotImplementedError


def log_softmax(logits: Tensor, dim: int = -1) -> Tensor:
    """log p along `dim`, in the shape of `logits`.

    - A logit of -inf (a class that is ruled out) has log p = -inf, and disturbs no other class: neither its
      value nor its gradient.  At least one logit of each row is finite.
    """
    raise NotImplementedError


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of classes.

    logits   (n, C) or (n, C, …), as for an image: the classes are axis 1
    targets  int64, (n,) or (n, …): classes from 0 to C - 1, or ignore_index
    weight   (C,), w ≥ 0 for each class; None stands for ones

    - "none" returns the shape of `targets`, with 0 where a target is ignored.
    - An ignored example counts nowhere, not in the mean's denominator either, and its gradient is 0.
      ignore_index may be one of the classes: the class still has its share of other examples' smoothing.
    - The mean over no example (all are ignored) is NaN, as in torch; the sum is 0.
    - Without smoothing, a logit of -inf (a class that is ruled out) does no harm, unless it is the target's.  Nor
      does it in an ignored example, with smoothing as well.  "No harm": values and gradients are those without that
      class.  A row has a finite logit, ignored or not; the gradient of a mean over no example isn't tested.
    - Raises ValueError, naming a target that is neither a class nor ignore_index.
    """
    raise NotImplementedError


def hinge_loss(logits: Tensor, targets: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """The multi-class hinge loss of logits (n, C) and int64 targets (n,); "none" returns (n,).

    - It is divided by C, though its sum has C - 1 terms, as in torch's multi_margin_loss.
    - Raises ValueError, naming a target that isn't one of the classes 0 to C - 1.
    """
    raise NotImplementedError


def bce_with_logits(
    logits: Tensor, targets: Tensor, pos_weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """Binary cross-entropy of logits and targets of one shape, which "none" returns.

    targets     from 0 to 1, of the logits' dtype; 0.3 is allowed, too
    pos_weight  v above; a tensor that broadcasts to the logits' shape, such as (C,) for (n, C); None stands for 1

    - The mean divides by the number of logits, whatever the weights.
    - The gradient at a logit of exactly 0 is right as well: σ(0) - t where v is 1.
    - Raises ValueError, naming both shapes, if those of logits and targets differ.
    """
    raise NotImplementedError


def focal_loss(
    logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float | None = 0.25, reduction: str = "mean"
) -> Tensor:
    """The binary focal loss of logits and targets of one shape, which "none" returns.

    targets  exactly 0 or 1, of the logits' dtype
    gamma    γ ≥ 0, not only whole numbers; 0 leaves BCE times α_t
    alpha    None: α_t is 1 everywhere

    - The gradient is right at a logit of 0, and finite for ±10,000, for γ = 0.5, too.
    - Raises ValueError, naming both shapes, if those of logits and targets differ.
    """
    raise NotImplementedError


def kl_divergence(p: Tensor, log_q: Tensor, reduction: str = "mean") -> Tensor:
    """KL(p ‖ q) for each row, from probabilities p (..., C) and log-probabilities log_q (..., C).

    - "none" returns (...).  The mean is taken over rows, not over all entries: what torch calls "batchmean".
    - Where p is 0 the term is 0 and has no gradient towards log_q, even where log_q is -inf.
    - Where p > 0 and log_q is -inf it is inf.
    - Where p > 0 the gradient flows towards both.  That towards p where p is 0 isn't tested.
    """
    raise NotImplementedError


def triplet_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """The triplet loss of embeddings (..., d) of one shape; "none" returns (...).

    - ‖·‖ is the Euclidean length, not its square.  torch's function adds 1e-6 to each difference; you don't.
    - Where two embeddings are equal, the gradient through their distance is 0, not NaN.
    """
    raise NotImplementedError
