"""LoRA

**Before you start.**  You need nn.Linear, nn.Module with its named modules, and requires_grad; no
other kata.  If these are new: the PyTorch tutorial "Build the Neural Network".

**The idea.**  You want a model of 7 billion weights to do your task.  Training all of them takes
some 16 bytes a weight: the weight, its gradient and Adam's two averages in float32.  And each task
leaves you with another file of 7 billion weights.  LoRA (low-rank adaptation) freezes the model.
Beside a weight matrix it puts two thin ones, and trains only these.  Their product is what the
task adds to the matrix.  You save a few megabytes per task.

**The formula.**  W (out, in) is the frozen weight and b its bias.  A (r, in) and B (out, r) are
trained.  r is the *rank*, far below in and out.  alpha is a number that you choose.

    y = W x + b + s · B (A · dropout(x))        s = alpha / r
                                                s = alpha / √r   rank-stabilized
    merged:    W' = W + s · B A                 y = W' x + b
    at first:  A uniform from -1/√in to 1/√in,  B = 0

**A drawing**

             ┌──────────────────────────────┐
          ┌─▶│  W   (out, in)       frozen  │──────────┐
          │  └──────────────────────────────┘          │
      x ──┤                                            +──▶ y
          │            ┌────────┐     ┌────────┐       │
          └─▶ dropout ▶│ A (r,  │──r─▶│ B (out,│─▶ · s ┘
                       │    in) │     │    r)  │
                       └────────┘     └────────┘
                         trained        trained

**Why is B zero at first, and A not?**  With B = 0 the product is 0.  So training starts exactly at
the model that you have.  B's gradient contains A x, which isn't 0, so B moves at the first step.
If both were 0, both gradients would be 0, for ever.

**Why divide by r?**  B A x is a sum over r terms.  Dividing by r keeps its size when you try
another rank, so you need no new learning rate.  For large ranks this divides by too much: the
steps get smaller as r grows.  Rank-stabilized LoRA divides by √r.

**Why merge?**  Two more products cost time at each call.  After training you add s · B A to W once.
Then the layer costs what it cost before.  To go on training you take it off again.

**Worked by hand**: out = in = 2, r = 1, alpha = 3, so s = 3.

    W = [1 0; 2 1]    b = [0.5 0]    A = [1 -1]    B = [0.1; 0.2]     x = [2 5]
    W x + b = [2.5 9]                A x = -3      s · B (A x) = 3 · [-0.3 -0.6] = [-0.9 -1.8]
    y = [1.6 7.2]
    merged: W' = W + 3 · [0.1 -0.1; 0.2 -0.2] = [1.3 -0.3; 2.6 0.4]
            W' x + b = [2.6 - 1.5 + 0.5   5.2 + 2] = [1.6 7.2]

**Shapes**: a layer takes x (..., in) and gives (..., out).  A and B have the dtype and the device
of W, and a generator is on that device.  No function changes its arguments, but for what LoRA is
there to change: the base that is frozen or merged, and the model.

**Steps.**

    LoRALinear        25 min   two thin products beside a frozen one; merge and back
    inject_lora       15 min   which names match?  check all before you change anything
    count_parameters   4 min   trained, and all
    adapter_state      8 min   the names that peft writes
    load_adapter      10 min   check all before you change anything
    merge_and_unload   6 min   the old model again, with new weights

In the tests, a network of digits learns to read them when they lie on their side.  It trains 832
of 6202 weights, and beats training the last layer.

Sources: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"; Kalajdzievski 2023,
"A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA"; the library peft, for the names.

From scratch: peft and transformers may not be used.
"""

from collections.abc import Mapping

from torch import Generator, Tensor, nn


class LoRALinear(nn.Module):
    """An nn.Linear, frozen, with an adapter beside it.

    base            the nn.Linear that it was given, itself, no copy
    lora_A, lora_B  two nn.Linear without bias, with weights (r, in) and (out, r)
    scaling         the lesson's s
    merged          whether s · B A is in the base's weight now

    Its state_dict() has base.weight, base.bias if there is one, lora_A.weight and lora_B.weight, and
    nothing else.
    """

    def __init__(
        self,
        base: nn.Linear,
        r: int,
        alpha: float,
        dropout: float = 0.0,
        rank_stabilized: bool = False,
        generator: Generator | None = None,
    ) -> None:
        """Freeze `base` and make an adapter of rank r, as the lesson says.

        - Frozen: no parameter of the base requires a gradient, and their .grad is None.  A and B
          require one.
        - r may be larger than in and out.
        - A is drawn from `generator`: the same state gives the same A.  Without one, A is drawn from
          torch's own.  What else you draw, and from where, is yours to choose.

        Raises ValueError if r < 1, naming r, and if `dropout` isn't in 0 ≤ dropout < 1, naming it.
        The base stays as it is then.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """y (..., out) for x (..., in), with the lesson's formula.

        - Dropout falls on what goes into A, and never on what goes into W.  It drops in training mode
          alone, and scales what is left by 1 / (1 - dropout).
        - A merged layer is its base alone: no adapter is added, and nothing is dropped.
        """
        raise NotImplementedError

    def delta(self) -> Tensor:
        """s · B A, of shape (out, in), from A and B as they are now.  Gradients go through it to both."""
        raise NotImplementedError

    def merge(self) -> None:
        """Add s · B A to the base's weight, in place: the weight remains the same Parameter, and frozen.

        A layer that is merged stays as it is.  A and B aren't changed.
        """
        raise NotImplementedError

    def unmerge(self) -> None:
        """Bring the base's weight back, but for rounding, in place.  A layer that isn't merged stays as it is.

        A and B were not changed since `merge`.
        """
        raise NotImplementedError


def inject_lora(
    model: nn.Module,
    targets: list[str],
    r: int,
    alpha: float,
    dropout: float = 0.0,
    rank_stabilized: bool = False,
    generator: Generator | None = None,
) -> list[str]:
    """Put a LoRALinear in the place of each nn.Linear of `model` that `targets` names, and freeze all else.

    - A target names a layer if it is the layer's whole name, or its end after a dot.  "q" and "attn.q"
      name "blocks.0.attn.q"; neither "tn.q" nor "n.q" does.
    - Subclasses of nn.Linear count.  Other modules of that name are left in place.
    - A layer that several targets name gets one adapter.
    - Afterwards the A's and B's alone require a gradient.  The .grad of all that is frozen is None.
    - New layers are in the mode of `model`, training or evaluation.
    - Each layer draws its own A, from the one `generator`.

    The model itself is no nn.Linear, none stands in two places, and no weight that is adapted is shared.

    Returns the full names of the adapted layers, in the order of model.named_modules().

    Raises ValueError, for the first of these, and leaves the model as it was,
    - naming "targets" if the list is empty,
    - naming "LoRA" if the model has a LoRALinear already,
    - naming the target if no nn.Linear has that name,
    - as LoRALinear does for r and dropout.
    """
    raise NotImplementedError


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """How many numbers are trained (require a gradient), and how many there are in all parameters.

    A Parameter that stands in two places counts once.  Works on every nn.Module.
    """
    raise NotImplementedError


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters alone, with peft's names: for the layer "blocks.0.q" these two,

        base_model.model.blocks.0.q.lora_A.weight
        base_model.model.blocks.0.q.lora_B.weight

    - They are copies, without gradient, of the same dtype and on the same device.
    - Merged or not, it gives the same.  A model without adapters has {}.
    """
    raise NotImplementedError


def load_adapter(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy the weights of `state`, named as in `adapter_state`, into the adapters of `model`.

    - The model's Parameters remain the same objects, of the same dtype, on the same device.
    - No memory is shared with `state`.

    Raises ValueError, and leaves all adapters as they were,
    - naming the entry (its full name) that is missing in `state`, or that the model doesn't have,
    - naming the entry and both shapes if they differ (the rank was another),
    - naming "merged" if a layer of the model is merged.
    Where several are at fault, name one.
    """
    raise NotImplementedError


def merge_and_unload(model: nn.Module) -> None:
    """Merge all adapters and take them out: each base is back in its place, and `model` has its old names.

    - Layers that are merged already aren't merged twice.
    - The bases are the same objects as before `inject_lora`, and stay frozen.
    - A model without adapters stays as it is.
    """
    raise NotImplementedError
