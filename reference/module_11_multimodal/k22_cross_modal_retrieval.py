"""Cross-modal retrieval: the reference."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


class JointEmbedding(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module, first_width: int, second_width: int, width: int) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.first_project = nn.Linear(first_width, width, bias=False)
        self.second_project = nn.Linear(second_width, width, bias=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        one, other = self.first_project(self.first(a)), self.second_project(self.second(b))
        return F.normalize(one) @ F.normalize(other).T


def ranks(similarities: Tensor, right: Tensor) -> Tensor:
    _refuse((~right.any(1)), "has no right item")
    order = similarities.argsort(descending=True, stable=True)
    # The first True in the sorted row: bool has no argmax on every device.
    return right.gather(1, order).long().argmax(1) + 1


def recall_at(k: int, similarities: Tensor, right: Tensor) -> float:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return (ranks(similarities, right) <= k).double().mean().item()


def hardest_negatives(similarities: Tensor, right: Tensor) -> Tensor:
    _refuse(right.all(1), "has no wrong item")
    # max gives any of equal ones; a stable sort gives the first.
    order = similarities.masked_fill(right, -torch.inf).argsort(descending=True, stable=True)
    return order[:, 0]


def hinge_loss(similarities: Tensor, margin: float = 0.2, hardest: bool = True) -> Tensor:
    n, m = similarities.shape
    if n != m:
        raise ValueError(f"similarities must be square, got {n} and {m}")
    own = similarities.diagonal()
    diagonal = torch.eye(n, dtype=torch.bool, device=similarities.device)
    by_row = (margin - own[:, None] + similarities).clamp(min=0).masked_fill(diagonal, 0)
    by_column = (margin - own[None, :] + similarities).clamp(min=0).masked_fill(diagonal, 0)
    if hardest:
        return (by_row.amax(1) + by_column.amax(0)).mean()
    return (by_row + by_column).sum() / n


def mismatched(n: int, generator: Generator) -> Tensor:
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}")
    # One ring through all: each film gets the next one on it, which is never its own.
    ring = torch.randperm(n, generator=generator)
    found = torch.empty(n, dtype=torch.int64)
    found[ring] = ring.roll(1)
    return found


def correspondence_loss(cosines: Tensor, labels: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(scale * cosines + bias, labels.to(cosines.dtype))


def occurrences(similarities: Tensor, k: int) -> Tensor:
    m = similarities.shape[1]
    if not 1 <= k <= m:
        raise ValueError(f"k must be from 1 to {m}, the number of items, got {k}")
    return torch.bincount(similarities.topk(k).indices.flatten(), minlength=m)


def skewness(counts: Tensor) -> float:
    if counts.min() == counts.max():  # asked of the counts: the spread of equal numbers may be 1e-17
        return 0.0
    away = counts.double() - counts.double().mean()
    spread = away.square().mean().sqrt()
    return (away / spread).pow(3).mean().item()


def csls(similarities: Tensor, k: int) -> Tensor:
    least = min(similarities.shape)
    if not 1 <= k <= least:
        raise ValueError(f"k must be from 1 to {least}, got {k}")
    rows = similarities.topk(k).values.mean(1, keepdim=True)
    columns = similarities.topk(k, 0).values.mean(0)
    return 2 * similarities - rows - columns


def _refuse(rows: Tensor, why: str) -> None:
    if rows.any():
        raise ValueError(f"row {rows.long().argmax().item()} {why}")
