"""Debugging networks: the reference."""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
"""From a model's outputs and the targets to a scalar."""


def overfit_batch(
    model: nn.Module, loss_function: Loss, inputs: Tensor, targets: Tensor, steps: int = 200, lr: float = 0.01
) -> list[float]:
    model = copy.deepcopy(model)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    losses = []
    for _ in range(steps):
        loss = loss_function(model(inputs), targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        losses.append(loss_function(model(inputs), targets).item())
    return losses


@torch.no_grad()
def gradient_check(
    function: Callable[..., Tensor], values: Sequence[Tensor], gradients: Sequence[Tensor], step: float = 1e-5
) -> list[float]:
    errors = []
    for k, (value, judged) in enumerate(zip(values, gradients, strict=True)):
        numeric = []
        for i in range(value.numel()):
            ends = []
            for h in (step, -step):
                # A flat copy, whose memory is in order even where value's isn't.
                moved = value.flatten().clone()
                moved[i] += h
                arguments = [*values[:k], moved.reshape(value.shape), *values[k + 1 :]]
                ends.append(float(function(*arguments)))
            numeric.append((ends[0] - ends[1]) / (2 * step))
        n = torch.tensor(numeric, dtype=torch.float64)
        g = judged.flatten().cpu()
        size = n.norm() + g.norm()
        errors.append(((n - g).norm() / size).item() if size > 0 else 0.0)
    return errors


def untrained_parameters(model: nn.Module, loss_function: Loss, inputs: Tensor, targets: Tensor) -> dict[str, str]:
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    loss = loss_function(model(inputs), targets)
    gradients: dict[str, Tensor | None] = dict.fromkeys(trained)
    if loss.requires_grad and trained:
        # autograd.grad leaves .grad alone, and says None where nothing leads to a parameter.
        found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        gradients = dict(zip(trained, found, strict=True))
    reasons = {}
    for name, parameter in model.named_parameters():
        gradient = gradients.get(name)
        if not parameter.requires_grad:
            reasons[name] = "frozen"
        elif gradient is None:
            reasons[name] = "unreached"
        elif not gradient.any():
            reasons[name] = "zero"
    return reasons


@torch.no_grad()
def _measure(model: nn.Module, inputs: Tensor, measures: dict[type, Callable[[Tensor], float]]) -> dict[str, float]:
    """A number for the output of each module of the given types, by its name; in evaluation mode."""
    found: dict[str, float] = {}
    modes = {module: module.training for module in model.modules()}
    hooks = []
    for name, module in model.named_modules():
        if type(module) in measures:

            def hook(module: nn.Module, _: object, output: Tensor, name: str = name) -> None:
                # At once, as a later module may write into this output.
                found[name] = measures[type(module)](output)

            hooks.append(module.register_forward_hook(hook))
    model.eval()
    try:
        model(inputs)
    finally:
        for hook_handle in hooks:
            hook_handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return found


def dead_units(model: nn.Module, inputs: Tensor) -> dict[str, float]:
    def share_of_dead(output: Tensor) -> float:
        units = output.transpose(0, 1).flatten(1)
        return (units == 0).all(1).double().mean().item()

    return _measure(model, inputs, {nn.ReLU: share_of_dead})


def saturation(model: nn.Module, inputs: Tensor, share: float = 0.01) -> dict[str, float]:
    slopes = {
        nn.Sigmoid: lambda y: 4 * y * (1 - y),  # in parts of the largest slope
        nn.Tanh: lambda y: 1 - y.square(),
    }
    measures = {
        kind: lambda y, slope=slope: (slope(y) < share).double().mean().item() for kind, slope in slopes.items()
    }
    return _measure(model, inputs, measures)


def already_normalized(outputs: Tensor) -> bool:
    return bool((outputs >= 0).all() and ((outputs.sum(-1) - 1).abs() < 1e-4).all())


def leakage_probe(features: Tensor, targets: Tensor) -> Tensor:
    # The mean goes first, so that no digits are lost to it.
    centred = features - features.mean(0)
    total = centred.square().sum(0)
    between = torch.zeros_like(total)
    for k in targets.unique():
        rows = centred[targets == k]
        between += len(rows) * rows.mean(0).square()
    # A constant feature: its mean may be off by a rounding error, so that `total` isn't quite 0.
    constant = features.amax(0) == features.amin(0)
    return torch.where(constant, 0.0, between / torch.where(constant, 1.0, total))


def confusion_matrix(targets: Tensor, predictions: Tensor, classes: int) -> Tensor:
    for value in (*targets.tolist(), *predictions.tolist()):
        if not 0 <= value < classes:
            raise ValueError(f"there is a class {value}; expected 0 to {classes - 1}, as there are {classes} classes")
    pairs = targets * classes + predictions
    return pairs.bincount(minlength=classes * classes).reshape(classes, classes)


def label_shift(confusion: Tensor) -> int:
    c = len(confusion)
    rows = torch.arange(c, device=confusion.device)
    sums = [confusion[rows, (rows + s) % c].sum().item() for s in range(c)]
    return sums.index(max(sums))


def read_curves(train: Sequence[float], validation: Sequence[float], patience: int = 3) -> str:
    if len(train) != len(validation) or not train:
        raise ValueError(
            f"{len(train)} losses of training, {len(validation)} of validation; expected as many, 1 or more"
        )
    if not all(map(math.isfinite, [*train, *validation])) or train[-1] > train[0]:
        return "diverged"
    if train[-1] > 0.9 * train[0]:
        return "stuck"
    if validation[-1] > 1.1 * min(validation):
        return "overfits"
    before = validation[max(0, len(validation) - 1 - patience)]
    return "improving" if validation[-1] < 0.99 * before else "flat"
