"""Reference for k28_replication."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .k26_comparing_models import seed_interval


def modular_addition(p: int) -> tuple[Tensor, Tensor]:
    """All pairs (p², 2) of 0 … p - 1, and their sums modulo p (p²,)."""
    numbers = torch.arange(p)
    pairs = torch.cartesian_prod(numbers, numbers)
    return pairs, pairs.sum(1) % p


def split(count: int, seen: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`seen` places of `count` to train on, and the others."""
    if not 1 <= seen < count:
        raise ValueError(f"of {count} examples {seen} can't be for training: it takes from 1 to {count - 1}")
    places = torch.randperm(count, generator=generator)
    return places[:seen], places[seen:]


class SquareNet(nn.Module):
    """Logits (left[a] + right[b])² out."""

    def __init__(self, p: int, width: int, generator: torch.Generator) -> None:
        super().__init__()

        def normal(rows: int, columns: int, variance: float) -> nn.Parameter:
            return nn.Parameter(math.sqrt(variance) * torch.randn(rows, columns, generator=generator))

        self.left, self.right = (normal(p, width, 1 / (2 * p)) for _ in range(2))
        self.out = normal(width, p, 1 / width)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits (n, p) of pairs (n, 2)."""
        return (self.left[pairs[:, 0]] + self.right[pairs[:, 1]]).square() @ self.out


def accuracy(net: nn.Module, pairs: Tensor, answers: Tensor) -> float:
    """The share of pairs whose largest logit is the answer's."""
    with torch.no_grad():
        return (net(pairs).argmax(1) == answers).double().mean().item()


class History(NamedTuple):
    """Accuracies on both parts, and after how many steps they were measured."""

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
    """Full-batch AdamW on the squared error; measures as it goes."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=decay)
    x, y = pairs[seen], answers[seen]
    others = pairs[unseen], answers[unseen]
    history = History([], [], [])
    for step in range(steps + 1):
        if step % every == 0:
            history.steps.append(step)
            history.seen.append(accuracy(net, x, y))
            history.unseen.append(accuracy(net, *others))
        if step < steps:
            logits = net(x)
            loss = F.mse_loss(logits, F.one_hot(y, logits.shape[1]).to(logits))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return history


def first_step(steps: Sequence[int], values: Sequence[float], level: float) -> int | None:
    """The first step whose value is at least `level`."""
    return next((step for step, value in zip(steps, values, strict=True) if value >= level), None)


def frequency_shares(weights: Tensor) -> Tensor:
    """The share of each frequency k = 1 … (p - 1)/2 in the power of each column (p, width)."""
    p = len(weights)
    if p < 3 or p % 2 == 0:
        raise ValueError(f"p must be odd and at least 3, not {p}")
    # A shift changes no k ≥ 1. Without it, rounding would give a constant column powers that aren't quite 0.
    power = torch.fft.rfft(weights - weights[0], dim=0)[1:].abs().square()
    total = power.sum(0)
    return power / torch.where(total > 0, total, 1)


def purify(weights: Tensor) -> Tensor:
    """Each column (p, width) with its strongest frequency alone."""
    spectrum = torch.fft.rfft(weights, dim=0)
    stays = F.one_hot(frequency_shares(weights).argmax(0) + 1, len(spectrum)).T
    return torch.fft.irfft(spectrum * stays, len(weights), dim=0)


def circuit_evidence(net: SquareNet) -> tuple[float, float]:
    """How pure the frequencies of the neurons are, and how often the three matrices agree on them."""
    shares = torch.stack([frequency_shares(part.detach()) for part in (net.left, net.right, net.out.T)])
    largest, which = shares.max(1)
    return largest.mean().item(), (which == which[0]).all(0).double().mean().item()


def fourier_circuit(p: int, frequencies: Sequence[int]) -> SquareNet:
    """A network whose logits are Σ_k cos(2π k (a + b - c) / p), by nine neurons for each frequency."""
    turn = 2 * math.pi / 3
    neurons = [(k, i * turn, j * turn) for k in frequencies for i in range(3) for j in range(3)]
    k, first, second = torch.tensor(neurons, dtype=torch.float64).T
    angles = 2 * math.pi / p * torch.arange(p, dtype=torch.float64)[:, None] * k
    net = SquareNet(p, len(neurons), torch.Generator()).double()
    with torch.no_grad():
        net.left.copy_((angles + first).cos())
        net.right.copy_((angles + second).cos())
        # (cos u + cos v)² holds cos(u + v); times cos(angle of c + both phases), its mean over the phases is
        # cos(u + v - that) / 2, and the mean of all else is 0.
        net.out.copy_((angles + first + second).cos().T * 2 / 9)
    return net


class Replication(NamedTuple):
    """What several seeds say: the steps to fit and to generalise, and the ratio with its interval."""

    fitted: list[int]
    generalised: list[int]
    ratio: float
    low: float
    high: float


def replicate(
    p: int, width: int, seen: int, seeds: Sequence[int], steps: int, decay: float = 1.0, every: int = 10
) -> Replication:
    """Train anew for each seed, and report how much later the network generalises than it fits."""
    pairs, answers = modular_addition(p)
    fitted, generalised = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        parts = split(len(pairs), seen, generator)
        history = train(SquareNet(p, width, generator), pairs, answers, *parts, steps, decay=decay, every=every)
        fit = first_step(history.steps, history.seen, 0.99)
        general = first_step(history.steps, history.unseen, 0.95)
        if fit is None or general is None:
            missing = "fits" if fit is None else "generalises"
            raise ValueError(f"with seed {seed} the network never {missing} within {steps} steps")
        fitted.append(fit)
        generalised.append(general)
    logs = np.log(generalised) - np.log(fitted)
    return Replication(fitted, generalised, *(math.exp(value) for value in seed_interval(logs)))
