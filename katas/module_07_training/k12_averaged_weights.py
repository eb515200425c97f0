"""Averaged weights, and a file without code

**Before you start.**  You need state_dict, batch norm's running statistics, and bytes in Python
(struct and json); no other kata.  If batch norm is new: module 04's k07_batch_normalization.

**The idea.**  At the end of a run you hand on weights, to a server or to the whole world.  Two
questions are left.  Which weights?  The last batches have pushed the last ones about.  An average
over many steps is often better, and costs no training.  And in what file?  A pickle can run any
code on the machine that opens it.  A safetensors file holds names and numbers, and nothing else.

**The formulas.**  Two averages of the weights w₁, w₂, …, wₜ:

    mean (stochastic weight averaging, SWA)    aₜ = (w₁ + w₂ + … + wₜ) / t
    exponential (EMA) with decay d             a₁ = w₁,   aₜ = d·aₜ₋₁ + (1 - d)·wₜ

Batch norm's running statistics, measured anew over n batches with the means mⱼ and the variances
vⱼ.  (torch divides vⱼ by one less than the number of rows.)

    running mean = (m₁ + m₂ + … + mₙ) / n      running variance = (v₁ + v₂ + … + vₙ) / n

*A safetensors file* has no code in it, unlike a pickle.  Numbers are little-endian:

    ┌──────────┬──────────────────────────────┬─────────────┬─────────────┐
    │ N        │ header: JSON in UTF-8        │ tensor a    │ tensor b    │
    │ 8 bytes  │ N bytes, spaces at its end   │ row by row  │ row by row  │
    └──────────┴──────────────────────────────┴─────────────┴─────────────┘
                                              0             8            20
    {"a": {"dtype": "F32", "shape": [2],    "data_offsets": [0, 8]},
     "b": {"dtype": "I8",  "shape": [3, 4], "data_offsets": [8, 20]},
     "__metadata__": {"epoch": "3"}}

Offsets count from the header's end.  The tensors leave no holes, and the last one ends the file.
`__metadata__`, from text to text, may be left out.

**Why is an average better?**  Each batch has its own gradient, so with a constant rate the weights
never come to rest.  They wander around a good place.  Their mean lies nearer to its middle.

**Why does EMA begin with a₁ = w₁?**  Begun at 0, or at the random weights of the start, the average
would keep a part of them for long: with d = 0.999 still 37% after 1000 steps.

**Why update batch norm?**  Its running statistics belong to the weights that produced them.
Averaged weights have none: one pass over data without gradients measures them.

**Worked by hand**

    {"w": [1, 2]} in int8: 8 + 56 + 2 bytes.  The header has 53 characters and 3 spaces:
        {"w":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}
    EMA, d = 0.9, weights 1 2 3:    1, 0.9·1 + 0.1·2 = 1.1, 0.9·1.1 + 0.1·3 = 1.29
    their mean:                     2
    batch norm, batches [1 3] and [2 6 10]:
        means 2 and 6, so 4; variances 2 and 16, so 9.  (All five rows: mean 4.4)

**Shapes**: tensors of any shape.  No function changes its arguments, except update_batch_norm,
which changes what it is meant to.

**Steps.**  A good place to pause is before WeightAverage.

    to_safetensors     12 min   tensors that aren't contiguous, or have no axes
    from_safetensors   12 min   what if the file was cut?
    WeightAverage      14 min   shared weights once
    update_batch_norm  10 min   each module's mode, and the momentum

Sources: the safetensors format (github.com/huggingface/safetensors); Izmailov et al. 2018,
"Averaging Weights Leads to Wider Optima and Better Generalization" (SWA and batch norm).

From scratch: safetensors and torch.optim.swa_utils may not be used.
"""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


def to_safetensors(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file, as drawn.

    - dtypes: F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL, for torch's float64 float32 float16 bfloat16
      int64 int32 int16 int8 uint8 bool.
    - The header ends in 0 to 7 spaces, so that the first tensor begins at a multiple of 8 bytes.
    - Tensors come in any order; they may be on any device, not contiguous, without axes or empty.
    - Without `metadata` there is no "__metadata__".
    """
    raise NotImplementedError


def from_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, on the CPU, and the metadata, {} if there is none.

    - Tensors stand in the file in any order, and can be changed in place afterwards.
    - Raises ValueError if the file was cut anywhere, or goes on after its last tensor.
    """
    raise NotImplementedError


class WeightAverage:
    """An average of a model's weights.

    model   the averaged model: a copy, whose parameters require no gradient
    count   the number of updates so far
    """

    def __init__(self, model: nn.Module, decay: float | None = None) -> None:
        """decay None is the mean (SWA), otherwise it is EMA's d.

        `model` stays as it is, and isn't counted: the average begins with the first update.
        Raises ValueError, naming the decay, unless 0 ≤ decay < 1 or None.
        """
        raise NotImplementedError

    def update(self, model: nn.Module) -> None:
        """Take the weights of `model` in.  Parameters are averaged, each once; buffers are copied."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed average needs; later updates don't change it.

        torch.save writes it, and torch.load reads it with weights_only=True.
        """
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the saved one would have, made with the same decay.  Later updates don't change `state`."""
        raise NotImplementedError


def update_batch_norm(model: nn.Module, loader: Iterable[Tensor]) -> None:
    """Measure the running statistics of all batch norms anew; each batch of `loader` is model(batch) once.

    - They become the plain mean over the batches of each batch's statistics, each batch counting alike (what
      torch does for momentum None), whatever they were before, even NaN.  num_batches_tracked counts anew, too.
    - What modules other than batch norms do meanwhile, dropout for one, is up to you.
    - Parameters and their .grad stay as they are; no graph is built.
    - Afterwards each module has the mode, and each batch norm the momentum, that it had.
    """
    raise NotImplementedError
