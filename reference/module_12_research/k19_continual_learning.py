"""Reference for k19_continual_learning."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def diagonal_fisher(model: nn.Module, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
    """The mean over x of the squared slopes of log p, by name."""
    names, weights = zip(*model.named_parameters(), strict=True)
    total = [torch.zeros_like(weight) for weight in weights]
    for i, log_p in enumerate(model(x).log_softmax(-1)):
        # Each class with its own probability, or the label alone with 1.
        chances = log_p.exp().detach() if y is None else F.one_hot(y[i], len(log_p))
        for chance, one in zip(chances, log_p, strict=True):
            slopes = torch.autograd.grad(one, weights, retain_graph=True)
            total = [old + chance * slope.square() for old, slope in zip(total, slopes, strict=True)]
    return {name: value / len(x) for name, value in zip(names, total, strict=True)}


def ewc_penalty(
    model: nn.Module, old_tasks: Sequence[tuple[dict[str, Tensor], dict[str, Tensor]]], strength: float
) -> Tensor:
    """λ/2 Σ F (θ - θ*)² over the old tasks."""
    weights = dict(model.named_parameters())
    total = torch.zeros_like(next(iter(weights.values()))).sum()
    for anchor, fisher in old_tasks:
        for name, weight in weights.items():
            total = total + (fisher[name] * (weight - anchor[name]).square()).sum()
    return strength / 2 * total


class ReservoirBuffer:
    """A memory of examples from a stream of unknown length."""

    def __init__(self, capacity: int, generator: torch.Generator) -> None:
        if capacity < 1:
            raise ValueError(f"the capacity must be at least 1, not {capacity}")
        self.capacity, self.generator = capacity, generator
        self.seen = 0
        self.x: Tensor | None = None
        self.y: Tensor | None = None

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add examples, one after the other."""
        for one, label in zip(x, y, strict=True):
            if self.x is None or self.y is None:
                self.x, self.y = one[None].clone(), label[None].clone()
            elif self.seen < self.capacity:
                self.x, self.y = torch.cat([self.x, one[None]]), torch.cat([self.y, label[None]])
            else:
                # One of seen + 1 places: it exists with the chance capacity / (seen + 1).
                place = int(torch.randint(self.seen + 1, (), generator=self.generator))
                if place < self.capacity:
                    self.x[place], self.y[place] = one, label
            self.seen += 1

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """x and y of `count` different kept examples."""
        if self.x is None or self.y is None:
            raise ValueError("the buffer is empty: nothing can be drawn from it")
        places = torch.randperm(len(self), generator=self.generator)[:count].to(self.x.device)
        return self.x[places], self.y[places]


def replay_loss(
    model: nn.Module, x: Tensor, y: Tensor, memory: ReservoirBuffer, count: int, weight: float = 1.0
) -> Tensor:
    """The batch's loss, and that of `count` old examples with a weight."""
    loss = F.cross_entropy(model(x), y)
    if not len(memory):
        return loss
    old_x, old_y = memory.sample(count)
    return loss + weight * F.cross_entropy(model(old_x), old_y)


class ProgressiveNetwork(nn.Module):
    """One column for each task."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.features, self.hidden = features, hidden
        self.first, self.second, self.side, self.head = (nn.ModuleList() for _ in range(4))

    def add_task(self, classes: int) -> None:
        """Freeze what there is, and add a column."""
        self.requires_grad_(False)
        self.side.append(nn.ModuleList(nn.Linear(self.hidden, self.hidden, bias=False) for _ in self.first))
        self.first.append(nn.Linear(self.features, self.hidden))
        self.second.append(nn.Linear(self.hidden, self.hidden))
        self.head.append(nn.Linear(self.hidden, classes))

    def forward(self, x: Tensor, task: int) -> Tensor:
        """Logits (n, classes) for that task."""
        if not 0 <= task < len(self.head):
            raise ValueError(f"there is no task {task}: the network has {len(self.head)}")
        b = self.second[task](self.first[task](x).relu())
        for layer, side in zip(self.first, self.side[task], strict=False):
            b = b + side(layer(x).relu())
        return self.head[task](b.relu())


class Measures(NamedTuple):
    """How a sequence of tasks was learnt."""

    average: float
    forgetting: float
    backward: float
    forward: float


def transfer_measures(accuracy: Tensor, untrained: Tensor) -> Measures:
    """The measures of R (T, T) and r (T,)."""
    if accuracy.ndim != 2 or len(accuracy) != accuracy.shape[1] or len(accuracy) < 2:
        raise ValueError(f"accuracy must be (T, T) with at least 2 tasks, not {tuple(accuracy.shape)}")
    last = accuracy[-1]
    return Measures(
        last.mean().item(),
        (accuracy[:-1, :-1].amax(0) - last[:-1]).mean().item(),
        (last - accuracy.diagonal())[:-1].mean().item(),
        (accuracy.diagonal(1) - untrained[1:]).mean().item(),
    )
