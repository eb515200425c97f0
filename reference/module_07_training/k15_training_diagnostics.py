"""Training diagnostics: the reference."""

import copy
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn


def gradient_flow(model: nn.Module) -> dict[str, float]:
    seen: set[Tensor] = set()
    flow = {}
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.grad is not None and p not in seen]
        seen.update(own)
        count = sum(p.numel() for p in own)
        if count:
            total = sum(p.grad.float().square().sum().item() for p in own)
            flow[name] = math.sqrt(total / count)
    return flow


class _Sums:
    """What is kept of a module's outputs: sums, not the outputs themselves."""

    def __init__(self) -> None:
        self.count = self.zeros = self.saturated = 0
        self.total = self.squares = 0.0
        self.alive: Tensor | None = None

    def add(self, module: nn.Module, output: Tensor) -> None:
        y = output.detach().double()
        self.count += y.numel()
        self.total += y.sum().item()
        self.squares += y.square().sum().item()
        self.zeros += (y == 0).sum().item()
        units = y.transpose(1, -1) if y.dim() == 4 else y
        alive = (units != 0).reshape(-1, units.shape[-1]).any(0)
        self.alive = alive if self.alive is None else self.alive | alive
        if isinstance(module, nn.Tanh):
            self.saturated += (y.abs() >= 0.99).sum().item()
        elif isinstance(module, nn.Sigmoid):
            self.saturated += ((2 * y - 1).abs() >= 0.99).sum().item()

    def statistics(self) -> dict[str, float]:
        mean = self.total / self.count
        return {
            "mean": mean,
            # Rounding may take the variance of equal entries a little below 0.
            "std": math.sqrt(max(self.squares / self.count - mean**2, 0.0)),
            "zeros": self.zeros / self.count,
            "dead": 1 - self.alive.double().mean().item(),
            "saturated": self.saturated / self.count,
        }


class ActivationRecorder:
    def __init__(self, model: nn.Module, kinds: tuple[type, ...]) -> None:
        self.modules = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
        self.sums: dict[str, _Sums] = {}
        self.handles: list[Any] = []

    def __enter__(self) -> "ActivationRecorder":
        for name, module in self.modules.items():

            def hook(module: nn.Module, args: Any, output: Tensor, name: str = name) -> None:
                self.sums.setdefault(name, _Sums()).add(module, output)

            self.handles.append(module.register_forward_hook(hook))
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    def statistics(self) -> dict[str, dict[str, float]]:
        return {name: self.sums[name].statistics() for name in self.modules if name in self.sums}


def diagnose(
    activations: dict[str, dict[str, float]],
    gradients: dict[str, float],
    share: float = 0.5,
    low: float = 1e-3,
    high: float = 1e3,
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, values in activations.items():
        for word in ("dead", "saturated"):
            if values[word] >= share:
                found.setdefault(name, []).append(word)
    # Zeros and infinities are what we look for: they must not shift the yardstick.
    sound = [g for g in gradients.values() if math.isfinite(g) and g > 0]
    median = statistics.median(sound) if sound else 0.0
    for name, gradient in gradients.items():
        if not math.isfinite(gradient) or gradient > high * median:
            found.setdefault(name, []).append("exploding")
        elif gradient <= low * median:
            found.setdefault(name, []).append("vanishing")
    return {name: sorted(words) for name, words in found.items()}


def spectrum(weight: Tensor) -> dict[str, float]:
    values = torch.linalg.svdvals(weight.detach().double().flatten(1))
    largest = values[0].item()
    if largest == 0:
        return {"norm": 0.0, "stable_rank": 0.0, "effective_rank": 0.0, "condition": math.inf}
    values = values.where(values >= 1e-12 * largest, 0.0)
    p = values / values.sum()
    smallest = values[-1].item()
    return {
        "norm": largest,
        "stable_rank": (values.square().sum() / largest**2).item(),
        "effective_rank": torch.special.entr(p).sum().exp().item(),  # -p log p, and 0 at 0
        "condition": largest / smallest if smallest else math.inf,
    }


def random_direction(model: nn.Module, generator: Generator | None = None) -> dict[str, Tensor]:
    direction = {}
    for name, parameter in model.named_parameters():
        w = parameter.detach()
        if w.dim() < 2:
            direction[name] = torch.zeros_like(w)
            continue
        d = torch.randn(w.shape, dtype=w.dtype, device=w.device, generator=generator)
        across = tuple(range(1, w.dim()))
        lengths = [torch.linalg.vector_norm(t, dim=across, keepdim=True) for t in (w, d)]
        direction[name] = d * (lengths[0] / lengths[1])
    return direction


@torch.no_grad()
def loss_slice(
    model: nn.Module, loss: Callable[[], Tensor], direction: dict[str, Tensor], steps: Sequence[float]
) -> list[float]:
    # Copies: adding and subtracting would round, and leave other weights behind.
    weights = {name: p.clone() for name, p in model.named_parameters()}
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    losses = []
    try:
        for a in steps:
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name] + a * direction[name])
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
            losses.append(float(loss()))
    finally:
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return losses


def trend(losses: Sequence[float]) -> tuple[float, float]:
    n = len(losses)
    if n < 3:
        raise ValueError(f"a trend and its error need 3 losses or more, got {n}")
    y = torch.tensor(losses, dtype=torch.float64)
    y = y - y[0]  # a slope doesn't depend on the height, and losses that are all equal have exactly none
    t = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    spread = t.square().sum()
    slope = t.dot(y) / spread
    residuals = y - y.mean() - slope * t
    # Two degrees of freedom went into the line.
    error = (residuals.square().sum() / (n - 2) / spread).sqrt()
    return slope.item(), error.item()


def has_converged(losses: Sequence[float], window: int, z: float = 2.0) -> bool:
    last = losses[-window:]
    if len(last) < window:
        return False
    slope, error = trend(last)
    return slope >= -z * error  # what isn't finite makes the error NaN, and then this is False


def memorizes(
    model: nn.Module,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    steps: int = 100,
    lr: float = 0.01,
    share: float = 0.1,
) -> bool:
    model = copy.deepcopy(model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    first = None
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        first = loss.item() if first is None else first
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        last = loss_fn(model(x), y).item()
    return last <= share * first  # False for NaN
