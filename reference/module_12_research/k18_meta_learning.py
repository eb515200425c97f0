"""Reference for k18_meta_learning."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F


class Episode(NamedTuple):
    """A small task: which classes it has, and which examples of each are shown and asked."""

    classes: Tensor
    support: Tensor
    query: Tensor


def sample_episode(labels: Tensor, ways: int, shots: int, queries: int, generator: torch.Generator) -> Episode:
    """An episode of `ways` classes, with `shots` shown and `queries` asked of each."""
    names, counts = labels.unique(return_counts=True)
    names = names[counts >= shots + queries]
    if ways > len(names):
        raise ValueError(f"{ways} classes are asked for, but only {len(names)} have {shots} + {queries} examples")

    def some(of: Tensor, count: int) -> Tensor:
        return of[torch.randperm(len(of), generator=generator, device=of.device)[:count]]

    classes = some(names, ways)
    rows = torch.stack([some((labels == name).nonzero()[:, 0], shots + queries) for name in classes])
    return Episode(classes, rows[:, :shots], rows[:, shots:])


def prototype_logits(support: Tensor, query: Tensor) -> Tensor:
    """-|q - c_k|² (..., ways) of queries (..., F) and the means of support (ways, shots, F)."""
    return -(query[..., None, :] - support.mean(1)).square().sum(-1)


def prototypical_loss(support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy, and the share that is told right, of query (ways, queries, F)."""
    logits = prototype_logits(support, query)
    expected = torch.arange(len(query), device=query.device)[:, None].expand(query.shape[:2])
    loss = F.cross_entropy(logits.flatten(0, 1), expected.flatten())
    return loss, (logits.argmax(-1) == expected).to(query.dtype).mean()


def sine_tasks(count: int, points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """x and y (count, points, 1) of sines with an amplitude and a phase of each task's own."""

    def uniform(low: float, high: float, points: int) -> Tensor:
        return low + (high - low) * torch.rand(count, points, 1, generator=generator, device=generator.device)

    amplitude, phase, x = uniform(0.1, 5, 1), uniform(0, math.pi, 1), uniform(-5, 5, points)
    return x, amplitude * (x - phase).sin()


def adapt(
    model: nn.Module, x: Tensor, y: Tensor, rate: float, steps: int, first_order: bool = False
) -> dict[str, Tensor]:
    """The weights by name after `steps` of gradient descent on one task, from those of the model."""
    weights: dict[str, Tensor] = dict(model.named_parameters())
    for _ in range(steps):
        loss = F.mse_loss(functional_call(model, weights, (x,)), y)
        slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=not first_order)
        weights = {name: old - rate * slope for (name, old), slope in zip(weights.items(), slopes, strict=True)}
    return weights


def maml_loss(
    model: nn.Module, x: Tensor, y: Tensor, shots: int, rate: float, steps: int, first_order: bool = False
) -> Tensor:
    """The mean over tasks of the loss on the other points, after adapting to the first `shots`."""
    losses = []
    for a, b in zip(x, y, strict=True):
        weights = adapt(model, a[:shots], b[:shots], rate, steps, first_order)
        losses.append(F.mse_loss(functional_call(model, weights, (a[shots:],)), b[shots:]))
    return torch.stack(losses).mean()


def reptile_step(model: nn.Module, x: Tensor, y: Tensor, rate: float, steps: int, outer_rate: float) -> None:
    """Move the model's weights towards the mean of the weights adapted to each task."""
    adapted = [adapt(model, a, b, rate, steps, first_order=True) for a, b in zip(x, y, strict=True)]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.lerp_(torch.stack([one[name] for one in adapted]).mean(0), outer_rate)


def interleave(x: Tensor, y: Tensor) -> Tensor:
    """Tokens (B, 2n, d + 1): x and a 0, then zeros and y, example after example."""
    questions = F.pad(x, (0, 1))
    answers = F.pad(y[..., None], (x.shape[-1], 0))
    return torch.stack([questions, answers], 2).flatten(1, 2)


class InContextLearner(nn.Module):
    """A causal transformer that reads examples and predicts each y from what stands before it."""

    def __init__(self, features: int, width: int, heads: int, layers: int, max_examples: int) -> None:
        super().__init__()
        self.read = nn.Linear(features + 1, width)
        self.positions = nn.Parameter(0.02 * torch.randn(2 * max_examples, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.write = nn.Linear(width, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Predictions (B, n) of y."""
        tokens = interleave(x, y)
        length = tokens.shape[1]
        if length > len(self.positions):
            raise ValueError(f"{length // 2} examples are given, but max_examples is {len(self.positions) // 2}")
        h = self.read(tokens) + self.positions[:length]
        hidden = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        for layer in self.layers:
            h = layer(h, src_mask=hidden)
        # y_k is asked for where x_k has just been read.
        return self.write(self.norm(h[:, ::2]))[..., 0]
