"""Smaller layers, and a search for small networks: the reference."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Config = tuple[Any, ...]


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer with copies of this weight and bias, of their dtype and on their device."""
    out_features, in_features = weight.shape
    layer = nn.Linear(in_features, out_features, bias is not None, weight.device, weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def low_rank(layer: nn.Linear, rank: int) -> nn.Sequential:
    most = min(layer.weight.shape)
    if not 1 <= rank <= most:
        raise ValueError(f"the rank must be from 1 to {most}, got {rank}")
    u, s, vh = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
    # Each side gets the root of the singular values, so that both have weights of like size.
    root = s[:rank].sqrt()
    return nn.Sequential(_linear(root[:, None] * vh[:rank], None), _linear(u[:, :rank] * root, layer.bias))


def rank_by_energy(values: Tensor, energy: float) -> int:
    if not 0 < energy <= 1:
        raise ValueError(f"the energy must be above 0 and at most 1, got {energy}")
    kept = values.detach().double().square().cumsum(dim=0)
    # The last sum is the whole: a sum in another order might be larger by a rounding, and never be reached.
    return int((kept < energy * kept[-1]).sum()) + 1


def ranks_by_budget(spectra: Sequence[Tensor], shapes: Sequence[tuple[int, int]], budget: int) -> list[int | None]:
    # What is known of the layers so far: (weights, error, choices), each better than the others in one of the two.
    front: list[tuple[int, float, list[int | None]]] = [(0, 0.0, [])]
    for values, (rows, columns) in zip(spectra, shapes, strict=True):
        squares = values.detach().double().square()
        lost = (squares.sum() - squares.cumsum(dim=0)).clamp(min=0).tolist()
        options: list[tuple[int, float, int | None]] = [(rows * columns, 0.0, None)]
        options += [(r * (rows + columns), lost[r - 1], r) for r in range(1, len(lost) + 1)]
        every = [
            (weights + more, error + worse, [*choices, choice])
            for weights, error, choices in front
            for more, worse, choice in options
        ]
        front, least = [], float("inf")
        for one in sorted(every, key=lambda one: one[:2]):
            if one[1] < least:  # nothing cheaper is as good
                front.append(one)
                least = one[1]
    fitting = [one for one in front if one[0] <= budget]
    if not fitting:
        raise ValueError(f"the smallest ranks take {front[0][0]} weights, the budget is {budget}")
    return fitting[-1][2]


def unit_importance(first: nn.Linear, second: nn.Linear, x: Tensor) -> Tensor:
    with torch.no_grad():
        # What is constant can be folded into a bias, so only the spread counts.
        spread = first(x).relu().std(dim=0, correction=0)
        return spread * second.weight.norm(dim=0)


def prune_units(first: nn.Linear, second: nn.Linear, keep: Tensor, x: Tensor) -> tuple[nn.Linear, nn.Linear]:
    if first.out_features != second.in_features:
        raise ValueError(f"the first layer makes {first.out_features} units, the second reads {second.in_features}")
    with torch.no_grad():
        mean = first(x).relu().mean(dim=0)
        mean[keep] = 0.0
        # Those that go still give their mean, as a part of the bias.
        folded = second.weight @ mean
        if second.bias is not None:
            folded = folded + second.bias
    bias = None if first.bias is None else first.bias[keep]
    return _linear(first.weight[keep], bias), _linear(second.weight[:, keep], folded)


def width_for_latency(latency: Mapping[int, float], limit: float) -> int:
    if not (fitting := [width for width, time in latency.items() if time <= limit]):
        raise ValueError(f"the quickest width takes {min(latency.values())}, the limit is {limit}")
    # Measured times have steps and dents: a wider layer may be as quick, or quicker.
    return max(fitting)


def prune_for_latency(
    first: nn.Linear, second: nn.Linear, x: Tensor, latency: Mapping[int, float], limit: float
) -> tuple[nn.Linear, nn.Linear]:
    width = width_for_latency(latency, limit)
    order = unit_importance(first, second, x).argsort(descending=True, stable=True)
    return prune_units(first, second, order[:width].sort().values, x)


def flops(widths: Sequence[int]) -> int:
    return sum(2 * a * b for a, b in itertools.pairwise(widths))


def search(
    space: Sequence[Sequence[Any]],
    cost: Callable[[Config], float],
    score: Callable[[Config], float],
    budget: float,
    evaluations: int,
    rng: random.Random,
    population: int = 10,
) -> tuple[Config, float]:
    costs = {config: cost(config) for config in itertools.product(*space)}
    unseen = dict.fromkeys(config for config, price in costs.items() if price <= budget)
    if not unseen:
        raise ValueError(f"the cheapest configuration costs {min(costs.values())}, the budget is {budget}")
    seen: dict[Config, float] = {}
    while unseen and len(seen) < evaluations:
        near: list[Config] = []
        if len(seen) >= population:
            # The best of some of the young: the old ones leave, so that the search doesn't stick to one.
            young = list(seen)[-population:]
            parent = max(rng.sample(young, max(population // 2, 1)), key=seen.__getitem__)
            near = [config for config in _neighbours(parent, space) if config in unseen]
        config = rng.choice(near or list(unseen))
        del unseen[config]
        seen[config] = score(config)
    best = max(seen, key=seen.__getitem__)
    return best, seen[best]


def _neighbours(config: Config, space: Sequence[Sequence[Any]]) -> Iterator[Config]:
    """All that differ from a configuration in one choice."""
    for i, choices in enumerate(space):
        for choice in choices:
            if choice != config[i]:
                yield (*config[:i], choice, *config[i + 1 :])
