"""Diffusion transformer: patches, a condition in every norm, and a straight path from noise to data

**Before you start.**  You need a transformer block with attention, and Euler's method for a
differential equation.  No other kata is imported.  If diffusion is new, do ddpm first, or read
Lipman et al., "Flow Matching Guide and Code" (2024), sections 1 and 2.

**The idea.**  You want a model that draws.  Diffusion models used U-Nets for this, with
convolutions made for pictures.  A plain transformer does it as well, and it grows better: cut the
picture into patches, treat them as tokens, put the tokens back together at the end.

Two things have to be added.  The network must know *how noisy* its input is and *what* to draw.
This condition steers every normalisation layer.  And it needs a task.  Flow matching has the
simplest one: draw a straight line from a noise picture to a data picture, stop somewhere on it,
and ask for the direction.  To sample, start at noise and follow the directions.

**The formulas.**  x₀ is noise, x₁ is data, t runs from 0 to 1.

    path         x_t = (1 - t) x₀ + t x₁            direction  v = x₁ - x₀
    loss         mean of (model(x_t, t) - v)²       over all numbers of the batch
    flow         dx/dt = v(x, t),  from x₀ at t = 0
    Euler        x + h v(x, t)
    Heun         x + h/2 (k₁ + k₂),     k₁ = v(x, t),  k₂ = v(x + h k₁, t + h)
    error        the largest |Heun - Euler| of all numbers
    next step    h · 0.9 √(tolerance / error),  at least 0.2 h and at most 5 h

*Where noise and data are Gaussian* the best answer is known.  x₀ has mean 0 and deviation 1, x₁
has mean m and deviation s.  Then the mean direction at x is

    v(x, t) = m + (t s² - (1 - t)) / ((1 - t)² + t² s²) · (x - t m)

*The condition* c is a vector.  Each block makes six vectors of it, W silu(c) + b cut into six:

    modulate(x, shift, scale) = x (1 + scale) + shift
    x ← x + gate_a · attention(modulate(norm(x), shift_a, scale_a))
    x ← x + gate_m · mlp(modulate(norm(x), shift_m, scale_m))

The order in W's output is shift_a, scale_a, gate_a, shift_m, scale_m, gate_m.  norm is a layer
norm without weights of its own, with ε = 1e-6.  The mlp widens by 4, with GELU's tanh form.

*The time* t becomes a vector of waves, with f_i = longest^(-i / half) for i = 0 … half - 1:

    cos(t f₀) … cos(t f_last)   sin(t f₀) … sin(t f_last)                 half = width / 2

**A drawing**

    picture ─▶ patchify ─▶ embed ─▶ block ─▶ block ─▶ norm ─▶ head ─▶ unpatchify
                             ▲        ▲        ▲        ▲
                     positions        │        │        │
    t ─▶ waves ─▶ time ──┐            │        │        │
                         + ──▶ c ─────┴────────┴────────┘
    label ─▶ labels ─────┘

    a picture of 4 × 4 in patches of 2         0  1 │  2  3         tokens
                                               4  5 │  6  7          0  1  4  5
                                              ──────┼──────          2  3  6  7
                                               8  9 │ 10 11          8  9 12 13
                                              12 13 │ 14 15         10 11 14 15

**Why the zero in adaLN-zero?**  W and b start at 0.  So every gate is 0, and every block hands
its input on unchanged.  A deep network that starts as the identity has healthy gradients.  Each
block then opens its gate as far as it helps.

**Why a straight path?**  The direction along it never changes.  If the flow were exactly
straight, a single Euler step would do.  It isn't, as many lines cross at one point and the
network learns their mean.  But it is nearly so, and a few steps are enough.

**Why two methods at once?**  Heun costs one call more than Euler and is much better.  How far the
two lie apart tells how wrong Euler was.  So the solver takes long steps where the flow is smooth,
short ones where it bends, and no more calls than your tolerance asks for.

**Worked by hand**

    time        t = 1, width 4, longest 10000: waves 1 and 0.01
                cos 1 = 0.5403, cos 0.01 = 0.99995, sin 1 = 0.8415, sin 0.01 = 0.0100
    modulate    x = (1, 2), shift (0, 10), scale (0.5, -1): (1.5, 10)
    path        x₀ = -1, x₁ = 3, t = 0.25: x_t = 0, v = 4
    Gaussian    m = 2, s = 0.5, t = 0.5: 2 + (0.125 - 0.5) / 0.3125 · (x - 1) = 2 - 1.2 (x - 1)
                x = 1.5: 1.4;  at t = 0 it is 2 - x, and x = 1 gives 1
    Euler       from 1 in two steps: 1 + 0.5 · 1 = 1.5, then 1.5 + 0.5 · 1.4 = 2.2
    solve       from 1 with h = 0.5 and tolerance 0.25
                k₁ = 1, k₂ = 1.4: Euler 1.5, Heun 1.6, error 0.1, taken; h 0.71, cut to 0.5
                k₁ = 1.28, k₂ = 2.24: Euler 2.24, Heun 2.48, error 0.24, taken: t = 1
                The exact flow ends at m + s x₀ = 2.5

**Shapes**: pictures (B, C, H, W), tokens (B, N, P²C), conditions (B, D).  Results have the dtype
and the device of what comes in.  No function changes its arguments.

**Steps.**  A good place to pause is after DiT.

    patchify             6 min   which axes meet?
    unpatchify           6 min   the same way back
    timestep_embedding   6 min   waves from short to long
    modulate             3 min   one vector for all tokens of a picture
    DiTBlock            14 min   six vectors, two gates
    DiT                 15 min   all together, and it starts at 0
    flow_path            4 min   one t for each picture
    flow_matching_loss   6 min   draw noise, draw t
    gaussian_velocity    6 min   the best answer there is
    euler                5 min   n equal steps
    solve               14 min   take, refuse, and end exactly at 1

Sources: Peebles and Xie 2023, "Scalable Diffusion Models with Transformers"; Lipman et al. 2023,
"Flow Matching for Generative Modeling"; Liu et al. 2023, "Flow Straight and Fast".

From scratch: torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer,
torch.nn.functional.unfold, torch.nn.functional.fold, torch.nn.Unfold, torch.nn.Fold, scipy,
diffusers and transformers may not be used. torch.nn.functional.scaled_dot_product_attention may.
"""

from collections.abc import Callable

from torch import Generator, Tensor, nn


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut pictures (B, C, H, W) into tokens (B, N, patch² · C).

    The patches come row by row, as one reads.  Within a token the pixels come row by row, and the C channels of a
    pixel stand next to each other.

    Raises ValueError, naming H, W and patch, if patch doesn't divide both.
    """
    raise NotImplementedError


def unpatchify(tokens: Tensor, patch: int, height: int, width: int) -> Tensor:
    """The inverse of `patchify`: tokens (B, N, patch² · C) to pictures (B, C, height, width).  patch divides both.

    Raises ValueError, naming N and the number that is needed, if they differ.
    """
    raise NotImplementedError


def timestep_embedding(t: Tensor, width: int, longest: float = 10000.0) -> Tensor:
    """The waves (B, width) of times (B,): all cosines, then all sines.

    Raises ValueError, naming the width, if it is odd.
    """
    raise NotImplementedError


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Tokens x (B, N, D), scaled and shifted by (B, D): every token of a picture alike."""
    raise NotImplementedError


class DiTBlock(nn.Module):
    """A transformer block whose two norms are steered by a condition, and whose two branches have gates."""

    def __init__(self, width: int, heads: int, condition: int) -> None:
        """heads divides width.  The layers, all nn.Linear with bias:

        qkv         width → 3 · width: all queries, then all keys, then all values; in each head 0 comes first
        out         width → width, after the heads are side by side again
        up, down    width → 4 · width and back
        modulation  condition → 6 · width, weight and bias 0 at the start
        """
        raise NotImplementedError

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Tokens (B, N, width) and conditions (B, condition) to tokens (B, N, width).  Attention has no mask."""
        raise NotImplementedError


class DiT(nn.Module):
    """A transformer from a noisy picture, a time and a label to a direction."""

    def __init__(
        self, size: int, channels: int, patch: int, width: int, depth: int, heads: int, classes: int
    ) -> None:
        """For pictures (channels, size, size); patch divides size.

        embed       nn.Linear, a token to width
        positions   nn.Parameter (N, width), added to the tokens; normal with deviation 0.02 at the start
        time        nn.Sequential: Linear width → width, SiLU, Linear width → width
        labels      nn.Embedding (classes, width)
        blocks      nn.ModuleList of `depth` DiTBlock, with a condition of `width` numbers
        modulation  nn.Linear width → 2 · width of silu(c): shift, then scale, for the last norm
        head        nn.Linear width → patch² · channels
        Of modulation and head, weight and bias start at 0.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """The direction (B, C, size, size) for pictures x of that shape, times t (B,) from 0 to 1, labels (B,).

        c is time(waves) + labels.  The waves are those of 1000 t, so that they tell small steps apart.
        """
        raise NotImplementedError


def flow_path(noise: Tensor, data: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(x_t, v), each (B, …), for noise and data (B, …) and times (B,): one time for each example."""
    raise NotImplementedError


def flow_matching_loss(
    model: Callable[[Tensor, Tensor, Tensor], Tensor], images: Tensor, labels: Tensor, generator: Generator
) -> Tensor:
    """The loss (), with its gradient, on a batch of pictures (B, …) and labels (B,).

    Normal noise and one time for each picture, uniform from 0 to 1, are drawn with the generator, which is on the
    device of the pictures.  The model is called once, as model(x_t, t, labels).
    """
    raise NotImplementedError


def gaussian_velocity(x: Tensor, t: float, mean: float, std: float) -> Tensor:
    """The mean direction at each number of x (…), where data are normal with this mean and std > 0.  t is from 0 to 1."""
    raise NotImplementedError


def euler(velocity: Callable[[Tensor, float], Tensor], x: Tensor, steps: int) -> Tensor:
    """Where x (…) is at t = 1, by `steps` equal steps from t = 0.  velocity(x, t) is called once a step.

    No gradient is needed.  Raises ValueError, naming steps, if there is less than one.
    """
    raise NotImplementedError


def solve(
    velocity: Callable[[Tensor, float], Tensor], x: Tensor, tolerance: float, first_step: float = 0.1
) -> tuple[Tensor, list[float]]:
    """(x at t = 1, the times): Heun's method from t = 0 with steps that fit.

    - A step whose error is at most the tolerance is taken, with Heun's answer.  Else it is refused, and tried again.
    - Either way the next step follows from the lesson's rule, from the step that was tried.  Where the error is 0 it
      is 5 h.
    - A step that would go beyond 1 is cut so that it ends there, before it is tried.
    - times begins with 0.0, then has where each taken step ended.  The last is 1.0 exactly.
    - k₁ may be kept for a step that is tried again.

    No gradient is needed.  Raises ValueError, naming the tolerance, if it isn't above 0.  first_step is above 0.
    """
    raise NotImplementedError
