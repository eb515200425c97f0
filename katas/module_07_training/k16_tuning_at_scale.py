"""Tuning at scale

**Before you start.**  You need Adam, and successive halving: kata hyperparameter_search of module
02, whose grid and draw you may use for your own experiments.  Nothing is imported.

**The idea.**  Settings decide how good a run is, and each try costs a run.  At scale you can't
try many on the real thing.  So you find a rate in a minute (range test), give up bad runs early
on many machines (ASHA), change settings while runs go on (populations), look at several goals at
once (Pareto), and tune a small model whose best rate holds for a large one (µP).

**The formulas.**

*The range test* raises the rate at each step, rᵢ = low · (high/low)^(i/(n-1)), and smooths the
losses:

    mᵢ = β mᵢ₋₁ + (1 - β) lossᵢ,  m₋₁ = 0          smooth loss sᵢ = mᵢ / (1 - βⁱ⁺¹)

Take the rate at which the smooth loss falls steepest against log r.

*ASHA* is successive halving without waiting.  Rung k gives a budget of b·ηᵏ.  Whenever a machine
is free:

    for each rung, from the last but one down to 0:
        of all n results of the rung, those with the ⌊n/η⌋ lowest losses may go up
        if some of them haven't yet: the best of these goes up one rung
    otherwise a new configuration begins on rung 0

    rung 2   budget 9                    ●
    rung 1   budget 3        ●     ●     ↑     ●
    rung 0   budget 1  ●  ●  ↑  ●  ↑  ●  ●  ●  ↑  ●  …

*A population* trains together.  From time to time the worst members copy one of the best
(exploit), and change what they copied a little (explore).

*Pareto*: a dominates b if a ≤ b in every goal and a < b in one.  Rank 0 is dominated by nobody.
Rank r is dominated by nobody, once the ranks below r are gone:

    loss │ 0                     goals: loss and seconds, lower is better
         │    1   2              0s: the front; no run is better in both
         │    0    1
         │         0     0
         └────────────────── seconds

*µP*, for a network of two hidden layers, Adam with rate η, and m = width / base width:

    weights   from N(0, variance)         Adam's rate    forward
    input     variance 1 / inputs         η
    hidden    variance 1 / width          η / m
    output    variance 1 / base width     η              its input is divided by m

Biases begin at 0 and have the rate η.  At the base width all this is the standard network.

**Why does the hidden rate shrink?**  Adam moves each weight by about η, whatever its gradient.  A
hidden unit adds `width` such changes, all in the direction of its input.  So its change grows
with the width, unless the rate falls.  Then the best rate of a wide network is that of a narrow
one.

**Why not simply wait for the whole rung?**  One slow machine would stop all others.  ASHA
promotes a few that wouldn't be among the best in the end; that costs little.

**Worked by hand**

    rates from 0.01 to 1 in 3 steps: 0.01 0.1 1
    losses 4 2, β = 0.5: m = 2, 2 and s = 2/0.5 = 4, 2/0.75 = 2.667
    ASHA, η = 2, losses 5 3: after both results ⌊2/2⌋ = 1 may go up: configuration 1, with budget 2b
    Pareto: (1 4) (2 2) (4 1) have rank 0, (3 3) rank 1, (4 4) rank 2

**Shapes** are in each docstring.  Losses are lower for better; NaN is the worst.  No function
changes its arguments.

**Steps.**  A good place to pause is after Asha.

    lr_range_test        12 min   correct the mean
    suggest_rate          8 min
    Asha                 22 min   nobody goes up twice
    exploit_and_explore  12 min
    pareto_ranks         12 min   equal points
    MupMLP               15 min   the table above
    coordinate_check      8 min

Sources: Smith 2017, "Cyclical Learning Rates for Training Neural Networks"; Li et al. 2020, "A
System for Massively Parallel Hyperparameter Tuning" (ASHA); Jaderberg et al. 2017, "Population
Based Training of Neural Networks"; Deb et al. 2002, "NSGA-II"; Yang et al. 2022, "Tensor Programs
V", table 8.

From scratch: scipy and sklearn may not be used.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn


def lr_range_test(
    step: Callable[[float], float], low: float, high: float, steps: int, smoothing: float = 0.9, factor: float = 4.0
) -> tuple[list[float], list[float]]:
    """Rates in rising order and the smooth loss at each, as two lists of floats.

    - step(rate) trains one step at that rate and returns the loss from before it, above 0.  It is called
      for the rates in their order, `steps` ≥ 2 times if it doesn't end earlier.
    - `smoothing` is β, 0 ≤ β < 1.
    - It ends at a loss that isn't finite, and at a smooth loss above `factor` > 1 times the lowest smooth
      one before.  That step isn't in the answer.

    Raises ValueError, naming both, unless 0 < low < high.
    """
    raise NotImplementedError


def suggest_rate(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at which the losses fall steepest against the logarithm of the rate.

    - `rates` rise, and are equally far apart on the log scale, as from lr_range_test.  The slope at i is that from
      i - 1 to i + 1, so the first and the last rate have none.  Of equal slopes the lower rate is taken.

    Raises ValueError
    - naming their number, if there are fewer than 3 rates,
    - if no slope is below 0.
    """
    raise NotImplementedError


class Asha:
    """Hands out jobs to any number of machines, as drawn."""

    def __init__(self, sample: Callable[[], Any], eta: int, budget: int, rungs: int) -> None:
        """sample() draws a new configuration, of any kind.  Rung k < rungs has budget · etaᵏ.

        Raises ValueError, naming the number that was given, for eta < 2 and for rungs < 1.
        """
        raise NotImplementedError

    def next_job(self) -> tuple[int, Any, int]:
        """(number, configuration, budget) of the next job; the configurations are numbered 0, 1, 2, … as drawn.

        - A rung's results are those that were reported for it, also of configurations that have gone up.
        - Of equal losses the lower number is better.
        - NaN is the worst, above inf, and never goes up, even where it is among the ⌊n/η⌋.
        - A configuration goes up from a rung at most once: it has gone as soon as the job is handed out.
        - sample() is called only when a new configuration is needed.
        """
        raise NotImplementedError

    def report(self, number: int, loss: float) -> None:
        """The loss of the job that runs for configuration `number`; jobs end in any order.

        Raises ValueError, naming the number, if none runs for it.
        """
        raise NotImplementedError

    def best(self) -> tuple[int, float] | None:
        """(number, loss) of the best result on the highest rung that has one; None if there is none.

        NaN is a result, too, if the worst one.
        """
        raise NotImplementedError


def exploit_and_explore(
    losses: Sequence[float],
    configs: Sequence[dict[str, float]],
    share: float,
    factors: Sequence[float],
    rng: np.random.Generator,
) -> tuple[list[int], list[dict[str, float]]]:
    """For each of n ≥ 2 members of a population: the member whose weights it goes on with, and its new settings.

    - The int(share · n) worst, at least one, each copy one of as many best, drawn by `rng`, each as likely and
      independently.  The others go on with their own.
    - Who copies gets the settings of the one that it copies.  For each setting of each of them one of `factors`
      is drawn by `rng`, each as likely, and multiplied in.  The others keep theirs.
    - Of equal losses the earlier member is better; NaN is the worst, above inf.
    - The dicts are new, in the order of the members.  All have the same names.

    Raises ValueError, naming the share, unless 0 < share ≤ 0.5.
    """
    raise NotImplementedError


def pareto_ranks(points: Tensor) -> Tensor:
    """The ranks, int64 (n,), of `points` (n, d), floats or integers, lower is better in each of the d ≥ 1 goals.

    Equal points have equal ranks.  There is no NaN, and n may be 0.  Points are compared in their own dtype, so
    that large integers stay apart.  On the device of `points`.
    """
    raise NotImplementedError


class MupMLP(nn.Module):
    """A network of µP: input, ReLU, hidden, ReLU, output; `input`, `hidden` and `output` are nn.Linear."""

    def __init__(self, inputs: int, width: int, outputs: int, base_width: int) -> None:
        """Initialized by the table, from torch's own generator."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """From (..., inputs) to (..., outputs).  The output's bias isn't divided by m."""
        raise NotImplementedError

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """Groups {"params": […], "lr": …} for torch's Adam, by the table with η = lr; each parameter once."""
        raise NotImplementedError


def coordinate_check(
    make: Callable[[int], Any], widths: Sequence[int], lr: float, x: Tensor, y: Tensor, steps: int
) -> list[float]:
    """How far training moves the output, for each width: about the same number for all if µP is right.

    - make(width) returns a model with a method groups(lr), as above.  It is called once a width, in order.
    - The model is trained on x (n, …) and y, int64 (n,), for `steps` ≥ 1 steps of torch.optim.Adam on
      groups(lr), with cross-entropy.
    - The number is the rms of model(x) after - model(x) before, over all entries, as a float.
    """
    raise NotImplementedError
