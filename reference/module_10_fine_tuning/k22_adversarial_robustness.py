"""Adversarial robustness: the reference."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


def _known(norm: str) -> None:
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be 'linf' or 'l2', got {norm!r}")


def _norms(v: Tensor) -> Tensor:
    """The Euclidean norm of each example, with axes of length 1 for the rest, so that it broadcasts."""
    return v.flatten(1).norm(dim=1).view(-1, *[1] * (v.dim() - 1))


def _input_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    # A sum, so that no example's gradient shrinks with the batch.  autograd.grad leaves the parameters' .grad alone.
    loss = F.cross_entropy(model(x), y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]


def fgsm(model: nn.Module, x: Tensor, y: Tensor, eps: float, low: float = 0.0, high: float = 1.0) -> Tensor:
    gradient = _input_gradient(model, x, y)
    return (x.detach() + eps * gradient.sign()).clamp(low, high)


def project(moved: Tensor, x: Tensor, eps: float, norm: str, low: float = 0.0, high: float = 1.0) -> Tensor:
    _known(norm)
    delta = moved - x
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    else:
        lengths = _norms(delta)
        # Only what is outside is pulled back: a point inside stays where it is.
        delta = torch.where(lengths > eps, delta * (eps / lengths), delta)
    # The box comes last.  As x is in the box, clamping brings each entry nearer to x, so the ball still holds.
    return (x + delta).clamp(low, high)


def steepest_step(gradient: Tensor, size: float, norm: str) -> Tensor:
    _known(norm)
    if norm == "linf":
        return size * gradient.sign()
    lengths = _norms(gradient)
    return torch.where(lengths > 0, size * gradient / lengths, gradient)  # 0 stays 0


def random_start(x: Tensor, eps: float, norm: str, generator: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    _known(norm)
    if norm == "linf":
        delta = eps * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device) - 1)
    else:
        normal = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        u = torch.rand(len(x), generator=generator, dtype=x.dtype, device=x.device)
        # The volume within r grows as r^d, so that r = u^(1/d) has the right density.
        radius = u ** (1 / x[0].numel())
        delta = eps * radius.view(-1, *[1] * (x.dim() - 1)) * normal / _norms(normal)
    return (x + delta).clamp(low, high)


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    step: float,
    steps: int,
    norm: str,
    generator: Generator,
    restarts: int = 1,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    if restarts < 1:
        raise ValueError(f"restarts must be 1 or more, got {restarts}")
    x = x.detach()
    best, highest = x, torch.full((len(x),), -torch.inf, device=x.device)
    for _ in range(restarts):
        moved = random_start(x, eps, norm, generator, low, high)
        for _ in range(steps):
            gradient = _input_gradient(model, moved, y)
            moved = project(moved + steepest_step(gradient, step, norm), x, eps, norm, low, high)
        with torch.no_grad():
            losses = F.cross_entropy(model(moved), y, reduction="none")
        # Example by example: each keeps the start that served it best.
        better = losses > highest
        best = torch.where(better.view(-1, *[1] * (x.dim() - 1)), moved, best)
        highest = torch.where(better, losses, highest)
    return best


def robust_accuracy(model: nn.Module, x: Tensor, y: Tensor, attacks: list[Attack]) -> float:
    with torch.no_grad():
        right = model(x).argmax(-1) == y
    for attack in attacks:
        moved = attack(model, x, y)
        with torch.no_grad():
            right = right & (model(moved).argmax(-1) == y)
    return right.double().mean().item()


def adversarial_training(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    optimizer: torch.optim.Optimizer,
    attack: Attack,
    epochs: int,
    batch_size: int,
    generator: Generator,
) -> list[float]:
    means = []
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator, device=x.device).split(batch_size):
            # The attack meets the network that will be deployed: no dropout, no batch statistics.
            model.eval()
            moved = attack(model, x[rows], y[rows])
            model.train()
            loss = F.cross_entropy(model(moved), y[rows])
            # After the attack, which may have left gradients in the parameters.
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        means.append(total / len(x))
    model.eval()
    return means


def attack_report(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    eps: float,
    steps: int,
    generator: Generator,
    low: float = 0.0,
    high: float = 1.0,
) -> dict[str, float]:
    box = {"low": low, "high": high}
    many = partial(pgd, norm="linf", generator=generator, **box)
    width = high - low
    attacks = {
        "fgsm": partial(fgsm, eps=eps, **box),
        "pgd": partial(many, eps=eps, step=2.5 * eps / steps, steps=steps),
        # Without steps only the random starts are left.
        "random": partial(many, eps=eps, step=eps, steps=0, restarts=steps),
        # A ball of this radius holds the whole box.
        "unbounded": partial(many, eps=width, step=2.5 * width / steps, steps=steps),
    }
    report = {"clean": robust_accuracy(model, x, y, [])}
    report |= {name: robust_accuracy(model, x, y, [attack]) for name, attack in attacks.items()}
    zero = (_input_gradient(model, x, y).flatten(1) == 0).all(1)
    return report | {"zero_gradients": zero.double().mean().item()}


def masking_signs(report: dict[str, float], margin: float = 0.05) -> list[str]:
    signs = {
        "one step": report["pgd"] - report["fgsm"],
        "random": report["pgd"] - report["random"],
        "unbounded": report["unbounded"],
        "zero gradients": report["zero_gradients"],
    }
    return [name for name, size in signs.items() if size > margin]
