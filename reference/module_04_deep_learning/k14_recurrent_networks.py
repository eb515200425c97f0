"""Recurrent networks: the reference."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Weights(NamedTuple):
    """The weights of a step, or their gradients."""

    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor
    b_hh: Tensor


def rnn_step(x: Tensor, h: Tensor, weights: Weights) -> Tensor:
    return torch.tanh(x @ weights.w_ih.T + weights.b_ih + h @ weights.w_hh.T + weights.b_hh)


def rnn_forward(x: Tensor, h0: Tensor, weights: Weights) -> Tensor:
    h, states = h0, []
    for item in x.unbind(1):
        h = rnn_step(item, h, weights)
        states.append(h)
    return torch.stack(states, dim=1)


def rnn_backward(
    x: Tensor, h0: Tensor, weights: Weights, states: Tensor, upstream: Tensor, truncate: int | None = None
) -> tuple[Tensor, Tensor, Weights]:
    if truncate is not None and truncate < 1:
        raise ValueError(f"truncate is {truncate}; expected at least 1 step")
    window = truncate or x.shape[1]
    dx = torch.zeros_like(x)
    d_ih, d_hh, d_bias = (torch.zeros_like(w) for w in weights[:3])
    carried = torch.zeros_like(h0)  # what comes from the step after
    dh0 = carried
    for t in reversed(range(x.shape[1])):
        before = h0 if t == 0 else states[:, t - 1]
        # tanh' = 1 - tanh², and tanh of this step is the state itself.
        a = (upstream[:, t] + carried) * (1 - states[:, t].square())
        dx[:, t] = a @ weights.w_ih
        d_ih += a.T @ x[:, t]
        d_hh += a.T @ before
        d_bias += a.sum(0)
        carried = a @ weights.w_hh
        if t == 0:
            dh0 = carried
        # The state that enters a window is used (in d_hh, above), but nothing flows back through it.
        if t % window == 0:
            carried = torch.zeros_like(h0)
    # Both biases are added at the same place, so that their gradients are equal.
    return dx, dh0, Weights(d_ih, d_hh, d_bias, d_bias.clone())


def gradient_reach(states: Tensor, w_hh: Tensor, upstream: Tensor) -> Tensor:
    g, norms = upstream, [upstream.norm()]
    for t in reversed(range(1, states.shape[1])):
        g = (g * (1 - states[:, t].square())) @ w_hh
        norms.append(g.norm())
    return torch.stack(norms[::-1])


class RNN(nn.Module):
    def __init__(self, d: int, m: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.m = m
        self.suffixes = ["_l0", "_l0_reverse"] if bidirectional else ["_l0"]
        shapes = {"weight_ih": (m, d), "weight_hh": (m, m), "bias_ih": (m,), "bias_hh": (m,)}
        for suffix in self.suffixes:
            for name, shape in shapes.items():
                start = torch.empty(shape).uniform_(-1 / math.sqrt(m), 1 / math.sqrt(m))
                self.register_parameter(name + suffix, nn.Parameter(start))

    def forward(self, x: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        batch, n, _ = x.shape
        if h0 is None:
            h0 = x.new_zeros(len(self.suffixes), batch, self.m)
        if lengths is None:
            lengths = torch.full((batch,), n, device=x.device)
        for length in lengths.tolist():
            if not 1 <= length <= n:
                raise ValueError(f"a length is {length}; expected 1 to {n}, as x has {n} items a row")
        real = torch.arange(n, device=x.device) < lengths[:, None]

        outputs, finals = [], []
        for suffix, h in zip(self.suffixes, h0, strict=True):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = Weights(*(getattr(self, name + suffix) for name in names))
            states = [h] * n
            for t in reversed(range(n)) if suffix.endswith("reverse") else range(n):
                # In the padding the state stands still.  So the backward direction, which comes from
                # the padded end, is still at h0 when it meets its first real item.
                h = torch.where(real[:, t, None], rnn_step(x[:, t], h, weights), h)
                states[t] = h
            outputs.append(torch.stack(states, dim=1))
            finals.append(h)
        return torch.cat(outputs, dim=-1).masked_fill(~real[..., None], 0), torch.stack(finals)
