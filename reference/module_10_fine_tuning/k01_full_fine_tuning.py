"""Full fine-tuning: the reference."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


class ClassificationHead(nn.Module):
    def __init__(self, width: int, classes: int, dropout: float = 0.1, generator: Generator | None = None) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)
        with torch.no_grad():
            # Small and without a bias: at first no class is preferred, and little gradient flows back.
            self.linear.weight.normal_(0, 0.02, generator=generator)
            self.linear.bias.zero_()

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        # where, not times 0: what stands at the padding may be NaN.
        real = mask.bool()[..., None]
        mean = torch.where(real, states, 0).sum(1) / real.sum(1)
        return self.linear(self.dropout(mean))


def freeze_lower(stages: Sequence[nn.Module], count: int) -> None:
    if not 0 <= count <= len(stages):
        raise ValueError(f"count must be from 0 to {len(stages)}, got {count}")
    for stage in stages[:count]:
        for parameter in stage.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
    # The upper ones last: what they share with a frozen one is trained.
    for stage in stages[count:]:
        stage.requires_grad_(True)


def cache_states(stages: Sequence[nn.Module], ids: Tensor, mask: Tensor, batch_size: int = 64) -> Tensor:
    def run(ids: Tensor, mask: Tensor) -> Tensor:
        x = stages[0](ids)
        for stage in stages[1:]:
            x = stage(x, mask)
        return x

    return _in_batches(run, stages, batch_size, ids, mask)


@torch.no_grad()
def _in_batches(run: Callable[..., Tensor], modules: Sequence[nn.Module], batch_size: int, *tensors: Tensor) -> Tensor:
    """What `run` gives for each batch of rows, one after the other, in evaluation mode."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        parts = zip(*(tensor.split(batch_size) for tensor in tensors), strict=True)
        return torch.cat([run(*batch) for batch in parts])
    finally:
        for part, training in modes:
            part.training = training


def layerwise_groups(
    stages: Sequence[nn.Module], lr: float, decay: float, weight_decay: float = 0.01
) -> list[dict[str, Any]]:
    groups = []
    seen: set[nn.Parameter] = set()
    # From the last stage down, so that a shared parameter is found in the last one that has it.
    for depth, stage in enumerate(reversed(stages)):
        trained = [p for p in stage.parameters() if p.requires_grad and p not in seen]
        seen.update(trained)
        # Weight decay is for matrices: pulling a bias or a norm's scale to 0 helps nothing.
        for matrices, strength in ((True, weight_decay), (False, 0.0)):
            params = [p for p in trained if (p.dim() >= 2) == matrices]
            if params:
                groups.append({"params": params, "lr": lr * decay**depth, "weight_decay": strength})
    return groups


def warmup_linear(t: int, warm: int, total: int) -> float:
    # First the end: where warm is total, there is no way down to divide by.
    if t >= total:
        return 0.0
    return t / warm if t < warm else (total - t) / (total - warm)


class EarlyStopping:
    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1, got {patience}")
        self.patience = patience
        self.min_delta = min_delta
        self.best = -math.inf
        self.waited = 0
        self._state: list[dict[str, Tensor]] = []

    def step(self, metric: float, modules: Sequence[nn.Module]) -> bool:
        # A NaN is above nothing.
        if metric > self.best + self.min_delta:
            self.best = metric
            self.waited = 0
            self._state = [_copy(module) for module in modules]
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, modules: Sequence[nn.Module]) -> None:
        if not self._state:
            raise ValueError("there is no best state: step was never called with a number")
        for module, state in zip(modules, self._state, strict=True):
            module.load_state_dict(state)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def predict(stages: Sequence[nn.Module], head: nn.Module, states: Tensor, mask: Tensor, batch_size: int = 64) -> Tensor:
    def run(states: Tensor, mask: Tensor) -> Tensor:
        return _logits(stages, head, states, mask)

    return _in_batches(run, [*stages, head], batch_size, states, mask)


def _logits(stages: Sequence[nn.Module], head: nn.Module, states: Tensor, mask: Tensor) -> Tensor:
    for stage in stages:
        states = stage(states, mask)
    return head(states, mask)


def fine_tune(
    stages: Sequence[nn.Module],
    head: nn.Module,
    train: tuple[Tensor, Tensor, Tensor],
    valid: tuple[Tensor, Tensor, Tensor],
    epochs: int,
    batch_size: int,
    lr: float,
    decay: float = 1.0,
    warm: float = 0.1,
    patience: int = 2,
    clip: float = 1.0,
    generator: Generator | None = None,
) -> list[float]:
    modules = [*stages, head]
    states, mask, labels = train
    total = epochs * math.ceil(len(labels) / batch_size)
    optimizer = torch.optim.AdamW(layerwise_groups(modules, lr, decay))
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: warmup_linear(t, int(warm * total), total))
    stopping = EarlyStopping(patience)
    history = []
    for _ in range(epochs):
        for module in modules:
            module.train()
        order = torch.randperm(len(labels), generator=generator, device=labels.device)
        for rows in order.split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(_logits(stages, head, states[rows], mask[rows]), labels[rows]).backward()
            nn.utils.clip_grad_norm_(trained, clip)
            optimizer.step()
            schedule.step()
        right = predict(stages, head, *valid[:2], batch_size).argmax(-1) == valid[2]
        history.append(float(right.double().mean()))
        if stopping.step(history[-1], modules):
            break
    stopping.restore(modules)
    for module in modules:
        module.eval()
    return history
