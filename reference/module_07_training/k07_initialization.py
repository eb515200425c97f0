"""Initialization: the reference."""

import math

import torch
from torch import Generator, Tensor, nn


def fans(weight: Tensor) -> tuple[int, int]:
    if weight.dim() < 2:
        raise ValueError(f"a weight needs 2 axes or more, got {weight.dim()}")
    outputs, inputs = weight.shape[:2]
    # A convolution's weight is used at every place of the kernel.
    places = math.prod(weight.shape[2:])
    return inputs * places, outputs * places


@torch.no_grad()
def _draw(weight: Tensor, std: float, distribution: str, generator: Generator | None) -> None:
    if distribution == "normal":
        weight.normal_(0, std, generator=generator)
    elif distribution == "uniform":
        # The variance of a uniform number from -a to a is a² / 3.
        bound = math.sqrt(3) * std
        weight.uniform_(-bound, bound, generator=generator)
    else:
        raise ValueError(f"distribution must be normal or uniform, got {distribution!r}")


def xavier_(
    weight: Tensor, gain: float = 1.0, distribution: str = "uniform", generator: Generator | None = None
) -> None:
    fan_in, fan_out = fans(weight)
    _draw(weight, gain * math.sqrt(2 / (fan_in + fan_out)), distribution, generator)


def he_(
    weight: Tensor,
    slope: float = 0.0,
    mode: str = "fan_in",
    distribution: str = "normal",
    generator: Generator | None = None,
) -> None:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be fan_in or fan_out, got {mode!r}")
    fan_in, fan_out = fans(weight)
    fan = fan_in if mode == "fan_in" else fan_out
    _draw(weight, math.sqrt(2 / ((1 + slope**2) * fan)), distribution, generator)


@torch.no_grad()
def orthogonal_(weight: Tensor, gain: float = 1.0, generator: Generator | None = None) -> None:
    fans(weight)
    rows, columns = weight.shape[0], math.prod(weight.shape[1:])
    # linalg has no half precision.
    dtype = torch.promote_types(weight.dtype, torch.float32)
    tall = torch.empty(max(rows, columns), min(rows, columns), dtype=dtype, device=weight.device)
    q, r = torch.linalg.qr(tall.normal_(generator=generator))
    # QR leaves the signs of r's diagonal to the library; only with all of them positive is q uniform.
    q = q * r.diagonal().sign()
    q = q if rows >= columns else q.T
    weight.copy_(gain * q.reshape(weight.shape))


@torch.no_grad()
def lsuv_(model: nn.Module, layers: list[nn.Module], x: Tensor, generator: Generator | None = None) -> None:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    for layer in layers:
        orthogonal_(layer.weight, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
    found: list[Tensor] = []
    for layer in layers:
        # At once: a nonlinearity in place would change the output before the pass is over.
        hook = layer.register_forward_hook(lambda module, inputs, output: found.append(output.var(correction=0)))
        model(x)
        hook.remove()
        variance = found.pop()
        # The output is linear in the weight, since the bias is 0: one division is enough.
        if variance > 0:
            layer.weight.div_(variance.sqrt())
    for module, training in modes:
        module.training = training


@torch.no_grad()
def transfer_(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    kept = []
    for name, own in model.state_dict().items():
        # state_dict holds the model's very tensors.  Compare the shapes first: copy_ would broadcast.
        if name in state and state[name].shape == own.shape:
            own.copy_(state[name])
        else:
            kept.append(name)
    return kept


@torch.no_grad()
def tie_(embedding: nn.Embedding, head: nn.Linear, generator: Generator | None = None) -> None:
    theirs, mine = tuple(head.weight.shape), tuple(embedding.weight.shape)
    if theirs != mine:
        raise ValueError(f"the head's weight is {theirs}, the embedding's {mine}")
    # In place: an optimizer may know the embedding's parameter already.
    embedding.weight.normal_(0, mine[1] ** -0.5, generator=generator)
    if embedding.padding_idx is not None:
        embedding.weight[embedding.padding_idx] = 0
    head.weight = embedding.weight
    if head.bias is not None:
        head.bias.zero_()
