"""Export a model to ONNX

**Before you start.**  You need `nn.Sequential`, `nn.Linear` and `nn.Conv2d` of torch; no other
kata.  Install the extra `serving`: it brings onnx and onnxruntime.  If graphs of operators are new
to you: onnx.ai, "Introduction to ONNX", the section "ONNX Concepts".

**The idea.**  You want to serve a model where there is no Python and no torch: in a phone, a
browser, a C++ server.  So you write it to a file that many runtimes read.  ONNX is such a format.

An ONNX file holds a *graph*, and no code.  The graph has four parts.  *Inputs* and *outputs* have
a name, a type and a shape.  *Initializers* are the weights.  *Nodes* are operators: each reads
tensors by name, and makes a new tensor with a name of its own.  Names are the only wiring.

torch has an exporter, and you should use it at work.  It runs your model and writes down every
operator that it sees:

    torch.onnx.export(model.eval(), (example,), "model.onnx", dynamo=True,
                      input_names=["x"], output_names=["y"],
                      dynamic_shapes=({0: torch.export.Dim("batch")},))

Here you write a small one by hand.  Then you will know what is in the file, and what went wrong
when a file doesn't load.  With --slow, the tests compare the two.

**A drawing.**  The model `Sequential(Linear(2, 3), Dropout(), ReLU())` as a graph:

    input  x (batch, 2)
        │      ┌── w0 (2, 3)   the weight, transposed
        ▼      ▼
       MatMul ────▶ t0
        │      ┌── w1 (3,)     the bias
        ▼      ▼
        Add ──────▶ t1
        │
        ▼                      Dropout has no node: a served model drops nothing
       Relu ──────▶ y (batch, 3)   output

**The formulas.**  What each layer becomes:

    Linear      y = x Wᵀ + b       MatMul(x, Wᵀ), then Add(·, b) if there is a bias
    Conv2d                         Conv(x, W, b), with strides, pads, dilations, group
    ReLU        y = max(x, 0)      Relu
    Flatten     (n, a, b) → (n, ab)   Flatten with axis = 1
    Dropout, Identity              nothing

And how two answers are compared, an expected number e and an actual one a:

    close   ⟺   |a - e| ≤ atol + rtol · |e|

**What is a dynamic axis?**  An axis may have a number for its size, or a name.  (1, 64) means one
row a call.  ("batch", 64) means any number of rows.  Forget this, and your server can't batch:
that is the most frequent fault of an export.  In the file an axis is a `dim_value` or a
`dim_param`.  The output needs it, too.

**Why MatMul, when ONNX has Gemm?**  Gemm does matrix, bias and transpose in one node.  But it takes
matrices only.  A Linear of torch takes any number of leading axes, such as (batch, tokens,
features), and so does MatMul.

**What are opset and IR version?**  Operators change over the years.  The *opset* says which edition
of the operators you mean.  The *IR version* is that of the file format itself.  A runtime refuses a
file that is newer than the runtime.  So write the oldest version that has what you need.

**Why aren't the two answers equal?**  Both runtimes are right.  But they add numbers in another
order, and fuse operators.  So float32 differs in the last digits.  Compare with a tolerance, and
look at the choice as well: a classifier that chooses the same class in every row is unharmed.

**Worked by hand**

    Linear with weight [[1, 2], [3, -4], [0, 1]], bias [0, 1, -5], then ReLU
        nodes          MatMul, Add, Relu
        weights        [[1, 3, 0], [2, -4, 1]] and [0, 1, -5]
        x = [1, 1]     x Wᵀ = [3, -1, 1];  + b = [3, 0, -4];  y = [3, 0, 0]
    expected [[1, 2], [4, 3]], actual [[1.5, 2], [2, 3]]
        largest difference 2 at (1, 0);  the choices are 1 and 0, then 1 and 1: half are the same

**Shapes**: x and y are float32 with two or more axes, axis 0 for the rows.  All weights are
float32.  `run` takes models of others, too, whose input may be of another type.  No function
changes its arguments.

**Steps.**

    export    20 min   a walk over the layers; the name of the last tensor leads
    check      9 min   nodes in order, and a set of names
    run        5 min   open the model in onnxruntime
    compare   10 min   NaN and ∞ need care

Sources: onnx.ai, "Open Neural Network Exchange Intermediate Representation" and "ONNX Operators";
onnxruntime.ai, "Python API"; docs.pytorch.org, "torch.export-based ONNX Exporter".

From scratch: torch.onnx and onnx.checker may not be used.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from torch import Tensor, nn

INPUT, OUTPUT = "x", "y"
IR_VERSION = 10


def export(model: nn.Sequential, shape: Sequence[int | str], opset: int = 18) -> onnx.ModelProto:
    """The model as an ONNX graph, with one input "x" and one output "y".

    model   layers of the kinds in the lesson's table, in any number, and Sequentials of them.  A layer may
            stand there twice.  Flatten has its defaults, and a Conv2d's padding is numbers.
    shape   of the input: a number for a fixed axis, a name for a dynamic one

    - Nodes are those of the table, in the order of the layers.  A model that has none becomes one Identity.
    - The graph computes what the model computes in eval mode, whatever its mode is now.  The mode stays.
    - The weights are initializers, and copies: training goes on without changing the graph.
    - The output's shape is declared, axis by axis.  An axis of a fixed size is a number.  An axis that is as
      long as a named axis of the input has that name.  Any other has no number: a name or nothing.
      `onnx.shape_inference.infer_shapes` can do this for you.
    - The operators are those of `opset`, which is 18 or more; the file's ir_version is IR_VERSION.

    Raises TypeError, naming its class, for any other layer.
    """
    raise NotImplementedError


def check(model: onnx.ModelProto) -> None:
    """Look whether the graph's names fit together; returns nothing if they do.

    Raises ValueError, naming the tensor, for the first of these that is met.  Go through the nodes in
    order, look at what a node reads before what it makes, and at the graph's outputs last:

    - a node reads a tensor that is no input, no initializer, and that no node before it makes;
    - a node makes a tensor that is an input or an initializer, or that is made already;
    - an output of the graph is no input, no initializer, and made by no node.

    The empty name "" stands for an optional tensor that is left out, among what is read or made: skip it.
    An input may have the name of an initializer, which is then its default.
    """
    raise NotImplementedError


def run(model: onnx.ModelProto, x: Tensor) -> Tensor:
    """The output of the model for x, from onnxruntime on the CPU, on the device of x.

    - The model has one input and one output, whatever their names.
    - x may require a gradient; the answer doesn't.
    """
    raise NotImplementedError


@dataclass
class Comparison:
    """How far two tensors are apart.  This class is given.

    close        whether every number is close, as a bool
    largest      the largest difference |a - e|, as a float
    at           where that is, as a tuple of ints; the first such place, row by row
    same_choice  the share of the rows whose largest score stands at the same place, as a float.  The scores of
                 a row are along the last axis.
    """

    close: bool
    largest: float
    at: tuple[int, ...]
    same_choice: float


def compare(expected: Tensor, actual: Tensor, atol: float = 1e-5, rtol: float = 1e-4) -> Comparison:
    """Compare two tensors of floats, number by number, by the formula of the lesson.

    - Compute in float64: the two may have different dtypes.
    - NaN beside NaN, and an infinity beside the same one, are close, and differ by 0.
    - NaN beside a number, and an infinity beside anything else, are never close, and differ by ∞.
    - Tensors without numbers are close: the largest difference is 0, at (), and same_choice is 1.
    - No row that is compared has two equal largest scores, or NaN: there same_choice is left open.

    Raises ValueError, naming both shapes, if they differ.
    """
    raise NotImplementedError
