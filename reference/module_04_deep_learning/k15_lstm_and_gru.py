"""LSTM and GRU: the reference."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Weights(NamedTuple):
    """The weights of a step: G is 4 for an LSTM, 3 for a GRU."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor
    b_hh: Tensor


def lstm_step(x: Tensor, state: tuple[Tensor, Tensor], weights: Weights) -> tuple[Tensor, Tensor]:
    h, c = state
    # One product for all four gates: that is why their rows stand below each other.
    gates = x @ weights.w_ih.T + weights.b_ih + h @ weights.w_hh.T + weights.b_hh
    i, f, g, o = gates.chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(x: Tensor, h: Tensor, weights: Weights) -> Tensor:
    # Two products, not their sum: r multiplies only the part that comes from h.
    x_r, x_z, x_n = (x @ weights.w_ih.T + weights.b_ih).chunk(3, dim=-1)
    h_r, h_z, h_n = (h @ weights.w_hh.T + weights.b_hh).chunk(3, dim=-1)
    r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
    n = (x_n + r * h_n).tanh()
    return (1 - z) * n + z * h


@torch.no_grad()
def set_forget_bias(lstm: nn.Module, value: float) -> None:
    for name, parameter in lstm.named_parameters():
        if "bias" in name:
            m = len(parameter) // 4
            # The two are added, so one of them is enough.
            parameter[m : 2 * m] = value if "bias_ih" in name else 0.0


State = tuple[Tensor, ...]


class _Layers(nn.Module):
    """What LSTM and GRU share: their parameters, and the walk over layers, directions and time."""

    def __init__(self, gates: int, d: int, m: int, layers: int, bidirectional: bool) -> None:
        super().__init__()
        self.m = m
        self.directions = ["", "_reverse"] if bidirectional else [""]
        self.suffixes = [f"_l{k}{direction}" for k in range(layers) for direction in self.directions]
        for suffix in self.suffixes:
            inputs = d if suffix.startswith("_l0") else m * len(self.directions)
            rows = gates * m
            shapes = {"weight_ih": (rows, inputs), "weight_hh": (rows, m), "bias_ih": (rows,), "bias_hh": (rows,)}
            for name, shape in shapes.items():
                start = torch.empty(shape).uniform_(-1 / math.sqrt(m), 1 / math.sqrt(m))
                self.register_parameter(name + suffix, nn.Parameter(start))

    def read(
        self, step: Callable[[Tensor, State, Weights], State], x: Tensor, state: State, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Outputs and last states; each tensor of `state` is (layers · D, b, m), and h is the first of them."""
        batch, n, _ = x.shape
        if lengths is None:
            lengths = torch.full((batch,), n, device=x.device)
        real = torch.arange(n, device=x.device) < lengths[:, None]
        finals: list[State] = []
        for start in range(0, len(self.suffixes), len(self.directions)):
            outputs = []
            for place, direction in enumerate(self.directions, start):
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                weights = Weights(*(getattr(self, name + self.suffixes[place]) for name in names))
                now = tuple(part[place] for part in state)
                states = [now[0]] * n
                for t in reversed(range(n)) if direction else range(n):
                    new = step(x[:, t], now, weights)
                    # In the padding the state stands still, in either direction.
                    now = tuple(torch.where(real[:, t, None], a, b) for a, b in zip(new, now, strict=True))
                    states[t] = now[0]
                outputs.append(torch.stack(states, dim=1))
                finals.append(now)
            x = torch.cat(outputs, dim=-1).masked_fill(~real[..., None], 0)
        return x, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))


class LSTM(_Layers):
    def __init__(self, d: int, m: int, layers: int = 1, bidirectional: bool = False) -> None:
        super().__init__(4, d, m, layers, bidirectional)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        zeros = x.new_zeros(len(self.suffixes), len(x), self.m)
        outputs, (h, c) = self.read(lstm_step, x, state or (zeros, zeros), lengths)
        return outputs, (h, c)


class GRU(_Layers):
    def __init__(self, d: int, m: int, layers: int = 1, bidirectional: bool = False) -> None:
        super().__init__(3, d, m, layers, bidirectional)

    def forward(self, x: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if h0 is None:
            h0 = x.new_zeros(len(self.suffixes), len(x), self.m)
        outputs, (h,) = self.read(lambda x, h, weights: (gru_step(x, *h, weights),), x, (h0,), lengths)
        return outputs, h
