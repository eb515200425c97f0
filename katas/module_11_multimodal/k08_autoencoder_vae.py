"""Autoencoders and the VAE: a latent space that you can draw from

**Before you start.**  You need torch modules, a training loop, and the normal distribution's
density; no other kata.  If the variational bound is new: Kingma and Welling, "An Introduction to
Variational Autoencoders", chapter 2.

**The idea.**  You want a model that draws new pictures, and a short code for each picture.  An
*autoencoder* squeezes a picture through a few numbers z, and rebuilds it from them.  But which z
should you pick for a new picture?  Between the codes that it has seen, anything may come out.

The *variational* autoencoder, VAE, makes two changes.  The encoder gives no point but a small
cloud: a normal distribution q(z|x).  And all clouds are pulled towards one standard normal
distribution p(z).  So the clouds overlap and fill the space.  Draw z from p(z), decode it, and
you have a new picture.

**The formulas.**  x is a picture of pixels from 0 to 1, z its code with d numbers.

    cloud            q(z|x) is normal, with mean μ and variance σ² in each number; logvar is log σ²
    draw             z = μ + σ · ε                                  ε is standard normal noise
    KL(q ‖ p)        ½ · Σ ( μ² + σ² - 1 - log σ² )                 sum over the d numbers
    log N(z; μ, σ²)  -½ · Σ ( (z - μ)² / σ² + log σ² + log 2π )     sum over the d numbers
    log p(x|z)       Σ x · log π + (1 - x) · log(1 - π)             sum over pixels,  π = σ(logit)
    ELBO             mean over k of log p(x|zₖ)  -  β · KL(q ‖ p)   β is 1 unless said otherwise
    weight           log wₖ = log p(x|zₖ) + log p(zₖ) - log q(zₖ|x)
    IWAE             log( mean over k of wₖ )
    PSNR             10 · log₁₀( peak² / mean of (a - b)² )         in decibels
    SSIM             mean over windows of
                     (2 mₐ m_b + c₁) / (mₐ² + m_b² + c₁)  ·  (2 cov + c₂) / (vₐ + v_b + c₂)

K draws εₖ make zₖ.  All logarithms but PSNR's are natural.  σ(·) is the sigmoid.  In a window m
is a mean, v a variance and cov the covariance.  They are divided by n, the number of its pixels.
c₁ is (0.01 · peak)², c₂ is (0.03 · peak)².

**A drawing**

               ┌──▶ to_mean ────▶ μ ───────┐
    x ─▶ enter ┤                           ├─▶ z ─▶ leave ─▶ to_logits ─▶ logits
         ReLU  └──▶ to_logvar ──▶ log σ² ──┤        ReLU
                                           │
                        noise ε ───────────┘     the only randomness

**Why μ + σ · ε?**  You want gradients for μ and σ.  A draw from q has none: it is a number out of
a black box.  Written this way, z is a smooth function of μ and σ, and ε is a constant.

**Why is the ELBO a bound?**  Average the weight w over q, and you get p(x) exactly.  The
logarithm is concave, so the mean of log w is at most log p(x).  That is the ELBO with β = 1: the
*evidence lower bound*.  IWAE averages K weights before it takes the logarithm.  It lies between
the two, and rises with K.

**What does β do?**  It prices the code.  A large β pushes every cloud onto p(z).  Then z says
nothing about x, and all pictures are rebuilt as the same mean picture: *posterior collapse*.
With β = 0 and ε = 0 you have the plain autoencoder.

**Worked by hand**

    KL            μ = 1, -2 and log σ² = 0, log 4:  ½ · (1 + 1 - 1 - 0) = 0.5,
                  ½ · (4 + 4 - 1 - 1.3863) = 2.8069,  together 3.3069
    draw          the same, ε = 0.5, -1:  z = 1.5, -4
    density       z = 3, μ = 1, σ² = 4:  -½ · (1 + 1.3863 + 1.8379) = -2.1121
    likelihood    logits 0, log 3 for pixels 1, 0:  log ½ + log ¼ = -2.0794
    bounds        weights ½ and ¾:  mean of the logs ½ · log ⅜ = -0.4904,
                  log of the mean log ⅝ = -0.4700
    PSNR          [[0 1] [0 1]] and [[0.5 1] [0 1]]:  mean square 0.0625,  12.0412 dB
    SSIM          size 2, [[0 1] [0 1]] and [[0 1] [1 0]]:  means ½, v = ¼, cov = 0:
                  1 · 0.0009 / 0.5009 = 0.0017968

**Shapes**: x is (n, pixels), noise is (K, n, d), pictures for PSNR and SSIM are (..., height,
width).  Results have the dtype and the device of what comes in, and gradients flow.  No function
changes its arguments, except that train_step trains the model.

**Steps.**  A good place to pause is after VAE.

    kl_to_standard             4 min   in closed form, no sampling
    reparameterise             3 min   σ from log σ²
    gaussian_log_density       5 min   every constant counts
    bernoulli_log_likelihood   6 min   logits of ±1000
    VAE                       10 min   five layers
    elbo                      10 min   what β weighs, what is averaged
    iwae_bound                12 min   logarithm of a mean
    train_step                 6 min   an optimizer goes down
    psnr                       4 min   each picture by itself
    ssim                      15 min   windows inside the picture

In the tests your model learns the 8 × 8 digits and is compared with a model of independent
pixels.

Sources: Kingma and Welling 2014, "Auto-Encoding Variational Bayes"; Higgins et al. 2017,
"beta-VAE"; Burda et al. 2016, "Importance Weighted Autoencoders"; Wang et al. 2004, "Image
Quality Assessment: From Error Visibility to Structural Similarity" (SSIM, there with a Gaussian
window).

From scratch: torch.distributions, torch.nn.functional.kl_div,
torch.nn.functional.gaussian_nll_loss, scipy and skimage may not be used.
"""

import torch
from torch import Tensor, nn


def kl_to_standard(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(q ‖ p) in nats: (..., d) and (..., d) to (...)."""
    raise NotImplementedError


def reparameterise(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """z for a given noise.  mean and logvar are (n, d); noise is (n, d) or (K, n, d), and so is z."""
    raise NotImplementedError


def gaussian_log_density(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; μ, σ²), (...), for z (..., d).  mean and logvar may lack leading axes of z, as (n, d) to (K, n, d)."""
    raise NotImplementedError


def bernoulli_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x|z), summed over the last axis.  x may lack leading axes of the logits, as (n, pixels) to (K, n, pixels).

    - Pixels may be anything from 0 to 1: the formula is the same.
    - Logits of ±1000 give neither NaN nor infinity, and their gradients are finite.
    """
    raise NotImplementedError


class VAE(nn.Module):
    """An encoder and a decoder with one hidden layer each."""

    def __init__(self, pixels: int, hidden: int, latents: int) -> None:
        """Five nn.Linear, as drawn: enter, to_mean, to_logvar, leave, to_logits."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (..., pixels) to mean and logvar, (..., latents) each."""
        raise NotImplementedError

    def decode(self, z: Tensor) -> Tensor:
        """z (..., latents) to logits (..., pixels): no sigmoid."""
        raise NotImplementedError

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """logits, mean and logvar; x (n, pixels), noise (n, latents) or (K, n, latents), logits with K if noise has it."""
        raise NotImplementedError


def elbo(model: VAE, x: Tensor, noise: Tensor, beta: float = 1.0) -> Tensor:
    """The ELBO of each picture, (n,), for noise (K, n, d).

    The likelihood is averaged over the K draws, the KL is the closed form.
    """
    raise NotImplementedError


def iwae_bound(model: VAE, x: Tensor, noise: Tensor) -> Tensor:
    """The IWAE bound of each picture, (n,), for noise (K, n, d).

    log wₖ of -10⁴ gives no infinity.  log q is the cloud's density at zₖ, not the closed form of the KL.
    """
    raise NotImplementedError


def train_step(model: VAE, optimizer: torch.optim.Optimizer, x: Tensor, noise: Tensor, beta: float = 1.0) -> float:
    """One step of the optimizer that raises the mean ELBO over the n pictures.

    Returns the loss, a Python float: minus that mean, from before the step.  Gradients from before don't count.
    """
    raise NotImplementedError


def psnr(a: Tensor, b: Tensor, peak: float = 1.0) -> Tensor:
    """The PSNR of each picture: (..., height, width) twice to (...).  Equal pictures give infinity.

    `peak` is the largest value that a pixel can have.
    """
    raise NotImplementedError


def ssim(a: Tensor, b: Tensor, size: int = 7, peak: float = 1.0) -> Tensor:
    """The SSIM of each picture: (..., height, width) twice to (...).

    Windows are squares of size · size pixels that count alike.  All that lie wholly inside the picture are
    taken, one for each place; nothing is padded.

    Raises ValueError, naming size and the picture's smaller side, unless 1 ≤ size ≤ that side.
    """
    raise NotImplementedError
