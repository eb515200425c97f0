"""Adversarial robustness

**Before you start.**  You need gradients by autograd, cross-entropy and a training loop; no other
kata.  If norms and projections are new: any linear algebra book, the chapter on norms.

**The idea.**  A picture can be changed so little that nobody sees it, and the network reads another
digit.  Such a picture is an *adversarial example*.  You find one as you train, with the sides
swapped: the weights stay, the input moves, and the loss goes up.  Two things hold the input.  It
must stay near the original, in a *ball* of radius ε.  And it must stay a picture, with pixels from
`low` to `high`: the *box*.  A network that trains on such examples resists them.  Then you must
ask a hard question: does it resist, or does it only hide its gradient?

**The formulas.**  L is the cross-entropy of one example with its true class y.  g = ∂L/∂x.

    FGSM         x' = clip(x + ε · sign(g))                      one step, to the ball's corner
    ℓ∞ ball      |x'ᵢ - xᵢ| ≤ ε for each entry i                 a cube
    ℓ2 ball      √(Σᵢ (x'ᵢ - xᵢ)²) ≤ ε                           a sphere and what it holds
    step         ℓ∞: size · sign(g)         ℓ2: size · g / ‖g‖₂
    projection   ℓ∞: clamp each entry of x' - x to [-ε, ε]       then clip to the box
                 ℓ2: shorten x' - x to length ε, if longer       then clip to the box
    PGD          start at random in the ball; again and again: step, project
    training     the batch's mean of L(model(attack(x)), y), downhill in the weights

**A drawing**: PGD in two dimensions.  It starts anew twice, and keeps the better end.

       ┌───────────────┐  ball, ℓ∞        The loss grows to the right.
       │      ╭──▶──▶──● end 2            A step that leaves the ball
       │ start 2       │                  is put back on its edge.
       │        x      │ 2ε
       │               │
       │ start 1 ──▶─╮ │
       └─────────────●─┘ end 1

**Why the sign?**  In the ℓ∞ ball each entry may move by ε, whatever the others do.  So for a linear
loss each should move by the full ε, in the direction of its gradient.  In the ℓ2 ball the entries
share one length.  There the gradient's own direction is best.

**Why start at random, and more than once?**  A network has flat or bent places.  From x itself the
gradient may lead nowhere.  Madry et al. call a network robust only if many starts fail.

**Why is a masked gradient dangerous?**  A network may round its input, or make its logits so large
that the loss is exactly 0.  Then the gradient is 0 and every gradient attack fails.  The
adversarial examples are still there.  Athalye et al. list what gives it away:

- One step does better than many.
- Random points do better than the gradient.
- Even a ball as large as the box doesn't bring the accuracy to 0.

**Worked by hand.**  Two classes with logits 0 and 3·x₁ - 4·x₂, x = (0.7, 0.4), y = 1.

    lead of class 1     3·0.7 - 4·0.4 = 0.5, so it is right
    FGSM, ε = 0.1       x' = (0.6, 0.5), lead -0.2: it fell by ε·‖w‖₁ = 0.7, and is wrong
    ℓ2, ε = 0.1         x' = (0.64, 0.48), lead 0: it fell by ε·‖w‖₂ = 0.5

    project (0.9, 0.1) for x = (0.7, 0.4), ε = 0.18    ℓ∞: (0.88, 0.22)
                                                       ℓ2: 0.2, -0.3 has length 0.361,
                                                           times 0.499: (0.800, 0.250)

**Shapes**: x (n, …), with n ≥ 1 and at least one entry per example.  It lies in the box.  y (n,)
holds int64 classes, model(x) gives logits (n, classes).  ε ≥ 0.  All that comes out has x's shape,
dtype and device.  No function changes its arguments, but for the weights that you train.

Attacks leave the model alone.  They use it in the mode that it is in.  The parameters' `.grad`
stays as it is, and what they return requires no gradient, even if x does.

`norm` is "linf" or "l2".  Any other raises ValueError that names it.  A generator is on x's device.

**Steps.**

    fgsm                   7 min   the gradient of the input, and of nothing else
    project                8 min   each example has a length of its own
    steepest_step          6 min   what if the gradient is 0?
    random_start           9 min   uniform in a ball isn't uniform in its radius
    pgd                   14 min   compare the starts example by example
    robust_accuracy        6 min   one success of any attack is enough
    adversarial_training  12 min   two modes, and when to zero the gradients
    attack_report         10 min   five accuracies and one share
    masking_signs          4 min   four comparisons

In the tests a small network learns digits with your functions.  Under attack it must do better
than the same network without adversarial training, with three seeds.

Sources: Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples" (FGSM); Madry et
al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks" (PGD, training); Athalye
et al. 2018, "Obfuscated Gradients Give a False Sense of Security".

From scratch: torchattacks, foolbox, art and cleverhans may not be used.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Called with (model, x, y); returns the attacked x."""


def fgsm(model: nn.Module, x: Tensor, y: Tensor, eps: float, low: float = 0.0, high: float = 1.0) -> Tensor:
    """clip(x + eps · sign(g)): one step against the true classes y, then clipped to [low, high].

    Where the gradient is 0, the entry doesn't move.
    """
    raise NotImplementedError


def project(moved: Tensor, x: Tensor, eps: float, norm: str, low: float = 0.0, high: float = 1.0) -> Tensor:
    """`moved`, brought back into the ball around x and then clipped to the box [low, high].

    - "linf" clamps each entry of moved - x to [-eps, eps].
    - "l2" scales an example's moved - x down to length eps if it is longer.  The length is over all of the
      example's entries, and each example has its own.
    - What is in the ball and in the box already stays where it is.  eps may be 0.
    """
    raise NotImplementedError


def steepest_step(gradient: Tensor, size: float, norm: str) -> Tensor:
    """The step of size `size` that raises a linear loss most: one for each example of gradient (n, …).

    - "linf": size · sign(g).
    - "l2": size · g / ‖g‖₂, with each example's own length.  If an example's g is 0 everywhere, its step is 0.
    """
    raise NotImplementedError


def random_start(x: Tensor, eps: float, norm: str, generator: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """A random point in the ball around each example, clipped to the box.

    Before it is clipped, the point is uniform in the ball: in the cube for "linf", in the full ball (not only on its
    surface) for "l2".  There the radius is eps · u^(1/d), with u uniform from 0 to 1 and d the number of an
    example's entries, and the direction is that of a vector of d normal numbers.

    Examples are independent.  All randomness comes from `generator`; in which order numbers are drawn is open.
    """
    raise NotImplementedError


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    step: float,
    steps: int,
    norm: str,
    generator: Generator,
    restarts: int = 1,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """Projected gradient descent on the negative loss, from `restarts` starts.

    - Each restart calls `random_start` once, with x and this generator.  Nothing else is drawn.
    - It then takes `steps` ≥ 0 steps of size `step`: the gradient at the point, the steepest step, the projection
      to the ball around x (not around the start) and to the box.
    - Of the restarts' last points, each example gets the one with the highest loss, and of equal ones the
      earliest.  Points on the way and x itself don't compete.

    Raises ValueError, naming `restarts` and the number, if restarts is below 1.
    """
    raise NotImplementedError


def robust_accuracy(model: nn.Module, x: Tensor, y: Tensor, attacks: list[Attack]) -> float:
    """The share, from 0 to 1, of examples that are classified right at x and after every one of the attacks.

    Each attack gets the model and all of x and y.  Without attacks this is the plain accuracy.
    The class is the one with the highest logit; equal highest ones are left open.
    """
    raise NotImplementedError


def adversarial_training(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: torch.optim.Optimizer,
    attack: Attack,
    epochs: int,
    batch_size: int,
    generator: Generator,
) -> list[float]:
    """Train on attacked examples alone.  Returns a mean loss for each epoch.

    - Each epoch takes every example once, in a new random order drawn from `generator`.  Batches have `batch_size`
      examples; the last may be smaller.
    - For each batch, call attack(model, its x, its y) once, with the model in evaluation mode.  Then, in training
      mode, take one step of the optimizer on the mean loss of the attacked batch.
    - Gradients that the attack or the caller left in the parameters don't count.
    - An epoch's number is the mean over its examples of the losses that the steps were taken on, as a float.
    - The model ends in evaluation mode, also after 0 epochs.
    """
    raise NotImplementedError


def attack_report(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    steps: int,
    generator: Generator,
    low: float = 0.0,
    high: float = 1.0,
) -> dict[str, float]:
    """Six numbers from 0 to 1, for ℓ∞ attacks: a dict with these keys, in any order.

    - "clean", "fgsm", "pgd", "random", "unbounded": `robust_accuracy` without an attack, or under this one alone.
    - fgsm: with eps.
    - pgd: `steps` steps (≥ 1) of size 2.5 · eps / steps, one restart.
    - random: `pgd` with no steps and `steps` restarts, which is a search among random points.
    - unbounded: as pgd, with the eps high - low, which holds the whole box; the step's size grows with it.
    - "zero_gradients": the share of examples whose gradient of the loss at x is exactly 0 in every entry.
    """
    raise NotImplementedError


def masking_signs(report: dict[str, float], margin: float = 0.05) -> list[str]:
    """What in an `attack_report` speaks for masked gradients: names, in this order, of those that hold.

    - "one step": the accuracy under fgsm is lower than that under pgd, by more than `margin`.
    - "random": the accuracy under random is lower than that under pgd, by more than `margin`.
    - "unbounded": the accuracy under unbounded is above `margin`.
    - "zero gradients": the share of zero gradients is above `margin`.

    Without a sign the list is empty.  An empty list is no proof of robustness.
    """
    raise NotImplementedError
