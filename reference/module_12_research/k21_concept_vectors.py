"""Concept vectors: the reference."""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


def fit_probe(x: Tensor, y: Tensor, l2: float) -> tuple[Tensor, Tensor]:
    if y.min() == y.max():
        raise ValueError(f"a probe needs both classes, got only {int(y[0])}")
    # The bias is a weight of a column of ones, and isn't penalised.
    ones = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
    columns, labels = torch.cat([x.detach(), ones], 1), y.to(x.dtype)
    penalty = torch.full_like(columns[0], l2)
    penalty[-1] = 0

    w = torch.zeros_like(penalty)
    for _ in range(50):
        chances = torch.sigmoid(columns @ w)
        slope = columns.T @ (chances - labels) / len(x) + penalty * w
        if slope.abs().max() < 1e-8:
            break
        bend = columns.T @ (columns * (chances * (1 - chances))[:, None]) / len(x) + penalty.diag()
        w = w - torch.linalg.solve(bend, slope)
    return w[:-1], w[-1]


def concept_vector(concept: Tensor, others: Tensor, l2: float) -> Tensor:
    x = torch.cat([concept, others])
    y = torch.arange(len(x), device=x.device) < len(concept)
    return F.normalize(fit_probe(x, y, l2)[0], dim=0)


def concept_slopes(head: Callable[[Tensor], Tensor], activations: Tensor, target: int, vector: Tensor) -> Tensor:
    with torch.enable_grad():
        h = activations.detach().requires_grad_()
        slopes = torch.autograd.grad(head(h)[:, target].sum(), h)[0]
    return slopes @ vector


def tcav_scores(
    head: Callable[[Tensor], Tensor],
    activations: Tensor,
    target: int,
    concept: Tensor,
    others: Sequence[Tensor],
    l2: float,
) -> Tensor:
    scores = []
    for other in others:
        slopes = concept_slopes(head, activations, target, concept_vector(concept, other, l2))
        scores.append((slopes > 0).to(activations.dtype).mean())
    return torch.stack(scores)


def permutation_p(a: Tensor, b: Tensor) -> float:
    if not len(a) or not len(b):
        raise ValueError(f"both groups need numbers, got {len(a)} and {len(b)}")
    pool = [*a.tolist(), *b.tolist()]
    whole = sum(pool)

    def difference(total: float) -> float:
        return abs(total / len(a) - (whole - total) / len(b))

    observed = difference(sum(a.tolist()))
    found = [difference(sum(group)) >= observed - 1e-9 for group in combinations(pool, len(a))]
    return sum(found) / len(found)


def control_labels(types: int, generator: Generator) -> Tensor:
    labels = torch.zeros(types, dtype=torch.int64)
    labels[torch.randperm(types, generator=generator)[: types // 2]] = 1
    return labels


def selectivity(
    train: tuple[Tensor, Tensor, Tensor], test: tuple[Tensor, Tensor, Tensor], l2: float, generator: Generator
) -> tuple[float, float]:
    types = int(max(train[1].max(), test[1].max())) + 1
    control = control_labels(types, generator).to(train[0].device)
    accuracies = []
    for labels, held in ((train[2], test[2]), (control[train[1]], control[test[1]])):
        w, b = fit_probe(train[0], labels, l2)
        accuracies.append(float(((test[0] @ w + b > 0) == held.bool()).double().mean()))
    return accuracies[0], accuracies[1]


class SparseAutoencoder(nn.Module):
    def __init__(self, width: int, features: int, generator: Generator) -> None:
        super().__init__()
        directions = F.normalize(torch.randn(features, width, generator=generator), dim=1)
        self.encoder = nn.Parameter(directions.clone())
        self.encoder_bias = nn.Parameter(torch.zeros(features))
        self.decoder = nn.Parameter(directions)
        self.center = nn.Parameter(torch.zeros(width))

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu((x - self.center) @ self.encoder.T + self.encoder_bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.encode(x)
        return found @ self.decoder + self.center, found

    @torch.no_grad()
    def normalize(self) -> None:
        self.decoder.copy_(F.normalize(self.decoder, dim=1))


def sae_loss(x: Tensor, rebuilt: Tensor, features: Tensor, l1: float) -> Tensor:
    return ((x - rebuilt).square().sum(1) + l1 * features.sum(1)).mean()


def train_sae(
    sae: SparseAutoencoder, x: Tensor, l1: float, steps: int, batch: int, rate: float, generator: Generator
) -> list[float]:
    optimizer = torch.optim.Adam(sae.parameters(), rate)
    losses = []
    for _ in range(steps):
        rows = x[torch.randint(len(x), (batch,), generator=generator).to(x.device)]
        loss = sae_loss(rows, *sae(rows), l1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        sae.normalize()  # or a long decoder would make the penalty small
        losses.append(loss.item())
    return losses


def dead_features(features: Tensor) -> Tensor:
    return ~(features > 0).any(0)


def recovery(decoder: Tensor, truth: Tensor) -> Tensor:
    return (F.normalize(truth, dim=1) @ F.normalize(decoder, dim=1).T).amax(1)
