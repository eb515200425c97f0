"""Mixed precision: the reference."""

from collections.abc import Callable, Iterable
from functools import reduce

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

LOW = {"matmul", "mm", "bmm", "addmm", "baddbmm", "linear", "conv1d", "conv2d"}
FULL = {"exp", "log", "pow", "sum", "prod", "softmax", "log_softmax", "layer_norm"}
FULL |= {"l1_loss", "mse_loss", "nll_loss", "cross_entropy"}


def autocast_dtype(op: str, *dtypes: torch.dtype, low: torch.dtype = torch.float16) -> torch.dtype:
    widest = reduce(torch.promote_types, dtypes)
    if widest == torch.float64:
        return widest
    if op in LOW:
        return low
    if op in FULL:
        return torch.float32
    return widest


class LossScaler:
    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        self._scale = float(init_scale)
        self.growth_factor = growth_factor
        self.backoff_factor = backoff_factor
        self.growth_interval = growth_interval
        self.good_steps = 0
        self.found_inf: bool | None = None  # None: not unscaled since the last update

    def get_scale(self) -> float:
        return self._scale

    def scale(self, loss: Tensor) -> Tensor:
        return loss.to(torch.promote_types(loss.dtype, torch.float32)) * self._scale

    def unscale_(self, optimizer: Optimizer) -> None:
        if self.found_inf is not None:
            raise RuntimeError("unscale_() was already called since the last update(): call update() first")
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if any(g.dtype == torch.float16 for g in gradients):
            raise ValueError("gradients to unscale must be float32 or wider, got float16")
        # Each entry by itself: a sum or a norm of large finite gradients may be inf.
        self.found_inf = not all(g.isfinite().all() for g in gradients)
        for g in gradients:
            g.div_(self._scale)

    def step(self, optimizer: Optimizer) -> bool:
        if self.found_inf is None:
            self.unscale_(optimizer)
        if self.found_inf:
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        if self.found_inf:
            self._scale *= self.backoff_factor
            self.good_steps = 0
        else:
            self.good_steps += 1
            if self.good_steps == self.growth_interval:
                self._scale *= self.growth_factor
                self.good_steps = 0
        self.found_inf = None


class MasterWeights:
    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.master = [p.detach().to(torch.float32, copy=True) for p in self.parameters]

    def read_gradients(self) -> None:
        for master, p in zip(self.master, self.parameters, strict=True):
            # A copy even from float32: unscaling it in place must not reach the model.
            master.grad = None if p.grad is None else p.grad.to(torch.float32, copy=True)

    @torch.no_grad()
    def write_weights(self) -> None:
        for master, p in zip(self.master, self.parameters, strict=True):
            p.copy_(master)


def train(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    make_optimizer: Callable[[list[Tensor]], Optimizer],
    scaler: LossScaler | None = None,
) -> list[float]:
    weights = MasterWeights(model.parameters())
    optimizer = make_optimizer(weights.master)
    losses = []
    for x, y in batches:
        model.zero_grad()
        loss = (model(x).float() - y).square().mean()
        losses.append(loss.item())
        if scaler is None:
            loss.backward()
            weights.read_gradients()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            weights.read_gradients()  # first to float32, then unscaled by step
            scaler.step(optimizer)
            scaler.update()
        weights.write_weights()
    return losses
