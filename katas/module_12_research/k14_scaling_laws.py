"""Scaling laws: fit them, say how sure you are, and look twice at what "emerges"

**Before you start.**  You need least squares, logarithms, and intervals with Student's t; no
other kata's code.  How FLOPs are counted is in module 05's kata scaling.  More: Wasserman 2004,
"All of Statistics", chapter 13.

**The idea.**  You can afford one large run.  How large should the model be, and on how many
tokens? Train many small ones, fit a law to their losses, and read off the large one.  Such a law
is a straight line in logarithms, or a sum of two such lines and a floor.

An extrapolation without an interval is a guess.  So the first two functions come with intervals.
They hold only as far as the law does: where it bends, no interval saves you.

Then there is *emergence*: an ability that seems to come out of nothing at some size.  Often the
model gets better smoothly all the time.  Only the measure is harsh: an answer of 40 tokens counts
if all 40 are right.  You will see the jump appear and vanish with the measure.

**The formulas.**  N is the number of parameters, D that of tokens, C the compute in FLOPs, C =
6ND.

    power law    y = a x^b         in logarithms:  ln y = ln a + b u,  u = ln x
    errors       s² = Σ residual² / (n - 2)        residuals in logarithms
    interval     b ± t s / √S      S = Σ (u - ū)²,   t with n - 2 degrees of freedom
    extrapolate  ln ŷ ± t s √(1 + 1/n + (u* - ū)²/S)          at u* = ln of the new x
    floor        y = E + a x^-b                    here b is above 0
    Chinchilla   L(N, D) = E + A / N^α + B / D^β
    objective    Σ Huber_δ( ln( exp(a - α ln N) + exp(b - β ln D) + exp(e) ) - ln L )
                 θ = (e, a, b, α, β) with e = ln E, a = ln A, b = ln B
    Huber_δ(z)   z²/2 if |z| ≤ δ,  otherwise δ (|z| - δ/2)
    optimum      N = (αA / βB)^(1/(α+β)) (C/6)^(β/(α+β))      D = C / (6N)
    isoFLOP      sizes at one budget C:  loss ≈ p + q u + r u²,  u = ln N;  minimum at u = -q/(2r)
    exponents    N_opt ∝ C^g,  D_opt ∝ C^h
    exact match  P(all k tokens right) = exp(-k · loss)       if a token is right with exp(-loss)
    seen         P(at least one of m answers is right) = 1 - (1 - p)^m

t is the (1 + level)/2 quantile.  The objective is a sum over all runs.

**A drawing** of isoFLOP curves.  Each is one budget, spent on models of different size.  Their
lowest points lie on the law:

    loss │ ●            ●                        The optimal N grows as C^g.
         │   ●        ●      1e18                Follow it to a budget that
         │      ●──●                             nobody has tried.
         │     ●     ╲      ●
         │       ●    ╲   ●     1e19
         │          ●──●                         g + h is 1, since ND is C/6.
         └─────────────────────────▶ ln N

**Why logarithms?**  Losses of small models are large.  Without logarithms, they would weigh most.
In logarithms a deviation of 1% weighs the same everywhere.

**Why Huber?**  Some runs go wrong.  A squared error would bend the whole law towards one bad run.
Huber's grows only linearly beyond δ.

**Why does the optimiser stop too soon?**  With δ = 0.001 the objective is tiny: about 1e-5.  Many
optimisers stop when an improvement is below about 1e-9 of max(1, objective), or a gradient below
1e-5.  Here that is far too early.  Set the tolerances much lower, and try several starts.

**Why are there "emergent" abilities?**  Per token, an accuracy from 0.8 to 0.99 is a smooth
climb. Over 40 tokens it goes from 0.0001 to 0.67.  And with 100 test items, 0.0001 looks like 0.

**Worked by hand**

    power law    x 1 2 4, y 8 4 1: log₂ y = 3 2 0, so b = -1.5 and a = 2^3.1667 = 8.980
    interval     level 0.5: t = 1, s² = 1/6, S = 2 (all in log₂):  b ± 0.2887
    extrapolate  x = 8, level 0.5:  0.3969, from 0.2367 to 0.6653
    floor        x 1 2 4, y 3 2 1.5, exponents 0.5 1 2:  E = 1, a = 2, b = 1
    objective    N = D = 1, θ = 0: ln 3.  L = 3: 0.   L = 3e: 0.0009995, with δ = 2: 0.5
    optimum      A = B, α = β = 0.5, C = 600:  N = 10, D = 10
    published    E 1.69, A 406.4, B 410.7, α 0.34, β 0.28; C = 1e21:  N = 1.824e9, D = 9.136e10
    isoFLOP      N 1 10 100, loss 3 2 2:  minimum at N = 10^1.5 = 31.62, loss 1.875
    exact match  loss 0.1, k = 10:  e^-1 = 0.3679
    jump         0 0 0.1 0.9 1:  the largest step is 0.8 of the rise
    seen         p = 0.001, m = 1000:  0.6323

**Shapes**: x, y, n, d and loss are arrays (n,) of numbers above 0; answers are floats.  No
function changes its arguments.

**Steps.**  A good place to pause is after fit_chinchilla.

    fit_power_law         8 min   a line in logarithms
    extrapolate           8 min   what is the 1 under the root for?
    fit_with_floor       10 min   for a fixed b it is linear
    chinchilla_objective  8 min   a sum of exponentials that can't overflow
    fit_chinchilla       10 min   several starts, low tolerances
    compute_optimal       6 min   a closed form
    isoflop_minimum       6 min   a parabola in ln N
    isoflop_exponents     8 min   one minimum for each budget
    exact_match           3 min   all tokens at once
    jump_share            4 min   the largest step
    chance_to_see         5 min   tiny p

Sources: Kaplan et al. 2020, "Scaling Laws for Neural Language Models"; Hoffmann et al. 2022,
"Training Compute-Optimal Large Language Models"; Besiroglu et al. 2024, "Chinchilla Scaling: A
replication attempt"; Schaeffer, Miranda and Koyejo 2023, "Are Emergent Abilities of Large
Language Models a Mirage?".

From scratch: scipy.stats.linregress, scipy.optimize.curve_fit, statsmodels and sklearn may not be
used.  scipy.optimize.minimize, scipy.stats.t, numpy.linalg and numpy.polyfit may.
"""

import numpy as np


def fit_power_law(x: np.ndarray, y: np.ndarray, level: float = 0.95) -> tuple[float, float, float, float]:
    """(a, b, low, high): the power law through x, y, and the interval of b.

    Raises ValueError, naming n, if there are fewer than 3 points.
    """
    raise NotImplementedError


def extrapolate(x: np.ndarray, y: np.ndarray, new: float, level: float = 0.95) -> tuple[float, float, float]:
    """(ŷ, low, high) of the power law at `new`: the interval for one new measurement there.

    Raises ValueError, naming n, if there are fewer than 3 points.
    """
    raise NotImplementedError


def fit_with_floor(x: np.ndarray, y: np.ndarray, exponents: np.ndarray) -> tuple[float, float, float]:
    """(E, a, b): b is the one of `exponents`, all above 0, with the smallest sum of squared errors in y.

    For each b, E and a are those of least squares.  Nothing keeps them above 0.
    """
    raise NotImplementedError


def chinchilla_objective(
    theta: np.ndarray, n: np.ndarray, d: np.ndarray, loss: np.ndarray, delta: float = 1e-3
) -> float:
    """The lesson's objective of θ = (e, a, b, α, β).

    Finite also where exp(a) or exp(a - α ln N) would overflow: numbers in θ are at most 1e4 in size.
    """
    raise NotImplementedError


def fit_chinchilla(
    n: np.ndarray, d: np.ndarray, loss: np.ndarray, starts: np.ndarray
) -> tuple[float, float, float, float, float]:
    """(E, A, B, α, β) with the smallest objective, δ = 0.001, that any of the starts θ (s, 5) leads to.

    - Any optimiser will do.
    - Its objective is at most 2% above that of the best minimum that is reached from a start, or 1e-8 where that is
      more.  Which start looks best before optimising says nothing.
    """
    raise NotImplementedError


def compute_optimal(budget: float, coefficients: tuple[float, float, float, float, float]) -> tuple[float, float]:
    """(N, D) with the smallest loss for the budget C; coefficients are (E, A, B, α, β)."""
    raise NotImplementedError


def isoflop_minimum(n: np.ndarray, loss: np.ndarray) -> tuple[float, float]:
    """(N, loss) at the minimum of the least-squares parabola in ln N; at least 3 different n.

    Raises ValueError, naming r, if r isn't above 0: such a parabola has no minimum.
    """
    raise NotImplementedError


def isoflop_exponents(budgets: np.ndarray, n: np.ndarray, loss: np.ndarray) -> tuple[float, float]:
    """(g, h) of power laws through the minima of c budgets; budgets (c,), n and loss (c, m), one row a budget.

    D_opt is C / (6 N_opt).  c is at least 3.
    """
    raise NotImplementedError


def exact_match(loss: np.ndarray, length: int) -> np.ndarray:
    """The chance that all `length` tokens are right, for losses per token in nats, of any shape."""
    raise NotImplementedError


def jump_share(values: np.ndarray) -> float:
    """The largest rise from one value to the next, over the rise from the first to the last.

    - m even steps give 1/m; a single jump gives 1.  Values (m + 1,) are in order of scale: floats or integers of any
      width.
    - Raises ValueError, naming the first and the last, if the last isn't above the first.
    """
    raise NotImplementedError


def chance_to_see(p: float, items: int) -> float:
    """The chance that at least one of `items` answers is right; p is from 0 to 1, both included.

    Right to 1e-7 of its value also for p = 1e-18, where 1 - p is 1 in float64.
    """
    raise NotImplementedError
