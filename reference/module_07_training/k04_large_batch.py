"""Large batches and beyond Adam: the reference."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def trust_ratio(size: Tensor, update: Tensor) -> Tensor:
    # torch.where rather than `if`: asking a GPU for a value makes the CPU wait for it, once a layer.
    return torch.where((size > 0) & (update > 0), size / update, torch.ones_like(size))


def _checked(betas: tuple[float, ...] = (), **options: float) -> dict[str, Any]:
    """The options of a group: numbers are 0 or more, betas are below 1 as well."""
    for name, value in options.items():
        # Written so that NaN, for which every comparison is False, is refused.
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more, got {value}")
    for beta in betas:
        if not 0 <= beta < 1:
            raise ValueError(f"betas must be 0 or more and below 1, got {beta}")
    return {**options, "betas": betas} if betas else options


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


def _kept(state: dict[str, Any], name: str, like: Tensor) -> Tensor:
    """What the state keeps under this name; zeros at first."""
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]


class Lion(Optimizer):
    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, _checked(betas, lr=lr, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, state, group in _gradients(self):
            beta1, beta2 = group["betas"]
            m = _kept(state, "exp_avg", w)
            # c is a mix for this step only; the memory follows more slowly, and afterwards.
            c = beta1 * m + (1 - beta1) * g
            w.sub_(group["lr"] * (c.sign() + group["weight_decay"] * w))
            m.mul_(beta2).add_(g, alpha=1 - beta2)
        return loss


class LARS(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, _checked(**options, trust_coefficient=trust_coefficient))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, state, group in _gradients(self):
            decay, size = group["weight_decay"], w.norm()
            r = trust_ratio(group["trust_coefficient"] * size, g.norm() + decay * size)
            # The rate is inside b, as in the paper: what was gathered at a higher rate keeps it.
            b = _kept(state, "momentum_buffer", w)
            b.mul_(group["momentum"]).add_(group["lr"] * r * (g + decay * w))
            w.sub_(b)
        return loss


class LAMB(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, _checked(betas, lr=lr, eps=eps, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, state, group in _gradients(self):
            beta1, beta2 = group["betas"]
            m, v = _kept(state, "exp_avg", w), _kept(state, "exp_avg_sq", w)
            t = state["step"] = state.get("step", 0) + 1
            m.mul_(beta1).add_(g, alpha=1 - beta1)
            v.mul_(beta2).add_(g * g, alpha=1 - beta2)
            direction = (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + group["eps"])
            # The decay is measured with the rest: u as a whole gets the length of w.
            u = direction + group["weight_decay"] * w
            w.sub_(group["lr"] * trust_ratio(w.norm(), u.norm()) * u)
        return loss


class Lookahead:
    def __init__(self, inner: Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        if k < 1:
            raise ValueError(f"k must be 1 or more, got {k}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
        self.inner, self.k, self.alpha = inner, k, alpha
        self.count = 0
        self.slow = [w.detach().clone() for w in self._fast()]

    def _fast(self) -> Iterator[Tensor]:
        for group in self.inner.param_groups:
            yield from group["params"]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        # Outside of no_grad: the inner step decides about the closure's gradients.
        loss = self.inner.step(closure)
        self.count += 1
        if self.count % self.k == 0:
            with torch.no_grad():
                for slow, fast in zip(self.slow, self._fast(), strict=True):
                    slow.add_(self.alpha * (fast - slow))
                    fast.copy_(slow)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"inner": self.inner.state_dict(), "slow": [w.clone() for w in self.slow], "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict["inner"])
        # copy_ into the old ones: they are on the parameters' device, wherever the saved ones were.
        for slow, saved in zip(self.slow, state_dict["slow"], strict=True):
            slow.copy_(saved)
        self.count = state_dict["count"]
