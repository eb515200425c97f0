"""Gradient control: clipping, accumulation, the noise scale

**Before you start.**  You need backward passes, the loop zero-forward-backward-step, norms, and the
variance of a mean; no other kata.  If the loop is new: the PyTorch tutorial "Learn the Basics".

**The idea.**  Between the backward pass and the optimizer's step you hold the gradient, and can ask
three things.  Is it too long?  One bad batch can undo a day, so you clip.  Is it the gradient of
the batch that you want?  A batch that doesn't fit into memory goes through in parts.  And how much
of it is noise?  That tells you from which size on a larger batch is wasted.

**The formulas.**  g is a gradient, w its parameter, ‖·‖ a norm over all its numbers.

    global norm       ‖g‖ over the numbers of all gradients together
    by norm           g ← g · limit / ‖g‖                          if ‖g‖ > limit
    by value          each number into [-limit, limit]
    adaptive (AGC)    gᵢ ← gᵢ · ratio · m / ‖gᵢ‖                   if ‖gᵢ‖ > ratio · m
                      with m = max(‖wᵢ‖, eps), for each unit i
    accumulation      loss = (n₁L₁ + n₂L₂ + …) / (n₁ + n₂ + …)     nⱼ targets count in part j
    noise scale       B = tr(Σ) / |G|²

A *unit* is a row w[i], all its axes together; a parameter with fewer than two axes is one unit.
Lⱼ is the mean loss of part j.  tr(Σ) is the sum of the variances on Σ's diagonal.

G is the true gradient, Σ the covariance of a single sample's.  Take n gradients, each the mean over
a batch of b samples.  `small` is the mean of their |g|².  `big` is the |g|² of their mean, which is
the gradient of a batch of n·b:

    |G|²  = (n·b · big - b · small) / (n·b - b)
    tr(Σ) = (small - big) / (1/b - 1/(n·b))

**A drawing.**  A batch of 7 in three parts; ✕ marks a target to ignore:

    targets    2 0 ✕ │ 1 ✕ │ 3 1           counts 2, 1, 2 of 5
    weights     2/5  │ 1/5 │ 2/5

    part 1  forward ─▶ · 2/5 ─▶ backward ─┐
    part 2  forward ─▶ · 1/5 ─▶ backward ─┼─▶ .grad adds up ─▶ clip ─▶ step
    part 3  forward ─▶ · 2/5 ─▶ backward ─┘

**Why not the mean of the parts' means?**  Parts differ in size, and in how many targets count.
Equal weights let the samples of small parts count more.  This was a real error: the Trainer of
transformers had it until October 2024.

**Why does E|g|² grow as the batch shrinks?**  The mean over b samples is G plus noise with the
covariance Σ/b.  So E|g|² = |G|² + tr(Σ)/b.  Two sizes give two equations for two unknowns.

**What does B tell you?**  In a batch of B samples the noise is as long as the gradient: tr(Σ)/B is
|G|².  Far below B, twice the batch needs about half the steps.  Far above, it saves hardly any.

**Why clip all gradients together?**  One factor for all keeps the direction.  Clipping by value, or
unit by unit, turns it.

**Worked by hand**

    gradients [3] and [0, 4]:   norm 5.  With limit 2.5: [1.5] and [0, 2].  With limit 5: unchanged
    by value, limit 2:          [2] and [0, 2]
    AGC, ratio 0.1, w = [[3, 4], [0, 0]], g = [[0, 1], [0, 1]], eps = 2:
                                limits 0.5 and 0.2, so [[0, 0.5], [0, 0.2]]
    parts with 2, 1, 2 targets and mean losses 1, 6, 2:    (2 + 6 + 4) / 5 = 2.4, not 3
    gradients [3, 1] and [1, 1] of batches of 4:
        small = (10 + 2) / 2 = 6,  big = |[2, 1]|² = 5
        |G|² = (8·5 - 4·6) / 4 = 4,  tr(Σ) = (6 - 5) / (1/4 - 1/8) = 8,  B = 2

**Shapes**: `parameters` is an iterable of tensors, each once; it may be a generator, such as
model.parameters().  Those whose .grad is None are left out.  Parameters and gradients are float16,
bfloat16, float32 or float64, contiguous or not, all on one device.  Clipping changes the gradients
in place: .grad stays the same tensor.  Parameters stay as they are.  But for the gradients, no
function changes its arguments.

**Steps.**

    global_norm      8 min   in float16, 300 squared is inf
    clip_norm_      10 min   nothing happens below the limit
    clip_value_      4 min   in place
    clip_adaptive_  14 min   the norm of a row, shaped so that it multiplies the row
    accumulate      16 min   count first; one graph at a time
    noise_scale     12 min   two equations, solved

Sources: Pascanu, Mikolov and Bengio 2013 (clipping by norm); Brock et al. 2021, "High-Performance
Large-Scale Image Recognition Without Normalization" (AGC); McCandlish et al. 2018, "An Empirical
Model of Large-Batch Training", appendix A.1 (noise scale).

From scratch: torch.nn.utils.clip_grad_norm_, torch.nn.utils.clip_grad_value_,
torch.nn.utils.get_total_norm and torch.nn.utils.clip_grads_with_norm_ may not be used.
"""

from collections.abc import Callable, Iterable

from torch import Tensor, nn


def global_norm(parameters: Iterable[Tensor], order: float = 2.0) -> Tensor:
    """The norm of all gradients, as if they were one long vector: a tensor without axes.

    order  2, 1, or inf for the largest absolute value

    - float64 if all gradients are, else float32: float16 and bfloat16 are widened before they are squared or
      added.  (A mix of float64 and others isn't tested.)
    - It is on the device of the gradients.  Without any gradient it is 0, of any dtype and on any device.
    """
    raise NotImplementedError


def clip_norm_(parameters: Iterable[Tensor], limit: float, order: float = 2.0) -> Tensor:
    """Shorten all gradients by one factor, so that their norm is `limit` if it was above.

    - A norm of at most `limit` leaves every number as it is, to the last bit.
    - Returns the norm from before, as global_norm does.

    Raises ValueError, naming the limit, if that isn't above 0, and one that names the norm ("nan", "inf")
    if the norm isn't finite.  Then no gradient is changed.
    """
    raise NotImplementedError


def clip_value_(parameters: Iterable[Tensor], limit: float) -> None:
    """Bring each number of the gradients into [-limit, limit].  NaN stays NaN.

    Raises ValueError, naming the limit, if it isn't above 0; then no gradient is changed.
    """
    raise NotImplementedError


def clip_adaptive_(parameters: Iterable[Tensor], ratio: float = 0.01, eps: float = 1e-3) -> None:
    """Clip each unit of the gradients by the norm of the same unit of the parameter (AGC).

    - A unit that isn't longer than ratio · max(‖wᵢ‖, eps) stays as it is, to the last bit; one of zeros, too.
    - Norms are those of order 2; float16 and bfloat16 are widened before they are squared.
    - Raises ValueError, naming the ratio, if it isn't above 0; then no gradient is changed.
    """
    raise NotImplementedError


def accumulate(
    model: nn.Module,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    parts: list[tuple[Tensor, Tensor]],
    ignore: int = -100,
) -> float:
    """Leave in .grad what one backward pass over all parts together would, but hold one part's graph at a time.

    parts    (inputs, targets) each, on the model's device; targets of any shape
    loss_fn  loss_fn(model(inputs), targets) is the mean over those entries of `targets` that aren't `ignore`;
             where all are, it is NaN

    - Gradients from before the call are dropped, not added to.
    - A part's backward pass is done before the next part's forward pass.
    - A part in which nothing counts adds nothing.  In one part at least something does.
    - The model treats each sample alike, whatever else is in the part, and stays in its mode.

    Returns the mean loss over all entries that count, as a float.
    """
    raise NotImplementedError


def noise_scale(gradients: Tensor, size: int) -> tuple[float, float, float]:
    """|G|², tr(Σ) and B, estimated from n gradients (n, d), the means over batches of `size` samples each.

    B is inf where the estimate of |G|² is 0 or below.  Any floating dtype; computed in float64.

    Raises ValueError, naming n, if n < 2.
    """
    raise NotImplementedError
