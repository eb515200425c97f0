"""Diffusion models: noise taken off step by step, DDPM and DDIM

**Before you start.**  You need the normal distribution, torch modules and a training loop; no
other kata.  If diffusion is new: Weng, "What are Diffusion Models?" (a post on her blog).

**The idea.**  You want to draw new samples from a distribution that you know only by examples.
Destroying is easy: add a little noise, T times, until nothing but noise is left.  So learn the
way back.  Train one network to say which noise is in a noisy picture.  To draw, start from pure
noise and take off what the network sees, step by step.

Each step back is small, and a small step is nearly normal.  That is why one network with a plain
squared error is enough: no adversary, and no bound to compute in training.

**The formulas.**  x₀ is the data, x_t the picture after t of T steps, ε standard normal noise.

    schedule     β₁, …, β_T                    the variance that each step adds
    ᾱ            ᾱ₀ = 1,  ᾱ_t = (1 - β₁) · … · (1 - β_t)           what is left of the signal
    linear       β from `first` to `last`, both among them, equally far apart
    cosine       f(t) = cos²( (t/T + s) / (1 + s) · π/2 )
                 β_t = 1 - f(t) / f(t - 1), but at most `limit`
    noise        x_t = √ᾱ_t · x₀ + √(1 - ᾱ_t) · ε
    velocity     v = √ᾱ_t · ε - √(1 - ᾱ_t) · x₀
    back         x₀ = √ᾱ_t · x_t - √(1 - ᾱ_t) · v,   ε = √(1 - ᾱ_t) · x_t + √ᾱ_t · v
    loss         mean over all entries of (prediction - target)²    the target is ε or v
    posterior    q(x_{t-1} | x_t, x₀) is normal:
                 mean ( √ᾱ_{t-1} · β_t · x₀ + √(1 - β_t) · (1 - ᾱ_{t-1}) · x_t ) / (1 - ᾱ_t)
                 variance β_t · (1 - ᾱ_{t-1}) / (1 - ᾱ_t)
    DDIM         x_u = √ᾱ_u · x₀ + √(1 - ᾱ_u - σ²) · ε + σ · fresh noise
                 σ = η · √( (1 - ᾱ_u) / (1 - ᾱ_t) · (1 - ᾱ_t / ᾱ_u) )         from t to any u < t

**A drawing**

    time   0          1          2                     T
           x₀ ──β₁──▶ x₁ ──β₂──▶ x₂ ──▶ …  ──β_T────▶ x_T   no network
    ᾱ      1         0.9         0.7                  0.01
           x₀ ◀────── x₁ ◀────── x₂ ◀── …  ◀───────── x_T   DDPM: every step
           x₀ ◀───────────────── x₂ ◀──────────────── x_T   DDIM: skips times

**Why can you jump to x_t?**  The sum of independent normal noises is normal.  Signal and noise
are both known: their squared weights ᾱ_t and 1 - ᾱ_t add up to 1.  So you train on any t at once.

**Why v?**  At t near T the signal's weight is almost 0.  From ε you get x₀ by dividing by it, and
a small error explodes.  From v you multiply by numbers below 1.  The two weights are a point on
the unit circle, and v is x_t turned by a quarter of it.

**Why may DDIM skip?**  The loss sees only how x_t depends on x₀, never on x_{t-1}.  DDIM picks
another chain with the same x_t.  With η = 0 it has no fresh noise: start decides the picture.
With η = 1 and u = t - 1 it is DDPM.

**Worked by hand**, with β = 0.5, 0.5

    ᾱ            1, 0.5, 0.25
    noise        t = 2, x₀ = 2, ε = -1:  0.5 · 2 - 0.8660 = 0.1340
    velocity     0.5 · (-1) - 0.8660 · 2 = -2.2321
    back         0.5 · 0.1340 + 0.8660 · 2.2321 = 2
    posterior    t = 2, x₀ = 2, x₂ = 1:  (0.7071 · 0.5 · 2 + 0.7071 · 0.5 · 1) / 0.75 = 1.4142,
                 variance 0.5 · 0.5 / 0.75 = 0.3333;  t = 1:  mean x₀, variance 0
    DDIM         from t = 2 to 1, x₀ = 2, ε = -1, η = 0:  0.7071 · (2 - 1) = 0.7071
                 η = 1:  σ² = 0.3333,  1.4142 - √(0.5 - 0.3333) = 1.0060, plus 0.5774 · fresh
    linear       3 steps from 0.1 to 0.3:  0.1 0.2 0.3
    cosine       s = 0, T = 2:  f is 1, 0.5, 0, so β is 0.5 and 1, cut to 0.999

**Shapes**: x, x₀ and noise are (n, ...), t is (n,) int64 from 1 to T: a time for each sample.
Schedules are float64, betas (T,) and bars (T + 1,).  Results have the dtype and device of x or
x₀; bars and t lie on the same device.  √ᾱ and √(1 - ᾱ) are computed in float64 and converted then:
in float32 1 - ᾱ has few digits left.  A model is any callable: model(x, t) has the shape of x.
No function changes its arguments.  Samplers call the model once for each step.

**Steps.**  A good place to pause is after diffusion_loss.

    linear_betas        3 min   both ends
    cosine_betas        7 min   a ratio of neighbours
    alpha_bars          5 min   begins with 1
    add_noise           6 min   a weight for each sample
    to_velocity         4 min   turned by a quarter
    split_prediction    8 min   x₀ and ε from either
    diffusion_loss      6 min   the target's kind
    posterior          10 min   at t = 1 all is known
    ancestral_sample   10 min   from T to 1
    ddim_step          10 min   any u below t
    ddim_sample         8 min   the last step leads to 0

In the tests your functions train a network on six clouds in the plane and draw from it.

Sources: Ho et al. 2020, "Denoising Diffusion Probabilistic Models"; Nichol and Dhariwal 2021,
"Improved Denoising Diffusion Probabilistic Models" (cosine); Song et al. 2021, "Denoising
Diffusion Implicit Models"; Salimans and Ho 2022, "Progressive Distillation" (velocity).

From scratch: diffusers may not be used.
"""

from collections.abc import Callable

from torch import Generator, Tensor

Model = Callable[[Tensor, Tensor], Tensor]


def linear_betas(steps: int, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """β₁ … β_T of the linear schedule, float64 (steps,), for steps ≥ 2."""
    raise NotImplementedError


def cosine_betas(steps: int, offset: float = 0.008, limit: float = 0.999) -> Tensor:
    """β₁ … β_T of the cosine schedule, float64 (steps,); `offset` is s."""
    raise NotImplementedError


def alpha_bars(betas: Tensor) -> Tensor:
    """ᾱ₀ … ᾱ_T, (T + 1,) for betas (T,): bars[t] belongs to x_t, and bars[0] is 1."""
    raise NotImplementedError


def add_noise(x0: Tensor, t: Tensor, noise: Tensor, bars: Tensor) -> Tensor:
    """x_t for the given noise.  Here t may be 0, too: then x₀ comes out."""
    raise NotImplementedError


def to_velocity(x0: Tensor, t: Tensor, noise: Tensor, bars: Tensor) -> Tensor:
    """v for a sample and its noise."""
    raise NotImplementedError


def split_prediction(output: Tensor, x: Tensor, t: Tensor, bars: Tensor, kind: str = "noise") -> tuple[Tensor, Tensor]:
    """x₀ and ε, in this order, that a model's output stands for.  kind is "noise" (it is ε) or "velocity" (it is v).

    x₀ isn't clipped.

    Raises ValueError, naming it, for another kind.
    """
    raise NotImplementedError


def diffusion_loss(model: Model, x0: Tensor, t: Tensor, noise: Tensor, bars: Tensor, kind: str = "noise") -> Tensor:
    """The loss, without axes, for given times and noise; the model is called once, with (x_t, t).

    Raises ValueError, naming it, for a kind that isn't "noise" or "velocity".
    """
    raise NotImplementedError


def posterior(x0: Tensor, x: Tensor, t: Tensor, bars: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (n, ...) and variance (n, 1, ..., 1), as many axes as x, of q(x_{t-1} | x_t, x₀); x is x_t."""
    raise NotImplementedError


def ancestral_sample(model: Model, start: Tensor, bars: Tensor, generator: Generator, kind: str = "noise") -> Tensor:
    """DDPM: x₀ (n, ...) from x_T = start, by draws from the posterior at t = T, …, 1.

    - x₀ in the posterior is the one that the model's output stands for, not clipped.
    - t is (n,) int64 for the model.  The last step adds no noise.
    - All draws come from `generator`, which lies on the CPU.  Whether gradients are recorded is open.
    """
    raise NotImplementedError


def ddim_step(
    x0: Tensor,
    noise: Tensor,
    t: Tensor,
    to: Tensor,
    bars: Tensor,
    eta: float = 0.0,
    fresh: Tensor | None = None,
) -> Tensor:
    """x_u for u = `to` (n,), 0 ≤ u < t, from the x₀ and the ε (`noise`) that are seen in x_t; eta is η, from 0 to 1.

    `fresh` is the fresh noise, in the shape of x₀; None stands for zeros.
    A difference under the root that is below 0 by rounding counts as 0.
    """
    raise NotImplementedError


def ddim_sample(model: Model, start: Tensor, bars: Tensor, times: list[int], kind: str = "noise") -> Tensor:
    """DDIM with η = 0: x₀ (n, ...) from `start`, which is x at times[0].

    - `times` fall, and all are from 1 to T.  After the last one a step leads to time 0.
    - The same start gives the same result.
    """
    raise NotImplementedError
