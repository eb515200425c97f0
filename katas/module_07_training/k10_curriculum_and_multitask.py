"""Curricula, and several losses at once

**Before you start.**  You need gradients by torch.autograd.grad, projections, and a training loop;
no other kata.  Projections: 3Blue1Brown, "Dot products and duality".

**The idea.**  A training run has choices beside its optimizer.  In which order should samples come?
Children learn the easy things first, and some networks get there sooner that way.  And how do
several losses share one network?  One may be a thousand times as large as another, or pull the
other way.  You write an order, a pace, a growing image, weights that are learned, and the surgery
that stops gradients from undoing each other.

**The formulas.**

    competence      c(t) = min(1, (c₀ᵖ + (1 - c₀ᵖ) · t / total)^(1/p))
    a batch         from the first max(1, ⌊c · n⌋) samples of the order
    image size      first + (last - first) · i / (stages - 1), rounded down to a multiple
    uncertainty     loss = ½ Σ (exp(-sᵢ) · Lᵢ + sᵢ)
    surgery         gᵢ ← gᵢ - (gᵢ·gⱼ) / (gⱼ·gⱼ) · gⱼ           if gᵢ·gⱼ < 0

c(t) is the share of the n samples that may be drawn at step t; c₀ is its `start`, p the `power`.
Within a stage i = 0 … stages - 1 the image size stays.  Lᵢ is the loss of task i, and
sᵢ = log σᵢ² is learned; σᵢ says how noisy the task is.

*Surgery* (PCGrad): compare each task's gradient gᵢ with the others, gⱼ, in a random order.  Where
they conflict, gᵢ·gⱼ < 0, gᵢ loses its part along gⱼ.  gⱼ is the gradient from before any surgery,
gᵢ what is left by then.  The results are added up.

**A drawing**

    the order     easy ───────────────────▶ hard
    t small       ██████░░░░░░░░░░░░░░░░░░░░░░░░       a batch is drawn from █
    t larger      █████████████████░░░░░░░░░░░░░
    t ≥ total     ██████████████████████████████

        g₂                    g₂
          ╲                     ╲    ╱ g₁'       g₁' is g₁ without its part
           ╲                     ╲  ╱            along g₂: it no longer undoes
            ●────────▶ g₁         ●╱             what g₂ does

**Why ½ s?**  Without it the loss would be smallest at s = ∞, where nothing is learned.  With it the
best s is log L: then exp(-s) · L = 1 for every task, whatever the size of its loss.

**Why the root in the pace?**  With p = 1 each step adds the same number of samples.  But the more
there are, the less often a new one is drawn.  With p = 2 fewer and fewer are added, so that each
gets its turns before the next ones come.

**Why a stable sort?**  Scores often tie: many sentences have 12 words.  Tied samples stay in the
order of the data, easy or hard first, so that a run can be repeated.

**Worked by hand**

    scores [3, 1, 2, 1]:      easy [1, 3, 2, 0];  hard [0, 2, 1, 3]
    competence, c₀ 0.2, total 4, p = 1:      0.2  0.4  0.6  0.8  1  1
    competence, c₀ 0.6, total 4, p = 2:      at t = 2: √(0.36 + 0.64 · 0.5) = 0.825
    image sizes, 3 stages from 128 to 224:   128, then 176 → 160, then 224
    uncertainty, L = [2, 6], s = [0, log 3]: ½ (2 + 0 + 2 + log 3) = 2.549
    surgery, g₁ = [1, 0], g₂ = [-1, 1]:      g₁·g₂ = -1
        g₁ + ½ · g₂ = [0.5, 0.5],   g₂ + 1 · g₁ = [0, 1],   together [0.5, 1.5]

**Shapes** are in each docstring.  No function changes its arguments, but backward_with_surgery sets
.grad.  Random orders come from `generator`, which is on the CPU, if there is one, and else from
torch's own.  Answers are on the device of what came in.

**Steps.**

    difficulty_order        5 min   ties, both ways
    competence              6 min   what comes after the end?
    curriculum_batch        8 min   each sample at most once
    image_size              8 min   which stage is t in?
    UncertaintyWeighting    8 min   the parameter is a logarithm
    pcgrad                 16 min   which gradient is changed, which isn't?
    backward_with_surgery  16 min   a head that the other losses don't reach

Sources: Bengio et al. 2009, "Curriculum Learning"; Platanios et al. 2019, "Competence-based
Curriculum Learning for Neural Machine Translation"; Tan and Le 2021, "EfficientNetV2", section 4
(sizes by stages); Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh
Losses"; Yu et al. 2020, "Gradient Surgery for Multi-Task Learning".

From scratch: nothing is forbidden.
"""

from collections.abc import Iterable

from torch import Generator, Tensor, nn


def difficulty_order(scores: Tensor, kind: str = "easy") -> Tensor:
    """The samples' numbers, int64 (n,), by their difficulty: `scores` (n,), where larger is harder.

    kind  "easy" begins with the easiest (a curriculum), "hard" with the hardest (an anti-curriculum)

    - Samples with equal scores stay in their order, in both kinds.
    - Scores are finite numbers of any real dtype, uint8 included.

    Raises ValueError, naming it, for another kind.
    """
    raise NotImplementedError


def competence(t: int, total: int, start: float = 0.01, power: float = 2.0) -> float:
    """The share of the samples that may be seen at step t ≥ 0.

    It is `start` at t = 0, and 1 from t = total on.  0 < start ≤ 1, total ≥ 1, power > 0.
    """
    raise NotImplementedError


def curriculum_batch(order: Tensor, share: float, size: int, generator: Generator | None = None) -> Tensor:
    """`size` different samples from the first max(1, ⌊share · n⌋) of `order`, int64 (n,), n ≥ 1.

    - All choices are equally likely; in which order the samples stand is free.
    - If fewer than `size` may be seen, it is all of these, once each.
    - 0 ≤ share ≤ 1.  No test depends on how share · n is rounded near a whole number.
    """
    raise NotImplementedError


def image_size(t: int, total: int, stages: int, first: int, last: int, multiple: int = 32) -> int:
    """The size of the images at step t ≥ 0 of `total`, in `stages` ≥ 1 equal parts.

    - Step t is in stage ⌊t · stages / total⌋.  From t = total on it is the last stage.
    - The last stage has the size `last`, also if it is the only one.
    - The others are rounded down to a multiple of `multiple`.  first and last are multiples, first ≤ last.
    """
    raise NotImplementedError


class UncertaintyWeighting(nn.Module):
    """Weighs n losses by what it learns of their noise.

    The parameter `log_variance` (n,) holds the sᵢ, 0 at first.
    """

    def __init__(self, n: int) -> None:
        """Weights for n ≥ 1 losses."""
        raise NotImplementedError

    def forward(self, losses: Tensor) -> Tensor:
        """The combined loss, a tensor without axes, of `losses` (n,).  Gradients flow into both.

        Raises ValueError, naming both numbers, if there are not n losses.
        """
        raise NotImplementedError


def pcgrad(gradients: Tensor, generator: Generator | None = None) -> Tensor:
    """The sum (d,) of the gradients of n ≥ 1 tasks, (n, d), after surgery.

    - Every order in which a task goes through the others is equally likely.  Whether all tasks share one order
      is free.
    - A gradient of zeros conflicts with none.
    """
    raise NotImplementedError


def backward_with_surgery(
    losses: list[Tensor], parameters: Iterable[Tensor], generator: Generator | None = None
) -> None:
    """Set .grad of the parameters to what pcgrad makes of the losses' gradients, in place of backward().

    - A task's gradient is one vector over all parameters together: conflicts are those of whole gradients.
    - Losses may share parts of their graph.  A parameter that a loss doesn't reach has zeros there, and if no
      loss does its .grad is zeros.
    - .grad from before doesn't count.  `parameters` may be a generator; all of them require gradients, and
      have the same dtype and device.
    """
    raise NotImplementedError
