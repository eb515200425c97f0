"""A module system

**Before you start.**  You need Python's `__getattr__` and `__setattr__` (in the Python reference:
"Customizing attribute access"), and you should have used torch.nn before; no other kata.

**The idea.**  An optimizer must find every weight of a network, a checkpoint must name it, and
.eval() must reach every layer.  Nobody wants to list them by hand.  So a module watches its own
attributes.  When you assign a weight or a layer, the module notes it under its name.  Layers stand
inside layers, so a network becomes a tree, and one walk over the tree finds everything.

**The formula.**  A name is the path from the root, joined by dots:

    name = child + "." + child of that + "." + … + attribute

                                          state_dict
    net ─┬─ scale      Parameter          scale
         ├─ body ─┬─ 0 ─┬─ weight         body.0.weight
         │        │     └─ bias           body.0.bias
         │        └─ 1 ─── mean (buffer)  body.1.mean
         └─ head ─── weight               head.weight

Three kinds are registered, each in a dictionary of its own, in the order of assignment:

    _parameters   torch.nn.Parameter: trained
    _buffers      tensors that are saved, but aren't trained, such as a running mean
    _modules      other modules: the branches of the tree

You assign parameters and modules; a buffer needs register_buffer the first time.  Everything else
is an ordinary attribute, a plain tensor, too.  The walk takes a module's own parameters first, then
goes through its children in order, each with all that is below it before the next.

A *hook* is a function that you hang on a module.  It looks at the module's input or output, or
replaces it.  A pre-hook runs before forward, a hook after it:

    x ──▶ pre-hooks ──▶ forward ──▶ hooks ──▶ y

**Why do we call model(x), and not model.forward(x)?**  The call runs the hooks, forward doesn't.

**Why aren't the layers in a Python list found?**  A list is an ordinary attribute.  Its layers are
missing from the optimizer and the checkpoint, and nothing raises an error.  Sequential registers
each of its layers.

**Why is a shared parameter walked once, but saved under both names?**  An optimizer that got it
twice would update it twice.  A checkpoint must fit a network that has both names.

**A gradient of your own.**  Rounding has derivative 0 almost everywhere, so no gradient gets past
it.  The *straight-through estimator* rounds on the way forward.  On the way back it acts as if it
hadn't:

    y = round(clamp(x, -limit, limit))         ∂y/∂x := 1 where |x| ≤ limit, else 0

:= means that you define it so.  Autograd can't know that; a torch.autograd.Function tells it.  Its
`forward` saves what `backward` needs in `ctx`, and `backward` returns one gradient for each
argument of `forward`.

**Worked by hand**, for the tree above.  head.weight and body.0.weight are one shared parameter:

    parameters:       scale, body.0.weight, body.0.bias                  3 of them
    state_dict keys:  scale, body.0.weight, body.0.bias, body.1.mean, head.weight

    FakeRound, limit 2, x = [0.4 1.7 -5]:    y = [0 2 -2],   upstream [10 20 30] gives [10 20 0]

**Shapes** are in the docstrings of Linear and FakeRound.  Names and their order are torch.nn's.

**Steps.**  A good place to pause is before Module.

    Registry    22 min   __init__ must get past your own __setattr__
    Tree        15 min   write the walk once, and use it for all
    Module      30 min   12 for calls and hooks, 18 for saving and loading
    Linear       6 min   the weight is (out, in), as in torch
    Sequential   4 min   children are named "0", "1", …
    FakeRound    7 min   what must backward know of x?

Sources: PyTorch's documentation of torch.nn.Module and its notes "Modules" and "Extending PyTorch";
Bengio et al. 2013, "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
Computation" (straight-through).

From scratch: torch.nn.Module, torch.nn.modules, torch.nn.Linear, torch.nn.Sequential,
torch.nn.ModuleList, torch.nn.ParameterList and torch.nn.functional may not be used.
torch.nn.Parameter may.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


class Registry:
    """An object that registers parameters, buffers and other Registry objects among its attributes.

    `_parameters`, `_buffers` and `_modules` are dictionaries of names to what was registered, each in the order of
    registration.
    """

    def __init__(self) -> None:
        """Nothing registered yet."""
        raise NotImplementedError

    def __setattr__(self, name: str, value: Any) -> None:
        """`self.name = value`.

        - A Parameter is registered in `_parameters`, a Registry in `_modules`.  Either takes the place of whatever
          had the name before, ordinary attributes too: a name stands in one place only.
        - A new value of the same kind keeps the name's place in the order.
        - Under a name in `_buffers`, a tensor that is no Parameter replaces the buffer.
        - Under a registered name of any kind, None is kept in the place of what stood there.
        - Anything else under a registered name raises TypeError, naming the name.
        - Anything else is an ordinary attribute.
        - A Parameter or Registry before Registry's __init__ has run raises AttributeError that names __init__.
        """
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        """What is registered under `name`.  Python calls this only where an ordinary attribute isn't found.

        - Raises AttributeError, naming the class and the name, where there is none, even before __init__ has run:
          copy.deepcopy asks such an object.
        """
        raise NotImplementedError

    def __delattr__(self, name: str) -> None:
        """`del self.name`, of what is registered or of an ordinary attribute; AttributeError where there is neither."""
        raise NotImplementedError

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """As `self.name = parameter`; None registers a name without a parameter, as of a layer without bias.

        Raises KeyError, naming the name, if it is empty, has a dot, or is an attribute already that isn't a parameter.
        An attribute is whatever hasattr finds, methods too.
        """
        raise NotImplementedError

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Register a buffer.  One that isn't `persistent` is left out of state_dict.

        Registered anew it is whatever this call says; a new value that is assigned changes nothing of it.

        Raises KeyError, naming the name, if it is empty, has a dot, or is an attribute already that isn't a buffer.
        An attribute is whatever hasattr finds, methods too.
        """
        raise NotImplementedError


class Tree(Registry):
    """A Registry whose children are Trees.

    The attribute `training` says whether it is in training mode: True at the start.
    """

    def __init__(self) -> None:
        """Nothing registered, training mode."""
        raise NotImplementedError

    def named_modules(self) -> Iterator[tuple[str, "Tree"]]:
        """This module, named "", then all modules below it, each before its children; each once, by its first name."""
        raise NotImplementedError

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their names, in the order of the walk; each once, by its first name.  No None."""
        raise NotImplementedError

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """All buffers, in the same way, those that aren't persistent, too."""
        raise NotImplementedError

    def parameters(self) -> Iterator[Parameter]:
        """named_parameters without the names."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Tree":
        """Set `training` of this module and all below it to `mode`.  Returns this module.

        Whether a `train` that a child overrides is called isn't tested.
        """
        raise NotImplementedError

    def eval(self) -> "Tree":
        """train(False)."""
        raise NotImplementedError

    def requires_grad_(self, requires_grad: bool = True) -> "Tree":
        """Freeze (False) or unfreeze all parameters.  Returns this module."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Set the gradient of each parameter to None."""
        raise NotImplementedError


class Module(Tree):
    """A Tree that can be called, saved and loaded.  A subclass defines forward(...)."""

    def __init__(self) -> None:
        """Nothing registered, training mode, no hooks."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the pre-hooks, self.forward(*args, **kwargs), and the hooks, each in the order of registration."""
        raise NotImplementedError

    def register_forward_pre_hook(self, hook: Callable[["Module", tuple[Any, ...]], Any]) -> Any:
        """Call hook(module, args) before each forward, with the positional arguments as a tuple.

        - If it returns something other than None, that takes the place of args: a tuple as it is, anything else as
          the only argument.  The next pre-hook gets it.
        - Returns a handle; handle.remove() takes this hook off, and does nothing the second time.
        - A hook may be registered twice: it runs twice, and each handle takes one off.
        - A hook may remove itself while it runs.  All others still run.
        """
        raise NotImplementedError

    def register_forward_hook(self, hook: Callable[["Module", tuple[Any, ...], Any], Any]) -> Any:
        """Call hook(module, args, output) after each forward, with the args that forward got.

        If it returns something other than None, that is the output, for the next hook and the caller.
        Everything else is as for pre-hooks.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and persistent buffers by name, a plain dict.

        - The tensors are detached, and share their memory with the module's: a later training step shows in them.
        - Per module first its parameters, then its buffers, then its children.  None is left out.
        - What is shared stands there under each of its names.
        """
        raise NotImplementedError

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True) -> tuple[list[str], list[str]]:
        """Copy the values in `state` into the parameters and buffers of those names.

        - Parameters and buffers stay the same objects, with their dtype and device, and the values are converted.
          No memory of `state` is taken over.  You may assume that `state` holds none of this module's own tensors
          under the name of another.
        - Returns two lists: the names that `state` lacks, and those that only `state` has.
        - Raises RuntimeError if a tensor has another shape than the module's, naming its name and both shapes.
        - With `strict`, raises RuntimeError if either list isn't empty, naming each name in them.
        - If several shapes are wrong, or names as well, naming one of these problems is enough.
        - Where it raises, nothing has been copied (torch's copies what fits).
        """
        raise NotImplementedError


class Linear(Module):
    """x Wᵀ + b, with parameters `weight` (out_features, in_features) and `bias` (out_features,)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Weight and bias are drawn uniformly between ±1/√in_features.

        - Without `bias`, the name is registered as None.
        - Parameters are made on `device` with `dtype`; None leaves both to torch's defaults.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in_features) to (..., out_features)."""
        raise NotImplementedError


class Sequential(Module):
    """Modules one after another, registered as "0", "1", …"""

    def __init__(self, *modules: Module) -> None:
        """The same module may stand there several times.  None at all: forward returns its input."""
        raise NotImplementedError

    def __len__(self) -> int:
        """How many modules there are; none is added or taken away later."""
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        """The last module's output.  Each module is called, so that its hooks run."""
        raise NotImplementedError


class FakeRound(torch.autograd.Function):
    """FakeRound.apply(x, limit): round with a straight-through gradient, as above."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float) -> Tensor:
        """round(clamp(x, -limit, limit)), in x's shape and dtype; halves go to the even number, as torch.round's do.

        `limit` is a number above 0.
        """
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        """The gradient with respect to x: upstream where |x| ≤ limit, else 0.  `limit` has none."""
        raise NotImplementedError
