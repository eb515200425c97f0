"""Momentum: SGD, heavy ball, Nesterov, and what an optimizer keeps

**Before you start.**  You need gradients in torch (`w.grad` after `loss.backward()`), and a
training loop such as module 04's k05_training_loop; no other kata is imported.  For pictures:
Goh 2017, "Why Momentum Really Works", distill.pub.

**The idea.**  Plain gradient descent zigzags in a narrow valley: it bounces between the steep
walls, and crawls along the floor.  Momentum sums the gradients.  Those across the valley change
their sign and cancel; those along it add up.  You write SGD with momentum, and under it the base
class that every optimizer shares: groups of parameters, a state, and a state_dict that torch's own
SGD can load.

**The formulas.**  For a weight w with gradient g.  b is its *buffer*, the running sum of gradients,
and d the direction of the step.  η is `lr`, μ `momentum`, τ `dampening`, λ `weight_decay`:

    g ← g + λ·w                     weight decay, a penalty λ/2·w² in the loss
    b ← g                           at the first step
    b ← μ·b + (1 - τ)·g             at every later one
    d = b                           heavy ball
    d = g + μ·b                     Nesterov: a look ahead, with the new b
    w ← w - η·d

With μ = 0 there is no b, and d = g.  With `maximize` the gradient is -g; λ·w is still added.

*A state_dict* is what you save to resume a run.  In another process the parameters are other
objects, so it names them by numbers, counted through all groups.  A parameter without a step has
no state; here the bias:

    param_groups    {params: [W, bias], lr: .1}   {params: [V], lr: .01}
    state           W ──▶ {momentum_buffer}       V ──▶ {momentum_buffer}
                            │
                            ▼ state_dict()
    "param_groups"  {params: [0, 1], lr: .1}      {params: [2], lr: .01}
    "state"         0 ──▶ {momentum_buffer}       2 ──▶ {momentum_buffer}

**Why does momentum speed up?**  If g stays the same, b grows to g/(1 - μ): with μ = 0.9 ten times
g.  So a larger μ wants a smaller η.

**Why groups?**  Often you want no decay for biases, or a smaller rate for a pretrained part.  One
optimizer can do that, because each group has options of its own.

**Worked by hand**, w = 2, η = 0.1, μ = 0.5, gradients 1 and 2:

    heavy ball       b = 1, w = 1.9             b = 0.5 + 2 = 2.5, w = 1.65
    Nesterov         d = 1.5, w = 1.85          d = 2 + 1.25 = 3.25, w = 1.525
    τ = 0.5          b = 1, w = 1.9             b = 0.5 + 1 = 1.5, w = 1.75

**Shapes**: a parameter has any shape and floating dtype; its gradient and its buffer have the same
shape and dtype, on the same device.  Gradients are dense and real.  No function changes its
arguments, except sgd_direction its `state`.

**Steps.**

    sgd_direction   10 min   the first step; a buffer of its own
    Optimizer       28 min   numbers for parameters, and back
    SGD             15 min   options are read at each step; the closure

Sources: Polyak 1964 (heavy ball); Nesterov 1983; Sutskever et al. 2013, "On the importance of
initialization and momentum in deep learning"; the documentation of torch.optim.SGD.

From scratch: torch.optim may not be used.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor


def sgd_direction(
    g: Tensor, state: dict[str, Any], momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False
) -> Tensor:
    """d for the gradient g, and b updated in `state`.  Shape, dtype and device of g.

    - b is state["momentum_buffer"].  At the first call it is missing, or None.
    - With momentum 0 the state stays as it is, and d is g: itself or a copy.
    - d may be b itself.  b is never g itself: the caller may change g between two calls.
    - g isn't changed.
    """
    raise NotImplementedError


class Optimizer:
    """What all optimizers share.  A subclass adds `step`.

    param_groups  a list of dicts: "params", a list of parameters, and the group's options
    state         a dict from a parameter to a dict of what is kept for it.  It is empty at first, and
                  state[w] of a parameter that isn't there yet is a new empty dict, kept from then on
                  (a collections.defaultdict)
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        """`params` is an iterable of parameters, a generator perhaps, which make one group, or of dicts as
        add_param_group takes them.  `defaults` are the options of a group that doesn't set its own.

        Raises TypeError if `params` is a single tensor, and ValueError if there is nothing in it.
        """
        raise NotImplementedError

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add a group: a dict with "params", one parameter or an iterable of them, and options.

        - "params" may be empty.  The dict itself isn't changed.
        - Raises ValueError for a parameter that stands twice, in this group or in this and another
          one, and for a tensor that isn't a leaf (.is_leaf is False).  Then no group is added.
        """
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set every .grad to None; or, with set_to_none False, to zeros in place (one that is None stays None)."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: dict}, "param_groups": [dict with "params": list of numbers]}, as drawn above.

        Tensors may be the optimizer's own: whoever keeps the dict, copies it.  The dicts and lists around them
        are new: a change to them changes nothing in the optimizer.
        """
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the options and the state in `state_dict`; the parameters stay.

        - The first saved number belongs to the first parameter, and so on through all groups, whatever the
          numbers are.
        - State that was there before is forgotten.
        - Everything is copied: `state_dict` isn't changed, neither now nor by later steps.
        - A floating point tensor takes the dtype and the device of its parameter.  Anything else is only copied.
        - Options that you don't know are taken over, too.  An option that isn't saved keeps its value.
        - Raises ValueError, naming both numbers, if the numbers of groups differ, or those of the
          parameters in two groups that correspond.  Then nothing has changed.
        """
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent with momentum and weight decay.

    A group's options are lr, momentum, dampening, weight_decay, nesterov and maximize.
    """

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
        """Raises ValueError

        - naming the value, if lr, momentum or weight_decay is below 0 or NaN;
        - if `nesterov` is asked for with momentum 0, or with a dampening other than 0.
        """
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step for every parameter that has a gradient.

        - A parameter whose .grad is None stays as it is, and so does its buffer.  A gradient of zeros is a
          gradient.
        - Options are read from the group at each step: schedules change them.
        - Parameters change in place, gradients stay as they are, autograd records nothing.
        - A `closure` is called once before anything else, with gradients on (also if the caller has
          switched them off).  It computes the loss and the gradients anew; step returns what it
          returned.  Without one step returns None.
        """
        raise NotImplementedError
