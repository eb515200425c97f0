"""A module system: the reference."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

HOLDERS = ("_parameters", "_buffers", "_modules")


class Registry:
    def __init__(self) -> None:
        # Past __setattr__, which looks into the dictionaries that are made here.
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, _transient=set())

    def __setattr__(self, name: str, value: Any) -> None:
        kind = "_parameters" if isinstance(value, Parameter) else "_modules" if isinstance(value, Registry) else None
        if kind is not None:
            self._put(kind, name, value)
            return
        for holder in HOLDERS:
            if name in self.__dict__.get(holder, ()):
                if value is not None and not (holder == "_buffers" and isinstance(value, Tensor)):
                    raise TypeError(f"cannot assign {type(value).__name__} to {name!r}, which is in {holder}")
                self.__dict__[holder][name] = value
                return
        object.__setattr__(self, name, value)

    def _put(self, kind: str, name: str, value: Any) -> None:
        """Register `value`, and let go of what had the name in another place."""
        if kind not in self.__dict__:
            raise AttributeError(f"cannot assign {name!r} before super().__init__() has run")
        for place in (self.__dict__, *(self.__dict__[holder] for holder in HOLDERS if holder != kind)):
            place.pop(name, None)
        self.__dict__[kind][name] = value

    def __getattr__(self, name: str) -> Any:
        # Through __dict__: self._parameters would come back here where there is none, without end.
        for holder in HOLDERS:
            held = self.__dict__.get(holder, {})
            if name in held:
                return held[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for holder in HOLDERS:
            if name in self.__dict__.get(holder, ()):
                del self.__dict__[holder][name]
                return
        object.__delattr__(self, name)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        self._check_name(name, "_parameters")
        self._put("_parameters", name, parameter)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        self._check_name(name, "_buffers")
        self._put("_buffers", name, tensor)
        if persistent:
            self._transient.discard(name)
        else:
            self._transient.add(name)

    def _check_name(self, name: str, kind: str) -> None:
        if not name or "." in name:
            raise KeyError(f"a name has at least one letter and no dot, got {name!r}")
        if hasattr(self, name) and name not in self.__dict__.get(kind, ()):
            raise KeyError(f"attribute {name!r} exists already")


class Tree(Registry):
    def __init__(self) -> None:
        super().__init__()
        self.training = True

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, "Tree"]]:
        """Every module under every name that it has; a name ends in a dot, so that what follows can be put behind it."""
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child._walk(f"{prefix}{name}.")

    def _named(self, holder: str) -> Iterator[tuple[str, Any]]:
        # By identity: == of two tensors compares their numbers.
        seen: set[int] = set()
        for prefix, module in self._walk():
            for name, value in getattr(module, holder).items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield prefix + name, value

    def named_modules(self) -> Iterator[tuple[str, "Tree"]]:
        seen: set[int] = set()
        for prefix, module in self._walk():
            if id(module) not in seen:
                seen.add(id(module))
                yield prefix.removesuffix("."), module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return self._named("_parameters")

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        return self._named("_buffers")

    def parameters(self) -> Iterator[Parameter]:
        return (parameter for _, parameter in self.named_parameters())

    def train(self, mode: bool = True) -> "Tree":
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> "Tree":
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> "Tree":
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None


class _Handle:
    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self.hooks, self.key = hooks, key

    def remove(self) -> None:
        self.hooks.pop(self.key, None)


class Module(Tree):
    def __init__(self) -> None:
        super().__init__()
        # By number, not by function: the same one may be registered twice.
        self._registrations = 0
        self._pre_hooks: dict[int, Any] = {}
        self._hooks: dict[int, Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Copies, as a hook may remove itself from the dictionary.
        for hook in list(self._pre_hooks.values()):
            replaced = hook(self, args)
            if replaced is not None:
                args = replaced if isinstance(replaced, tuple) else (replaced,)
        output = self.forward(*args, **kwargs)
        for hook in list(self._hooks.values()):
            replaced = hook(self, args, output)
            if replaced is not None:
                output = replaced
        return output

    def register_forward_pre_hook(self, hook: Callable[["Module", tuple[Any, ...]], Any]) -> Any:
        return self._register(self._pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[["Module", tuple[Any, ...], Any], Any]) -> Any:
        return self._register(self._hooks, hook)

    def _register(self, hooks: dict[int, Any], hook: Any) -> _Handle:
        self._registrations += 1
        hooks[self._registrations] = hook
        return _Handle(hooks, self._registrations)

    def state_dict(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {}
        for prefix, module in self._walk():
            buffers = {name: value for name, value in module._buffers.items() if name not in module._transient}
            for name, value in (module._parameters | buffers).items():
                if value is not None:
                    state[prefix + name] = value.detach()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> tuple[list[str], list[str]]:
        # Detached tensors share their memory, so copying into them copies into the module, and autograd looks away.
        own = self.state_dict()
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        both = [name for name in own if name in state]
        problems = [
            f"{name} has shape {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
            for name in both
            if state[name].shape != own[name].shape  # copy_ would broadcast
        ]
        if strict and (missing or unexpected):
            problems.append(f"missing names: {missing}, unexpected names: {unexpected}")
        if problems:
            raise RuntimeError("; ".join(problems))
        for name in both:
            own[name].copy_(state[name].detach())
        return missing, unexpected


class Linear(Module):
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        bound = in_features**-0.5

        def drawn(*shape: int) -> Parameter:
            return Parameter(torch.empty(shape, device=device, dtype=dtype).uniform_(-bound, bound))

        self.weight = drawn(out_features, in_features)
        # None, but registered: somebody who asks for layer.bias gets an answer.
        self.register_parameter("bias", drawn(out_features) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias


class Sequential(Module):
    def __init__(self, *modules: Module) -> None:
        super().__init__()
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def __len__(self) -> int:
        return len(self._modules)

    def forward(self, x: Any) -> Any:
        for module in self._modules.values():
            x = module(x)
        return x


class FakeRound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float) -> Tensor:
        # What backward needs is saved; a mask is smaller than x itself.
        ctx.save_for_backward(x.abs() <= limit)
        return x.clamp(-limit, limit).round()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        # One answer for each argument of forward.
        return upstream.where(inside, 0), None
