"""The training loop: the reference."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


class TensorDataset:
    def __init__(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            if len(tensor) != len(tensors[0]):
                raise ValueError(f"tensors of {len(tensors[0])} and of {len(tensor)} rows make no samples")
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


def collate(samples: list[Any]) -> Any:
    first = samples[0]
    if isinstance(first, Tensor):
        return torch.stack(samples)
    if isinstance(first, float):
        return torch.tensor(samples, dtype=torch.float64)
    if isinstance(first, int):  # True and False, too, of which torch makes bool
        return torch.tensor(samples)
    if isinstance(first, dict):
        return {key: collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple):
        return tuple(collate(list(column)) for column in zip(*samples, strict=True))
    return list(samples)


class DataLoader:
    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] = collate,
        generator: torch.Generator | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"a batch has 1 sample or more, got batch_size {batch_size}")
        self.dataset, self.batch_size = dataset, batch_size
        self.shuffle, self.drop_last = shuffle, drop_last
        self.collate_fn, self.generator = collate_fn, generator

    def __len__(self) -> int:
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else math.ceil(n / self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        # All state of a pass is local to this generator, so that passes don't disturb each other.
        n = len(self.dataset)
        order = torch.randperm(n, generator=self.generator).tolist() if self.shuffle else range(n)
        for i in range(len(self)):
            batch = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield self.collate_fn([self.dataset[index] for index in batch])


def evaluate(
    model: nn.Module, loader: Iterable[tuple[Tensor, Tensor]], loss_fn: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, float]:
    # Each module's own mode: a frozen batch norm may be in evaluation mode inside a model that is training.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    device = next(model.parameters()).device
    total, right, count = 0.0, 0, 0
    with torch.no_grad():
        for inputs, targets in loader:
            inputs, targets = inputs.to(device), targets.to(device)
            logits = model(inputs)
            # loss_fn is a mean over its batch, and batches differ in size.
            total += loss_fn(logits, targets).item() * len(targets)
            right += (logits.argmax(1) == targets).sum().item()
            count += len(targets)
    for module, training in modes:
        module.training = training
    return total / count, right / count


def train_epoch(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
) -> float:
    model.train()
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for inputs, targets in loader:
        inputs, targets = inputs.to(device), targets.to(device)
        # First of all, as something else may have left gradients behind.
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(targets)
        count += len(targets)
    return total / count


class EarlyStopping:
    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.best, self.wait = math.inf, 0

    def step(self, loss: float) -> bool:
        # Asked this way round, since every comparison with NaN is false.
        if loss < self.best - self.min_delta:
            self.best, self.wait = loss, 0
        else:
            self.wait += 1
        return self.wait >= self.patience


def fit(
    model: nn.Module,
    train_loader: Iterable[tuple[Tensor, Tensor]],
    valid_loader: Iterable[tuple[Tensor, Tensor]],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    epochs: int,
    patience: int,
) -> list[dict[str, float]]:
    stopping, history = EarlyStopping(patience), []
    best = copy.deepcopy(model.state_dict())
    for _ in range(epochs):
        train_loss = train_epoch(model, train_loader, loss_fn, optimizer)
        valid_loss, valid_accuracy = evaluate(model, valid_loader, loss_fn)
        history.append({"train_loss": train_loss, "valid_loss": valid_loss, "valid_accuracy": valid_accuracy})
        stop = stopping.step(valid_loss)
        if stopping.wait == 0:
            # A copy: state_dict holds the tensors themselves, which the next step changes.
            best = copy.deepcopy(model.state_dict())
        if stop:
            break
    model.load_state_dict(best)
    return history
