"""Replication: grokking, rebuilt from nothing and reported with intervals

**Before you start.**  You need nn.Module, AdamW and the discrete Fourier transform.  Do
comparing_models of this module first: its interval over seeds is imported.

    from .k26_comparing_models import seed_interval

**The idea.**  A paper says something strange.  A small network learns a + b modulo p from some of
all pairs.  Soon it is right on every pair that it has seen, and wrong on the others: it has
learnt them by heart.  You go on training, although there is nothing left to learn.  Much later it
is suddenly right on the others as well.  Power et al. called it *grokking*.

Don't believe it.  Rebuild it.  A replication has four parts, and you write all of them here:

1. the setup, exact enough that somebody else could repeat it;
2. a measure that was fixed before the first run;
3. several seeds, and an interval;
4. a look inside: does it happen for the reason that the papers give?

They give this reason.  With weight decay the network finds waves.  It turns a and b into angles
2πka/p and 2πkb/p, and adds angles instead of numbers.  Angles wrap around after 2π, so the modulo
comes for free.

**The formulas.**  left_a is row a of the matrix left, right_b row b of right.  a, b and c run from
0 to p - 1.  [ ] is 1 if what stands in it is true, and 0 otherwise.

    network      logits(a, b) = (left_a + right_b)² out        the square of each number
    loss         mean over seen pairs and all c of  (logit_c - [c = a + b mod p])²
    fitted       first step with an accuracy of 0.99 or more on what was seen
    generalised  first step with an accuracy of 0.95 or more on the rest
    ratio        exp of the mean over seeds of  ln(generalised / fitted);  its interval: exp of
                 the ends of seed_interval of these logarithms
    power        P_k = |Σ_a w_a exp(-2πi k a / p)|²            of a column w,  k = 1 … (p-1)/2
    share        P_k / Σ_k P_k                                 k = 0, the mean, isn't counted
    circuit      left_a = cos(2πka/p + φ),   right_b = cos(2πkb/p + ψ)
                 out_c = 2/9 cos(2πkc/p + φ + ψ)
                 nine neurons for each k:  φ and ψ from  0, 2π/3, 4π/3
    its logits   Σ_k cos(2πk (a + b - c) / p)                  k: the chosen frequencies

A *neuron* is one column of left and of right, with the row of out that belongs to it.  The
circuit is written for one neuron: left_a, right_b and out_c are its numbers.

**A drawing** of what one expects to see: accuracy over steps, on a logarithmic axis.

    1.0 │         ●────────────────●──  seen
        │       ●              ╭──●──   unseen
        │      ●              ╱
        │     ●              ○
        │   ●           ○──○
    0.0 │ ●──○──○──○──○
        └────────┬─────────────┬─────▶ steps
               fitted     generalised

**Why logarithms of a ratio?**  One seed takes 5 times as long, another 500 times.  Their mean,
252.5, is ruled by the slow one.  The exp of the mean logarithm is 50, ten times the first and a
tenth of the second.

**Why does a square compute a sum of angles?**  (cos u + cos v)² holds 2 cos u cos v, which is
cos(u + v) + cos(u - v).  The rest depends on the phases φ and ψ.  Over the nine pairs of phases
it sums to 0, and only the cosine of a + b - c stays.  It is largest where c is a + b modulo p.

**Why weight decay?**  To learn by heart takes large weights: one correction for each pair.  The
waves serve all pairs at once and are cheaper.  Decay favours the solution with the smaller
weights.  But look at what `purify` finds in a network without decay: the waves are there, under
the memory.

**Worked by hand**

    pairs        p = 3: (0,0) (0,1) (0,2) (1,0) … (2,2);  sums 0 1 2 1 2 0 2 0 1
    network      left_a = 1, right_b = 2, out = 3:  logit 9 · 3 = 27
    first step   steps 0 10 20, values 0.2 0.99 1, level 0.99:  10
    shares       p = 5, the column cos(2π·2a/5) has 0 and 1;  cos(2πa/5) + 2 cos(2π·2a/5) has
                 1/5 and 4/5
    purify       the second column becomes 2 cos(2π·2a/5)
    ratio        fitted 10 20, generalised 40 320:  factors 4 and 16, so 8
    circuit      p = 5, k = 1:  a = 1, b = 2 has the logits cos(2π(3 - c)/5):
                 -0.809 -0.809 0.309 1 0.309 for c from 0 to 4

**Shapes**: pairs (n, 2) and answers (n,) are int64; weights (p, width).  p is odd and at least 3.
No function changes its arguments, except the network in train, and the generators that are drawn
from.  Nothing draws from the global generator.

**Steps.**  A good place to pause is after first_step.

    modular_addition   4 min   the whole world of the task
    split              4 min   seen, and the rest
    SquareNet          8 min   one-hot vectors without building them
    accuracy           4 min   no gradient
    train             14 min   measure before, between and after
    first_step         4 min   or never
    frequency_shares  10 min   what a column is made of
    purify             8 min   back from the frequencies
    circuit_evidence   8 min   three matrices, one frequency
    fourier_circuit   14 min   the solution by hand
    replicate         10 min   seeds, and an interval

Sources: Power et al. 2022, "Grokking: Generalization Beyond Overfitting on Small Algorithmic
Datasets"; Gromov 2023, "Grokking Modular Arithmetic" (the square network); Nanda et al. 2023,
"Progress Measures for Grokking via Mechanistic Interpretability".

From scratch: scipy.fft and numpy.fft may not be used.  torch.fft and torch.optim may.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


def modular_addition(p: int) -> tuple[Tensor, Tensor]:
    """All pairs (p², 2), in the order of the lesson's example, and a + b modulo p (p²,)."""
    raise NotImplementedError


def split(count: int, seen: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Places (seen,) to train on, of 0 … count - 1, and all others (count - seen,).

    Each set of `seen` places is equally likely.  The order is free.

    Raises ValueError, naming seen and count, unless both parts have at least one place.
    """
    raise NotImplementedError


class SquareNet(nn.Module):
    """The lesson's network.  At the start all weights are normal with mean 0.

    left    nn.Parameter (p, width), variance 1/(2p)
    right   nn.Parameter (p, width), variance 1/(2p)
    out     nn.Parameter (width, p), variance 1/width
    """

    def __init__(self, p: int, width: int, generator: torch.Generator) -> None:
        """The weights are drawn from the generator, which is on the CPU."""
        raise NotImplementedError

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits (n, p)."""
        raise NotImplementedError


def accuracy(net: nn.Module, pairs: Tensor, answers: Tensor) -> float:
    """The share of n ≥ 1 pairs whose largest logit is at the answer.  Builds no graph."""
    raise NotImplementedError


class History(NamedTuple):
    """Accuracies on both parts, and the numbers of steps after which they were measured."""

    steps: list[int]
    seen: list[float]
    unseen: list[float]


def train(
    net: nn.Module,
    pairs: Tensor,
    answers: Tensor,
    seen: Tensor,
    unseen: Tensor,
    steps: int,
    rate: float = 0.01,
    decay: float = 1.0,
    every: int = 10,
) -> History:
    """Train on all pairs that are seen at once, for so many steps; changes the network.

    seen, unseen   places in pairs and answers

    AdamW with this rate and weight decay, for all weights, and the betas 0.9 and 0.98.  Accuracies are measured before
    the first step (0) and after each `every` steps.  The network may be float64.
    """
    raise NotImplementedError


def first_step(steps: Sequence[int], values: Sequence[float], level: float) -> int | None:
    """The first of `steps` whose value is at least `level`; None if there is none."""
    raise NotImplementedError


def frequency_shares(weights: Tensor) -> Tensor:
    """The shares ((p - 1)/2, width): row 0 is k = 1.  A column whose numbers are all equal has zeros.

    Raises ValueError, naming p, if it is even or below 3.
    """
    raise NotImplementedError


def purify(weights: Tensor) -> Tensor:
    """Each column (p, width) with its strongest frequency k ≥ 1 alone: its mean and all others are gone."""
    raise NotImplementedError


def circuit_evidence(net: SquareNet) -> tuple[float, float]:
    """(purity, agreement) of the neurons: the columns of left and right, and the rows of out; none is constant.

    purity      the mean over neurons and all three matrices of the largest share
    agreement   the share of neurons whose strongest frequency is the same in all three matrices
    """
    raise NotImplementedError


def fourier_circuit(p: int, frequencies: Sequence[int]) -> SquareNet:
    """The lesson's circuit, with the width 9 · len(frequencies) and float64 weights.

    The frequencies differ, and are from 1 to (p - 1)/2.  The order of the neurons is free.
    """
    raise NotImplementedError


class Replication(NamedTuple):
    """Steps for each seed, and the ratio with the ends of its interval."""

    fitted: list[int]
    generalised: list[int]
    ratio: float
    low: float
    high: float


def replicate(
    p: int, width: int, seen: int, seeds: Sequence[int], steps: int, decay: float = 1.0, every: int = 10
) -> Replication:
    """Train once for each seed, with the rate 0.01 and a split and a network of its own, and report.

    - Each seed has one torch.Generator, seeded with it, for the split and the weights.
    - Which is drawn first, split or weights, is free.
    - No network is asked for that fits before its first step, so nothing is divided by 0.
    - The interval has the level 0.95; so there are at least two seeds.
    - Raises ValueError, naming the seed and steps, if a network doesn't fit or doesn't generalise in time.
    """
    raise NotImplementedError
