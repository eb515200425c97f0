"""GANs: two networks that play against each other, and how to see what they draw

**Before you start.**  You need torch modules, a training loop, and autograd's
`torch.autograd.grad`; no other kata is imported.  If GANs are new: Goodfellow, "NIPS 2016
Tutorial: Generative Adversarial Networks", sections 1 to 3.

**The idea.**  You want a network that draws.  A *generator* G turns noise z into a picture.  But
what is its loss?  Compare it with the pixels of one real picture, and it draws a blurred mean.

So let a second network judge.  The *discriminator* D gives each picture a *logit*: high for real
ones, low for fakes.  It learns to tell them apart; the generator learns to fool it.  If both do
well, fakes follow the distribution of the data, and D can only guess.

It is a game, and games can go wrong.  D may win so clearly that G learns nothing.  Or G draws one
thing over and over, as that one fools D: *mode collapse*.  So you also need a smoother judge, and
numbers that show a collapse.

**The formulas.**  a are logits of real pictures, b those of fakes.  σ(·) is the sigmoid.  Each
mean is over all numbers of its own argument.  All logarithms are natural.

    discriminator    -mean log σ(a)  -  mean log(1 - σ(b))
    minimax          mean log(1 - σ(b))                 G's loss, as the game has it
    non-saturating   -mean log σ(b)                     G's loss, as it is used
    best D           p / (p + q)                        p is the data, q is what G draws
    value at best D  Σ p · log( p / (p + q) )  +  Σ q · log( q / (p + q) )

*WGAN-GP* calls the judge a critic, C.  Its scores have no sigmoid.  Its slope is held near 1, at
points x̂ between real and fake.  t is a number from 0 to 1 for each pair:

    x̂ = t · real + (1 - t) · fake
    GP               mean over pairs of ( ‖∇C(x̂)‖ - 1 )²     ∇ by x̂; ‖·‖ over a pair's numbers
    critic           mean C(fake) - mean C(real) + λ · GP
    generator        -mean C(fake)

*Spectral normalisation* divides a layer's weights W by their largest singular value.  A vector u
of length 1 is kept, and one round of power iteration makes it better:

    v = Wᵀu / ‖Wᵀu‖,      u' = W v / ‖W v‖,      σ = u' · (W v),      y = x (W / σ)ᵀ + bias

*What was drawn* is judged twice.  s_k is mode k's share of the good samples, K the number of
modes.  m and S are the mean and the covariance of features:

    KL to uniform    Σ s_k · log(K · s_k)               0 · log 0 is 0
    Fréchet          ‖m_a - m_b‖² + Tr( S_a + S_b - 2 (S_a S_b)^½ )

**A drawing**

    noise ──▶ G ──▶ fake ──┐                   D's step:  fake is cut off from G
                           ├──▶ D ──▶ logit
    data  ─────────▶ real ─┘                   G's step:  D passes gradients on,
                                                          and stays as it is

**Why non-saturating?**  At the start fakes are bad, so b is far below 0.  There log(1 - σ(b)) is
flat, and G gets no gradient just when it needs one.  -log σ(b) has slope -1 there.  Both have the
same fixed point.

**Why a slope of 1?**  Where data and fakes don't overlap, a perfect D is flat around the fakes.
It knows that they are bad, but not which way is better.  A critic with slope at most 1 can't be
flat and perfect.  Its scores then measure how far the fakes are from the data.

**Why the root of a product?**  If S_a and S_b are diagonal, the trace is Σ (√a - √b)²: the
distance between widths.  In general S_a S_b isn't symmetric, but S_a^½ S_b S_a^½ is, and it has
the same eigenvalues.  The trace of the root is the sum of their square roots.

**Worked by hand**

    losses      a = log 3 and b = 0, so σ is ¾ and ½:  discriminator 0.2877 + 0.6931 = 0.9808,
                minimax -0.6931, non-saturating 0.6931
    slopes      b = -4:  minimax -σ(-4) = -0.0180, non-saturating -0.9820
    value       p = (½ ½), q = (1 0):  ½ log ⅓ + ½ log 1 + log ⅔ = -0.9548
                p equal to q: -log 4.  Nothing in common: 0
    penalty     C(x) = x₁², real (4 0), fake (0 0), t = ¼:  x̂ = (1 0), slope 2, GP = 1.
                critic 0 - 16 + 10 · 1 = -6
    spectral    W = [[3 0] [0 1]], u = (0.6 0.8):  v = (0.9138 0.4061),  W v = (2.7414 0.4061),
                σ = 2.7713,  u' = (0.9892 0.1465).  The largest singular value is 3
    modes       centres (0 0) (4 0) (0 4), radius 1.  Samples (0 1) (0.5 0) (4 0.5) (2 2):
                2 modes, quality ¾, KL ⅔ · log 2 + ⅓ · log 1 = 0.4621
    features    rows (0 0) and (2 4):  mean (1 2), covariance [[2 4] [4 8]]
    Fréchet     means (0 0) and (3 4), covariances diag(4, 1) and diag(1, 9):  25 + 1 + 4 = 30

**Shapes**: real and fake pictures are (n, …), with any axes after n; logits and scores have any
shape. Results have the dtype and the device of what comes in.  No function changes its arguments,
except that gan_step trains both models.

**Steps.**  A good place to pause is after SpectralLinear.

    minimax_losses         7 min   logits of ±1000
    non_saturating_loss    3 min   one sign, another slope
    optimal_value          7 min   0 · log 0 is 0
    gradient_penalty      12 min   a gradient of a gradient
    wgan_gp_losses         6 min   who may move whom
    SpectralLinear        13 min   what is constant, what is not
    gan_step              10 min   two steps, one after the other
    mode_score             9 min   nearest, near enough, how even
    feature_gaussian       4 min   n - 1
    frechet_distance      10 min   the root of a product

In the tests your models learn a ring of eight small clouds.

Sources: Goodfellow et al. 2014, "Generative Adversarial Nets"; Gulrajani et al. 2017, "Improved
Training of Wasserstein GANs"; Miyato et al. 2018, "Spectral Normalization for Generative
Adversarial Networks"; Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge
to a Local Nash Equilibrium" (the Fréchet distance).

From scratch: torch.nn.utils.spectral_norm, torch.nn.utils.parametrizations.spectral_norm, scipy
and sklearn may not be used.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def minimax_losses(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """(discriminator, minimax), both (), of logits of any two shapes, whose sizes may differ.

    Logits of ±1000 give neither NaN nor infinity, and their gradients are finite.
    """
    raise NotImplementedError


def non_saturating_loss(fake: Tensor) -> Tensor:
    """The generator's loss (), of logits of any shape.  Logits of ±1000 are welcome here, too."""
    raise NotImplementedError


def optimal_value(p: Tensor, q: Tensor) -> Tensor:
    """The value at the best D: probabilities p and q (..., K) to (...).

    Where p or q is 0, its term is 0, also if both are.  Gradients are right where both are above 0.
    """
    raise NotImplementedError


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """GP (), for real and fake (n, …) and mix (n,), which is t.  critic gives (n,) or (n, 1).

    - It judges each picture by itself: the score of one depends on no other.
    - Gradients flow to the critic's parameters.  real, fake and mix count as constants, even if they ask for one.
    - Where ∇C(x̂) is 0 the penalty of that pair is 1, and backward() gives no NaN.
    - Nothing is left in the `.grad` of parameters.
    """
    raise NotImplementedError


def wgan_gp_losses(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor, weight: float = 10.0
) -> tuple[Tensor, Tensor]:
    """(critic's loss, generator's loss), both ().  `weight` is λ; arguments as for gradient_penalty.

    The critic's loss sends no gradient into real and fake.  The generator's loss sends one into fake.
    """
    raise NotImplementedError


class SpectralLinear(nn.Module):
    """A linear layer whose weights are divided by their largest singular value, nearly."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Parameters weight (outputs, inputs) and bias (outputs,), which start as nn.Linear's do.

        Buffer u (outputs,): a normal draw, divided by its length.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """y (..., outputs) for x (..., inputs), by one round of power iteration from u.

        - v and u' are constants for gradients.  σ isn't: it depends on W.
        - In training mode u' becomes the buffer u.  In evaluation mode the answer is the same, and u stays.
        - The parameter `weight` keeps its value.  It is never 0.
        """
        raise NotImplementedError


def gan_step(
    generator: nn.Module,
    discriminator: nn.Module,
    optimizer_g: torch.optim.Optimizer,
    optimizer_d: torch.optim.Optimizer,
    real: Tensor,
    noise: Tensor,
) -> tuple[float, float]:
    """One step of the discriminator, then one of the generator.  Returns (D's loss, G's loss), Python floats.

    - noise is (2, m, d): noise[0] makes the fakes of D's step, noise[1] those of G's step.
    - D's step uses the discriminator's loss of minimax_losses, G's step non_saturating_loss.
    - G's step meets the D that has just learned.  Only the optimizer of whose step it is takes a step.
    - Each loss is the one from just before its own step.  Gradients from before don't count.
    """
    raise NotImplementedError


def mode_score(samples: Tensor, centres: Tensor, radius: float) -> tuple[int, float, float]:
    """(modes, quality, KL to uniform) of samples (n, d), for the modes' centres (K, d).

    - A sample belongs to the nearest centre; of equally near ones to the first.  Distances are Euclidean.
    - It is good if that distance is at most `radius`.
    - modes: how many centres have a good sample.  quality: the share of all n samples that are good.
    - The shares s_k of the KL are among good samples.  If none is good, the KL is log K, as for one mode alone.
    """
    raise NotImplementedError


def feature_gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d), divided by n - 1, of features (n, d).  Both have gradients.

    Raises ValueError, naming n, if n < 2.
    """
    raise NotImplementedError


def frechet_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> Tensor:
    """The Fréchet distance (), of means (d,) and covariances (d, d).

    It is squared, as everybody reports it.  Covariances may be singular; rounding never makes the result
    negative or NaN.  No gradient is needed.
    """
    raise NotImplementedError
