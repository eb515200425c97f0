"""Adam, AdamW, AMSGrad, and a state in 8 bits: the reference."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def adam_direction(
    g: Tensor, state: dict[str, Any], betas: tuple[float, float], eps: float, amsgrad: bool = False
) -> Tensor:
    beta1, beta2 = betas
    m = state.setdefault("exp_avg", torch.zeros_like(g))
    v = state.setdefault("exp_avg_sq", torch.zeros_like(g))
    # A new number, not +=: a tensor may be shared with the state_dict that it came from.
    state["step"] = state.get("step", 0) + 1
    # torch's own step is a float32 tensor, and so would β to its power be.
    t = int(state["step"])
    m.mul_(beta1).add_(g, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    if amsgrad:
        largest = state.setdefault("max_exp_avg_sq", torch.zeros_like(v))
        v = torch.maximum(largest, v, out=largest)
    # m and v start at 0 and are too small at first; dividing by 1 - βᵗ makes up for that.
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return m_hat / (v_hat.sqrt() + eps)


def _defaults(**options: Any) -> dict[str, Any]:
    """The options of a group, checked."""
    for name in ("lr", "eps", "weight_decay"):
        # Written so that NaN, for which every comparison is False, is refused.
        if not options[name] >= 0:
            raise ValueError(f"{name} must be 0 or more, got {options[name]}")
    for beta in options["betas"]:
        if not 0 <= beta < 1:
            raise ValueError(f"betas must be 0 or more and below 1, got {beta}")
    return options


def _evaluate(closure: Callable[[], Any] | None) -> Any:
    # step runs under no_grad, the closure needs a graph.
    with torch.enable_grad():
        return None if closure is None else closure()


def _gradients(optimizer: Optimizer) -> Iterator[tuple[Tensor, Tensor, dict[str, Any]]]:
    """Every parameter that has a gradient, that gradient in the direction to descend, and its group."""
    for group in optimizer.param_groups:
        for w in group["params"]:
            if w.grad is not None:
                yield w, -w.grad if group["maximize"] else w.grad, group


class Adam(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, _defaults(**options, amsgrad=amsgrad, maximize=maximize))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, group in _gradients(self):
            # A new tensor: += would change the caller's .grad.
            g = g + group["weight_decay"] * w
            w.sub_(group["lr"] * adam_direction(g, self.state[w], group["betas"], group["eps"], group["amsgrad"]))
        return loss


class AdamW(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, _defaults(**options, amsgrad=amsgrad, maximize=maximize))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = _evaluate(closure)
        for w, g, group in _gradients(self):
            d = adam_direction(g, self.state[w], group["betas"], group["eps"], group["amsgrad"])
            # Decay never meets m and v: it takes the same share of every weight.
            w.mul_(1 - group["lr"] * group["weight_decay"])
            w.sub_(group["lr"] * d)
        return loss


def _spread(scales: Tensor, block: int, entries: int) -> Tensor:
    """The scale of each entry; the last block may be shorter."""
    return scales.repeat_interleave(block)[:entries]


def quantize_blocks(x: Tensor, block: int) -> tuple[Tensor, Tensor]:
    if block < 1:
        raise ValueError(f"block must be 1 or more, got {block}")
    flat = x.flatten()
    padded = torch.nn.functional.pad(flat.abs(), (0, -len(flat) % block))  # zeros change no maximum of |x|
    scales = padded.reshape(-1, block).amax(1)
    each = _spread(scales, block, len(flat))
    # In a block of zeros 0/0 would be NaN: divide by 1 there.
    codes = (127 * (flat / torch.where(each == 0, 1, each))).round()
    return codes.to(torch.int8).reshape(x.shape), scales


def dequantize_blocks(codes: Tensor, scales: Tensor, block: int) -> Tensor:
    each = _spread(scales, block, codes.numel()).reshape(codes.shape)
    return each * codes / 127
