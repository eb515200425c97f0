"""Second order: the reference."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def hvp(loss_fn: Callable[[Tensor], Tensor], w: Tensor, v: Tensor) -> Tensor:
    with torch.enable_grad():
        w = w.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss_fn(w), w, create_graph=True)
        if not g.requires_grad:  # a linear loss: its gradient is a constant
            return torch.zeros_like(w)
        (product,) = torch.autograd.grad(g, w, v.detach())
    return product


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum()


@torch.no_grad()
def conjugate_gradient(
    apply: Callable[[Tensor], Tensor], b: Tensor, iterations: int = 100, tolerance: float = 1e-10
) -> Tensor:
    x, r, p = torch.zeros_like(b), b, b
    rr = _dot(r, r)
    limit = tolerance**2 * rr
    for i in range(iterations):
        if rr <= limit:
            break
        product = apply(p)
        curvature = _dot(p, product)
        if curvature <= 0:
            # Along p the quadratic has no minimum.  b itself is at least a way down.
            return b.clone() if i == 0 else x
        alpha = rr / curvature
        x = x + alpha * p
        r = r - alpha * product
        before, rr = rr, _dot(r, r)
        # The new direction is A-orthogonal to all earlier ones, though only the last is known.
        p = r + rr / before * p
    return x


def newton_step(loss_fn: Callable[[Tensor], Tensor], w: Tensor, damping: float = 0.0, iterations: int = 100) -> Tensor:
    if damping < 0:
        raise ValueError(f"damping must be 0 or more, got {damping}")
    w = w.detach()
    with torch.enable_grad():
        at = w.clone().requires_grad_()
        (g,) = torch.autograd.grad(loss_fn(at), at)
    return w - conjugate_gradient(lambda p: hvp(loss_fn, w, p) + damping * p, g, iterations)


def inverse_root(matrix: Tensor, p: int, floor: float = 0.0) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=floor) ** (-1 / p)) @ vectors.mT


def _evaluate(closure: Callable[[], Any] | None) -> Any:
    # step runs under no_grad, the closure needs a graph.
    with torch.enable_grad():
        return None if closure is None else closure()


def _gradients(optimizer: Optimizer) -> Iterator[tuple[Tensor, Tensor, dict[str, Any], dict[str, Any]]]:
    """Every parameter that has a gradient: itself, its gradient, its state, and its group."""
    for group in optimizer.param_groups:
        for w in group["params"]:
            if w.grad is not None:
                yield w, w.grad, optimizer.state[w], group


class Shampoo(Optimizer):
    def __init__(self, params: Any, lr: float = 0.1, epsilon: float = 1e-4) -> None:
        # Written so that NaN, for which every comparison is False, is refused.
        if not lr >= 0:
            raise ValueError(f"lr must be 0 or more, got {lr}")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be above 0, got {epsilon}")
        super().__init__(params, {"lr": lr, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, state, group in _gradients(self):
            d = g
            for i, size in enumerate(g.shape):
                rows = g.movedim(i, 0).reshape(size, -1)
                if i not in state:
                    state[i] = group["epsilon"] * torch.eye(size, dtype=g.dtype, device=g.device)
                state[i].add_(rows @ rows.mT)
                root = inverse_root(state[i], 2 * g.dim(), group["epsilon"])
                d = torch.tensordot(d, root, dims=([i], [0])).movedim(-1, i)
            w.sub_(group["lr"] * d)
        return loss


def newton_schulz(g: Tensor, steps: int = 5) -> Tensor:
    a, b, c = 3.4445, -4.7750, 2.0315
    # The short side first: A is then as small as it can be.
    tall = g.shape[0] > g.shape[1]
    x = g.mT if tall else g
    # No singular value is above the norm, and the polynomial expects them from 0 to 1.
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: float = 0.02,
        momentum: float = 0.95,
        nesterov: bool = True,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be 0 or more and below 1, got {momentum}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay})
        for group in self.param_groups:
            for w in group["params"]:
                if w.dim() != 2:
                    raise ValueError(f"Muon is for matrices, got a parameter of shape {tuple(w.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, state, group in _gradients(self):
            mu = group["momentum"]
            m = state.setdefault("momentum_buffer", torch.zeros_like(w))
            m.mul_(mu).add_(g, alpha=1 - mu)
            u = (1 - mu) * g + mu * m if group["nesterov"] else m
            # A tall matrix has as many directions as a square one of its width, but each feeds more outputs.
            scale = max(1, w.shape[0] / w.shape[1]) ** 0.5
            w.mul_(1 - group["lr"] * group["weight_decay"])
            w.sub_(group["lr"] * scale * newton_schulz(u))
        return loss
