"""Adapters, prefixes, prompts and IA³: the reference."""

import copy
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn


class AdapterLayer(nn.Module):
    def __init__(self, base: nn.Module, width: int, size: int, generator: Generator | None = None) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        _freeze(base)
        self.base = base
        first = next(base.parameters())
        like = {"device": first.device, "dtype": first.dtype}
        self.down = nn.Linear(width, size, **like)
        self.up = nn.Linear(size, width, **like)
        bound = 1 / math.sqrt(width)
        with torch.no_grad():
            self.down.weight.uniform_(-bound, bound, generator=generator)
            self.down.bias.zero_()
            # With up at 0 the layer is its base.  down isn't 0, or up would never get a gradient.
            self.up.weight.zero_()
            self.up.bias.zero_()

    def forward(self, *args: object, **kwargs: object) -> Tensor:
        h = self.base(*args, **kwargs)
        return h + self.up(torch.relu(self.down(h)))


def insert_adapters(
    model: nn.Module, targets: list[str], width: int, size: int, generator: Generator | None = None
) -> list[str]:
    if not targets:
        raise ValueError("targets is empty: name at least one module")
    _check_untouched(model)
    names = [name for name, _ in model.named_modules() if name]  # "" is the model itself
    chosen = _named(names, targets)
    # All new layers first: if one can't be made, the model is as it was.
    layers = [AdapterLayer(model.get_submodule(name), width, size, generator) for name in chosen]
    _put(model, chosen, layers)
    return chosen


class IA3Linear(nn.Module):
    def __init__(self, base: nn.Linear, inputs: bool = False) -> None:
        super().__init__()
        _freeze(base)
        self.base = base
        self.inputs = inputs
        shape = (1, base.in_features) if inputs else (base.out_features, 1)
        self.ia3_l = nn.Parameter(torch.ones(shape, device=base.weight.device, dtype=base.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        factors = self.ia3_l.flatten()
        return self.base(x * factors) if self.inputs else self.base(x) * factors


def insert_ia3(model: nn.Module, outputs: list[str], inputs: list[str]) -> list[str]:
    if not outputs and not inputs:
        raise ValueError("outputs and inputs are empty: name at least one layer")
    _check_untouched(model)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    at_outputs, at_inputs = _named(linears, outputs), _named(linears, inputs)
    for name in at_outputs:
        if name in at_inputs:
            raise ValueError(f"{name} is named by outputs and by inputs: it takes one vector of factors")
    chosen = [name for name in linears if name in at_outputs or name in at_inputs]
    _put(model, chosen, [IA3Linear(model.get_submodule(name), name in at_inputs) for name in chosen])
    return chosen


@torch.no_grad()
def merge_ia3(model: nn.Module) -> None:
    for name, layer in [(name, module) for name, module in model.named_modules() if isinstance(module, IA3Linear)]:
        # A column for outputs scales rows of W, a row for inputs scales its columns.
        layer.base.weight *= layer.ia3_l
        if layer.base.bias is not None and not layer.inputs:
            layer.base.bias *= layer.ia3_l.flatten()
        _replace(model, name, layer.base)


class SoftPrompt(nn.Module):
    def __init__(
        self,
        embedding: nn.Embedding,
        length: int,
        ids: Sequence[int] | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        table = embedding.weight.detach()
        if ids is None:
            rows = torch.randint(len(table), (length,), generator=generator, device=table.device)
        else:
            if not len(ids):
                raise ValueError("ids is empty: name at least one token")
            for i in ids:
                if not 0 <= i < len(table):
                    raise ValueError(f"the token {i} isn't in a vocabulary of {len(table)}")
            rows = torch.tensor(list(itertools.islice(itertools.cycle(ids), length)), device=table.device)
        self.weight = nn.Parameter(table[rows])  # indexing copies

    def forward(
        self, states: Tensor, mask: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        n, length = len(states), len(self.weight)
        states = torch.cat([self.weight.expand(n, -1, -1), states], 1)
        mask = torch.cat([mask.new_ones(n, length), mask], 1)
        if labels is not None:
            labels = torch.cat([labels.new_full((n, length), -100), labels], 1)
        return states, mask, labels


class Prefix(nn.Module):
    def __init__(
        self,
        layers: int,
        heads: int,
        width: int,
        length: int,
        hidden: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        self.layers, self.heads = layers, heads
        flat = layers * 2 * width
        self.embedding = nn.Embedding(length, flat if hidden is None else width)
        self.transform = None
        if hidden is not None:
            self.transform = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, flat))
        for parameter in self.parameters():
            nn.init.normal_(parameter, 0, 0.2, generator=generator)

    def forward(self, n: int) -> list[tuple[Tensor, Tensor]]:
        flat = self._flat()
        # (length, layers, key or value, heads, width of a head)
        cut = flat.view(len(flat), self.layers, 2, self.heads, -1)
        cut = cut.permute(1, 2, 3, 0, 4).unsqueeze(2).expand(-1, -1, n, -1, -1, -1)
        return [(key, value) for key, value in cut]

    def baked(self) -> "Prefix":
        made = copy.deepcopy(self)
        made.transform = None
        made.embedding = nn.Embedding.from_pretrained(self._flat().detach().clone(), freeze=False)
        return made

    def _flat(self) -> Tensor:
        rows = self.embedding.weight
        return rows if self.transform is None else self.transform(rows)


def prefix_attention(
    q: Tensor, k: Tensor, v: Tensor, prefix_k: Tensor, prefix_v: Tensor, mask: Tensor | None = None
) -> Tensor:
    keys, values = torch.cat([prefix_k, k], -2), torch.cat([prefix_v, v], -2)
    scores = q @ keys.mT / math.sqrt(q.shape[-1])
    if mask is not None:
        length = prefix_k.shape[-2]
        to_prefix, to_tokens = scores[..., :length], scores[..., length:]
        scores = torch.cat([to_prefix, to_tokens.masked_fill(~mask, -torch.inf)], -1)
    # One softmax over both: the prefix takes its share from the tokens.
    return scores.softmax(-1) @ values


def parameter_counts(layers: int, width: int, ff: int, size: int, length: int, hidden: int) -> dict[str, int]:
    adapter = 2 * width * size + size + width
    flat = layers * 2 * width
    return {
        "houlsby": layers * 2 * adapter,
        "pfeiffer": layers * adapter,
        "ia3": layers * (2 * width + ff),
        "prompt": length * width,
        "prefix": length * flat,
        "prefix_hidden": length * width + (width + 1) * hidden + (hidden + 1) * flat,
    }


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    state = {}
    for name, module in model.named_modules():
        if isinstance(module, AdapterLayer):
            parts = ["down.weight", "down.bias", "up.weight", "up.bias"]
        elif isinstance(module, IA3Linear):
            parts = ["ia3_l"]
        elif isinstance(module, SoftPrompt | Prefix):
            parts = [part for part, _ in module.named_parameters()]
        else:
            continue
        state |= {f"{name}.{part}" if name else part: module.get_parameter(part).detach().clone() for part in parts}
    return state


def _freeze(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None


def _check_untouched(model: nn.Module) -> None:
    if any(isinstance(module, AdapterLayer | IA3Linear) for module in model.modules()):
        raise ValueError("the model has such layers already")


def _named(names: list[str], targets: list[str]) -> list[str]:
    """Those of `names` that a target names; every target must name one."""

    # With the dot: "mlp" isn't the end of "premlp".
    def fits(name: str, target: str) -> bool:
        return name == target or name.endswith(f".{target}")

    for target in targets:
        if not any(fits(name, target) for name in names):
            raise ValueError(f"nothing to adapt is called {target!r}; there are {', '.join(names)}")
    return [name for name in names if any(fits(name, target) for target in targets)]


def _put(model: nn.Module, names: list[str], layers: Sequence[nn.Module]) -> None:
    trained = {id(p) for layer in layers for p in layer.parameters() if p.requires_grad}
    for name, layer in zip(names, layers, strict=True):
        _replace(model, name, layer)
    for parameter in model.parameters():
        if id(parameter) not in trained:
            parameter.requires_grad_(False)
            parameter.grad = None


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)
