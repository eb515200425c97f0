"""Hyperparameter search

**Before you start.**  You need the Gaussian density, linear systems and cross-validation.
Gaussian processes are new to you?  Read Rasmussen and Williams (below), sections 2.1 to 2.3, free
at gaussianprocess.org/gpml.

**The idea.**  Learning rates and depths aren't learned by gradient: you try some and keep the
best.  Each try costs a training run, so spend them well.

- *Grid search* tries all combinations.  *Random search* draws each value by itself, so that n
  tries show n different values of the one parameter that matters.
- *Successive halving* starts many configurations with little budget, drops the worst, and gives
  more to the rest:

      budget 1   ●──●──●──●──●──●──●──●──●
                 │  ╳  │  ╳  ╳  ╳  │  ╳  ╳
      budget 3   ●─────●───────────●
                 ╳     │           ╳
      budget 9         ●  wins

- *Bayesian optimisation* looks at the losses so far before it tries the next point.  An
  *acquisition* scores each candidate; the highest is tried.  You write two.

**The formulas**, for tried points xᵢ with losses yᵢ, a new point z, length ℓ, noise variance s²:

    kernel       k(a, b) = exp(-‖a - b‖²/(2ℓ²))      K = k(xᵢ, xⱼ) + s² I
    GP           μ = k(z, x) K⁻¹ y      σ² = 1 - k(z, x) K⁻¹ k(x, z)
    improvement  EI = E max(best - f, 0) = (best - μ) Φ(u) + σ φ(u),   u = (best - μ)/σ
    TPE          log l(z) - log g(z)

- The *Gaussian process* (GP) says what is known of the loss f at z: mean μ, deviation σ.
- φ and Φ are the standard Gaussian's density and distribution, Φ(u) = erfc(-u/√2)/2.
- The *tree-structured Parzen estimator* (TPE) splits the tried points in good and bad.  l is the
  mean of Gaussians with deviation `bandwidth` around the good ones, g the same of the bad.

**Why expected improvement?**  The lowest μ alone stays where it has been.  The largest σ alone
goes everywhere.  EI is large where μ is low, or where σ leaves hope.

**Why l/g?**  EI grows with l/g, if good means below a fixed loss (Bergstra et al. 2011).  Two
densities are enough; no loss is modelled.

**Worked by hand**:

    9 configurations, η = 3: 9 at budget 1, 3 at budget 3, 1 at budget 9
    GP, y = 1 at x = 0, ℓ = 1, s = 0:  at 1, μ = e^-½ = .607, σ = √(1 - e^-1) = .795;  at 0, 1 and 0
    EI, μ = 0, σ = 1:  best 0: φ(0) = .3989      best 1: Φ(1) + φ(1) = 1.0833
    TPE, losses [1 2 3 4] at x = [0 1 2 3], half of them good, bandwidth 1:
        at 0 log (1 + e^-½)/(e^-2 + e^-4½) = 2.395;  at 1.5, halfway, 0

**Shapes**: points (n, d), losses (n,), new points (m, d).  Numbers may be integers; answers are
float64.  Losses are finite and lower is better, unless said otherwise.  No function changes its
arguments.

**Steps.**  A good place to pause is after successive_halving.

    grid                  5 min   one product
    draw                 10 min   three scales, and choices left as they are
    successive_halving   12 min   when does it end?
    gp_posterior         12 min   one solve
    expected_improvement  8 min   σ may be 0
    gp_scores             5 min   scale the losses first
    tpe_scores           10 min   far away, all exponentials underflow
    bayesian_search      10 min   never the same point twice
    automl               12 min   a clock, and models that fail

Sources: Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization"; Jamieson and
Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization";
Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning"; Jones, Schonlau and Welch
1998, "Efficient Global Optimization of Expensive Black-Box Functions"; Bergstra et al. 2011,
"Algorithms for Hyper-Parameter Optimization".

From scratch: sklearn and scipy may not be used.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Fit = Callable[[np.ndarray, np.ndarray], Callable[[np.ndarray], np.ndarray]]
Acquisition = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def grid(space: Mapping[str, Sequence]) -> list[dict[str, Any]]:
    """All combinations of the values of `space`, as dicts with its names in their order.

    - Values keep their order, and the last name changes fastest.
    - No names give one empty dict; a name without values gives an empty list.
    """
    raise NotImplementedError


def draw(space: Mapping[str, list | tuple], rng: np.random.Generator) -> dict[str, Any]:
    """One random configuration: a value for each name of `space`, independent, in its order.

    Each name has one of

        [a, b, …]                 one of these objects itself, each as likely
        ("uniform", low, high)    a Python float, uniform
        ("log", low, high)        a Python float whose logarithm is uniform
        ("int", low, high)        a Python int, uniform, low and high included

    Raises ValueError
    - naming low, if a "log" range has low ≤ 0,
    - naming the kind, if it is another.
    """
    raise NotImplementedError


def successive_halving(
    configs: Sequence[Any], evaluate: Callable[[Any, int], float], budget: int = 1, eta: int = 3
) -> tuple[int, float]:
    """The place in `configs` of the one that is left, and its last loss.

    - A rung calls evaluate(config, budget) once for each configuration that is still in.
    - If there were n > 1, the n // eta of lowest loss stay, but at least one, and the budget is
      multiplied by `eta` for the next rung.  If there was one, it ends.
    - Of equal losses the earlier in `configs` stays.  A loss of NaN is the worst, above inf.

    Raises ValueError, naming eta, if eta < 2.
    """
    raise NotImplementedError


def gp_posterior(
    x: np.ndarray, y: np.ndarray, new: np.ndarray, length: float, noise: float = 1e-6
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, deviation), each (m,), of a Gaussian process at `new` (m, d), after `y` at `x` (n, d).

    - The process has mean 0, variance 1, and the lesson's kernel with ℓ = `length`.
    - `noise` is s², a variance.  The deviation is that of f, without noise.
    - n may be 0: mean 0 and deviation 1.
    - Rows of `x` may repeat if noise ≥ 1e-10; with noise 0 they lie apart.  Where rounding takes a
      variance below 0, it counts as 0: the deviation is never NaN.
    """
    raise NotImplementedError


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """The expected gain below `best`, (m,), of losses with these means and deviations (m,).

    With deviation 0 it is the gain max(best - mean, 0).
    """
    raise NotImplementedError


def gp_scores(x: np.ndarray, y: np.ndarray, new: np.ndarray, length: float, noise: float = 1e-6) -> np.ndarray:
    """The expected improvement (m,) at `new` by a Gaussian process, after losses `y` at `x`.

    - The losses are first scaled to mean 0 and deviation 1 (of the n, divided by n); equal losses
      are shifted to 0 alone.
    - `best` is the lowest scaled loss, and the answer is in scaled units.
    """
    raise NotImplementedError


def tpe_scores(x: np.ndarray, y: np.ndarray, new: np.ndarray, bandwidth: float, share: float = 0.25) -> np.ndarray:
    """The lesson's log l - log g, (m,), at `new` (m, d), after losses `y` at `x` (n, d).

    - The int(share·n) points with the lowest losses are good, at least one; the rest is bad.
      0 < share < 1.
    - Of equal losses the earlier is good first.
    - Finite however far `new` is from all points.

    Raises ValueError, naming n, if n < 2.
    """
    raise NotImplementedError


def bayesian_search(
    objective: Callable[[np.ndarray], float],
    candidates: np.ndarray,
    acquisition: Acquisition,
    start: int,
    steps: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, losses) of the start + steps points tried, in order: which of `candidates` (m, d).

    - `start` different rows are drawn by `rng`.  Equal points in different rows count each.
    - Each step calls acquisition(x, y, new) once, with the points tried so far in their order,
      their losses (float64), and the candidates not yet tried in theirs.  It tries the one with
      the highest score; of equal ones any.
    - `objective` takes a point (d,) and is called once for each point that is tried.

    Raises ValueError
    - naming start, steps and m, if start + steps > m,
    - naming start, if it is below 1.
    """
    raise NotImplementedError


def automl(
    candidates: Mapping[str, Fit],
    score: Callable[[np.ndarray, np.ndarray], float],
    x: np.ndarray,
    y: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[str, Callable[[np.ndarray], np.ndarray], dict[str, float]]:
    """(name, predict, means): the best model by cross-validation within the time.

    predict = fit(x, y) makes a model, predict(x) a guess, score(y, guess) is higher for better.

    - The candidates come in their order.  Each one's mean is that of its scores over the
      `splits`, pairs (train, test) of row numbers; `fit` is called once a split, in their order.
    - None is begun once `seconds` or more have gone by since the call, as clock() tells.  One
      that is begun is finished, whatever it takes.
    - A candidate whose fit, predict or score raises an Exception, on any split, is left out.
    - The highest mean wins, of equal ones the first.  It is fitted again, to all rows: `predict`.
    - `means` has the candidates that were scored, by name, in their order.

    Raises ValueError, naming all candidates and the seconds, if none was scored.
    """
    raise NotImplementedError
