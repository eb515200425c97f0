"""Attribution: which inputs made the model say so

**Before you start.**  You need gradients in torch, and a forward hook.  You import no other kata.
If the subject is new: Molnar, "Interpretable Machine Learning", the chapter on saliency maps.

**The idea.**  A model says "pneumonia".  Before anyone believes it, they want to know what it
looked at: the lung, or the hospital's mark in a corner of the picture.  An *attribution* gives
each input a number: how much it contributed to one score.

The gradient is the first thing to try.  It says how the score would change if you changed an
input a little.  That is another question.  When a score is saturated, its gradient is 0, and yet
some input has brought it there.  *Integrated gradients* walk from a baseline, say a black
picture, to the input, and add up the gradients on the way.  What they find sums to the score that
was gained. That is *completeness*, and you can check it.

A map that looks good proves nothing.  So at the end you delete what a map calls important, and
watch the score fall.

**The formulas.**  f is the score of one class, x the input, b the baseline, m the steps.

    gradient        g_i = ∂f/∂x_i
    saliency        at each place of an image: the largest |g| over its channels
    SmoothGrad      mean over samples of g(x + noise · ε),         ε normal with deviation 1
    integrated      a_i = (x_i - b_i) · mean over k = 1 … m of  g_i( b + (k - 1/2)/m · (x - b) )
    gap             Σ_i a_i - ( f(x) - f(b) )                      0 if a is complete
    Grad-CAM        [ Σ_c w_c A_c ]₊ at each place,   w_c = mean over all places of ∂f/∂A_c
    rollout         R = M_L … M_2 M_1,   M_l = r · I + (1 - r) · mean over the heads of attention l
    deletion        p_k = chance of the class when the k inputs with the largest a are b's
    area            ( p_0/2 + p_1 + … + p_{n-1} + p_n/2 ) / n

A_c is channel c of a layer's output.  [z]₊ is z, or 0 if z is below 0.  r is the share of the
residual path.  The chance is the softmax of the scores.  n is the number of inputs of a sample.

**A drawing**

    score                              the gradient at x is 0
      │              ┌──────────── x
      │            ╱                   on the way from b it was 1
      │          ╱                     for half of the path
      │        ╱
      └───── b ─────────────────────── input

**Why the middle of each piece?**  You replace an integral by a sum.  Taking the gradient at the
end of each piece leaves an error of the order 1/m.  In the middle the errors of the two halves
nearly cancel: 1/m² for smooth models.

**Why does Grad-CAM cut at 0?**  It asks what speaks *for* the class.  A channel with a negative
weight speaks for others.  So does a place with a sum below 0.

**Why isn't attention enough?**  One layer's attention says which *positions* were read.  But in
layer five a position holds what four layers have mixed.  Rollout multiplies the layers.  It sees
no values and no MLPs, so it is a rough guess, and it doesn't know the class.

**Worked by hand**

    f = x₁ x₂ at (2, 3)      gradient (3, 2).   Times the input: (6, 6), which sums to 12
                             integrated from 0, any m: (3, 3), which sums to 6.  f is 6
    f = 1 - [1 - x]₊ at 2    gradient 0.  Integrated with m = 4: 2 · mean(1, 1, 0, 0), so 1
    Grad-CAM                 A₁ = 1 2 / 3 4, w₁ = 0.5;   A₂ = 4 0 / 0 0, w₂ = -1
                             0 1 / 1.5 2
    rollout, r = 1/2         attention 1  .5 .5 / 0 1,  2  0 1 / .2 .8
                             M₁  .75 .25 / 0 1,  M₂  .5 .5 / .1 .9
                             R   .375 .625 / .075 .925
    area                     of p = 1, 0.5, 0:  (0.5 + 0.5 + 0) / 2, so 0.5

**Shapes**: x (B, …) with any further axes, at least one; images (B, C, H, W).  A model takes them
and gives scores (B, classes).  target (B,), int64, is the class that is asked about, for each
sample its own.  Each sample counts for itself.  Results have the dtype and the device of x.  They
carry no graph.  Everything works inside torch.no_grad() as well.  No parameter's `.grad` is
touched.  No function changes its arguments.

**Steps.**  A good place to pause is after until_complete.

    gradients              6 min   of a sum, but not its parameters
    saliency               3 min   colours are one place
    smooth_grad            7 min   new noise each time
    integrated_gradients  12 min   a path, its middle points
    completeness_gap       6 min   the check
    until_complete         8 min   double until it holds
    grad_cam              14 min   a hook that goes away
    attention_rollout      8 min   the order of a product
    deletion_curve        12 min   one input after the other; a small area is good
    curve_area             3 min   trapezoids

Sources: Simonyan, Vedaldi and Zisserman 2014, "Deep Inside Convolutional Networks"; Smilkov et
al. 2017, "SmoothGrad"; Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep
Networks"; Selvaraju et al. 2017, "Grad-CAM"; Abnar and Zuidema 2020, "Quantifying Attention Flow
in Transformers"; Petsiuk, Das and Saenko 2018, "RISE" (deletion).

From scratch: captum, shap and torch.func may not be used.
"""

from collections.abc import Callable, Sequence

from torch import Generator, Tensor, nn

Model = Callable[[Tensor], Tensor]


def gradients(model: Model, x: Tensor, target: Tensor) -> Tensor:
    """∂ score of the target / ∂ x, of the shape of x, signs included."""
    raise NotImplementedError


def saliency(model: Model, images: Tensor, target: Tensor) -> Tensor:
    """The saliency (B, H, W) of images (B, C, H, W)."""
    raise NotImplementedError


def smooth_grad(model: Model, x: Tensor, target: Tensor, noise: float, samples: int, generator: Generator) -> Tensor:
    """The mean gradient, signs included, at `samples` ≥ 1 points near x; of the shape of x.

    Each point has noise of its own in every number, drawn with the generator, which is of the device of x.
    """
    raise NotImplementedError


def integrated_gradients(
    model: Model, x: Tensor, target: Tensor, baseline: Tensor | None = None, steps: int = 32
) -> Tensor:
    """The integrated gradients from the baseline to x, of the shape of x.

    baseline  broadcasts against x; None: zeros

    Raises ValueError, naming steps, if it is below 1.
    """
    raise NotImplementedError


def completeness_gap(
    model: Model, x: Tensor, target: Tensor, attributions: Tensor, baseline: Tensor | None = None
) -> Tensor:
    """The gap (B,) of each sample, with its sign.  The baseline is as for integrated_gradients."""
    raise NotImplementedError


def until_complete(
    model: Model,
    x: Tensor,
    target: Tensor,
    baseline: Tensor | None = None,
    tolerance: float = 1e-3,
    most: int = 1024,
) -> tuple[Tensor, int]:
    """Integrated gradients with 8 steps, then 16, 32, …, until no sample's |gap| is above the tolerance.

    Returns them and the number of steps.

    Raises ValueError, naming `most`, if no number of steps up to it, itself included, is enough.
    """
    raise NotImplementedError


def grad_cam(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """The Grad-CAM (B, h, w) of a layer of the model, whose output is (B, c, h, w).

    The layer runs once, and nothing changes its output in place.  The model's parameters may be frozen.  Afterwards
    the layer has no hook that it hadn't before, even if the model has raised an error.
    """
    raise NotImplementedError


def attention_rollout(attentions: Sequence[Tensor], residual: float = 0.5) -> Tensor:
    """The rollout (B, N, N) of L ≥ 1 layers' attentions (B, heads, N, N), the first layer first.

    Row i says from where position i has what it holds at the end.
    """
    raise NotImplementedError


def deletion_curve(
    model: Model, x: Tensor, target: Tensor, attributions: Tensor, baseline: Tensor | None = None
) -> Tensor:
    """The chances (B, n + 1) of the target as more and more inputs are replaced by the baseline's; p_0 replaces none.

    The largest attributions go first, signs included.  Of equal ones the first in x.flatten(1) goes first.  Each
    sample has an order of its own.
    """
    raise NotImplementedError


def curve_area(curve: Tensor) -> Tensor:
    """The area (B,) under curves (B, n + 1), n ≥ 1, whose points are 1/n apart."""
    raise NotImplementedError
