"""ZeRO's three stages: the reference."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


def memory_per_rank(numel: float, n: int, stage: int) -> float:
    """Bytes of parameters, gradients and optimizer state; each stage divides one kind more by n."""
    if stage not in (0, 1, 2, 3):
        raise ValueError(f"stage must be 0, 1, 2 or 3, not {stage}")
    weights, gradients, state = 2 * numel, 2 * numel, 12 * numel
    if stage >= 1:
        state /= n
    if stage >= 2:
        gradients /= n
    if stage == 3:
        weights /= n
    return float(weights + gradients + state)


def shard(x: Tensor) -> Tensor:
    """This rank's part of x, flat and padded by zeros."""
    n, rank = dist.get_world_size(), dist.get_rank()
    flat = x.detach().reshape(-1)
    size = -(-flat.numel() // n)
    mine = flat[rank * size : (rank + 1) * size]  # a view: it would keep the whole of x alive
    part = flat.new_zeros(size)
    part[: mine.numel()] = mine
    return part


def gather(part: Tensor, shape: Sequence[int]) -> Tensor:
    """The whole of which every rank has a part."""
    whole = part.new_empty(dist.get_world_size() * part.numel())
    dist.all_gather_single(whole, part.detach())
    return whole[: math.prod(shape)].view(shape)


def reduce_mean(x: Tensor) -> Tensor:
    """This rank's part of the mean of all ranks' x."""
    n = dist.get_world_size()
    padded = F.pad(x.reshape(-1), (0, -x.numel() % n))
    part = padded.new_empty(padded.numel() // n)
    dist.reduce_scatter_single(part, padded)
    return part / n


class Zero1:
    """Whole parameters and gradients, the optimizer's state in parts."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        # A frozen parameter never gets a gradient: the same on all ranks, it stays the same.
        self.params = [p for p in params if p.requires_grad]
        self.parts = [shard(p) for p in self.params]
        # AdamW is elementwise, so it needn't know that it updates a part.
        self.adamw = torch.optim.AdamW(self.parts, lr, betas, eps, weight_decay)

    def step(self) -> None:
        for p, part in zip(self.params, self.parts, strict=True):
            part.grad = reduce_mean(p.grad)
            p.grad = None
        self._update()

    def _update(self) -> None:
        """Update the own parts from their gradients, then fetch everybody's."""
        self.adamw.step()
        self.adamw.zero_grad()
        for p, part in zip(self.params, self.parts, strict=True):
            p.data.copy_(gather(part, p.shape))


class Zero2(Zero1):
    """As stage 1, with the gradients in parts as well."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
        for p, part in zip(self.params, self.parts, strict=True):
            part.grad = torch.zeros_like(part)

            # A default binds this turn's part; the loop's own would be the last by the time of the call.
            def reduce(p: Tensor, part: Tensor = part) -> None:
                part.grad += reduce_mean(p.grad)  # added: there may be several backwards before a step
                p.grad = None

            p.register_post_accumulate_grad_hook(reduce)

    def step(self) -> None:
        self._update()
        for part in self.parts:
            part.grad = torch.zeros_like(part)


class _Run(torch.autograd.Function):
    """Run a layer whose parameters are whole only meanwhile."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, part: Tensor, layer: nn.Module, shapes: dict[str, torch.Size]) -> Tensor:
        # The part, not the whole: what is saved lives until backward.
        ctx.save_for_backward(x, part)
        ctx.layer, ctx.shapes = layer, shapes
        return functional_call(layer, _whole(part, shapes), (x,))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, part = ctx.saved_tensors
        with torch.enable_grad():  # once more, and this time with a graph
            x = x.detach().requires_grad_()
            params = {name: p.requires_grad_() for name, p in _whole(part, ctx.shapes).items()}
            out = functional_call(ctx.layer, params, (x,))
        # The input's gradient is this rank's own; the parameters' is averaged.
        grad_x, *grads = torch.autograd.grad(out, [x, *params.values()], upstream)
        return grad_x, reduce_mean(torch.cat([grad.reshape(-1) for grad in grads])), None, None


def _whole(part: Tensor, shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """A layer's parameters by their names, gathered."""
    sizes = [shape.numel() for shape in shapes.values()]
    flat = gather(part, (sum(sizes),))
    return {name: piece.view(shapes[name]) for name, piece in zip(shapes, flat.split(sizes), strict=True)}


class Zero3:
    """Parameters, gradients and state in parts; one layer at a time is whole."""

    def __init__(
        self,
        layers: Iterable[nn.Module],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        self.layers = list(layers)
        self.shapes, self.parts = [], []
        for layer in self.layers:
            self.shapes.append({name: p.shape for name, p in layer.named_parameters()})
            flat = torch.cat([p.reshape(-1) for p in layer.parameters()])
            self.parts.append(shard(flat).requires_grad_())
            for p in layer.parameters():
                p.data = p.new_empty(0)  # the layer stays as a form without content
        self.adamw = torch.optim.AdamW(self.parts, lr, betas, eps, weight_decay)

    def __call__(self, x: Tensor) -> Tensor:
        for layer, shapes, part in zip(self.layers, self.shapes, self.parts, strict=True):
            x = _Run.apply(x, part, layer, shapes)
        return x

    def step(self) -> None:
        self.adamw.step()
        self.adamw.zero_grad()
