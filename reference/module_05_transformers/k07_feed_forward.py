"""Feed-forward layers: the reference."""

import math

import torch
from torch import Tensor, nn


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    # Two forms, as weights were trained with one of them: GPT-2's with the tanh.
    if approximate == "none":
        return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    if approximate == "tanh":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(f"approximate must be 'none' or 'tanh', got {approximate!r}")


def _gelu_tanh(x: Tensor) -> Tensor:
    return gelu(x, "tanh")


def _silu(x: Tensor) -> Tensor:
    # sigmoid is stable on both sides; exp(x) / (1 + exp(x)) overflows.
    return x * torch.sigmoid(x)


PLAIN = {"relu": torch.relu, "gelu": gelu, "gelu_tanh": _gelu_tanh}
GATES = {"silu": _silu, "gelu": gelu}


class FeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int, activation: str = "gelu") -> None:
        super().__init__()
        if activation not in PLAIN:
            raise ValueError(f"activation must be one of {', '.join(PLAIN)}, got {activation!r}")
        self.activation = PLAIN[activation]
        self.up_proj = nn.Linear(d_model, d_ff)
        self.down_proj = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.up_proj(x)))


class GatedFeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int, activation: str = "silu") -> None:
        super().__init__()
        if activation not in GATES:
            raise ValueError(f"activation must be one of {', '.join(GATES)}, got {activation!r}")
        self.activation = GATES[activation]
        self.gate_proj = nn.Linear(d_model, d_ff, bias=False)
        self.up_proj = nn.Linear(d_model, d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


def hidden_size(d_model: int, multiple_of: int) -> int:
    # In whole numbers: 8·d/3 has no exact float, and one rounded the wrong way costs a whole multiple.
    return -(-8 * d_model // (3 * multiple_of)) * multiple_of
