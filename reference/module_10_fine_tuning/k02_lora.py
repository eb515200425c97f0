"""LoRA: the reference."""

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

PREFIX = "base_model.model."  # what peft writes before each name


class LoRALinear(nn.Module):
    def __init__(
        self,
        base: nn.Linear,
        r: int,
        alpha: float,
        dropout: float = 0.0,
        rank_stabilized: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if r < 1:
            raise ValueError(f"r must be at least 1, got {r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, got {dropout}")
        _freeze(base)
        self.base = base
        like = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.lora_A = nn.Linear(base.in_features, r, bias=False, **like)
        self.lora_B = nn.Linear(r, base.out_features, bias=False, **like)
        bound = 1 / math.sqrt(base.in_features)
        with torch.no_grad():
            self.lora_A.weight.uniform_(-bound, bound, generator=generator)
            # One of the two must be 0, so that training starts at the base; the other must not,
            # or neither would ever get a gradient.
            self.lora_B.weight.zero_()
        self.scaling = alpha / math.sqrt(r) if rank_stabilized else alpha / r
        self.dropout = dropout
        self.merged = False

    def forward(self, x: Tensor) -> Tensor:
        out = self.base(x)
        if self.merged:
            return out
        dropped = F.dropout(x, self.dropout, self.training)
        # Two thin products: B A itself would be as large as the base.
        return out + self.lora_B(self.lora_A(dropped)) * self.scaling

    def delta(self) -> Tensor:
        return self.lora_B.weight @ self.lora_A.weight * self.scaling

    @torch.no_grad()
    def merge(self) -> None:
        if not self.merged:
            self.base.weight += self.delta()
            self.merged = True

    @torch.no_grad()
    def unmerge(self) -> None:
        if self.merged:
            self.base.weight -= self.delta()
            self.merged = False


def inject_lora(
    model: nn.Module,
    targets: list[str],
    r: int,
    alpha: float,
    dropout: float = 0.0,
    rank_stabilized: bool = False,
    generator: Generator | None = None,
) -> list[str]:
    if not targets:
        raise ValueError("targets is empty: name at least one layer")
    if any(_adapters(model)):
        raise ValueError("the model has LoRA already")
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        if not any(_ends_with(name, target) for name in linears):
            raise ValueError(f"no nn.Linear is called {target!r}; there are {', '.join(linears)}")
    chosen = [name for name in linears if any(_ends_with(name, target) for target in targets)]
    # All new layers first: if one can't be made, the model is as it was.
    layers = [
        LoRALinear(model.get_submodule(name), r, alpha, dropout, rank_stabilized, generator).train(model.training)
        for name in chosen
    ]
    _freeze(model)
    for name, layer in zip(chosen, layers, strict=True):
        _replace(model, name, layer)
    return chosen


def count_parameters(model: nn.Module) -> tuple[int, int]:
    parameters = list(model.parameters())  # a shared one comes once
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in _weights(model).items()}


@torch.no_grad()
def load_adapter(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    if any(layer.merged for _, layer in _adapters(model)):
        raise ValueError("the adapters are merged: unmerge them first, or the old ones stay in the base")
    weights = _weights(model)
    for name in weights.keys() - state.keys():
        raise ValueError(f"the state lacks {name}")
    for name in state.keys() - weights.keys():
        raise ValueError(f"the model has no {name}")
    # Look at all before the first is copied.
    for name, weight in weights.items():
        if state[name].shape != weight.shape:
            raise ValueError(f"{name} has shape {tuple(state[name].shape)}, the model's {tuple(weight.shape)}")
    for name, weight in weights.items():
        weight.copy_(state[name])


def merge_and_unload(model: nn.Module) -> None:
    for name, layer in list(_adapters(model)):
        layer.merge()
        _replace(model, name, layer.base)


def _freeze(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None


def _ends_with(name: str, target: str) -> bool:
    # With the dot: "q" isn't the end of "freq".
    return name == target or name.endswith(f".{target}")


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def _adapters(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, LoRALinear))


def _weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return {
        f"{PREFIX}{name}.{part}.weight": layer.get_submodule(part).weight
        for name, layer in _adapters(model)
        for part in ("lora_A", "lora_B")
    }
