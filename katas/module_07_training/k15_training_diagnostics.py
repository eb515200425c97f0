"""Training diagnostics

**Before you start.**  You need forward hooks, singular values and least squares; no other kata.
Hooks are new to you?  Read "nn.Module hooks" in PyTorch's notes on modules.

**The idea.**  A network that doesn't learn gives one number, a loss that stays.  The reason is
inside: units that never fire, a tanh at its limits, gradients that fade from layer to layer.
Each leaves a trace that you can measure.  You write the instruments, and a diagnosis that names
the sick layer and leaves a healthy network alone.

**The formulas.**

*Gradient flow*: for each layer, over all n entries of its gradients,

    rms = √(∑ g² / n)

*Activations*: for the outputs of a module, over all samples and passes

    mean, std          of all entries                    std² = mean of squares - mean²
    zeros              share of entries that are 0
    dead               share of units that are 0 for every sample
    saturated          share of entries at the limit     tanh: |y| ≥ 0.99,  sigmoid: |2y - 1| ≥ 0.99

              unit   0   1   2
    sample 0       [ 0   1   0 ]     zeros 4/6: units that are silent now
    sample 1       [ 0   0   2 ]     dead 1/3: unit 0 is silent always
                     ▲ dead

*A spectrum*: W has singular values σ₁ ≥ σ₂ ≥ …

    stable rank     ∑ σᵢ² / σ₁²          effective rank   exp(-∑ pᵢ log pᵢ),  pᵢ = σᵢ / ∑ σⱼ
    condition       σ₁ / σ_min

*A slice of the loss* along a direction d, for numbers a:    loss(w + a·d)

d is random.  Each of its rows (filters) is scaled to the length of the same row of w:

    d[i] ← d[i] · ‖w[i]‖ / ‖d[i]‖

*A trend*: the line through losses yₜ at t = 0 … n-1, by least squares, with residuals rₜ:

    slope = ∑ (t - t̄) yₜ / ∑ (t - t̄)²        its standard error = √(∑ rₜ² / (n - 2) / ∑ (t - t̄)²)

**Why scale the direction by row?**  A ReLU network computes the same if one layer is doubled and
the next one halved.  Steps of a fixed length would then show a flat or a steep loss for the same
function.

**Why the standard error?**  Losses are noisy.  A slope is only worth something beyond its own
error: so a run counts as converged if it doesn't fall by more than z standard errors.

**Why train on a single batch?**  Every sound network can learn one small batch by heart.  If it
can't, there is a bug, and it took you a second to know.

**Worked by hand**

    rms of the gradients [3 4] and [0]: √(25/3) = 2.887
    the activations drawn: mean 0.5, std √(5/6 - 1/4) = 0.764
    W with 3 and 4 on its diagonal: stable rank 25/16 = 1.5625, p = 4/7 and 3/7,
        effective rank 1.980, condition 1.333
    losses 3 1 2: slope -0.5, residuals 0.5 -1 0.5, standard error √(1.5/1/2) = 0.866: no trend

**Shapes** are in each docstring.  Everything works where the model is, in the dtype of its
parameters (float16 and bfloat16, too, where it is said).  No function changes its arguments.

**Steps.**  A good place to pause is after diagnose.

    gradient_flow         8 min   shared parameters once
    ActivationRecorder   20 min   sums over passes; hooks must go
    diagnose             10 min   compared with the median
    spectrum             10 min   what is 0?
    random_direction      8 min   row by row
    loss_slice           10 min   everything back, to the bit
    trend                 8 min
    has_converged         5 min   the last ones alone
    memorizes            10 min   a copy is trained

Sources: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural
networks"; Lu et al. 2019, "Dying ReLU and Initialization"; Li et al. 2018, "Visualizing the Loss
Landscape of Neural Nets" (filter normalization); Roy and Vetterli 2007, "The Effective Rank".

From scratch: scipy may not be used.
"""

from collections.abc import Callable, Sequence

from torch import Generator, Tensor, nn


def gradient_flow(model: nn.Module) -> dict[str, float]:
    """The rms of the gradients of each module that has parameters of its own, by the module's name.

    - A module's own parameters are those that aren't in its submodules.  In the order of named_modules, in
      which the model itself is "".
    - All its gradients together give one rms.  Parameters whose .grad is None don't count, and a module
      without any gradient is left out.
    - A shared parameter counts once, for the first module that has it.
    - Right in float32 also for float16 gradients, whose squares overflow.
    """
    raise NotImplementedError


class ActivationRecorder:
    """Measures the outputs of a model's modules while a `with` block runs:

    with ActivationRecorder(model, (nn.ReLU, nn.Tanh)) as recorder:
        model(x)
    recorder.statistics()
    """

    def __init__(self, model: nn.Module, kinds: tuple[type, ...]) -> None:
        """Modules of the given classes and of their subclasses are measured, `model` itself too if it is of one.

        Their outputs are single tensors.  A recorder is made for one `with` block.
        """
        raise NotImplementedError

    def __enter__(self) -> "ActivationRecorder":
        """Begin to measure.  Returns itself."""
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        """End: what runs later isn't measured.  Also after an exception, which goes on."""
        raise NotImplementedError

    def statistics(self) -> dict[str, dict[str, float]]:
        """By the module's name the floats "mean", "std", "zeros", "dead" and "saturated" of all passes together.

        - Each pass counts by its entries.  Passes may differ in their number of examples, not in their units.
        - The units lie along axis 1 of outputs with four axes (n, c, h, w), and along the last axis of others
          (n, …, d).  A unit is dead if all of its entries in all passes are 0.
        - "saturated" is 0.0 for all but nn.Tanh and nn.Sigmoid.
        - The model answers as without a recorder, gradients included.  No graph is kept.
        - Computed in float32 or better: float16 and bfloat16 outputs don't overflow.
        - Modules that didn't run are left out.  May be called inside the block, too.
        """
        raise NotImplementedError


def diagnose(
    activations: dict[str, dict[str, float]],
    gradients: dict[str, float],
    share: float = 0.5,
    low: float = 1e-3,
    high: float = 1e3,
) -> dict[str, list[str]]:
    """What is wrong with which layer: a sorted list of words by name, for those with something wrong.

    - "dead", "saturated": that statistic is `share` or more.
    - Let m be the median of those gradients that are finite and above 0 (of an even number the mean of
      the middle two), or 0 if there are none.  "vanishing": the gradient is at most low · m, so that
      zeros vanish in any case.  "exploding": it is above high · m, or isn't finite.  low < high.
    - A name may be in both dicts.
    """
    raise NotImplementedError


def spectrum(weight: Tensor) -> dict[str, float]:
    """The floats "norm" (σ₁), "stable_rank", "effective_rank" and "condition" of a weight (out, …) of two or
    more axes, taken as a matrix (out, product of the rest).

    - Computed in float64.  Singular values below 1e-12 · σ₁ count as 0.
    - A zero among the min(out, rest) singular values makes the condition inf.
    - A weight of zeros has norm and both ranks 0.0, and condition inf.
    """
    raise NotImplementedError


def random_direction(model: nn.Module, generator: Generator | None = None) -> dict[str, Tensor]:
    """A Gaussian direction scaled row by row, for each parameter of named_parameters, by name.

    - Shape, dtype and device of the parameter; no gradient.
    - A row is w[i], all its other axes together.  A row of zeros has a direction of zeros.
    - Parameters with fewer than two axes (biases, norms) have a direction of zeros.
    - All randomness comes from `generator`, on the model's device, and from torch's own if there is none: one
      torch.randn of its shape and dtype for each parameter with two or more axes, in their order.
    """
    raise NotImplementedError


def loss_slice(
    model: nn.Module, loss: Callable[[], Tensor], direction: dict[str, Tensor], steps: Sequence[float]
) -> list[float]:
    """loss() with the model's weights at w + a · direction, for each a of `steps` in their order.

    - `direction` has a tensor for each parameter, as random_direction returns them.
    - loss() runs the model as it is, in its mode, without a graph.
    - Afterwards parameters, buffers (which batch norm changes while it trains) and .grad are to the last bit
      what they were, and the same objects.  Also if loss() raises, which goes on.  Every loss() finds the
      buffers of before.
    """
    raise NotImplementedError


def trend(losses: Sequence[float]) -> tuple[float, float]:
    """The slope of the losses per step, and its standard error.  Raises ValueError, naming n, for n < 3."""
    raise NotImplementedError


def has_converged(losses: Sequence[float], window: int, z: float = 2.0) -> bool:
    """Whether the last `window` ≥ 3 losses don't fall: slope ≥ -z · standard error, z ≥ 0.

    False if there are fewer, or if one of these isn't finite.
    """
    raise NotImplementedError


def memorizes(
    model: nn.Module,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    steps: int = 100,
    lr: float = 0.01,
    share: float = 0.1,
) -> bool:
    """Whether the model learns one batch by heart: a copy is trained on it for `steps` steps of torch.optim.Adam.

    - True if loss_fn(model(x), y) after the last of `steps` ≥ 1 steps is at most `share` times that before the
      first.  False if either is NaN.
    - The model isn't changed: neither weights, buffers nor .grad.  The copy trains in its modes.
    - Parameters that are frozen stay frozen.  At least one isn't, and the first loss is above 0.
    """
    raise NotImplementedError
