"""Adaptive methods: the reference."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def _checked(below_1: str = "", **options: Any) -> dict[str, Any]:
    """The options of a group; numbers are 0 or more, and that named `below_1` is below 1."""
    for name, value in options.items():
        # Written so that NaN, for which every comparison is False, is refused.
        if not value >= 0 or (name == below_1 and not value < 1):
            raise ValueError(f"{name} must be 0 or more{' and below 1' if name == below_1 else ''}, got {value}")
    return options


def _evaluate(closure: Callable[[], Any] | None) -> Any:
    # step runs under no_grad, the closure needs a graph.
    with torch.enable_grad():
        return None if closure is None else closure()


def _gradients(optimizer: Optimizer) -> Iterator[tuple[Tensor, Tensor, dict[str, Any], dict[str, Any]]]:
    """Every parameter that has a gradient: itself, its g, its state with the step counted, and its group."""
    for group in optimizer.param_groups:
        for w in group["params"]:
            if w.grad is None:
                continue
            state = optimizer.state[w]
            state["step"] = state.get("step", 0) + 1
            g = -w.grad if group["maximize"] else w.grad
            # A new tensor: += would change the caller's .grad.
            yield w, g + group["weight_decay"] * w, state, group


def _kept(state: dict[str, Any], name: str, like: Tensor, value: float = 0.0) -> Tensor:
    """What the state keeps under this name; at first a tensor full of `value`."""
    if name not in state:
        state[name] = torch.full_like(like, value)
    return state[name]


class Adagrad(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        maximize: bool = False,
    ) -> None:
        numbers = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
        options = _checked(**numbers, initial_accumulator_value=initial_accumulator_value)
        super().__init__(params, {**options, "maximize": maximize})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, state, group in _gradients(self):
            s = _kept(state, "sum", w, group["initial_accumulator_value"])
            s.add_(g * g)
            lr = group["lr"] / (1 + (float(state["step"]) - 1) * group["lr_decay"])
            w.sub_(lr * g / (s.sqrt() + group["eps"]))
        return loss


class RMSprop(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        maximize: bool = False,
    ) -> None:
        options = _checked("alpha", lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
        super().__init__(params, {**options, "centered": centered, "maximize": maximize})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, state, group in _gradients(self):
            alpha, momentum = group["alpha"], group["momentum"]
            v = _kept(state, "square_avg", w)
            v.mul_(alpha).add_(g * g, alpha=1 - alpha)
            if group["centered"]:
                mean = _kept(state, "grad_avg", w)
                mean.mul_(alpha).add_(g, alpha=1 - alpha)
                # Rounding can take a variance below 0, and its root would be NaN for ever.
                v = (v - mean * mean).clamp(min=0)
            d = g / (v.sqrt() + group["eps"])
            if momentum > 0:
                d = _kept(state, "momentum_buffer", w).mul_(momentum).add_(d)
            w.sub_(group["lr"] * d)
        return loss


class Adadelta(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        options = _checked("rho", lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
        super().__init__(params, {**options, "maximize": maximize})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, state, group in _gradients(self):
            rho, eps = group["rho"], group["eps"]
            v, u = _kept(state, "square_avg", w), _kept(state, "acc_delta", w)
            v.mul_(rho).add_(g * g, alpha=1 - rho)
            # eps inside both roots: u starts at 0, and without it nothing would ever move.
            delta = ((u + eps) / (v + eps)).sqrt() * g
            u.mul_(rho).add_(delta * delta, alpha=1 - rho)
            w.sub_(group["lr"] * delta)
        return loss
