"""Int8 quantization: the reference."""

import torch
from torch import Tensor, nn


def choose_qparams(low: Tensor, high: Tensor, symmetric: bool = False) -> tuple[Tensor, Tensor]:
    # 0 must lie in the range, or no code stands for it.
    low, high = low.clamp(max=0), high.clamp(min=0)
    scale = torch.maximum(-low, high) / 127 if symmetric else (high - low) / 255
    scale = scale.where(scale > 0, torch.ones_like(scale))
    zero_point = torch.zeros_like(scale) if symmetric else -128 - (low / scale).round()
    return scale, zero_point.int()


def along(parameter: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """`parameter` in a shape that broadcasts against `x`: its length on `axis`, 1 elsewhere."""
    if axis is None:
        return parameter
    if len(parameter) != x.shape[axis]:
        raise ValueError(f"axis {axis} has length {x.shape[axis]}, but there are {len(parameter)} scales")
    shape = [1] * x.ndim
    shape[axis] = len(parameter)
    return parameter.reshape(shape)


def quantize(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None = None) -> Tensor:
    steps = (x / along(scale, x, axis)).round() + along(zero_point, x, axis)
    # Clamp while it is a float: an integer would wrap around.
    return steps.clamp(-128, 127).to(torch.int8)


def dequantize(q: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None = None) -> Tensor:
    # q − z reaches from −255 to 255, beyond int8; the int32 zero point widens it.
    return (q.int() - along(zero_point, q, axis)) * along(scale, q, axis)


def calibrate(
    x: Tensor, method: str = "minmax", percentile: float = 99.9, symmetric: bool = False
) -> tuple[Tensor, Tensor]:
    if method == "minmax":
        return x.min(), x.max()
    if method == "percentile":
        tail = 1 - percentile / 100
        return x.quantile(tail), x.quantile(1 - tail)
    if method == "mse":

        def error(factor: float) -> Tensor:
            qparams = choose_qparams(x.min() * factor, x.max() * factor, symmetric)
            return (dequantize(quantize(x, *qparams), *qparams) - x).square().mean()

        best = min((percent / 100 for percent in range(100, 49, -1)), key=error)
        return x.min() * best, x.max() * best
    raise ValueError(f"method must be 'minmax', 'percentile' or 'mse', got {method!r}")


def int8_matmul(a: Tensor, b: Tensor, a_zero: int | Tensor = 0, b_zero: int | Tensor = 0) -> Tensor:
    if a.shape[-1] != b.shape[0]:
        raise ValueError(f"a and b must share k, got {a.shape[-1]} and {b.shape[0]}")
    # Widened before anything else: q − z needs 9 bits, a product 17, a sum of k more.
    return (a.int() - a_zero) @ (b.int() - b_zero)


class DynamicQuantizedLinear(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale, zero_point = choose_qparams(weight.amin(1), weight.amax(1), symmetric=True)
        self.register_buffer("weight", quantize(weight, scale, zero_point, axis=0))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        scale, zero_point = choose_qparams(rows.amin(1), rows.amax(1))
        codes = quantize(rows, scale, zero_point, axis=0)
        sums = int8_matmul(codes, self.weight.T, zero_point[:, None])
        # A float times an int32 is a float: here, and only here, does rounding come in again.
        out = sums * scale[:, None] * self.scale
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(*x.shape[:-1], -1)
