"""Normalization layers: the reference."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LayerNorm(nn.Module):
    def __init__(self, d: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.bias = nn.Parameter(torch.zeros(d))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # The mean goes first: E[x²] - E[x]² is a small difference of large numbers where the mean is large.
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class RMSNorm(nn.Module):
    def __init__(self, d: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # Half precision has too few digits for the squares, and float16's overflow from 256 on.
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        mean_square = wide.square().mean(-1, keepdim=True)
        # Back to x's type before the weight multiplies, as Llama does: its weights were trained with that rounding.
        return self.weight * (wide * torch.rsqrt(mean_square + self.eps)).to(x.dtype)


class Residual(nn.Module):
    def __init__(self, d: int, sublayer: nn.Module, pre_norm: bool = True) -> None:
        super().__init__()
        self.norm = LayerNorm(d)
        self.sublayer = sublayer
        self.pre_norm = pre_norm

    def forward(self, x: Tensor) -> Tensor:
        if self.pre_norm:
            return x + self.sublayer(self.norm(x))
        return self.norm(x + self.sublayer(x))


def gradient_norms(blocks: Sequence[nn.Module], x: Tensor, upstream: Tensor) -> list[float]:
    # autograd.grad gives the gradient of every state in one pass, and leaves all .grad alone; backward() wouldn't.
    states = [x.detach().requires_grad_()]
    for block in blocks:
        states.append(block(states[-1]))
    gradients = torch.autograd.grad(states[-1], states, upstream)
    return [gradient.norm().item() for gradient in gradients]
