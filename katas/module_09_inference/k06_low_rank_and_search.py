"""Low rank, pruning for latency, and a search under a budget

**Before you start.**  You need the singular value decomposition and `nn.Linear`; no other kata.  If
the SVD is new: Strang, "Introduction to Linear Algebra", chapter 7.

**The idea.**  A trained network is often larger than its task needs.  You can make it smaller
without training a new one, in two ways.

*Low rank.*  A weight matrix with many small singular values is nearly a product of two thin
matrices.  Put two thin layers in its place, and there is less to store and to multiply.

*Structured pruning.*  Take out whole hidden units.  The matrices that are left are smaller and
dense, so any hardware runs them faster.  Single zeros in a large matrix wouldn't do that.

And a third way is to look for a better shape from the start.  That is *architecture search*: you
try shapes that fit a budget of operations, and keep the best.

**A drawing.**  A layer of 512 × 512 at rank 64.  Then a pair of layers that loses half its units:
a unit is a row of the first matrix, and a column of the second.

          512             64        512            first       second
     ┌───────────┐       ┌──┐  ┌───────────┐      ┌────┐   ┌─┬─┬─┬─┐
     │           │       │  │  └───────────┘ 64   │████│   │█│ │█│ │
     │           │ 512   │  │ 512                 ├────┤   │█│ │█│ │
     │           │   ≈   │  │                     │    │   └─┴─┴─┴─┘
     │           │       │  │                     ├────┤
     │           │       │  │                     │████│   █ stays
     └───────────┘       └──┘                     ├────┤
     262,144 weights     65,536 weights           │    │
                                                  └────┘

**The formulas.**  W is (out, in), with singular values σ₁ ≥ σ₂ ≥ … ≥ 0:

    W = U diag(σ) Vᵀ               rank r keeps the first r columns of U and V
    error of rank r    ‖W - W_r‖² = Σ σᵢ² over i > r         no matrix of rank r is nearer
    energy of rank r   Σ σᵢ² over i ≤ r, divided by Σ σᵢ² over all i
    weights of rank r  r · (in + out)                        a whole layer: in · out
    importance of i    (standard deviation of hᵢ over the rows) · ‖column i of the second weight‖
    flops of a layer   2 · in · out                          a multiplication and an addition each

**Which layers get which rank?**  Several layers share one budget.  A weight spent on one layer
can't be spent on another.  So the best ranks come from all layers together.  Trying all
combinations takes too long: 8 layers of 16 ranks have 7 billion.  But go layer by layer, and keep a
choice only if no cheaper one has as small an error.  What was worse so far stays worse, whatever
comes after.  Few choices are left.

**Why the standard deviation?**  Unit i adds hᵢ times its column to the output.  Part of that is the
same for every row: the mean of hᵢ.  You needn't lose that part.  Add the mean times the column to
the second layer's bias, and only the deviation from the mean is lost.  So a unit matters that
varies, and whose column is long.  It was measured on digits, with a quarter of the units.  Chosen
by their deviation, with the means in the bias, they get 80 % right.  Chosen by their root mean
square, with the means lost, they get 44 %.

**Why a table of latencies?**  Time doesn't grow evenly with width.  Hardware works in tiles of 8,
32 or 128 numbers.  A width of 33 may take as long as 64, and 60 longer than 64.  So
measure, and then read the table.

**Worked by hand**

    σ = 4, 3, 1, 0:   squares 16, 9, 1, 0 of 26;  energies 0.62, 0.96, 1, 1
        rank 2 for an energy of 0.9, rank 3 for 0.97, and rank 3 for 1
    units h = (1, 0) and (0, 2) on two rows, columns 5 and 1 long
        deviations 0.5 and 1;  importances 2.5 and 1
        without the second unit, its mean 1 times its column goes to the bias
    budget 24, two layers of 4 × 4, with σ = 4, 3, 1, 0 and 9, 0, 0, 0
        [None, 1] takes 16 + 8 = 24 weights, error 0;   [2, 1] takes 16 + 8, too, error 1
    latency {32: 1.0, 48: 1.9, 60: 2.4, 64: 2.0}, limit 2.0:   width 64
    flops of widths 64, 16, 10:   2 · 64 · 16 + 2 · 16 · 10 = 2368

**Shapes**

    x (rows, in)      first (hidden, in)      second (out, hidden), with ReLU between the two
    values (k,), singular values in falling order, k ≥ 1      keep (n,) int64, n ≥ 1

New layers are nn.Linear.  They have the dtype and the device of the old ones, parameters of their
own, and a bias where the old layer has one, unless it is said otherwise.  No function changes its
arguments; `search` draws from its `rng`.

**Steps.**  A good place to pause is before unit_importance.

    low_rank             10 min   two layers; who has the bias?
    rank_by_energy        6 min   squares, and a running sum
    ranks_by_budget      18 min   layer by layer, and drop what is beaten
    unit_importance       6 min   the spread over the rows, then the column's norm
    prune_units          10 min   rows of one, columns of the other, means to the bias
    width_for_latency     3 min   the table needn't rise
    prune_for_latency     5 min   the three above
    flops                 2 min   pairs of widths
    search               16 min   look near what is good; never twice

Sources: Eckart and Young 1936, "The Approximation of One Matrix by Another of Lower Rank"; Yang et
al. 2018, "NetAdapt" (a table of latencies); Hu et al. 2016, "Network Trimming" (units that hardly
matter on data); Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search".

From scratch: torch.svd_lowrank, torch.pca_lowrank and torch.nn.utils.prune may not be used.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

Config = tuple[Any, ...]


def low_rank(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Two linear layers in place of one: in → rank without a bias, and rank → out with the layer's bias.

    The product of their weights is the matrix of this rank that is nearest to the layer's weight.

    Raises ValueError, naming the rank and the largest possible one, unless 1 ≤ rank ≤ min(in, out).
    """
    raise NotImplementedError


def rank_by_energy(values: Tensor, energy: float) -> int:
    """The smallest rank, 1 or more, whose energy is at least this share.

    - Sum in float64, in the order of the values.
    - An energy of 1 is reached no later than at the last value.  If all values are 0, the rank is 1.

    Raises ValueError, naming it, unless 0 < energy ≤ 1.
    """
    raise NotImplementedError


def ranks_by_budget(spectra: Sequence[Tensor], shapes: Sequence[tuple[int, int]], budget: int) -> list[int | None]:
    """For each layer its rank, or None if it stays whole, so that all of them take at most `budget` weights.

    spectra   the singular values of each layer, min(out, in) of them
    shapes    (out, in) of each layer

    - A rank is from 1 to min(out, in).  A whole layer has the error 0.  Biases don't count.
    - The sum of the errors is the smallest possible (up to 1e-9 of the sum of all σ²), as an exhaustive search
      would find it.  Which one of several best choices comes out is open.
    - Eight layers with 16 values each take less than a few seconds.

    Raises ValueError, naming the budget and the fewest weights possible, if nothing fits.
    """
    raise NotImplementedError


def unit_importance(first: nn.Linear, second: nn.Linear, x: Tensor) -> Tensor:
    """How much each hidden unit matters on the rows x, (hidden,), by the lesson's formula; no gradient.

    h is relu(first(x)).  The variance is divided by the number of rows, 1 or more.
    """
    raise NotImplementedError


def prune_units(first: nn.Linear, second: nn.Linear, keep: Tensor, x: Tensor) -> tuple[nn.Linear, nn.Linear]:
    """The two layers with the hidden units `keep` alone, in that order.

    keep   distinct indices of units, in any order

    - Each unit that goes is replaced by the mean of relu(first(x)) over the rows: this mean times the unit's
      column is added to the second layer's bias.  So the new second layer always has a bias.
    - No gradient goes from the new layers to the old ones.

    Raises ValueError, naming both widths, if the second doesn't read as many units as the first makes.
    """
    raise NotImplementedError


def width_for_latency(latency: Mapping[int, float], limit: float) -> int:
    """The largest width whose measured time is at most the limit.

    latency   from width to time, in any order; there is at least one

    Raises ValueError, naming the limit and the least time, if none is quick enough.
    """
    raise NotImplementedError


def prune_for_latency(
    first: nn.Linear, second: nn.Linear, x: Tensor, latency: Mapping[int, float], limit: float
) -> tuple[nn.Linear, nn.Linear]:
    """The two layers with their most important units on the rows x, as many as the limit allows.

    - The number is that of width_for_latency.  No width of the table is above the number of units.
    - The units that stay keep their order.  Of two equally important ones, the one with the smaller index stays.

    Raises ValueError where width_for_latency does.
    """
    raise NotImplementedError


def flops(widths: Sequence[int]) -> int:
    """The operations for one row of linear layers of these widths: input, hidden ones, output; biases don't count."""
    raise NotImplementedError


def search(
    space: Sequence[Sequence[Any]],
    cost: Callable[[Config], float],
    score: Callable[[Config], float],
    budget: float,
    evaluations: int,
    rng: random.Random,
    population: int = 10,
) -> tuple[Config, float]:
    """The best configuration that was found within the budget, and its score.  A higher score is better.

    space         the possible choices of each place, all different; a configuration is a tuple with one of each
    cost          cheap: you may ask for the cost of every configuration
    score         expensive: it trains a network
    evaluations   how often `score` may be called, 1 or more
    population    yours to use, or not: how many of the last configurations may have children

    - Only configurations that cost at most `budget` are scored, and none is scored twice.
    - It goes on until `evaluations` are used, or every configuration within the budget is scored.  So with enough
      evaluations it is an exhaustive search.
    - With fewer it looks near what is good: it finds better ones than configurations drawn by chance would be.
      One way: first score `population` by chance.  Then again and again take some of the last `population`,
      choose the best of these as a parent, and score a configuration that differs from it in one choice.
    - All chance comes from `rng`: the same seed gives the same answer.

    Raises ValueError, naming the budget and the least cost, if nothing fits.
    """
    raise NotImplementedError
