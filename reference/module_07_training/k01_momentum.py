"""Momentum: the reference."""

import copy
from collections import defaultdict
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import Tensor


def sgd_direction(
    g: Tensor, state: dict[str, Any], momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False
) -> Tensor:
    if momentum == 0:
        return g
    b = state.get("momentum_buffer")
    if b is None:
        # A copy: .grad may be zeroed in place before the next step.  torch doesn't dampen the first one.
        b = state["momentum_buffer"] = g.clone()
    else:
        b.mul_(momentum).add_(g, alpha=1 - dampening)
    return g + momentum * b if nesterov else b


class Optimizer:
    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params must be an iterable of parameters or of dicts, got a tensor")
        given = list(params)
        if not given:
            raise ValueError("params is empty, expected one parameter or more")
        self.defaults = dict(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        # Tensors are compared entry by entry, so objects are told apart by their id.
        seen = {id(w) for other in self.param_groups for w in other["params"]}
        for w in params:
            if id(w) in seen:
                raise ValueError(f"a parameter of shape {tuple(w.shape)} stands twice")
            if not w.is_leaf:
                raise ValueError(f"a tensor of shape {tuple(w.shape)} isn't a leaf, so it has no .grad")
            seen.add(id(w))
        self.param_groups.append({**self.defaults, **group, "params": params})

    @torch.no_grad()
    def zero_grad(self, set_to_none: bool = True) -> None:
        for w in chain.from_iterable(group["params"] for group in self.param_groups):
            if set_to_none:
                w.grad = None
            elif w.grad is not None:
                w.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        every = chain.from_iterable(group["params"] for group in self.param_groups)
        number = {id(w): i for i, w in enumerate(every)}
        groups = [{**group, "params": [number[id(w)] for w in group["params"]]} for group in self.param_groups]
        return {"state": {number[id(w)]: dict(kept) for w, kept in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        saved = copy.deepcopy(state_dict)
        mine, theirs = self.param_groups, saved["param_groups"]
        if len(mine) != len(theirs):
            raise ValueError(f"{len(theirs)} groups were saved, expected {len(mine)}")
        for i, (group, other) in enumerate(zip(mine, theirs, strict=True)):
            if len(group["params"]) != len(other["params"]):
                raise ValueError(f"{len(other['params'])} parameters in group {i}, expected {len(group['params'])}")
        parameter: dict[int, Tensor] = {}
        for group, other in zip(mine, theirs, strict=True):
            parameter |= dict(zip(other["params"], group["params"], strict=True))
            group.update({**other, "params": group["params"]})
        self.state = defaultdict(dict)
        for number, kept in saved["state"].items():
            w = parameter[number]
            self.state[w] = {key: _fitted(value, w) for key, value in kept.items()}


def _fitted(value: Any, w: Tensor) -> Any:
    """A floating point tensor in the dtype and on the device of w; anything else as it is."""
    return value.to(w) if isinstance(value, Tensor) and value.is_floating_point() else value


class SGD(Optimizer):
    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            # Written so that NaN, for which every comparison is False, is refused.
            if not value >= 0:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(f"nesterov needs a momentum and no dampening, got {momentum} and {dampening}")
        options = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {**options, "nesterov": nesterov, "maximize": maximize})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is None:
                    continue
                g = -w.grad if group["maximize"] else w.grad
                # A new tensor: += would change the caller's .grad.
                g = g + group["weight_decay"] * w
                # Without momentum nothing is kept, and state[w] would be an empty entry.
                state = self.state[w] if group["momentum"] else {}
                d = sgd_direction(g, state, group["momentum"], group["dampening"], group["nesterov"])
                w.sub_(group["lr"] * d)
        return loss
