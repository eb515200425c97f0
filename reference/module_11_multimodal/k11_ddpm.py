"""Diffusion models: the reference."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

Model = Callable[[Tensor, Tensor], Tensor]


def linear_betas(steps: int, first: float = 1e-4, last: float = 0.02) -> Tensor:
    return torch.linspace(first, last, steps, dtype=torch.float64)


def cosine_betas(steps: int, offset: float = 0.008, limit: float = 0.999) -> Tensor:
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    f = ((t + offset) / (1 + offset) * math.pi / 2).cos().square()
    return (1 - f[1:] / f[:-1]).clamp(max=limit)


def alpha_bars(betas: Tensor) -> Tensor:
    # The 1 in front is time 0, the data, so that bars[t] belongs to x_t.
    return torch.cat([torch.ones_like(betas[:1]), (1 - betas).cumprod(0)])


def add_noise(x0: Tensor, t: Tensor, noise: Tensor, bars: Tensor) -> Tensor:
    signal, sigma = _rates(t, bars, x0)
    return signal * x0 + sigma * noise


def to_velocity(x0: Tensor, t: Tensor, noise: Tensor, bars: Tensor) -> Tensor:
    signal, sigma = _rates(t, bars, x0)
    return signal * noise - sigma * x0


def split_prediction(output: Tensor, x: Tensor, t: Tensor, bars: Tensor, kind: str = "noise") -> tuple[Tensor, Tensor]:
    _check(kind)
    signal, sigma = _rates(t, bars, x)
    if kind == "noise":
        return (x - sigma * output) / signal, output
    # (signal, sigma) is a point on the unit circle, and v is x turned by a quarter.
    return signal * x - sigma * output, sigma * x + signal * output


def diffusion_loss(model: Model, x0: Tensor, t: Tensor, noise: Tensor, bars: Tensor, kind: str = "noise") -> Tensor:
    _check(kind)
    target = noise if kind == "noise" else to_velocity(x0, t, noise, bars)
    return (model(add_noise(x0, t, noise, bars), t) - target).square().mean()


def posterior(x0: Tensor, x: Tensor, t: Tensor, bars: Tensor) -> tuple[Tensor, Tensor]:
    bar, before = _like(bars[t], x), _like(bars[t - 1], x)
    beta = 1 - bar / before
    mean = (before.sqrt() * beta * x0 + (bar / before).sqrt() * (1 - before) * x) / (1 - bar)
    return mean, beta * (1 - before) / (1 - bar)


def ancestral_sample(model: Model, start: Tensor, bars: Tensor, generator: Generator, kind: str = "noise") -> Tensor:
    x = start
    for step in range(len(bars) - 1, 0, -1):
        t = torch.full((len(x),), step, device=x.device)
        x0, _ = split_prediction(model(x, t), x, t, bars, kind)
        mean, variance = posterior(x0, x, t, bars)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        x = mean + variance.sqrt() * noise  # the last variance is 0
    return x


def ddim_step(
    x0: Tensor, noise: Tensor, t: Tensor, to: Tensor, bars: Tensor, eta: float = 0.0, fresh: Tensor | None = None
) -> Tensor:
    bar, before = _like(bars[t], x0), _like(bars[to], x0)
    sigma = eta * ((1 - before) / (1 - bar) * (1 - bar / before)).sqrt()
    x = before.sqrt() * x0 + (1 - before - sigma**2).clamp(min=0).sqrt() * noise
    return x if fresh is None else x + sigma * fresh


def ddim_sample(model: Model, start: Tensor, bars: Tensor, times: list[int], kind: str = "noise") -> Tensor:
    x = start
    for here, there in zip(times, [*times[1:], 0], strict=True):
        t, to = (torch.full((len(x),), one, device=x.device) for one in (here, there))
        x0, noise = split_prediction(model(x, t), x, t, bars, kind)
        x = ddim_step(x0, noise, t, to, bars)
    return x


def _check(kind: str) -> None:
    if kind not in ("noise", "velocity"):
        raise ValueError(f"kind must be noise or velocity, got {kind!r}")


def _like(rates: Tensor, x: Tensor) -> Tensor:
    """(n,) to (n, 1, 1, …), with the dtype of x."""
    return rates.to(x).view(-1, *[1] * (x.ndim - 1))


def _rates(t: Tensor, bars: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return _like(bars[t].sqrt(), x), _like((1 - bars[t]).sqrt(), x)
