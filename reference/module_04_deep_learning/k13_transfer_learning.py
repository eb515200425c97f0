"""Transfer learning: the reference."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def replace_head(model: nn.Sequential, classes: int) -> nn.Sequential:
    head = model[-1]
    if not isinstance(head, nn.Linear):
        raise ValueError(f"the last layer is a {type(head).__name__}, expected a Linear")
    copied = copy.deepcopy(model)
    copied[-1] = nn.Linear(head.in_features, classes, device=head.weight.device, dtype=head.weight.dtype)
    return copied


def freeze(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        # An optimizer moves whatever has a gradient, even an old one.
        parameter.grad = None


def training_mode(model: nn.Module) -> None:
    model.train()
    # Parents come before their children, so a dropout inside a frozen stage is switched off with it.
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def extract_features(body: nn.Module, x: Tensor, batch_size: int = 256) -> Tensor:
    modes = [(module, module.training) for module in body.modules()]
    body.eval()
    with torch.no_grad():
        features = torch.cat([body(part) for part in x.split(batch_size)])
    for module, training in modes:
        module.training = training
    return features


def linear_probe(features: Tensor, labels: Tensor, classes: int, penalty: float) -> nn.Linear:
    probe = nn.Linear(features.shape[1], classes, device=features.device, dtype=features.dtype)
    # The loss is convex: any start leads to the same answer, and this one is as likely as any other.
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def loss_and_gradient() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(probe(features), labels) + penalty / 2 * probe.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(loss_and_gradient)
    return probe


def parameter_groups(stages: Sequence[nn.Module], lr: float, decay: float) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    taken: set[int] = set()
    # From the last to the first, so that a shared parameter goes to the last stage that has it.
    for depth, stage in enumerate(reversed(stages)):
        own = [parameter for parameter in stage.parameters() if id(parameter) not in taken]
        taken.update(map(id, own))
        if own:
            groups.insert(0, {"params": own, "lr": lr * decay**depth})
    return groups


def thaw(stages: Sequence[nn.Module], epoch: int, every: int = 1) -> int:
    trained = len(stages) if every == 0 else min(len(stages), 1 + epoch // every)
    # All are frozen first: a parameter that two stages share is trained if one of them is.
    for stage in stages:
        freeze(stage)
    for stage in stages[len(stages) - trained :]:
        stage.requires_grad_(True)
    return trained


def fine_tune(
    model: nn.Sequential,
    x: Tensor,
    y: Tensor,
    epochs: int,
    batch_size: int,
    lr: float,
    decay: float = 1.0,
    every: int = 1,
    seed: int = 0,
) -> list[float]:
    stages = list(model)
    # All parameters from the start: AdamW passes over those without a gradient.
    optimizer = torch.optim.AdamW(parameter_groups(stages, lr, decay))
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for epoch in range(epochs):
        thaw(stages, epoch, every)
        training_mode(model)
        total = 0.0
        for batch in torch.randperm(len(x), generator=generator).split(batch_size):
            rows = batch.to(x.device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(x))
    model.eval()
    return losses
