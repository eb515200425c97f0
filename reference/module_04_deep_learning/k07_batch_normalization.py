"""Batch normalization: the reference."""

import copy

import torch
from torch import Tensor, nn


class BatchNorm(nn.Module):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        # Buffers: not trained, but saved with the model and moved by .to.
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.weight):
            raise ValueError(f"x has {x.shape[1]} channels, expected {len(self.weight)}")
        if self.training:
            mean, variance = self._of_the_batch(x)
        else:
            mean, variance = self.running_mean, self.running_var
        x_hat = (x - _along(mean, x)) * _along(torch.rsqrt(variance + self.eps), x)
        return x_hat * _along(self.weight, x) + _along(self.bias, x)

    def _of_the_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n = x.numel() // x.shape[1]
        if n < 2:
            raise ValueError(f"a batch {tuple(x.shape)} has one value a channel, and so no variance")
        axes = _all_but_channels(x)
        mean, variance = x.mean(axes), x.var(axes, correction=0)
        # Without no_grad each batch would hang on to the graph of the one before.
        with torch.no_grad():
            self.num_batches_tracked += 1
            m = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, m)
            # Corrected: it stands for data that this mean wasn't fitted to.
            self.running_var.lerp_(variance * (n / (n - 1)), m)
        return mean, variance


def batch_norm_backward(
    upstream: Tensor, x: Tensor, weight: Tensor, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    axes = _all_but_channels(x)
    centred = x - x.mean(axes, keepdim=True)
    scale = torch.rsqrt(centred.square().mean(axes, keepdim=True) + eps)
    x_hat = centred * scale
    # The two means are what goes through μ and σ²: a shift or a stretch of the channel changes nothing.
    through_statistics = upstream.mean(axes, keepdim=True) + x_hat * (upstream * x_hat).mean(axes, keepdim=True)
    to_x = _along(weight, x) * scale * (upstream - through_statistics)
    return to_x, (upstream * x_hat).sum(axes), upstream.sum(axes)


class GroupNorm(nn.Module):
    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(f"{num_channels} channels can't be cut into {num_groups} groups")
        self.num_groups, self.eps = num_groups, eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != len(self.weight):
            raise ValueError(f"x has {x.shape[1]} channels, expected {len(self.weight)}")
        # A row holds all that is normalised together: a group's channels, with all their places.
        rows = x.reshape(x.shape[0], self.num_groups, -1)
        x_hat = _standardized(rows, self.eps).reshape(x.shape)
        return x_hat * _along(self.weight, x) + _along(self.bias, x)


def instance_norm(x: Tensor, eps: float = 1e-5) -> Tensor:
    return _standardized(x.flatten(2), eps).reshape(x.shape)


@torch.no_grad()
def fold(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    # The copy keeps stride, padding and all other settings, whatever they are.
    folded = copy.deepcopy(conv)
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    bias = torch.zeros_like(norm.bias) if conv.bias is None else conv.bias
    # The norm's channels are the outputs, the first axis of the weight.
    folded.weight.copy_(conv.weight * scale[:, None, None, None])
    folded.bias = nn.Parameter(scale * (bias - norm.running_mean) + norm.bias)
    return folded


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _along(values: Tensor, x: Tensor) -> Tensor:
    """`values` (c,) with as many axes behind as x (b, c, …) has, so that they meet its channels."""
    return values.reshape(-1, *[1] * (x.dim() - 2))


def _standardized(rows: Tensor, eps: float) -> Tensor:
    centred = rows - rows.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)
