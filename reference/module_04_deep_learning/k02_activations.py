"""Activations and their derivatives: the reference."""

import math

import torch
from torch import Tensor


def sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    # σ(x) is 1 / (1 + e) for x ≥ 0 and e / (1 + e) for x < 0.  Neither overflows, and σ' has no 1 - σ that cancels.
    e = (-x.abs()).exp()
    value = torch.where(x >= 0, torch.ones_like(x), e) / (1 + e)
    return value, e / (1 + e).square()


def tanh(x: Tensor) -> tuple[Tensor, Tensor]:
    twice = -2 * x.abs()
    e = twice.exp()
    # 1 - e cancels near x = 0, where e is almost 1: expm1 doesn't.
    value = x.sign() * -twice.expm1() / (1 + e)
    return value, 4 * e / (1 + e).square()


def relu(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.clamp(min=0), (x > 0).to(x.dtype)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> tuple[Tensor, Tensor]:
    # Not max(x, a·x): that takes the wrong branch where a is above 1.
    derivative = torch.where(x > 0, torch.ones_like(x), negative_slope)
    return derivative * x, derivative


def softplus(x: Tensor, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    # logaddexp(0, y) is log(e⁰ + e^y), with the larger of the two taken out first.
    y = beta * x
    return torch.logaddexp(torch.zeros_like(y), y) / beta, sigmoid(y)[0]


def silu(x: Tensor) -> tuple[Tensor, Tensor]:
    s, ds = sigmoid(x)
    return x * s, s + x * ds


def gelu(x: Tensor, approximate: str = "none") -> tuple[Tensor, Tensor]:
    if approximate == "none":
        # 1 + erf(x/√2) cancels for x below -4; erfc(-x/√2) is the same number without a subtraction.
        cumulative = torch.erfc(-x / math.sqrt(2)) / 2
        density = (-x.square() / 2).exp() / math.sqrt(2 * math.pi)
        return x * cumulative, cumulative + x * density
    if approximate == "tanh":
        # (1 + tanh u) / 2 is σ(2u): the same cure, and the derivative for free.
        scale = 2 * math.sqrt(2 / math.pi)
        s, ds = sigmoid(scale * (x + 0.044715 * x**3))
        return x * s, s + x * ds * scale * (1 + 3 * 0.044715 * x.square())
    raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")


def saturation(derivatives: Tensor, threshold: float = 0.01) -> Tensor:
    # The derivatives of SiLU and GELU are negative here and there.
    rows = derivatives.reshape(-1, derivatives.shape[-1])
    return (rows.abs() < threshold).to(derivatives.dtype).mean(0)


def dead_units(derivatives: Tensor) -> Tensor:
    rows = derivatives.reshape(-1, derivatives.shape[-1])
    return (rows == 0).all(0)
