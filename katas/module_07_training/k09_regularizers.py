"""Regularizers for images, sequences and deep networks

**Before you start.**  You need dropout as a mask and a scale, residual blocks, and targets that are
probabilities; no other kata is imported.  If dropout is new: module 04's k06_regularization.

**The idea.**  Ordinary dropout hardly works where neighbours say the same: a dropped pixel can be
guessed from the pixels around it, a dropped word vector from the step before.  So drop something
that can't be guessed: a channel, a feature at all steps, a weight, a whole block.  Or leave the
network alone, and mix new samples from those that you have.

**The formulas.**  A mask m holds 0 with probability p and 1 else.  All drops divide what they keep
by 1 - p, so that means stay as they are; in evaluation nothing is dropped.

    spatial dropout        y = x · m / (1 - p)           one m for each sample and channel
    variational dropout    y = x · m / (1 - p)           one m for each sample and feature
    DropConnect            y = x (W · m / (1 - p))ᵀ + b  one m for each weight
    stochastic depth       y = x + f(x) · m / (1 - p)    one m for each sample
    its rates              pᵢ = last · i / n             for block i = 1 … n
    mixup                  λ · own + (1 - λ) · other     for inputs and targets
    CutMix                 a box of the other image; its share of the area mixes the targets

The other sample of sample i is order[i].  CutMix's box, for an image H × W and a center (r, c):

    h = ⌊H · √(1 - λ) / 2⌋         rows     from r - h up to, but without, r + h
    w = ⌊W · √(1 - λ) / 2⌋         columns  from c - w up to, but without, c + w

and what lies outside of the image is cut off.

**A drawing**; what is kept is ▓:

    ordinary        spatial                    variational          CutMix
                    channel 1   2    3         time ──▶
    ┌──────┐        ┌────┬────┬────┐           feature  ┌──────┐    ┌────────┐
    │▓ ▓▓ ▓│        │▓▓▓▓│    │▓▓▓▓│              1     │▓▓▓▓▓▓│    │ own    │
    │ ▓▓▓ ▓│        │▓▓▓▓│    │▓▓▓▓│              2     │      │    │   ┌────┤
    │▓▓ ▓ ▓│        │▓▓▓▓│    │▓▓▓▓│              3     │▓▓▓▓▓▓│    │   │oth-│
    └──────┘        └────┴────┴────┘                    └──────┘    └───┴er──┘

**Why the same mask at all steps?**  A new mask at each step brings a recurrent network new noise at
each step.  It adds up over time and drowns what the network should remember.  Gal and Ghahramani
keep one mask for a whole sequence.

**Why does stochastic depth drop late blocks more often?**  Early blocks find the features that all
others need.  So the rate grows in a line, up to `last` at the last block.

**Why count the box's true area?**  A box near the border is cut off.  If the targets went by λ,
they would promise more of the other image than there is.

**Worked by hand**

    spatial, p = 0.2:    a channel [4, 8] becomes [5, 10] or [0, 0]
    depth_rates(4, 0.2): [0.05, 0.1, 0.15, 0.2]
    mixup, λ = 0.75, samples [4] and [8], order [1, 0]:   [5] and [7]; targets [¾ ¼] and [¼ ¾]
    cutmix_box(8, 12, 0.75, 1, 6):  λ is 0.75, h is 2, w is 3, so (0, 3, 3, 9)
    its area is 18 of 96: own targets count 0.8125, the other's 0.1875

**Shapes** are in each docstring.  b is the batch, p is from 0 to 1, floats keep their dtype and
device.  No function changes its arguments.

- p = 1 drops everything: zeros, with a gradient of 0.  Gradients go through the same mask.
- Each call draws a new mask from `generator`, on x's device; if it is None, from torch's own.
  Which numbers are drawn in which order is free.  Without `training` nothing is drawn or scaled.
- A p outside [0, 1] raises a ValueError that names it, in either mode.

**Steps.**

    spatial_dropout       10 min   the mask's shape is all that is new
    variational_dropout    5 min   one decision for all steps
    drop_connect           8 min   the weights, not the inputs, and not the bias
    StochasticDepth       10 min   what is dropped is f(x)
    depth_rates            4 min   block 1 has a rate already
    mixup                  5 min   the targets, too
    cutmix_box            10 min   cut off at the border
    cutmix                 8 min   targets by the area
    mix_batch             12 min   one λ a batch

Sources: Tompson et al. 2015 (spatial); Gal and Ghahramani 2016 (variational); Wan et al. 2013
(DropConnect; there each sample has its own mask, and biases are dropped, too); Huang et al. 2016,
"Deep Networks with Stochastic Depth" (there a whole batch skips, and f(x) is scaled in evaluation
instead); Zhang et al. 2018, "mixup"; Yun et al. 2019, "CutMix".

From scratch: the dropouts of torch.nn and torch.nn.functional, torch.dropout,
torch.native_dropout, torch.feature_dropout, torch.alpha_dropout, torch.feature_alpha_dropout,
torchvision and timm may not be used.
"""

from torch import Generator, Tensor, nn


def spatial_dropout(x: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None) -> Tensor:
    """Drop whole channels of x (b, c, *space), in each sample by itself; same shape.

    There may be no axis of space, or up to three.
    """
    raise NotImplementedError


def variational_dropout(x: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None) -> Tensor:
    """Drop features of x (b, t, d) at all t steps of a sequence, in each sample by itself; same shape."""
    raise NotImplementedError


def drop_connect(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    p: float = 0.5,
    training: bool = True,
    generator: Generator | None = None,
) -> Tensor:
    """A linear layer, x (..., in) to (..., out), with weights (out, in) dropped one by one.

    - One mask a call, the same for all samples.
    - The bias (out,) is never dropped or scaled.  With p = 1 only the bias is left.
    """
    raise NotImplementedError


class StochasticDepth(nn.Module):
    """A residual block that is left out for some samples while training: x + block(x), or x alone.

    The attribute `block` is the module, `p` the probability that a sample skips it.
    """

    def __init__(self, block: nn.Module, p: float) -> None:
        """Raises ValueError, naming p, if it isn't from 0 to 1."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (b, ...) to the same shape, which is block's, too.

        - In training mode each sample by itself gets x, or x + block(x) / (1 - p).
        - In evaluation mode every sample gets x + block(x).
        - The block treats each sample alike.  Whether it runs for samples that skip it is free, and with
          p = 1 whether its parameters get a gradient of 0 or none.
        """
        raise NotImplementedError


def depth_rates(n: int, last: float) -> list[float]:
    """The p of n ≥ 1 blocks, growing in a line from last/n to `last`.

    Raises ValueError, naming `last`, if it isn't from 0 to 1.
    """
    raise NotImplementedError


def mixup(x: Tensor, y: Tensor, lam: float, order: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs x (b, ...) and targets y (b, classes), both floating, mixed with those of `order` (b,), int64.

    `lam` is λ, the weight of a sample's own; from 0 to 1.  It is alike for all samples.
    """
    raise NotImplementedError


def cutmix_box(height: int, width: int, lam: float, row: int, column: int) -> tuple[int, int, int, int]:
    """CutMix's box as (top, bottom, left, right): rows top to bottom - 1, columns left to right - 1.

    The center is the pixel (row, column) of an image height × width.  lam is from 0 to 1.
    """
    raise NotImplementedError


def cutmix(x: Tensor, y: Tensor, box: tuple[int, int, int, int], order: Tensor) -> tuple[Tensor, Tensor]:
    """Images x (b, c, h, w) with the box from the image of `order`, and targets y (b, classes) mixed by its area.

    The box is as cutmix_box returns it, and may be empty.
    """
    raise NotImplementedError


def mix_batch(x: Tensor, y: Tensor, kind: str = "mixup", alpha: float = 1.0) -> tuple[Tensor, Tensor]:
    """One batch mixed at random: `kind` is "mixup" or, for images (b, c, h, w), "cutmix".

    - λ is drawn from Beta(alpha, alpha), once a batch.  `order` is a random permutation, all equally likely;
      for CutMix the center is a random pixel, all equally likely, the same for all samples.
    - Everything is drawn from torch's own generators, so that torch.manual_seed repeats it.
    - Gradients flow back to x.

    Raises ValueError, naming it, for another kind, and for an alpha that isn't above 0.
    """
    raise NotImplementedError
