"""QLoRA: the reference."""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from katas.module_08_efficient_computing.k11_weight_only_quantization import nf4_codebook


def quantize_nf4(w: Tensor, block: int = 64) -> tuple[Tensor, Tensor]:
    if w.numel() % block:
        raise ValueError(f"the number of weights must be a multiple of {block}, got {w.numel()}")
    blocks = w.detach().float().reshape(-1, block)
    absmax = blocks.abs().amax(-1)
    # A block of zeros is divided by 1, and stays 0.
    scaled = blocks / torch.where(absmax == 0, 1, absmax)[:, None]
    values = _codebook(w)
    # Beyond the middle between two values the next one is nearer.
    codes = torch.bucketize(scaled, (values[1:] + values[:-1]) / 2).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], absmax


def dequantize_nf4(packed: Tensor, absmax: Tensor) -> Tensor:
    codes = torch.stack([packed >> 4, packed & 15], -1).long()
    return (_codebook(packed)[codes].reshape(len(absmax), -1) * absmax[:, None]).flatten()


def double_quantize(absmax: Tensor, group: int = 256) -> tuple[Tensor, Tensor, Tensor]:
    # All are positive: without the mean, the half of int8 below 0 would be wasted.
    mean = absmax.mean()
    centred = absmax - mean
    scales = torch.stack([part.abs().amax() / 127 for part in centred.split(group)])
    steps = centred / torch.where(scales == 0, 1, scales).repeat_interleave(group)[: len(absmax)]
    return steps.round().to(torch.int8), scales, mean


def double_dequantize(codes: Tensor, scales: Tensor, mean: Tensor, group: int = 256) -> Tensor:
    return codes * scales.repeat_interleave(group)[: len(codes)] + mean


def _codebook(like: Tensor) -> Tensor:
    return torch.tensor(nf4_codebook(), dtype=torch.float32, device=like.device)


class _FrozenLinear(torch.autograd.Function):
    """x Wᵀ, whose backward makes W anew instead of keeping it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "QLoRALinear") -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.layer.weight(), None


class QLoRALinear(nn.Module):
    def __init__(
        self,
        linear: nn.Linear,
        r: int,
        alpha: float,
        block: int = 64,
        group: int = 256,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        packed, absmax = quantize_nf4(linear.weight, block)
        codes, scales, mean = double_quantize(absmax, group)
        # Buffers: .to moves them and state_dict saves them, but no optimizer sees them.
        for name, value in (("packed", packed), ("codes", codes), ("scales", scales), ("mean", mean)):
            self.register_buffer(name, value)
        bias = None if linear.bias is None else linear.bias.detach().clone()
        self.register_buffer("bias", bias)
        self.group = group
        self.shape = tuple(linear.weight.shape)
        like = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_A = nn.Linear(linear.in_features, r, bias=False, **like)
        self.lora_B = nn.Linear(r, linear.out_features, bias=False, **like)
        bound = 1 / math.sqrt(linear.in_features)
        with torch.no_grad():
            self.lora_A.weight.uniform_(-bound, bound, generator=generator)
            self.lora_B.weight.zero_()
        self.scaling = alpha / r

    def weight(self) -> Tensor:
        absmax = double_dequantize(self.codes, self.scales, self.mean, self.group)
        return dequantize_nf4(self.packed, absmax).reshape(self.shape).to(self.lora_A.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        out = _FrozenLinear.apply(x, self)
        if self.bias is not None:
            out = out + self.bias
        return out + self.lora_B(self.lora_A(x)) * self.scaling


def inject_qlora(
    model: nn.Module,
    targets: list[str],
    r: int,
    alpha: float,
    block: int = 64,
    group: int = 256,
    generator: Generator | None = None,
) -> list[str]:
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for target in targets:
        if not any(_ends_with(name, target) for name in linears):
            raise ValueError(f"no nn.Linear is called {target!r}; there are {', '.join(linears)}")
    # All new layers first: if one can't be made, the model is as it was.
    layers = {
        name: QLoRALinear(linear, r, alpha, block, group, generator).train(model.training)
        for name, linear in linears.items()
        if any(_ends_with(name, target) for target in targets)
    }
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    for name, layer in layers.items():
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer)
    return list(layers)


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def training_bytes(model: nn.Module, state: int = 8) -> dict[str, int]:
    trained = [p for p in model.parameters() if p.requires_grad]
    frozen = [t for t in _tensors(model) if not t.requires_grad]
    weights = sum(p.nbytes for p in trained)
    return {
        "frozen": sum(t.nbytes for t in frozen),
        "trained": weights,
        "gradients": weights,
        "optimizer": state * sum(p.numel() for p in trained),
    }


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()  # a shared one comes once
    yield from model.buffers()


class PagedStates:
    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.reserved = 0
        self.moved_in = 0
        self.moved_out = 0
        self.sizes: dict[str, int] = {}
        self.pages: list[str] = []  # on the device, the one that was touched longest ago first

    def resident(self) -> list[str]:
        return list(self.pages)

    def used(self) -> int:
        return self.reserved + sum(self.sizes[name] for name in self.pages)

    def touch(self, name: str, size: int) -> None:
        known = self.sizes.get(name, size)
        if known != size:
            raise ValueError(f"{name} has {known} bytes, not {size}")
        if name in self.pages:
            self.pages.remove(name)
            self.pages.append(name)
            return
        self._make_room(size)
        # A new state is made where it is used; only one that was there before has to come back.
        self.moved_in += size if name in self.sizes else 0
        self.sizes[name] = size
        self.pages.append(name)

    def reserve(self, size: int) -> None:
        self._make_room(size)
        self.reserved += size

    def release(self, size: int) -> None:
        if size > self.reserved:
            raise ValueError(f"{size} bytes can't be released, only {self.reserved} are reserved")
        self.reserved -= size

    def _make_room(self, size: int) -> None:
        if self.reserved + size > self.capacity:
            raise MemoryError(f"{size} bytes don't fit: of {self.capacity}, {self.reserved} are reserved")
        while self.used() + size > self.capacity:
            self.moved_out += self.sizes[self.pages.pop(0)]
