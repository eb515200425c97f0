"""Several tasks, and a new domain: the reference."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


def task_probabilities(sizes: list[int], temperature: float = 1.0, limit: int | None = None) -> Tensor:
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be 1 or more, got {limit}")
    if sizes and min(sizes) < 0:
        raise ValueError(f"a task has {min(sizes)} examples")
    if not any(sizes):
        raise ValueError(f"sizes must name at least one example, got {sizes}")
    n = torch.tensor(sizes, dtype=torch.float64)
    if limit is not None:
        n = n.clamp(max=limit)
    # In logarithms, as a power may be too large for a float.  log 0 = -∞ leaves a task without examples at 0 ...
    scores = n.log() / temperature
    # ... also at an infinite temperature, where -∞ / ∞ would be NaN.
    return scores.masked_fill(n == 0, -math.inf).softmax(0)


def expected_passes(sizes: list[int], probabilities: Tensor, examples: int) -> Tensor:
    return examples * probabilities / torch.tensor(sizes)


class TaskBatches:
    def __init__(self, sizes: list[int], probabilities: Tensor, batch_size: int, generator: Generator) -> None:
        if len(sizes) != len(probabilities):
            raise ValueError(f"got {len(sizes)} sizes and {len(probabilities)} probabilities")
        self.sizes = list(sizes)
        self.probabilities = probabilities.clone()
        self.batch_size = batch_size
        self.generator = generator
        # What is left of each task's pass.
        self.left = [torch.empty(0, dtype=torch.int64) for _ in sizes]

    def next_batch(self) -> tuple[int, Tensor]:
        task = int(torch.multinomial(self.probabilities, 1, generator=self.generator))
        while len(self.left[task]) < self.batch_size:
            order = torch.randperm(self.sizes[task], generator=self.generator)
            self.left[task] = torch.cat([self.left[task], order])
        rows, self.left[task] = self.left[task].split([self.batch_size, len(self.left[task]) - self.batch_size])
        return task, rows


class MultiHead(nn.Module):
    def __init__(self, trunk: nn.Module, width: int, outputs: list[int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width
        self.heads = nn.ModuleList([nn.Linear(width, n) for n in outputs])

    def forward(self, x: Tensor, task: int) -> Tensor:
        if not 0 <= task < len(self.heads):
            raise ValueError(f"there is no task {task}: the model has {len(self.heads)} heads")
        return self.heads[task](self.trunk(x))

    def add_head(self, outputs: int) -> int:
        like = self.heads[0].weight
        self.heads.append(nn.Linear(self.width, outputs, dtype=like.dtype, device=like.device))
        self.heads[-1].train(self.training)
        return len(self.heads) - 1


def multitask_step(model: MultiHead, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, task: int) -> float:
    # None, not 0: an optimizer moves what has a gradient of 0 by momentum and weight decay.
    optimizer.zero_grad(set_to_none=True)
    loss = F.cross_entropy(model(x, task), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def forgetting_report(accuracy: Tensor, untrained: Tensor | None = None) -> dict[str, Any]:
    if accuracy.dim() != 2 or accuracy.shape[0] != accuracy.shape[1]:
        raise ValueError(f"accuracy must be square, got {tuple(accuracy.shape)}")
    n = len(accuracy)
    if untrained is not None and len(untrained) != n:
        raise ValueError(f"got {len(untrained)} accuracies of the untrained model for {n} tasks")
    last, learned = accuracy[-1], accuracy.diagonal()
    # Of no rows there is no maximum.
    forgetting = accuracy[:-1, :-1].amax(0) - last[:-1] if n > 1 else last[:0]
    forward = math.nan
    if untrained is not None:
        forward = (accuracy.diagonal(1) - untrained[1:]).mean().item()
    return {
        "average": last.mean().item(),
        "backward": (last - learned)[:-1].mean().item(),
        "forward": forward,
        "forgetting": forgetting.tolist(),
        "mean_forgetting": forgetting.mean().item(),
    }


def replay_counts(share: float, batch_size: int, steps: int) -> list[int]:
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")
    # Rounding the total, not each count: what a batch lacks comes with a later one.
    totals = [round(share * batch_size * t) for t in range(steps + 1)]
    return [after - before for before, after in pairwise(totals)]


def _windows(ids: Tensor, n: int, length: int, generator: Generator) -> Tensor:
    starts = torch.randint(len(ids) - length, (n, 1), generator=generator, device=ids.device)
    return ids[starts + torch.arange(length + 1, device=ids.device)]


def mixed_batches(
    old: Tensor, new: Tensor, share: float, batch_size: int, length: int, steps: int, generator: Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    for ids in (old, new):
        if len(ids) < length + 1:
            raise ValueError(f"a window of length {length} needs {length + 1} tokens, a text has {len(ids)}")
    for count in replay_counts(share, batch_size, steps):
        windows = [_windows(old, count, length, generator), _windows(new, batch_size - count, length, generator)]
        yield torch.cat(windows), torch.arange(batch_size, device=old.device) < count


def text_loss(model: Callable[[Tensor], Tensor], ids: Tensor, length: int) -> float:
    if len(ids) < 2:
        raise ValueError(f"a text of {len(ids)} tokens has nothing to predict")
    total, n = 0.0, len(ids) - 1
    # Neighbours share a token: the last target of one is the first input of the next.
    for start in range(0, n, length):
        window = ids[start : start + length + 1]
        with torch.no_grad():
            logits = model(window[None, :-1])[0]
        total += F.cross_entropy(logits, window[1:], reduction="sum").item()
    return total / n


def continued_pretraining(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], optimizer: torch.optim.Optimizer
) -> list[tuple[float, float]]:
    losses = []
    model.train()
    for ids, is_old in batches:
        logits = model(ids[:, :-1])
        each = F.cross_entropy(logits.mT, ids[:, 1:], reduction="none")
        optimizer.zero_grad()
        each.mean().backward()
        optimizer.step()
        # The mean of nothing is NaN.
        losses.append((each[is_old].mean().item(), each[~is_old].mean().item()))
    model.eval()
    return losses


def mixture_optimum(old: Tensor, new: Tensor, share: float) -> tuple[float, float]:
    # The best single distribution for a mixture is the mixture.
    log_mix = (share * old + (1 - share) * new).log()
    # 0 · log 0 counts 0, but log 0 alone is -∞: what comes and was never seen.
    return tuple(-torch.where(p > 0, p * log_mix, 0.0).sum().item() for p in (old, new))
